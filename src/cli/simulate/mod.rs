//! `agentpool simulate`: files, threads and progress around the pure simulation.

mod bounds;
mod build;
mod cluster;
mod effect;
mod ends;
mod failure;
mod fair;
mod file;
mod jobs;
mod loads;
mod manifest;
mod output;
mod recording;
mod reference;
mod set;
mod usual;

pub use self::reference::{reference, schema};

use self::build::Plan;
use self::failure::Failure;
use self::file::{ClusterFile, ScenarioFile};
use self::jobs::Job;
use self::output::Output;
use self::set::Set;
use crate::simulation::admit;
use crate::simulation::control::Rule;
use crate::simulation::report::{self, Results, Runs};
use crate::units::MilliGpus;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What errors call the pool of a recording.
const RECORDED: &str = "the recorded pool";

/// What is simulated: see docs/simulate.md.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The simulation of the paper (arXiv 2512.22149): its table reproduced, and what it does not say.
    #[arg(long, conflicts_with_all = ["pool", "scenario", "seconds", "rules", "lag", "gpus", "set"])]
    paper: bool,
    /// A file with the AgentPool manifest, as it would be applied; it may have other objects beside it.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["paper", "from"])]
    pool: Option<PathBuf>,
    /// What is simulated: loads, services, cluster, rules. Default: bursts at 70 % load on the pool's GPUs.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// A recording (`agentpool run --record`): its pool, unless one is named, and the rates that reached its agents.
    #[arg(long, value_name = "FOLDER|FILE", conflicts_with_all = ["paper", "trace"])]
    from: Option<PathBuf>,
    /// Which pool of a recording that has several. Default: the one of --pool's manifest.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "from")]
    from_pool: Option<String>,
    /// The loads of all agents, by name where there are several: a file, a folder, or the name of a folder in AGENTPOOL_TRACES.
    #[arg(long, value_name = "FILE|FOLDER")]
    trace: Option<String>,
    /// For how long requests arrive, in seconds.
    #[arg(long, allow_negative_numbers = true)]
    seconds: Option<f64>,
    /// How many seeds: 1, 2, 3, ...
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    /// Rules that are compared, the first with all others.
    #[arg(long, value_name = "RULE,...", value_delimiter = ',')]
    rules: Option<Vec<String>>,
    /// From a decision until it is in force, in seconds; with nodes, the cold start of every agent.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    lag: Option<f64>,
    /// GPUs of the pool, as 4 or 0.5, or +1 or -1 of what it declares.
    #[arg(long, allow_hyphen_values = true)]
    gpus: Option<String>,
    /// What if: a field of the pool (spec.agents[coder].priority=High) or of the scenario (cluster.lag=30). Repeat it for more.
    #[arg(long, value_name = "PATH=VALUE", value_parser = Set::parse)]
    set: Vec<Set>,
    /// Format for the terminal (text, markdown, json, csv, html), or a file that ends so. Repeat it for more.
    #[arg(long, short, value_name = "FORMAT|FILE", value_parser = Output::parse)]
    output: Vec<Output>,
    /// Folder for the plots, as SVG files.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// Runs it. Exit codes: 0 done, 1 failed, 2 what was asked for cannot be.
