//! Capacity that comes and goes: GPU-hours against the tail of latency, each rule at every setting of its own target.

use super::aims::Aim;
use super::bench::{Job, Runs, Settings, all, each, p95, short};
use super::pods::node;
use super::scenes::{AGENTS, EVEN, Pool, Source, Traces, scenario};
use agentpool::simulation::bounds::clairvoyant_plan;
use agentpool::simulation::load::BuiltIn;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::interval;
use agentpool::simulation::{Cluster, Elastic, NodeGroup, Nodes, Outcome, Scenario};
use anyhow::Result;

/// Nodes of one GPU, at most.
const MOST: u32 = 16;
/// Mean load, in GPUs.
const LOAD: f64 = 6.0;
/// A day of measured rates.
const DAY: Source = Source::Four {
    name: "four_agent_C_rates/rates_24h.csv.gz",
    stand_in: BuiltIn::C,
    from: 0.0,
    seconds: Some(86_400.0),
};

/// The targets at which each rule is run. Balanced saves what nobody needs; its target is the headroom, in standard deviations.
fn sweeps() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (
            "hpa",
            vec!["hpa:0.4", "hpa:0.5", "hpa:0.6", "hpa:0.7", "hpa:0.8"],
        ),
        ("keda", vec!["keda:1", "keda:2", "keda:5", "keda:10"]),
        ("knative", vec!["knative:0.5", "knative:0.7", "knative:0.9"]),
        ("wva", vec!["wva:0.5", "wva:0.7", "wva:0.85"]),
        ("dynamo", vec!["dynamo:0.5", "dynamo:0.7", "dynamo:0.9"]),
        (
            "static",
            vec!["static-equal:8", "static-equal:12", "static-equal:16"],
        ),
    ]
}

/// Headrooms of Balanced.
const HEADROOMS: [&str; 5] = ["0", "0.5", "1", "2", "4"];

fn made(traces: &Traces, policy: &str) -> Result<Scenario> {
    let pool = Pool {
        gpus: MOST,
        policy: policy.to_owned(),
        ..Pool::default()
    };
    let elastic = Elastic {
        min: 4,
        max: MOST,
        provision: 120.0,
        idle: 300.0,
    };
    let cluster = Cluster::Nodes(Nodes {
        groups: vec![NodeGroup {
            node: node(1),
            count: MOST,
            elastic: Some(elastic),
        }],
        switching_efficiency: 1.0,
    });
    let load = LOAD / f64::from(MOST);
    let mut scenario = scenario(
        &pool,
        traces.loads(DAY)?,
        (load, EVEN),
        cluster,
        traces.seconds(DAY),
    )?;
    scenario
        .services
        .iter_mut()
        .for_each(|service| service.cold_start = 60.0);
    // All nodes are there at first, whoever is in control: what follows counts.
    scenario.warmup = 3600.0;
    Ok(scenario)
}

fn gpu_hours(outcome: &Outcome) -> f64 {
    outcome.paid / 3600.0
}

/// A point of a front.
struct Point {
    family: &'static str,
    setting: String,
    hours: f64,
    tail: f64,
}

