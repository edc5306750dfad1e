#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::simulation::control::Rule;
use crate::simulation::control::rule_tests::{nodes, scenario as rule_scenario};
use crate::simulation::statistics::{interval, paired_ratio};
use crate::simulation::trust::scenario;
use crate::simulation::{AgentOutcome, Cluster, Elastic, Outcome, Power, Scenario, Sketch, run};
use crate::units::GpuResource;

fn outcomes() -> (Scenario, Vec<Vec<Outcome>>) {
    let mut scenario = scenario(&["a", "b"], 10.0, 3.0, 300.0);
    scenario.latency_target = Some(1.0);
    scenario.price_per_gpu_hour = 2.0;
    scenario.power = Some(Power {
        idle: 100.0,
        busy: 300.0,
    });
    let outcome = |rule: &str, seed| {
        let rule = Rule::parse(rule).unwrap();
        let mut controller = rule.build(&scenario).unwrap();
        let name = rule.to_string();
        run(&scenario, &mut *controller, &name, seed, &mut |_| {}).unwrap()
    };
    let outcomes = ["static-equal", "water-filling"]
        .map(|rule| (1..=3).map(|seed| outcome(rule, seed)).collect())
        .to_vec();
    (scenario, outcomes)
}

fn compared() -> (Scenario, Vec<Runs>) {
    let (scenario, outcomes) = outcomes();
    let runs = outcomes.into_iter().map(Runs::from_iter);
    (scenario, runs.collect())
}

fn results() -> Results {
    let (scenario, runs) = compared();
    let described = Described {
        pool: "n/p".to_owned(),
        seconds: 300.0,
        cluster: "one GPU".to_owned(),
        ..Described::default()
    };
    let bounds: Vec<_> = (1..=3).map(|seed| bounds_of(&scenario, seed)).collect();
    Results::new(&scenario, described, &runs, &bounds)
}

#[test]
fn rules_are_compared_in_pairs_with_the_first() {
    let results = results();
    assert_eq!(results.seeds, [1, 2, 3]);
    let [equal, water] = &results.results[..] else {
        panic!("two rules");
    };
    let one = equal.intervals.mean_latency_ratio.unwrap();
    assert_eq!((one.mean, one.low, one.high), (1.0, 1.0, 1.0));
    let ratio = water.intervals.mean_latency_ratio.unwrap();
    let pooled =
        water.measures.mean_latency_seconds.unwrap() / equal.measures.mean_latency_seconds.unwrap();
    assert!(
        ratio.low < ratio.mean
            && ratio.mean < ratio.high
            && (ratio.mean / pooled - 1.0).abs() < 0.2
    );
    let lies = equal.intervals.mean_latency_interval.unwrap();
    assert!(lies.high > equal.measures.mean_latency_seconds.unwrap());
}

#[test]
fn intervals_of_rules_and_agents_are_those_of_their_runs() {
    let (scenario, outcomes) = outcomes();
    let results = results();
    for (rule, runs) in results.results.iter().zip(&outcomes) {
        let hours = |of: fn(&Outcome) -> f64| -> Vec<f64> { runs.iter().map(of).collect() };
        let paid = hours(|run| run.paid / 3600.0);
        let found = rule.intervals;
        assert_eq!(found.gpu_hours_interval, interval(&paid));
        let costs: Vec<f64> = paid
            .iter()
            .map(|h| h * scenario.price_per_gpu_hour)
            .collect();
        assert_eq!(found.cost_usd_interval, interval(&costs));
        let moves = hours(|run| run.moves as f64 * 3600.0 / run.seconds);
        assert_eq!(found.moves_per_hour_interval, interval(&moves));
        assert_eq!(found.restarts_interval, interval(&[0.0; 3]));
        for (i, agent) in rule.agents.iter().enumerate() {
            let each = |of: fn(&AgentOutcome) -> f64| -> Vec<f64> {
                runs.iter().map(|run| of(&run.agents[i])).collect()
            };
            let (found, first) = (agent.intervals, &outcomes[0]);
            let mean = each(|agent| agent.latency.mean().unwrap());
            let p95 = each(|agent| agent.latency.quantile(0.95).unwrap());
            assert_eq!(found.mean_latency_interval, interval(&mean));
            assert_eq!(found.p95_latency_interval, interval(&p95));
            let granted = each(|agent| agent.granted / 3600.0);
            assert_eq!(found.gpu_hours_interval, interval(&granted));
            let theirs: Vec<f64> = first
                .iter()
                .map(|run| run.agents[i].latency.mean().unwrap())
                .collect();
            assert_eq!(found.mean_latency_ratio, paired_ratio(&mean, &theirs));
        }
    }
}

