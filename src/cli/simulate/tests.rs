#![allow(clippy::unwrap_used, clippy::panic)]

mod refused;
mod said;

use super::*;
use crate::recording::tests::session::{Kind, Session};
use crate::simulation::load::Arrivals;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: SimulateArgs,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn example(name: &str) -> String {
    root().join("examples").join(name).display().to_string()
}

fn args(line: &[&str]) -> SimulateArgs {
    let words = std::iter::once(&"simulate").chain(line);
    Line::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{error}"))
        .args
}

fn results(line: &[&str]) -> Result<Results, String> {
    let args = args(line);
    match compare(&args) {
        Ok((page, results)) => {
            assert!(page.figures().count() >= 5);
            Ok(results)
        }
        Err(failure) => {
            assert_eq!(failure.code(), 2, "{failure}");
            Err(failure.to_string())
        }
    }
}

/// An own empty folder; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("simulate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The folder with its only file.
    fn kept(self, name: &str, text: &str) -> (Self, String) {
        let path = self.file(name, text);
        (self, path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_example_of_a_scenario_runs_with_the_pool_and_the_what_ifs_that_it_names() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("examples/simulate")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let command = text
            .lines()
            .find_map(|line| line.strip_prefix("#   agentpool simulate "));
        let words: Vec<&str> = command.unwrap().split_whitespace().collect();
        let [_, pool, _, scenario, ..] = words[..] else {
            panic!("{words:?}");
        };
        let file = |name: &str| root().join(name).display().to_string();
        assert_eq!(root().join(scenario), path);
        let (pool, scenario) = (file(pool), file(scenario));
        let short = [
            "--pool",
            &pool,
            "--scenario",
            &scenario,
            "--seconds",
            "900",
            "--seeds",
            "1",
        ];
        let plain = results(&short).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            plain
                .results
                .iter()
                .all(|rule| rule.measures.requests > 0.0)
        );
        let what_ifs = text
            .lines()
            .filter(|line| line.starts_with("# ") && line.contains("  --"));
        for what_if in what_ifs {
            let flags = what_if.split("  --").nth(1).unwrap().replace('\'', "");
            let flags = format!("--{flags}");
            let other: Vec<&str> = short.into_iter().chain(flags.split_whitespace()).collect();
            let other = results(&other).unwrap_or_else(|error| panic!("{error}"));
            assert!(other.results != plain.results, "{what_if} changes nothing");
        }
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn a_pool_alone_is_simulated_and_what_is_assumed_is_said() {
    let pool = example("whole-gpu.yaml");
    let results = results(&["--pool", &pool, "--seconds", "120", "--seeds", "1"]).unwrap();
    let said = results.scenario.assumed.join("\n");
    assert!(
        said.contains("actuationLag") && said.contains("70 % load"),
        "{said}"
    );
    assert!(
        results
            .scenario
            .loads
            .iter()
            .all(|load| load.load.starts_with("generated"))
    );
    let rules: Vec<&str> = results.results.iter().map(|r| r.policy.as_str()).collect();
    assert_eq!(rules, ["static-equal", "balanced", "water-filling"]);
}

#[test]
fn whole_gpus_are_pods_on_nodes_and_every_autoscaler_runs_on_an_unmodified_pool() {
    let pool = example("whole-gpu.yaml");
    let line = ["--pool", &pool, "--seconds", "900", "--seeds", "1"];
    let rules = "hpa,keda,knative,wva,dynamo,water-filling";
    let with = |more: &[&str]| results(&[&line[..], &["--rules", rules], more].concat()).unwrap();
    let plain = with(&[]);
    let scenario = &plain.scenario;
    assert!(
        scenario
            .cluster
            .starts_with("1 node gpu of 8 GPUs; offered load 0.70 of 8 GPUs"),
        "{}",
        scenario.cluster
    );
    let said = scenario.assumed.join("\n");
    assert!(
        said.contains("8 whole GPUs, at most 8 on a node") && said.contains("pods serve 90 s"),
        "{said}"
    );
    assert_eq!(plain.results.len(), 6);
    assert!(
        plain
            .results
            .iter()
            .any(|rule| rule.measures.restarts > 0.0)
    );
    // A lag is the pods' cold start, and no assumption any more.
    let fast = with(&["--lag", "5"]);
    assert!(!fast.scenario.assumed.join("\n").contains("actuationLag"));
    assert!(fast.results != plain.results);
    let fewer = with(&["--gpus", "-1"]).scenario.cluster;
    assert!(fewer.starts_with("1 node gpu of 7 GPUs"), "{fewer}");
}

#[test]
fn a_load_that_nothing_is_said_about_is_one_that_the_replicas_can_serve() {
    let pool = example("whole-gpu.yaml");
    // An equal part of 8 GPUs is 2, and one replica uses one.
    let one = [
        "--pool",
        &pool,
        "--seconds",
        "60",
        "--seeds",
        "1",
        "--set",
        "spec.agents[researcher].replicas.max=1",
    ];
    let scenario = results(&one).unwrap().scenario;
    assert!(
        scenario.cluster.contains("offered load 0.61 of 8 GPUs"),
        "{}",
        scenario.cluster
    );
    let said = scenario.assumed.join("\n");
    assert!(
        said.contains("(of researcher: 70 % of what replicas.max can use)"),
        "{said}"
    );
}

#[test]
fn time_slices_and_instances_of_which_the_pool_says_too_little_are_shares_and_a_lag_is_theirs() {
    for (pool, missing) in [
        ("time-slicing.yaml", "memory"),
        ("mig.yaml", "MIG instances"),
    ] {
        let pool = example(pool);
        let line = ["--pool", &pool, "--seconds", "60", "--seeds", "1"];
        let plain = results(&line).unwrap().scenario;
        let said = plain.assumed.join("\n");
        assert!(
            said.contains(missing) && said.contains("without pods"),
            "{said}"
        );
        assert!(
            said.contains("after they are decided (the pool's actuationLag)"),
            "{said}"
        );
        let lag = results(&[&line[..], &["--lag", "7"]].concat())
            .unwrap()
            .scenario;
        assert!(
            lag.cluster.contains("in force after 7 s"),
            "{}",
            lag.cluster
        );
        assert!(!lag.assumed.join("\n").contains("actuationLag"));
    }
}

#[test]
fn threads_do_not_change_a_figure() {
    let pool = example("time-slicing.yaml");
    let line = ["--pool", &pool, "--seconds", "200", "--seeds", "4"];
    assert_eq!(results(&line).unwrap(), results(&line).unwrap());
}

#[test]
fn wrong_input_is_refused_with_file_and_field_and_what_would_be_right() {
    let folder = Folder::new("wrong");
    let pool = example("time-slicing.yaml");
    let scenario = |text: &str| folder.file("scenario.yaml", text);
    let mut missing = Vec::new();
    for (text, parts) in [
        ("secnds: 1", &["scenario.yaml: unknown field `secnds`"][..]),
        (
            "seconds: -1",
            &["scenario.yaml: seconds: -1: must be above 0"],
        ),
        ("seconds: .nan", &["must be above 0"]),
        ("seeds: 0", &["seeds: 0: must be from 1 to 1000"]),
        ("rules: [hpaa]", &["rules: rule \"hpaa\": expected one of"]),
        (
            "rules: [hold, 'hpa:5']",
            &[
                "scenario.yaml: rules: rule \"hpa:5\": expected",
                "at most 0.909",
            ],
        ),
        ("rules: []", &["rules: is empty"]),
        ("rules: [hpa]", &["hpa"]),
        ("warmup: 2000", &["warmup is 2000, expected"]),
        (
            "agents: {x: {}}",
            &["agents.x: the pool has no such agent; it has coordinator, nlp"],
        ),
        (
            "agents: {nlp: {throughput: 0}}",
            &["agents.nlp.throughput: 0: must be above 0"],
        ),
        (
            "agents: {nlp: {arrivals: {type: Poisson, rate: -1}}}",
            &["nlp", "rate is -1"],
        ),
        (
            "agents: {nlp: {arrivals: {type: Poisson, rate: 1e9}}}",
            &["seconds: 1800", "must be at most 1e10"],
        ),
        (
            "cluster: {type: Fractions, gpus: 0}",
            &["cluster.gpus: 0: must be above 0"],
        ),
        (
            "cluster: {type: Fractions, lag: -1}",
            &["scenario.yaml: cluster.lag is -1"],
        ),
        ("metricAge: -1", &["scenario.yaml: metricAge is -1"]),
        (
            "agents: {nlp: {maxRunning: 0}}",
            &["agents.nlp.maxRunning is 0, expected at least 1"],
        ),
        (
            "agents: {nlp: {coldStart: -1}}\ncluster: {type: Nodes, groups: [{name: a, gpus: 1, gpuMemory: 24Gi}]}",
            &["agents.nlp.coldStart is -1, expected a time of at least 0"],
        ),
        (
            "cluster: {type: Nodes, groups: [{name: a, gpus: 1}, {name: b, gpus: 1, elastic: {min: 2, max: 3, provision: 1, idle: 1}}]}",
            &["cluster.groups[1].count is 1, expected from min (2) to max (3)"],
        ),
        (
            "rules: [water-filling]\nseconds: 2e9\nagents: {nlp: &idle {arrivals: {type: Poisson, rate: 0}}, vision: *idle, \
             coordinator: *idle, reasoning: *idle}",
            &["seconds is 2000000000, expected at most 1e9 decisions in a run, one every 1 s"],
        ),
        (
            "cluster: {type: Fractions, switchingEfficiency: 2}",
            &["cluster.switchingEfficiency is 2"],
        ),
        (
            "cluster: {type: Nodes, groups: []}",
            &["cluster.groups: is empty"],
        ),
        (
            "cluster: {type: Nodes, groups: [{name: a, gpus: 0}]}",
            &["cluster.groups[0].gpus: 0: must be at least 1"],
        ),
        ("power: {idle: 5, busy: 1}", &["power: "]),
        (
            "trace: nowhere.csv",
            &["nowhere.csv: there is no such file"],
        ),
        ("seconds: [1", &["scenario.yaml", "line"]),
    ] {
        let file = scenario(text);
        let error = results(&["--pool", &pool, "--scenario", &file]).unwrap_err();
        let absent = parts.iter().filter(|part| !error.contains(**part));
        missing.extend(absent.map(|part| format!("{text}: {part:?} is not in {error:?}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_wrong_trace_is_refused_with_its_line_and_other_agents_by_name() {
    let folder = Folder::new("trace");
    let pool = example("time-slicing.yaml");
    let agents = "0,coordinator\n1,nlp\n2,vision\n";
    for (rows, parts) in [
        (
            format!("{agents}3,reasoning\nx,nlp\n"),
            &["trace.csv, line 6: arrival_s is \"x\""][..],
        ),
        (
            format!("{agents}3,reasoning\n-1,nlp\n"),
            &["trace.csv, line 6: arrival_s"],
        ),
        (
            "1700000000,nlp\n".to_owned(),
            &["trace.csv, line 2: arrival_s is \"1700000000\": is more than 400 days"],
        ),
        (
            format!("{agents}3,reasoning\n4,chat\n"),
            &[
                "trace.csv, line 6: agent is \"chat\": the pool has no such agent; it has coordinator, nlp",
            ],
        ),
        (
            agents.to_owned(),
            &["\"reasoning\"", "coordinator, nlp, vision"],
        ),
        (String::new(), &["no request in it"]),
    ] {
        let trace = folder.file("trace.csv", &format!("arrival_s,agent\n{rows}"));
        let error = results(&["--pool", &pool, "--trace", &trace]).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{rows}: {part:?} is not in {error:?}");
        }
    }
}

#[test]
fn a_trace_without_agents_is_given_to_agents_by_the_scenario_and_not_to_all_at_once() {
    let folder = Folder::new("everyone");
    let pool = example("time-slicing.yaml");
    let trace = folder.file("trace.csv", "arrival_s\n0\n1\n2\n30\n");
    let error = results(&["--pool", &pool, "--trace", &trace]).unwrap_err();
    assert!(
        error.contains("names no agent, and the pool has 4") && error.contains("a column `agent`"),
        "{error}"
    );
    let agents = ["coordinator", "nlp", "vision", "reasoning"];
    let own = |agent: &&str| {
        format!(
            "  {agent}: {{arrivals: {{type: Trace, file: trace.csv, scaling: {{type: Thinning, rate: 0.1}}}}}}\n"
        )
    };
    let text = format!(
        "seeds: 1\nagents:\n{}",
        agents.iter().map(own).collect::<String>()
    );
    let scenario = folder.file("scenario.yaml", &text);
    let given = results(&["--pool", &pool, "--scenario", &scenario]).unwrap();
    assert!(
        given
            .scenario
            .loads
            .iter()
            .all(|load| load.load.starts_with("recorded requests of"))
    );
}

#[test]
fn the_offered_load_of_steps_is_their_mean_and_a_short_peak_is_no_reason_to_refuse_them() {
    let folder = Folder::new("steps");
    let pool = example("time-slicing.yaml");
    let cluster = |nlp: &str| {
        let others = "coordinator: &idle {arrivals: {type: Poisson, rate: 0}}, vision: *idle, reasoning: *idle";
        let text = format!(
            "seconds: 100\nseeds: 1\nagents: {{{others}, nlp: {{arrivals: {{type: Steps, steps: {nlp}}}}}}}\n"
        );
        let scenario = folder.file("scenario.yaml", &text);
        results(&["--pool", &pool, "--scenario", &scenario]).map(|results| results.scenario.cluster)
    };
    // 50/s are one GPU of nlp: 10 s at 100/s, 90 s at 10/s.
    let offered = cluster("[{seconds: 10, rate: 100}, {rate: 10}]").unwrap();
    assert!(
        offered.ends_with("offered load 0.38 of 1 GPUs"),
        "{offered}"
    );
    // 3e8 a second would be 3e10 requests, and are 300.
    let peak = cluster("[{seconds: 0.000001, rate: 3e8}, {rate: 0}]").unwrap();
    assert!(peak.contains("offered load 0.06"), "{peak}");
    let refused = cluster("[{seconds: 50, rate: 3e8}]").unwrap_err();
    assert!(refused.contains("must be at most 1e10"), "{refused}");
}

#[test]
fn a_target_that_makes_no_sense_is_refused_with_the_flag_and_what_would_be_right() {
    let pool = example("time-slicing.yaml");
    for (rule, right) in [
        ("hpa:5", "at most 0.909"),
        ("knative:70", "at most 1 "),
        ("keda:0", "waiting requests a replica"),
        ("wva:-1", "above 0"),
        ("dynamo:NaN", "above 0"),
    ] {
        let error = results(&["--pool", &pool, "--rules", &format!("hold,{rule}")]).unwrap_err();
        let begins = format!("--rules: rule {rule:?}: expected ");
        assert!(error.starts_with(&begins), "{error}");
        assert!(error.contains(right), "{error}");
    }
}

#[test]
fn a_recording_is_simulated_from_its_lines_to_the_figures_also_with_a_gpu_fewer() {
    let folder = Folder::new("from");
    let session = Session::record(Kind::Whole, 1, 300);
    folder.file(
        "decisions-1.jsonl",
        &(session.lines.join("\n") + "\n{\"decision\": cut"),
    );
    let path = folder.0.display().to_string();
    let line = [
        "--from",
        &path,
        "--seeds",
        "1",
        "--rules",
        "hold,water-filling,hpa",
    ];
    let of = |more: &[&str]| results(&[&line[..], more].concat()).unwrap();
    let plain = of(&[]);
    let recorded = recording::read(&folder.0, None, None).unwrap();
    assert_eq!(
        (plain.scenario.pool.as_str(), plain.scenario.seconds),
        ("agents/team", 299.0)
    );
    let expected: f64 = recorded
        .arrivals
        .iter()
        .map(|(agent, arrivals)| {
            assert!(matches!(arrivals, Arrivals::Steps { .. }), "{agent}");
            299.0 * arrivals.mean_rate(299.0)
        })
        .sum();
    assert!(expected > 1000.0, "{expected}");
    for rule in &plain.results {
        // Five standard deviations of a Poisson number.
        let off = (rule.measures.requests - expected).abs();
        assert!(
            off < 5.0 * expected.sqrt(),
            "{}: {off} of {expected}",
            rule.policy
        );
    }
    let said = plain.scenario.assumed.join("\n");
    for part in ["measured", "decisions-1.jsonl is cut", "whole GPUs"] {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    let fewer = of(&["--gpus", "-1"]).scenario.cluster;
    assert!(fewer.starts_with("1 node gpu of 7 GPUs"), "{fewer}");
}

#[test]
fn one_gpu_fewer_is_one_fewer_than_declared() {
    let pool = Some(MilliGpus::whole(8));
    assert_eq!(gpus_of("-1", pool).unwrap(), "7000m");
    assert_eq!(gpus_of("+0.5", pool).unwrap(), "8500m");
    assert_eq!(gpus_of("3", pool).unwrap(), "3");
    for text in ["-8", "-x", "+inf"] {
        assert_eq!(gpus_of(text, pool).unwrap_err().code(), 2, "{text}");
    }
}
