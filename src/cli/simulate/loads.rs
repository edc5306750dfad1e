//! What arrives: from a trace, from the scenario's agents, or, where nothing is said, bursts like those of real services.

use super::cluster::gpus;
use super::failure::Failure;
use super::file::{AgentFile, ScenarioFile};
use crate::api::ValidPool;
use crate::cli::traces;
use crate::simulation::Cluster;
use crate::simulation::load::trace::{EVERYONE, Trace, first_line};
use crate::simulation::load::{
    AgentLoad, Arrivals, BuiltIn, FOUR_AGENT_A, Scaling, Work, recorded_loads,
};
use crate::simulation::report::Described;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Load that is offered where nothing is said about any.
const USUAL: f64 = 0.7;

/// The loads in the order of the pool, and how long they last where a trace says it.
///
/// # Errors
/// A trace that cannot be read or has other agents than the pool; a load that cannot be.
pub(super) fn build(
    file: &ScenarioFile,
    pool: &ValidPool,
    cluster: &Cluster,
    name: &str,
    folder: &Path,
    described: &mut Described,
) -> Result<(Vec<AgentLoad>, Option<f64>), Failure> {
    let loads = match &file.trace {
        Some(trace) => recorded(file, trace, pool, name, folder, described)?,
        None => written(file, pool, cluster, name, folder, described)?,
    };
    for load in &loads {
        load.check().map_err(|error| Failure::input(name, error))?;
    }
    let lengths = loads.iter().filter_map(|load| match &load.arrivals {
        Arrivals::Trace(replay) => Some(replay.length()),
        _ => None,
    });
    // Where agents' parts differ, the longest counts; what becomes of the others is said.
    let length = lengths.fold(None, |longest: Option<f64>, length| {
        Some(longest.map_or(length, |longest| longest.max(length)))
    });
    Ok((loads, length))
}

fn recorded(
    file: &ScenarioFile,
    name_of_trace: &str,
    pool: &ValidPool,
    name: &str,
    folder: &Path,
    described: &mut Described,
) -> Result<Vec<AgentLoad>, Failure> {
    if let Some((agent, _)) = file
        .agents
        .iter()
        .find(|(_, agent)| agent.arrivals.is_some())
    {
        return Err(Failure::input(
            name,
            format_args!(
                "agents.{agent}.arrivals: is given beside `trace`: must be one of both (an agent's part of a trace is \
                 arrivals: {{type: Trace, file: ...}})"
            ),
        ));
    }
    let names: Vec<&str> = pool
        .agents
        .iter()
        .map(|agent| agent.name.as_str())
        .collect();
    let Some(path) = found(name_of_trace, folder) else {
        return stand_in(name_of_trace, &names, file, described);
    };
    let trace = traces::read(&path).map_err(|error| Failure::Input(error.to_string()))?;
    let of = |agent: &&str| file.agents.get(*agent).cloned().unwrap_or_default();
    let scalings: Vec<Scaling> = names
        .iter()
        .map(|agent| of(agent).scaling.unwrap_or_default())
        .collect();
    refuse_strangers(&trace, &path, &names)?;
    let shown = path.display().to_string();
    let mut loads = recorded_loads(&trace, &shown, &names, &scalings, Work::default())
        // What is asked of the trace is the scenario's, what is in it is the trace's.
        .map_err(|error| match error.field.contains("scaling") {
            true => Failure::input(name, error),
            false => Failure::input(&shown, error),
        })?;
    for (load, agent) in loads.iter_mut().zip(&names) {
        load.work = of(agent).work.unwrap_or_default();
    }
    Ok(loads)
}

/// Refuses a trace with requests of an agent that the pool lacks, with the first line of them where the file can be read as it is.
fn refuse_strangers(trace: &Trace, path: &Path, names: &[&str]) -> Result<(), Failure> {
    let known = |name: &str| names.contains(&name) || name == EVERYONE;
    let Some(stranger) = trace.agents.keys().find(|name| !known(name)) else {
        return Ok(());
    };
    let file = if path.is_dir() {
        path.join("trace.csv")
    } else {
        path.to_owned()
    };
    let found = File::open(&file).ok();
    let found = found.and_then(|open| first_line(BufReader::new(open), stranger));
    let (place, field) = match found {
        Some((line, field)) => (format!("{}, line {line}", file.display()), field),
        None => (path.display().to_string(), "agent"),
    };
    let there = names.join(", ");
    Err(Failure::input(
        place,
        format_args!("{field} is {stranger:?}: the pool has no such agent; it has {there}"),
    ))
}