pub(super) fn main(args: SimulateArgs) -> ExitCode {
    match simulate(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            super::complain(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn simulate(args: SimulateArgs) -> Result<(), Failure> {
    let terminal = [Output::TERMINAL];
    let outputs = if args.output.is_empty() {
        &terminal[..]
    } else {
        &args.output
    };
    outputs
        .iter()
        .try_for_each(|output| output.check(!args.paper))?;
    let plots = args.plots.as_deref();
    plots.map_or(Ok(()), output::check_plots)?;
    let (page, results) = if args.paper {
        (paper(args.trace.as_deref(), args.seeds.unwrap_or(3))?, None)
    } else {
        let (page, results) = compare(&args)?;
        (page, Some(results))
    };
    for output in outputs {
        output.write(&page, results.as_ref())?;
    }
    plots.map_or(Ok(()), |folder| output::plots(folder, &page))
}

fn paper(trace: Option<&str>, seeds: u32) -> Result<report::Page, Failure> {
    let mut page = report::paper();
    fair::add(&mut page, trace, seeds)?;
    Ok(page)
}

/// What `agentpool simulate --paper` prints, with so many seeds.
///
/// # Errors
/// A trace that is there and cannot be read, or a run that fails.
pub fn paper_page(
    seeds: u32,
) -> Result<report::Page, impl std::error::Error + Send + Sync + 'static> {
    paper(None, seeds)
}

fn compare(args: &SimulateArgs) -> Result<(report::Page, Results), Failure> {
    let recorded = args.from.as_deref().map(|from| recorded(from, args));
    let recorded = recorded.transpose()?;
    let pool = |sets: &[Set]| match (&args.pool, &recorded) {
        (Some(pool), _) => manifest::read(pool, sets),
        (None, Some(recorded)) => {
            let written = serde_yaml::to_value(&recorded.manifest);
            let written = written.map_err(|error| Failure::Run(error.to_string()))?;
            manifest::admit(written, RECORDED, sets)
        }
        (None, None) => Err(Failure::input("--pool", "is needed")),
    };
    if let Some(lag) = args.lag.filter(|lag| !(lag.is_finite() && *lag >= 0.0)) {
        return Err(Failure::input(
            "--lag",
            format_args!("{lag}: must be at least 0"),
        ));
    }
    if let Some(seconds) = args.seconds.filter(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(Failure::input(
            "--seconds",
            format_args!("{seconds}: must be above 0"),
        ));
    }
    for rule in args.rules.iter().flatten() {
        Rule::parse(rule).map_err(|error| Failure::input("--rules", error))?;
    }
    let mut sets = args.set.clone();
    if let Some(gpus) = &args.gpus {
        let gpus = gpus_of(gpus, pool(&sets)?.pool.shape.declared_gpus)?;
        sets.push(Set::pool("spec.devices[0].gpus", &gpus));
    }
    let manifest = pool(&sets)?;
    let named = args
        .scenario
        .as_ref()
        .or(args.pool.as_ref())
        .or(args.from.as_ref());
    let name = named.map_or_else(String::new, |path| path.display().to_string());
    let folder = args
        .scenario
        .as_deref()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""));
    let mut file = scenario(args.scenario.as_deref(), &sets)?;
    let mut own_nodes = false;
    let (mut cluster, mut assumed) = match file.cluster.take() {
        Some(cluster) => {
            own_nodes = matches!(cluster, ClusterFile::Nodes { .. });
            (cluster, Vec::new())
        }
        None => {
            let usual = usual::cluster(&manifest.pool);
            let (cluster, words) = usual.map_err(|error| Failure::input(&name, error))?;
            (cluster, vec![words])
        }
    };
    override_with(&mut file, &mut cluster, args, &manifest);
    if let Some(recorded) = recorded {
        assumed.extend(replay(recorded, &mut file, &manifest)?);
    }
    // A path on the command line begins where the command runs.
    let folder = if args.trace.is_some() {
        Path::new("")
    } else {
        folder
    };
    let mut plan = build::build(manifest, &file, &cluster, &name, folder)?;
    if let Some(gpus) = args.gpus.as_ref().filter(|_| own_nodes) {
        cluster::reach(gpus, &plan.scenario.cluster, &plan.scenario.pool)?;
    }
    let of_pool = args.pool.as_ref().map(|path| path.display().to_string());
    let of_pool = of_pool.as_deref().unwrap_or(RECORDED);
    admit(&plan.scenario).map_err(|error| Failure::refused(of_pool, &name, &error))?;
    plan.described.assumed.extend(assumed);
    let runs = run(&plan, &name)?;
    let bounds = bounds::all(&plan)?;
    let results = Results::new(&plan.scenario, plan.described, &runs, &bounds);
    let page = report::comparison(&results, report::figures(&runs));
    Ok((page, results))
}

/// The recording of the pool that is meant: the one that is named, else the one whose manifest is given, else the only one.
fn recorded(from: &Path, args: &SimulateArgs) -> Result<recording::Recorded, Failure> {
    let manifest = args.pool.as_deref();
    let manifest = manifest.map(|path| manifest::read(path, &args.set));
    let key = manifest.transpose()?.map(|manifest| manifest.pool.key());
    recording::read(from, args.from_pool.as_deref(), key.as_deref())
}

