use super::{complain, recordings};
use crate::recording::{Difference, Replay};
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the recording is, is wrong; what a wrong command line exits with as well.
const UNREADABLE: u8 = 2;

/// Flags of `agentpool replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Folders of recordings (all their *.jsonl), or files.
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
}

/// What was found in all files.
#[derive(Debug, Default)]
struct Found {
    replay: Replay,
    files: usize,
    cut: usize,
    /// The first decision that differs, and where it stands.
    first: Option<(String, Difference)>,
}

/// Replays, and says what came of it.
pub(super) fn main(args: &ReplayArgs) -> ExitCode {
    let mut found = Found::default();
    let read = recordings::files(&args.paths).and_then(|files| {
        files.iter().try_for_each(|file| found.file(file))?;
        match found.replay.equal + found.replay.different {
            0 => Err("there is no decision to compute again".to_owned()),
            _ => Ok(()),
        }
    });
    if let Err(error) = read {
        complain(&error);
        return ExitCode::from(UNREADABLE);
    }
    print!("{}", found.summary());
    match found.first {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

impl Found {
    fn file(&mut self, path: &Path) -> Result<(), String> {
        self.replay.begin_file();
        self.files += 1;
        let cut = recordings::read(path, |place, text| {
            if let Some(difference) = self.replay.line(text)?
                && self.first.is_none()
            {
                self.first = Some((place.to_owned(), difference));
            }
            Ok(())
        })?;
        self.cut += usize::from(cut);
        Ok(())
    }

    fn summary(&self) -> String {
        let (replay, mut out) = (&self.replay, String::new());
        let keys: Vec<&str> = replay.keys.iter().map(String::as_str).collect();
        let mut say = |line: std::fmt::Arguments<'_>| {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{line}");
        };
        say(format_args!("files       {}", self.files));
        say(format_args!(
            "pools       {} ({})",
            keys.len(),
            keys.join(", ")
        ));
        let all = replay.equal + replay.different;
        say(format_args!("recomputed  {all} decisions"));
        say(format_args!("equal       {}", replay.equal));
        say(format_args!("different   {}", replay.different));
        say(format_args!(
            "missing     {} decisions that were not recorded, in {} gaps",
            replay.missing, replay.gaps
        ));
        if self.cut > 0 {
            say(format_args!(
                "passed over {} last lines that were cut",
                self.cut
            ));
        }
        let ours = env!("CARGO_PKG_VERSION");
        for other in replay.writers.iter().filter(|version| *version != ours) {
            say(format_args!(
                "note        recorded by agentpool {other}, recomputed by {ours}"
            ));
        }
        if let Some((place, first)) = &self.first {
            let Difference {
                pool,
                number,
                wall,
                what,
            } = first;
            say(format_args!(
                "first difference: pool {pool}, decision {number} ({wall}, {place}): {what}"
            ));
        }
        out
    }
}
