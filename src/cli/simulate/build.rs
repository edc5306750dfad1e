//! From a pool and a scenario file to what is run.

use super::bounds;
use super::cluster;
use super::effect;
use super::ends;
use super::failure::Failure;
use super::file::{AgentFile, ClusterFile, ScenarioFile};
use super::loads;
use super::manifest::Manifest;
use crate::allocation::Policy;
use crate::simulation::control::Rule;
use crate::simulation::report::{Described, DescribedLoad};
use crate::simulation::{Cluster, Dispatch, Power, Scenario, Service};
use std::path::Path;

/// Requests that a run may have; above, it would take hours.
const MOST_REQUESTS: f64 = 1e10;

/// What is run.
#[derive(Debug)]
pub(super) struct Plan {
    pub scenario: Scenario,
    pub described: Described,
    pub rules: Vec<Rule>,
    pub seeds: Vec<u64>,
    /// Requests of a run, on average.
    pub requests: f64,
}

/// Puts together what is run. `name` is what errors call the scenario, `folder` where its paths begin.
///
/// # Errors
/// The first thing that cannot be.
pub(super) fn build(
    manifest: Manifest,
    file: &ScenarioFile,
    cluster: &ClusterFile,
    name: &str,
    folder: &Path,
) -> Result<Plan, Failure> {
    let wrong = |what: String| Failure::input(name, what);
    check(file).map_err(wrong)?;
    let Manifest { pool, price } = manifest;
    let names: Vec<&str> = pool.agents.iter().map(|a| a.name.as_str()).collect();
    if let Some(stranger) = file
        .agents
        .keys()
        .find(|agent| !names.contains(&agent.as_str()))
    {
        let there = names.join(", ");
        return Err(wrong(format!(
            "agents.{stranger}: the pool has no such agent; it has {there}"
        )));
    }
    let mut described = Described {
        pool: pool.key().trim_start_matches('/').to_owned(),
        warmup_seconds: file.warmup,
        ..Described::default()
    };
    let cluster = cluster::build(cluster, &pool, &mut described).map_err(wrong)?;
    effect::refuse(file, &cluster).map_err(wrong)?;
    described.assumed.extend(effect::speed(&pool, &cluster));
    let of = |agent: &str| file.agents.get(agent).cloned().unwrap_or_default();
    let lag = pool.declared_lag.as_secs_f64();
    let services: Vec<Service> = pool
        .agents
        .iter()
        .map(|agent| service(&of(&agent.name), agent.base_throughput, lag))
        .collect();
    if matches!(cluster, Cluster::Nodes(_)) {
        described.assumed.extend(starts(&names, file, lag));
    }
    let gpus = cluster::gpus(&cluster, &pool);
    let (loads, length) = loads::build(file, &pool, &cluster, name, folder, &mut described)?;
    let seconds = file.seconds.or(length).unwrap_or(1800.0);
    described.seconds = seconds;
    described
        .assumed
        .extend(ends::said(&loads, seconds).map_err(wrong)?);
    let rates: Vec<f64> = loads
        .iter()
        .map(|load| load.arrivals.offered(seconds))
        .collect();
    let requests = rates.iter().sum::<f64>() * seconds;
    if requests > MOST_REQUESTS {
        return Err(wrong(format!(
            "seconds: {seconds} of these loads are {requests:.1e} requests a run, which would take hours or days: must be at most \
             {MOST_REQUESTS:.0e}"
        )));
    }
    described.assumed.extend(bounds::none(requests));
    let offered = rates.iter().zip(&services);
    let offered: f64 = offered
        .map(|(rate, service)| rate / service.throughput)
        .sum();
    described.cluster += &format!("; offered load {:.2} of {gpus} GPUs", offered / gpus);
    let dispatch = file.dispatch.map(Dispatch::from);
    described.cluster += match dispatch {
        None => "",
        Some(Dispatch::FewestRequests) => "; requests wait in replicas",
        Some(Dispatch::OneQueue) => "; requests wait in one queue an agent",
    };
    for load in &loads {
        described.loads.push(DescribedLoad {
            agent: load.agent.clone(),
            load: load.describe(),
        });
    }
    Ok(Plan {
        rules: rules(file.rules.as_deref(), pool.policy).map_err(wrong)?,
        seeds: (1..=u64::from(file.seeds.unwrap_or(5))).collect(),
        requests,
        scenario: Scenario {
            services,
            loads,
            cluster,
            dispatch,
            seconds,
            warmup: file.warmup,
            metric_age: file.metric_age,
            latency_target: file.latency_target,
            price_per_gpu_hour: file.price_per_gpu_hour.or(price).unwrap_or(0.0),
            power: file.power.map(|power| Power {
                idle: power.idle,
                busy: power.busy,
            }),
            pool,
        },
        described,
    })
}

