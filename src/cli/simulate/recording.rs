//! A recording of the operator as load: `--from`.

use super::failure::Failure;
use crate::api::AgentPool;
use crate::cli::recordings;
use crate::recording::{AgentLoads, Loads, PoolLoads};
use crate::simulation::load::{Arrivals, Piece, Spacing};
use std::collections::BTreeMap;
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

/// Reads what the recording of a folder or a file has of one pool: the one that is `named`, else its only one, else the one with the
/// key of a `manifest`.
///
/// # Errors
/// A line that cannot be read, with its file and number; no such pool, or several and none chosen.
pub(super) fn read(
    path: &Path,
    named: Option<&str>,
    manifest: Option<&str>,
) -> Result<Recorded, Failure> {
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
    let pool = choose(&loads.pools, named, manifest)
        .map_err(|error| Failure::input(path.display(), error))?;
    let mut recorded = recorded(path, pool)?;
    recorded.assumed.extend(cut);
    Ok(recorded)
}

fn choose<'a>(
    pools: &'a BTreeMap<String, PoolLoads>,
    named: Option<&str>,
    manifest: Option<&str>,
) -> Result<&'a PoolLoads, String> {
    let names: Vec<&str> = pools.keys().map(String::as_str).collect();
    let there = match &names[..] {
        [] => return Err("has no pool in it".to_owned()),
        [one] => (*one).to_owned(),
        several => format!("{} pools: {}", several.len(), several.join(", ")),
    };
    if let Some(named) = named {
        return pools
            .get(named)
            .ok_or_else(|| format!("--from-pool {named}: is not in it; it has {there}"));
    }
    if let [one] = &names[..] {
        return Ok(&pools[*one]);
    }
    let way_out = format!("say which: --from-pool {}", names[0]);
    let Some(manifest) = manifest else {
        return Err(format!(
            "has {there}; {way_out}, or --pool with its manifest"
        ));
    };
    // A manifest without a namespace is applied to the one that is current, whichever that is.
    let is_meant =
        |key: &str| key == manifest || (manifest.starts_with('/') && key.ends_with(manifest));
    let mut meant = pools.iter().filter(|(key, _)| is_meant(key));
    match (meant.next(), meant.next()) {
        (Some((_, pool)), None) => Ok(pool),
        (None, _) => Err(format!(
            "has {there}, and not {}, which --pool describes; {way_out}",
            manifest.trim_start_matches('/')
        )),
        (Some(_), Some(_)) => Err(format!(
            "has {there}, and --pool does not say of which namespace it is; {way_out}"
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
        let recorded = read(&path, None, None).unwrap();
        assert_eq!(
            read(&path.join("1.jsonl"), None, None).unwrap().seconds,
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
        let error = read(&path, None, None).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("1.jsonl:1: "), "{error}");
        std::fs::remove_file(path.join("1.jsonl")).unwrap();
        assert!(
            read(&path, None, None)
                .unwrap_err()
                .to_string()
                .contains("no recording in it")
        );
        std::fs::remove_dir_all(&path).unwrap();
    }
}