/// The built-in loads in place of a trace that is not at hand, at the rates that were asked for.
fn stand_in(
    trace: &str,
    names: &[&str],
    file: &ScenarioFile,
    described: &mut Described,
) -> Result<Vec<AgentLoad>, Failure> {
    let absent = || {
        Failure::input(
            trace,
            "there is no such file or folder, neither beside the scenario nor in AGENTPOOL_TRACES",
        )
    };
    let built_in = BuiltIn::of(trace).ok_or_else(absent)?;
    let measured = built_in.loads(None);
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    if sorted != ["coordinator", "nlp", "reasoning", "vision"] {
        return Err(Failure::input(
            trace,
            "the trace is not at hand, and what stands in has the agents coordinator, nlp, vision and reasoning, which the pool must \
             have and no others",
        ));
    }
    let of = |load: &AgentLoad| file.agents.get(&load.agent).cloned().unwrap_or_default();
    let rates = measured.each_ref().map(|load| match of(load).scaling {
        // As measured, however long it runs.
        None | Some(Scaling::AsRecorded) => load.arrivals.mean_rate(1.0),
        Some(
            Scaling::Compression { rate }
            | Scaling::Superposition { rate }
            | Scaling::Thinning { rate },
        ) => rate,
    });
    described.assumed.push(format!(
        "the trace {trace} is not at hand (docs/traces.md says where it is published); generated loads with its measured statistics \
         stand in"
    ));
    let mut loads = built_in.loads(Some(rates)).to_vec();
    for load in &mut loads {
        load.work = of(load).work.unwrap_or_default();
    }
    loads.sort_by_key(|load| names.iter().position(|name| *name == load.agent));
    Ok(loads)
}

fn written(
    file: &ScenarioFile,
    pool: &ValidPool,
    cluster: &Cluster,
    name: &str,
    folder: &Path,
    described: &mut Described,
) -> Result<Vec<AgentLoad>, Failure> {
    let equal = gpus(cluster, pool) / pool.agents.len() as f64;
    let (mut assumed, mut capped) = (Vec::new(), Vec::new());
    let mut loads = Vec::new();
    for (i, agent) in pool.agents.iter().enumerate() {
        let own = file.agents.get(&agent.name).cloned().unwrap_or_default();
        scalable(&agent.name, &own).map_err(|error| Failure::input(name, error))?;
        let arrivals = match own.arrivals {
            Some(Arrivals::Trace(mut replay)) => {
                if let Some(scaling) = own.scaling {
                    replay.scaling = scaling;
                }
                let path =
                    found(&replay.file, folder).unwrap_or_else(|| PathBuf::from(&replay.file));
                let trace =
                    traces::read(&path).map_err(|error| Failure::Input(error.to_string()))?;
                replay
                    .attach(&agent.name, &trace)
                    .map_err(|error| Failure::Input(error.to_string()))?;
                Arrivals::Trace(replay)
            }
            Some(arrivals) => arrivals,
            None => {
                assumed.push(agent.name.as_str());
                let throughput = own.throughput.unwrap_or(agent.base_throughput);
                let most = usable(pool, i, cluster);
                if most < equal {
                    capped.push(agent.name.as_str());
                }
                Arrivals::Bursty {
                    rate: USUAL * equal.min(most) * throughput,
                    like: FOUR_AGENT_A[i % FOUR_AGENT_A.len()].1,
                }
            }
        };
        loads.push(AgentLoad {
            agent: agent.name.clone(),
            arrivals,
            work: own.work.unwrap_or_default(),
        });
    }
    if !assumed.is_empty() {
        let percent = 100.0 * USUAL;
        let less = if capped.is_empty() {
            String::new()
        } else {
            format!(
                " (of {}: {percent:.0} % of what replicas.max can use)",
                capped.join(", ")
            )
        };
        described.assumed.push(format!(
            "nothing is said about the load of {}: generated bursts, each agent an equal part of {percent:.0} % load{less}",
            assumed.join(", ")
        ));
    }
    Ok(loads)
}

/// Refuses a scaling without a trace that it could scale, or beside another one.
fn scalable(agent: &str, file: &AgentFile) -> Result<(), String> {
    let Some(scaling) = file.scaling else {
        return Ok(());
    };
    let reason = match &file.arrivals {
        Some(Arrivals::Trace(replay)) if replay.scaling == Scaling::AsRecorded => return Ok(()),
        Some(Arrivals::Trace(_)) => "is given beside arrivals.scaling: must be one of both",
        _ => {
            "scales a trace, and this load is none: leave it out, and set the rate in `arrivals` (or give a `trace`)"
        }
    };
    Err(format!("agents.{agent}.scaling: {scaling:?}: {reason}"))
}

/// GPUs that an agent can use at most.
fn usable(pool: &ValidPool, agent: usize, cluster: &Cluster) -> f64 {
    match cluster {
        Cluster::Fractions(_) => f64::INFINITY,
        Cluster::Nodes(_) => {
            let agent = &pool.shape.agents[agent];
            f64::from(agent.max_replicas) * f64::from(agent.gpus_per_replica)
        }
    }
}

/// The file or folder of a trace: from a folder, or in `AGENTPOOL_TRACES`.
pub(super) fn found(name: &str, folder: &Path) -> Option<PathBuf> {
    let near = folder.join(name);
    let traces =
        std::env::var_os("AGENTPOOL_TRACES").map(|traces| PathBuf::from(traces).join(name));
    [Some(near), traces]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}