/// What the simulator itself does not refuse.
fn check(file: &ScenarioFile) -> Result<(), String> {
    let at_least_zero = |x: f64| x.is_finite() && x >= 0.0;
    let seeds = file.seeds.unwrap_or(1);
    if !(1..=1000).contains(&seeds) {
        return Err(format!("seeds: {seeds}: must be from 1 to 1000"));
    }
    if let Some(seconds) = file.seconds.filter(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(format!("seconds: {seconds}: must be above 0"));
    }
    if let Some(target) = file.latency_target.filter(|t| t.is_nan() || *t <= 0.0) {
        return Err(format!("latencyTarget: {target}: must be above 0"));
    }
    if let Some(price) = file.price_per_gpu_hour.filter(|p| !at_least_zero(*p)) {
        return Err(format!("pricePerGpuHour: {price}: must be at least 0"));
    }
    let throughputs = file
        .agents
        .iter()
        .filter_map(|(name, agent)| Some((name, agent.throughput?)));
    if let Some((name, wrong)) = throughputs
        .into_iter()
        .find(|(_, t)| !(t.is_finite() && *t > 0.0))
    {
        return Err(format!(
            "agents.{name}.throughput: {wrong}: must be above 0"
        ));
    }
    match file.power {
        Some(power)
            if !(at_least_zero(power.idle)
                && power.busy.is_finite()
                && power.busy >= power.idle) =>
        {
            Err("power: idle must be at least 0, and busy at least idle".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whose pods start as slowly as the pool says, in words.
fn starts(agents: &[&str], file: &ScenarioFile, lag: f64) -> Option<String> {
    let silent = |agent: &&&str| {
        file.agents
            .get(**agent)
            .is_none_or(|a| a.cold_start.is_none())
    };
    let silent: Vec<&str> = agents.iter().filter(silent).copied().collect();
    let whose = match silent.len() {
        0 => return None,
        all if all == agents.len() => "pods".to_owned(),
        _ => format!("pods of {}", silent.join(", ")),
    };
    Some(format!(
        "{whose} serve {lag} s after they are bound (the pool's actuationLag)"
    ))
}

fn service(file: &AgentFile, declared: f64, lag: f64) -> Service {
    Service {
        throughput: file.throughput.unwrap_or(declared),
        max_running: file.max_running.unwrap_or(1),
        cold_start: file.cold_start.unwrap_or(lag),
        image_pull: file.image_pull.unwrap_or(0.0),
        drain: file.drain.unwrap_or(30.0),
    }
}

fn rules(given: Option<&[String]>, own: Policy) -> Result<Vec<Rule>, String> {
    let own = match own {
        Policy::WaterFilling => "water-filling",
        Policy::Adaptive => "adaptive",
        Policy::Balanced(_) => "balanced",
        Policy::StaticEqual => "static-equal",
    };
    let usual = ["static-equal", own, "water-filling", "balanced"].map(str::to_owned);
    let names = given.unwrap_or(&usual);
    let mut rules: Vec<Rule> = Vec::new();
    for name in names {
        let rule = Rule::parse(name).map_err(|error| format!("rules: {error}"))?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    if rules.is_empty() {
        return Err("rules: is empty, must name one at least".to_owned());
    }
    Ok(rules)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{manifest, usual};
    use super::*;

    const POOL: &str = "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: p}\nspec:\n  mode: Auto\n  \
        devices: [{name: d, gpus: 2, sharing: {type: WholeGPU}}]\n  agents:\n  - {name: a, workloadRef: {apiVersion: apps/v1, \
        kind: Deployment, name: a}, minShare: 1, replicas: {max: 2}, model: {requestsPerSecondPerGpu: 5}}\n";

    fn plan(file: &str) -> Plan {
        let written = serde_yaml::from_str(POOL).unwrap();
        let manifest = manifest::admit(written, "pool.yaml", &[]).unwrap();
        let file = serde_yaml::from_str(file).unwrap();
        let (cluster, _) = usual::cluster(&manifest.pool).unwrap();
        build(manifest, &file, &cluster, "scenario.yaml", Path::new(".")).unwrap()
    }

    #[test]
    fn where_requests_wait_is_what_the_file_says_else_left_to_the_rule() {
        let silent = plan("seconds: 10");
        assert_eq!(silent.scenario.dispatch, None);
        assert!(!silent.described.cluster.contains("wait"));
        let gateway = plan("dispatch: OneQueue");
        assert_eq!(gateway.scenario.dispatch, Some(Dispatch::OneQueue));
        assert!(gateway.described.cluster.ends_with("one queue an agent"));
        let service = plan("dispatch: FewestRequests");
        assert_eq!(service.scenario.dispatch, Some(Dispatch::FewestRequests));
    }
}
