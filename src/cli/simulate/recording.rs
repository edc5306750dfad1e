//! A recording of the operator as load: `--from`.

use super::failure::Failure;
use crate::api::AgentPool;
use crate::cli::recordings;
use crate::recording::{AgentLoads, Loads, PoolLoads};
use crate::simulation::load::{Arrivals, Piece, Spacing};
use std::path::Path;

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

/// Reads the recording of a folder or a file, of one pool.
///
/// # Errors
/// A line that cannot be read, with its file and number; no pool, or several.
pub(super) fn read(path: &Path) -> Result<Recorded, Failure> {
    let mut loads = Loads::default();
    let mut cut = Vec::new();
    for file in recordings::files(&[path.to_owned()]).map_err(Failure::Input)? {
        let is_cut = recordings::read(&file, |_, line| loads.line(line)).map_err(Failure::Input)?;
        if is_cut {
            cut.push(format!(
                "the last line of {} is cut and passed over",
                file.display()
            ));
        }
    }
    let names: Vec<&str> = loads.pools.keys().map(String::as_str).collect();
    let there = names.join(", ");
    match &loads.pools.values().collect::<Vec<_>>()[..] {
        [pool] => {
            let mut recorded = recorded(path, pool)?;
            recorded.assumed.extend(cut);
            Ok(recorded)
        }
        pools => Err(Failure::input(
            path.display(),
            format_args!("has {} pools [{there}], must have one", pools.len()),
        )),
    }
}

fn recorded(path: &Path, pool: &PoolLoads) -> Result<Recorded, Failure> {
    let mut assumed = vec![format!(
        "loads are Poisson at the rates that the operator measured ({}): what bursts within its window is not in them",
        path.display()
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
            path.display(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::recording::tests::session::{Kind, Session};
    use std::path::PathBuf;

    fn folder(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("from-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("1.jsonl"), text).unwrap();
        path
    }

    #[test]
    fn a_recording_is_a_pool_and_the_rates_that_reached_its_agents() {
        let session = Session::record(Kind::Whole, 1, 30);
        let path = folder(
            "whole",
            &(session.lines.join("\n") + "\n{\"decision\": cut"),
        );
        let recorded = read(&path).unwrap();
        assert_eq!(
            read(&path.join("1.jsonl")).unwrap().seconds,
            recorded.seconds
        );
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
        let cut = recorded.assumed.last().unwrap();
        assert!(cut.contains("1.jsonl is cut and passed over"), "{cut}");
    }

    #[test]
    fn what_is_no_recording_is_refused_with_file_and_line() {
        let path = folder("none", "{}\n");
        let error = read(&path).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("1.jsonl:1: "), "{error}");
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
