use super::complain;
use crate::recording::{Difference, Replay};
use clap::Args;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the recording is, is wrong; what a wrong command line exits with as well.
const UNREADABLE: u8 = 2;

/// Longest line that is read, in bytes; the recorder's files are never larger than 8 Gi, its lines far smaller.
const LONGEST: u64 = 256 << 20;

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
    let read = files(&args.paths).and_then(|files| {
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

/// The files, in the order of their names within a folder.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        let fails = |error: std::io::Error| format!("{}: {error}", path.display());
        if !std::fs::metadata(path).map_err(fails)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut own = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fails)? {
            let file = entry.map_err(fails)?.path();
            if file.extension().is_some_and(|e| e == "jsonl") {
                own.push(file);
            }
        }
        if own.is_empty() {
            let path = path.display();
            return Err(format!(
                "{path}: no recording in it: expected files *.jsonl, as `agentpool run --record` writes them"
            ));
        }
        own.sort();
        files.extend(own);
    }
    Ok(files)
}

impl Found {
    fn file(&mut self, path: &Path) -> Result<(), String> {
        let shown = path.display();
        let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
        let mut input = BufReader::new(file);
        self.replay.begin_file();
        self.files += 1;
        let mut bytes = Vec::new();
        for number in 1u64.. {
            let fails = |what: &dyn std::fmt::Display| format!("{shown}:{number}: {what}");
            bytes.clear();
            let read = (&mut input).take(LONGEST).read_until(b'\n', &mut bytes);
            if read.map_err(|error| fails(&error))? == 0 {
                break;
            }
            let is_whole = bytes.last() == Some(&b'\n');
            if !is_whole && bytes.len() as u64 >= LONGEST {
                return Err(fails(&format_args!("a line of more than {LONGEST} bytes")));
            }
            if !is_whole {
                // The operator was killed while it wrote this line.
                self.cut += 1;
                break;
            }
            bytes.pop();
            let text = std::str::from_utf8(&bytes).map_err(|error| fails(&error))?;
            let differs = self.replay.line(text).map_err(|error| fails(&error))?;
            if let Some(difference) = differs
                && self.first.is_none()
            {
                self.first = Some((format!("{shown}:{number}"), difference));
            }
        }
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