#[test]
fn bounds_are_on_the_same_requests_and_below_what_rules_reach() {
    let results = results();
    let names: Vec<&str> = results.bounds.iter().map(|b| b.bound.as_str()).collect();
    assert_eq!(names, ["cmu-order", "processor-sharing", "best-split"]);
    let [order, sharing, split] = &results.bounds[..] else {
        panic!("three bounds");
    };
    assert!(order.unmet.is_empty(), "{:?}", order.unmet);
    assert!(order.mean_latency_seconds < sharing.mean_latency_seconds);
    assert!(order.mean_latency_seconds < split.mean_latency_seconds);
    for rule in &results.results {
        assert!(rule.measures.mean_latency_seconds > order.mean_latency_seconds);
    }
    let equal = &results.results[0];
    assert_eq!(equal.policy, "static-equal");
    let (theirs, best) = (
        equal.measures.mean_latency_seconds,
        split.mean_latency_seconds,
    );
    assert!(theirs.unwrap() > best.unwrap() - 1e-6);
    let ratio = order.mean_latency_ratio.unwrap();
    assert!(0.0 < ratio.low && ratio.mean < 1.0);
    assert_eq!(order.gpu_hours, None);
    let text = comparison(&results, Vec::new()).to_markdown(1, "plots");
    for part in [
        "| cmu-order |",
        "processor-sharing: ",
        "No bound here: it is a reference",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn where_nodes_come_and_go_the_cheapest_plan_is_below_what_is_paid_and_there_is_no_split() {
    let mut scenario = rule_scenario("{type: WholeGPU}", &[2.0, 1.0], nodes());
    scenario.seconds = 1800.0;
    if let Cluster::Nodes(nodes) = &mut scenario.cluster {
        let group = &mut nodes.groups[0];
        (group.count, group.node.gpus) = (4, 1);
        group.node.allocatable.insert(GpuResource::whole(), 1);
        group.elastic = Some(Elastic {
            min: 1,
            max: 4,
            provision: 30.0,
            idle: 30.0,
        });
    }
    let bounds: Vec<_> = (1..=2).map(|seed| bounds_of(&scenario, seed)).collect();
    let runs: Runs = (1..=2)
        .map(|seed| {
            let mut hold = Rule::Hold.build(&scenario).unwrap();
            run(&scenario, &mut *hold, "hold", seed, &mut |_| {}).unwrap()
        })
        .collect();
    let results = Results::new(&scenario, Described::default(), &[runs], &bounds);
    let of = |name: &str| results.bounds.iter().find(|b| b.bound == name).unwrap();
    let plan = of("clairvoyant-plan");
    assert!(plan.unmet.is_empty(), "{:?}", plan.unmet);
    let hours = plan.gpu_hours.unwrap();
    assert!(
        hours > 0.0 && hours < results.results[0].measures.gpu_hours,
        "{hours}"
    );
    assert!(plan.gpu_hours_interval.is_some());
    let names: Vec<&str> = results.bounds.iter().map(|b| b.bound.as_str()).collect();
    assert_eq!(
        names,
        ["cmu-order", "processor-sharing", "clairvoyant-plan"]
    );
    scenario.warmup = 60.0;
    let order = &BoundResult::all(&[bounds_of(&scenario, 1)], None)[0];
    assert!(order.unmet[0].contains("warm-up"), "{:?}", order.unmet);
}

#[test]
fn runs_are_added_up_and_only_the_first_is_kept_over_time() {
    let (_, outcomes) = outcomes();
    let results = results();
    let runs: Runs = outcomes[0].iter().cloned().collect();
    assert_eq!(runs.series, outcomes[0][0].series);
    let rule = &results.results[0];
    for (i, agent) in rule.agents.iter().enumerate() {
        let of: Vec<_> = outcomes[0].iter().map(|run| &run.agents[i]).collect();
        let mut latency = Sketch::default();
        of.iter().for_each(|agent| latency.merge(&agent.latency));
        assert_eq!(agent.measures.mean_latency_seconds, latency.mean());
        assert_eq!(agent.measures.p99_latency_seconds, latency.quantile(0.99));
        let arrived: u64 = of.iter().map(|agent| agent.arrived).sum();
        assert_eq!(agent.measures.requests, arrived as f64 / 3.0);
        let starved = of.iter().map(|agent| agent.starved).fold(0.0, f64::max);
        assert_eq!(agent.measures.longest_starvation_seconds, starved);
    }
    let paid: f64 = outcomes[0].iter().map(|run| run.paid).sum();
    assert!((rule.measures.gpu_hours - paid / 3.0 / 3600.0).abs() < 1e-12);
}

#[test]
fn the_amounts_add_up() {
    let results = results();
    for rule in &results.results {
        let m = &rule.measures;
        let granted: f64 = rule.agents.iter().map(|a| a.measures.gpu_hours).sum();
        assert!((granted + rule.stranded_gpu_hours - m.gpu_hours).abs() < 1e-9);
        let moves: f64 = rule.agents.iter().map(|a| a.measures.moves_per_hour).sum();
        assert!((moves - m.moves_per_hour).abs() < 1e-9);
        assert_eq!(moves > 0.0, rule.policy == "water-filling", "{moves}");
        assert!((m.cost_usd - 2.0 * m.gpu_hours).abs() < 1e-12);
        let energy = 0.1 * m.gpu_hours * (1.0 + 2.0 * m.utilisation.unwrap());
        assert!((m.energy_kwh.unwrap() - energy).abs() < 1e-12);
        let served: f64 = rule
            .agents
            .iter()
            .map(|a| a.measures.throughput_per_second)
            .sum();
        assert!((served - m.throughput_per_second).abs() < 1e-9);
        assert!(m.goodput_per_second < m.throughput_per_second);
        assert!(
            m.p50_latency_seconds < m.p95_latency_seconds
                && m.p95_latency_seconds < m.p99_latency_seconds
        );
        assert!(rule.fairness.is_some_and(|f| f > 0.5 && f <= 1.0));
    }
}

fn fairness(scenario: &Scenario, outcome: Outcome) -> Option<f64> {
    let runs: Runs = std::iter::once(outcome).collect();
    Results::new(scenario, Described::default(), &[runs], &[]).results[0].fairness
}

#[test]
fn agents_that_never_get_a_pod_count_in_fairness_as_those_that_are_not_served() {
    let mut scenario = rule_scenario("{type: WholeGPU}", &[2.0; 4], nodes());
    scenario.seconds = 100.0;
    if let Cluster::Nodes(nodes) = &mut scenario.cluster {
        let node = &mut nodes.groups[0].node;
        node.gpus = 1;
        node.allocatable.insert(GpuResource::whole(), 1);
    }
    let mut hold = Rule::Hold.build(&scenario).unwrap();
    let outcome = run(&scenario, &mut *hold, "hold", 1, &mut |_| {}).unwrap();
    let served = outcome.agents.iter().filter(|agent| agent.served > 0);
    assert_eq!(served.count(), 1);
    assert_eq!(fairness(&scenario, outcome), Some(0.25));
}

#[test]
fn an_agent_without_requests_is_left_out_of_fairness() {
    let (scenario, outcomes) = outcomes();
    let mut outcome = outcomes[0][0].clone();
    outcome.agents[1].served = 0;
    assert_eq!(fairness(&scenario, outcome.clone()), Some(0.5));
    outcome.agents[1].arrived = 0;
    outcome.agents[1].latency = Sketch::default();
    assert_eq!(fairness(&scenario, outcome), Some(1.0));
}

#[test]
fn the_csv_has_the_jsons_names_and_figures() {
    let results = results();
    let json = serde_json::to_value(&results).unwrap();
    let csv = csv(&results);
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows: Vec<_> = lines.collect();
    assert_eq!(rows.len(), 2 * 3);
    assert_eq!(rows[1][..2], ["static-equal", "a"]);
    for name in [
        "meanLatencySeconds",
        "p95LatencySeconds",
        "gpuHours",
        "costUsd",
        "restarts",
    ] {
        let column = header.iter().position(|h| *h == name).unwrap();
        let value = &json["results"][0]["agents"][0][name];
        assert_eq!(rows[1][column], value.to_string(), "{name}");
        assert_eq!(
            rows[0][column],
            json["results"][0][name].to_string(),
            "{name}"
        );
    }
    for (name, part) in [
        ("p95LatencyInterval", "low"),
        ("gpuHoursInterval", "mean"),
        ("restartsInterval", "high"),
    ] {
        let column = format!("{name}.{part}");
        let column = header.iter().position(|h| *h == column).unwrap();
        for (row, of) in [
            (0, &json["results"][0]),
            (1, &json["results"][0]["agents"][0]),
        ] {
            assert_eq!(rows[row][column], of[name][part].to_string(), "{name}");
        }
    }
    assert!(rows.iter().all(|row| row.len() == header.len()));
}

#[test]
fn a_page_has_every_rule_agent_and_figure_and_no_number_that_is_none() {
    let (_, runs) = compared();
    let page = comparison(&results(), figures(&runs));
    let names: Vec<&str> = page.figures().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "latency",
            "latency-distribution",
            "shares",
            "queues",
            "gpu-hours"
        ]
    );
    let html = page.to_html();
    for part in ["static-equal", "water-filling", "<svg", "kWh", "mean ratio"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
}

#[test]
fn every_column_is_in_the_legend_with_a_field_that_the_json_has() {
    let results = results();
    let text = comparison(&results, Vec::new()).to_markdown(1, "plots");
    let tables = text
        .lines()
        .filter(|line| line.starts_with("| rule |") || line.starts_with("| agent | rule |"));
    let cells = tables.flat_map(|line| line.split('|')).map(str::trim);
    let mut columns: Vec<&str> = cells
        .filter(|cell| !matches!(*cell, "" | "agent"))
        .collect();
    columns.sort_unstable();
    columns.dedup();
    let mut told: Vec<&str> = legend::COLUMNS.iter().map(|column| column.0).collect();
    told.sort_unstable();
    assert_eq!(columns, told);
    let json = serde_json::to_value(&results).unwrap();
    for (column, field, _) in legend::COLUMNS {
        assert!(json["results"][0].get(field).is_some(), "{column}: {field}");
    }
    assert!(text.contains("docs/simulate.md, Columns"));
}