fn point(family: &'static str, setting: &str, runs: &[Outcome]) -> Point {
    let average = |of: fn(&Outcome) -> f64| {
        let values = each(runs, of);
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    Point {
        family,
        setting: setting.to_owned(),
        hours: average(gpu_hours),
        tail: average(p95),
    }
}

/// The page.
pub(super) fn page(settings: &Settings, traces: &Traces, aims: &mut Vec<Aim>) -> Result<Page> {
    let mut page = Page {
        title: "Capacity that comes and goes".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "A day of measured rates, scaled to a mean load of {LOAD} GPUs, Poisson within ten minutes; four agents, nodes of one GPU, 4 to {MOST} of \
         them; a node comes 120 s after it is needed and goes 300 s after its last pod; cold start 60 s. Balanced saves what nobody \
         needs (spare: Save), its headroom is swept; it decides every 15 s as an HPA does. {} seeds.",
        settings.seeds.min(3)
    ));
    let few = Settings {
        seeds: settings.seeds.min(3),
    };
    let base = made(traces, "{interval: 15s}")?;
    let mut points = Vec::new();
    let mut baselines: Vec<(&'static str, &'static str)> = Vec::new();
    for (family, rules) in sweeps() {
        baselines.extend(rules.into_iter().map(|rule| (family, rule)));
    }
    let rules: Vec<&str> = baselines.iter().map(|(_, rule)| *rule).collect();
    let job = Job::new(base.clone(), &rules)?;
    let runs: Runs = all(&few, &[job])?.remove(0);
    for ((family, rule), runs) in baselines.iter().zip(&runs) {
        points.push(point(family, rule, runs));
    }
    for headroom in HEADROOMS {
        let policy =
            format!("{{type: Balanced, spare: Save, headroom: \"{headroom}\", interval: 15s}}");
        let job = Job::new(made(traces, &policy)?, &["balanced"])?;
        let runs = all(&few, &[job])?.remove(0).remove(0);
        points.push(point(
            "balanced",
            &format!("balanced, headroom {headroom}"),
            &runs,
        ));
    }
    let plans: Vec<f64> = (1..=few.seeds)
        .filter_map(|seed| clairvoyant_plan(&base, seed, 60_000, 60.0 * AGENTS.len() as f64).ok())
        .map(|plan| plan.paid / 3600.0)
        .collect();
    page.table(table(&points));
    let plan = interval(&plans).map(|plan| plan.mean);
    if let Some(plan) = plan {
        page.text(format!(
            "A clairvoyant plan that never lets more than a minute of work an agent wait pays {} GPU-hours.",
            short(plan)
        ));
    }
    judge(&points, plan, aims);
    Ok(page)
}

fn table(points: &[Point]) -> Table {
    let mut table = Table::new(["rule and target", "GPU-hours", "p95", "dominated by"]);
    for point in points {
        let beats = |other: &&Point| {
            other.family != point.family && other.hours <= point.hours && other.tail < point.tail
        };
        let by: Vec<&str> = points
            .iter()
            .filter(beats)
            .map(|p| p.setting.as_str())
            .take(2)
            .collect();
        table.row([
            point.setting.clone(),
            short(point.hours),
            format!("{} s", short(point.tail)),
            if by.is_empty() {
                "nobody".to_owned()
            } else {
                by.join(", ")
            },
        ]);
    }
    table
}

/// Whether Balanced is on or below every front, near the clairvoyant plan, and well below peak provisioning.
fn judge(points: &[Point], plan: Option<f64>, aims: &mut Vec<Aim>) {
    let ours: Vec<&Point> = points.iter().filter(|p| p.family == "balanced").collect();
    for theirs in points.iter().filter(|p| p.family != "balanced") {
        // The fewest GPU-hours of ours with a tail that is no longer.
        let hours = ours
            .iter()
            .filter(|p| p.tail <= theirs.tail)
            .map(|p| p.hours);
        let least = hours.fold(f64::INFINITY, f64::min);
        let what = format!(
            "elastic: GPU-hours at a p95 no longer than that of {}",
            theirs.setting
        );
        aims.push(Aim::new(what, least / theirs.hours, 1.0));
    }
    let least = ours.iter().map(|p| p.hours).fold(f64::INFINITY, f64::min);
    if let Some(plan) = plan {
        aims.push(Aim::new(
            "elastic: fewest GPU-hours to the clairvoyant plan's",
            least / plan,
            1.25,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(family: &'static str, hours: f64, tail: f64) -> Point {
        Point {
            family,
            setting: family.to_owned(),
            hours,
            tail,
        }
    }

    #[test]
    fn a_front_that_needs_more_hours_for_the_same_tail_misses_the_aim() {
        let mut aims = Vec::new();
        let points = [
            at("balanced", 120.0, 2.0),
            at("hpa", 100.0, 3.0),
            at("keda", 150.0, 2.0),
        ];
        judge(&points, Some(80.0), &mut aims);
        let met: Vec<bool> = aims.iter().map(Aim::is_met).collect();
        assert_eq!(met, [false, true, false]);
    }

    #[test]
    fn a_tail_that_nobody_of_ours_reaches_is_no_success() {
        let mut aims = Vec::new();
        judge(
            &[at("balanced", 120.0, 2.0), at("hpa", 500.0, 1.0)],
            None,
            &mut aims,
        );
        assert!(!aims[0].is_met());
    }
}
