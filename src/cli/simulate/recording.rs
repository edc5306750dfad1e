//! A recording of the operator as load: `--from`.

use super::failure::Failure;
use crate::api::AgentPool;
use crate::recording::{AgentLoads, Loads, PoolLoads};
use crate::simulation::load::{Arrivals, Piece, Spacing};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What a recording has of one pool.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The pool as it was declared last.
    pub manifest: AgentPool,
    /// For how long it was recorded, in seconds.
    pub seconds: f64,
    /// What reached each agent, by name.
    pub arrivals: Vec<(String, Arrivals)>,
    /// What is assumed, in words.
    pub assumed: Vec<String>,
}

/// Reads the recording of a folder, of one pool.
///
/// # Errors
/// A line that cannot be read, with its file and number; no pool, or several.
pub(super) fn read(folder: &Path) -> Result<Recorded, Failure> {
    let mut loads = Loads::default();
    for file in files(folder)? {
        let shown = file.display().to_string();
        let opened = File::open(&file).map_err(|error| Failure::input(&shown, error))?;
        for (i, line) in BufReader::new(opened).lines().enumerate() {
            let place = format!("{shown}, line {}", i + 1);
            let line = line.map_err(|error| Failure::input(&place, error))?;
            loads
                .line(&line)
                .map_err(|error| Failure::input(&place, error))?;
        }
    }
    let names: Vec<&str> = loads.pools.keys().map(String::as_str).collect();
    let there = names.join(", ");
    match &loads.pools.values().collect::<Vec<_>>()[..] {
        [pool] => recorded(folder, pool),
        pools => Err(Failure::input(
            folder.display(),
            format_args!("has {} pools [{there}], must have one", pools.len()),
        )),
    }
}

fn recorded(folder: &Path, pool: &PoolLoads) -> Result<Recorded, Failure> {
    let mut assumed = vec![format!(
        "loads are Poisson at the rates that the operator measured ({}): what bursts within its window is not in them",
        folder.display()
    )];
    let mut arrivals = Vec::new();
    for (name, load) in &pool.agents {
        let unknown = unknown(load);
        if unknown > 0.0 {
            assumed.push(format!(
                "the rate of {name} is unknown for {unknown:.0} of {:.0} s and taken to stay what it was before",
                load.seconds
            ));
        }
        arrivals.push((name.clone(), steps(load)));
    }
    if arrivals.is_empty() {
        return Err(Failure::input(
            folder.display(),
            "has fewer than two decisions: no rate follows from it",
        ));
    }
    Ok(Recorded {
        manifest: pool.manifest.clone(),
        seconds: pool.seconds(),
        arrivals,
        assumed,
    })
}

fn unknown(load: &AgentLoads) -> f64 {
    let unknown = load
        .held
        .iter()
        .filter(|held| held.arrivals_per_second.is_none());
    unknown.map(|held| held.seconds).sum()
}

fn steps(load: &AgentLoads) -> Arrivals {
    let mut rate = load
        .held
        .iter()
        .find_map(|held| held.arrivals_per_second)
        .unwrap_or(0.0);
    let piece = |held: &crate::recording::Held| {
        rate = held.arrivals_per_second.unwrap_or(rate);
        Piece {
            seconds: held.seconds,
            rate,
        }
    };
    Arrivals::Steps {
        steps: load.held.iter().map(piece).collect(),
        spacing: Spacing::Poisson,
    }
}

/// Its files, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::input(folder.display(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::input(
            folder.display(),
            "no recording in it: expected files *.jsonl, as `agentpool run --record` writes them",
        ));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::recording::tests::session::{Kind, Session};

    fn folder(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("from-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("1.jsonl"), text).unwrap();
        path
    }

    #[test]
    fn a_recording_is_a_pool_and_the_rates_that_reached_its_agents() {
        let session = Session::record(Kind::Whole, 1, 30);
        let path = folder("whole", &session.lines.join("\n"));
        let recorded = read(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        assert!(recorded.seconds > 0.0);
        let mut names: Vec<&str> = recorded
            .manifest
            .spec
            .agents
            .iter()
            .map(|a| a.name.as_str())
            .collect();
        names.sort_unstable();
        let loads: Vec<&str> = recorded
            .arrivals
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(loads, names);
        for (_, arrivals) in &recorded.arrivals {
            let Arrivals::Steps { steps, .. } = arrivals else {
                unreachable!("steps");
            };
            let seconds: f64 = steps.iter().map(|step| step.seconds).sum();
            assert!((seconds - recorded.seconds).abs() < 1e-3);
        }
        assert!(recorded.assumed[0].contains("measured"));
    }

    #[test]
    fn what_is_no_recording_is_refused_with_file_and_line() {
        let path = folder("none", "{}");
        let error = read(&path).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("1.jsonl, line 1: "), "{error}");
        std::fs::remove_file(path.join("1.jsonl")).unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("no recording in it")
        );
        std::fs::remove_dir_all(&path).unwrap();
    }
}
