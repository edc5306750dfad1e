//! Refuses what cannot be run, with fields as a scenario file names them.

use super::RunError;
use crate::simulation::{Cluster, Fractions, Nodes, Scenario, Sharing};

/// Decisions of one run, beyond which it is refused: each takes a microsecond or more.
const MOST_TICKS: f64 = 1e9;

pub(super) fn wrong(field: &str, value: impl ToString, expected: &str) -> Result<(), RunError> {
    Err(RunError::Scenario {
        field: field.to_owned(),
        value: value.to_string(),
        expected: expected.to_owned(),
    })
}

fn positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

fn amount(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

/// A part of the whole that is not nothing.
fn part(x: f64) -> bool {
    x > 0.0 && x <= 1.0
}

/// Refuses what cannot be run by a rule that decides so often.
pub(super) fn check(scenario: &Scenario, interval: f64) -> Result<(), RunError> {
    under_any_rule(scenario)?;
    if !positive(interval) {
        return wrong("the rule's interval", interval, "a time above 0");
    }
    if scenario.seconds / interval >= MOST_TICKS {
        let expected = format!("at most 1e9 decisions in a run, one every {interval} s");
        return wrong("seconds", scenario.seconds, &expected);
    }
    Ok(())
}

/// Refuses what cannot be run whatever the rule.
pub(super) fn under_any_rule(scenario: &Scenario) -> Result<(), RunError> {
    let agents = scenario.pool.agents.len();
    for found in [scenario.services.len(), scenario.loads.len()] {
        if found != agents {
            let expected = format!("one for each of {agents} agents");
            return wrong("services or loads", found, &expected);
        }
    }
    if agents == 0 {
        return wrong("agents", 0, "at least one");
    }
    if !positive(scenario.seconds) {
        return wrong("seconds", scenario.seconds, "a time above 0");
    }
    if !(amount(scenario.warmup) && scenario.warmup < scenario.seconds) {
        return wrong(
            "warmup",
            scenario.warmup,
            "a time from 0 to less than the length of the run",
        );
    }
    if !amount(scenario.metric_age) {
        return wrong("metricAge", scenario.metric_age, "a time of at least 0");
    }
    for (service, agent) in scenario.services.iter().zip(&scenario.pool.agents) {
        let field = |name: &str| format!("agents.{}.{name}", agent.name);
        if !positive(service.throughput) {
            return wrong(
                &field("throughput"),
                service.throughput,
                "requests a second above 0",
            );
        }
        if service.max_running == 0 {
            return wrong(&field("maxRunning"), 0, "at least 1");
        }
        for (name, seconds) in [
            ("coldStart", service.cold_start),
            ("imagePull", service.image_pull),
            ("drain", service.drain),
        ] {
            if !amount(seconds) {
                return wrong(&field(name), seconds, "a time of at least 0");
            }
        }
    }
    match &scenario.cluster {
        Cluster::Fractions(fractions) => shares(fractions),
        Cluster::Nodes(spec) => nodes(spec),
    }
}

fn shares(fractions: &Fractions) -> Result<(), RunError> {
    if !amount(fractions.lag) {
        return wrong("cluster.lag", fractions.lag, "a time of at least 0");
    }
    if fractions.gpus.0 == 0 {
        return wrong("cluster.gpus", 0, "more than 0");
    }
    match fractions.sharing {
        Sharing::TimeSlicing {
            switching_efficiency: e,
        } if !part(e) => wrong("cluster.switchingEfficiency", e, "above 0 and at most 1"),
        _ => Ok(()),
    }
}

fn nodes(nodes: &Nodes) -> Result<(), RunError> {
    let e = nodes.switching_efficiency;
    if !part(e) {
        return wrong("cluster.switchingEfficiency", e, "above 0 and at most 1");
    }
    let (mut first, mut most) = (0u64, 0u64);
    for (i, group) in nodes.groups.iter().enumerate() {
        let field = |name: &str| format!("cluster.groups[{i}].{name}");
        first += u64::from(group.count);
        let Some(elastic) = group.elastic else {
            most += u64::from(group.count);
            continue;
        };
        most += u64::from(elastic.max);
        if !(elastic.min..=elastic.max).contains(&group.count) {
            let expected = format!("from min ({}) to max ({})", elastic.min, elastic.max);
            return wrong(&field("count"), group.count, &expected);
        }
        for (name, seconds) in [
            ("elastic.provision", elastic.provision),
            ("elastic.idle", elastic.idle),
        ] {
            if !amount(seconds) {
                return wrong(&field(name), seconds, "a time of at least 0");
            }
        }
    }
    if first == 0 {
        return wrong(
            "cluster.groups",
            0,
            "at least one node that is there at the start",
        );
    }
    if most > 10_000 {
        return wrong("cluster.groups", most, "at most 10000 nodes");
    }
    Ok(())
}