/// What was recorded is the load of every agent; what is assumed about it.
fn replay(
    recorded: recording::Recorded,
    file: &mut ScenarioFile,
    manifest: &manifest::Manifest,
) -> Result<Vec<String>, Failure> {
    let known = |name: &str| recorded.arrivals.iter().any(|(agent, _)| agent == name);
    if let Some(agent) = manifest
        .pool
        .agents
        .iter()
        .find(|agent| !known(&agent.name))
    {
        return Err(Failure::input(
            "--from",
            format_args!("agent {} of the pool was not recorded", agent.name),
        ));
    }
    let mut assumed = recorded.assumed;
    let mut passed_over: Vec<String> = file
        .trace
        .take()
        .map(|_| "trace".to_owned())
        .into_iter()
        .collect();
    let seconds = *file.seconds.get_or_insert(recorded.seconds);
    ends::refuse(seconds, recorded.seconds, "rates that were recorded")
        .map_err(|error| Failure::input("--from", error))?;
    for (agent, arrivals) in recorded.arrivals {
        let own = &mut file.agents.entry(agent.clone()).or_default().arrivals;
        if own.replace(arrivals).is_some() {
            passed_over.push(format!("agents.{agent}.arrivals"));
        }
    }
    if !passed_over.is_empty() {
        assumed.push(format!(
            "{} of the scenario is passed over: the load is what was recorded (--from)",
            passed_over.join(", ")
        ));
    }
    Ok(assumed)
}

/// The runs of each rule.
fn run(plan: &Plan, name: &str) -> Result<Vec<Runs>, Failure> {
    let job = |rule, seed| Job {
        scenario: &plan.scenario,
        name,
        rule,
        seed,
    };
    let jobs: Vec<Job<'_>> = plan
        .rules
        .iter()
        .flat_map(|rule| plan.seeds.iter().map(|seed| job(*rule, *seed)))
        .collect();
    let mut runs = vec![Runs::default(); plan.rules.len()];
    jobs::run_all(&jobs, |job, outcome| {
        runs[job / plan.seeds.len()].add(outcome);
    })?;
    Ok(runs)
}

/// The scenario file with its what-ifs.
fn scenario(path: Option<&Path>, sets: &[Set]) -> Result<ScenarioFile, Failure> {
    let (text, name) = match path {
        None => ("{}".to_owned(), "--set".to_owned()),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::input(&name, format_args!("cannot be read: {error}")))?;
            (text, name)
        }
    };
    let wrong = |error: serde_yaml::Error| Failure::input(&name, error);
    // Read from the text first: what is wrong there has a line.
    let file: ScenarioFile = serde_yaml::from_str(&text).map_err(wrong)?;
    let mut sets = sets.iter().filter(|set| !set.is_of_pool()).peekable();
    if sets.peek().is_none() {
        return Ok(file);
    }
    let mut value = serde_yaml::from_str(&text).map_err(wrong)?;
    sets.try_for_each(|set| set.apply(&mut value))
        .map_err(Failure::Input)?;
    serde_yaml::from_value(value).map_err(wrong)
}

/// Flags count more than the file.
fn override_with(
    file: &mut ScenarioFile,
    cluster: &mut ClusterFile,
    args: &SimulateArgs,
    manifest: &manifest::Manifest,
) {
    file.seconds = args.seconds.or(file.seconds);
    file.seeds = args.seeds.or(file.seeds);
    file.rules = args.rules.clone().or_else(|| file.rules.take());
    if let Some(trace) = &args.trace {
        file.trace = Some(trace.clone());
    }
    match cluster {
        ClusterFile::Fractions { gpus, lag, .. } => {
            if args.gpus.is_some() {
                *gpus = None;
            }
            *lag = args.lag.or(*lag);
        }
        ClusterFile::Nodes { .. } => {
            let Some(lag) = args.lag else { return };
            for agent in &manifest.pool.agents {
                let agent = file.agents.entry(agent.name.clone()).or_default();
                agent.cold_start = Some(lag);
            }
        }
    }
}

/// What `--gpus` comes to: `+1` and `-1` count from what the pool declares.
fn gpus_of(text: &str, declared: Option<MilliGpus>) -> Result<String, Failure> {
    let wrong = |right: &str| Failure::input("--gpus", format_args!("{text:?}: {right}"));
    if !text.starts_with(['+', '-']) {
        return Ok(text.to_owned());
    }
    let declared = declared.ok_or_else(|| {
        wrong("the pool does not say how many GPUs it has: must be a number without a sign")
    })?;
    let change: f64 = text
        .parse()
        .map_err(|_| wrong("must be such as 4, 0.5, +1 or -1"))?;
    let milli = declared.0 as f64 + change * 1000.0;
    if milli.is_finite() && milli >= 1.0 {
        Ok(format!("{milli:.0}m"))
    } else {
        Err(wrong("leaves the pool without a GPU"))
    }
}

#[cfg(test)]
mod tests;
