//! What has no effect is refused or said; what ends early or is cut is said.

use super::*;

const IDLE: &str =
    "coordinator: &idle {arrivals: {type: Poisson, rate: 0}}, vision: *idle, reasoning: *idle";

/// Of the pool of an example under a scenario.
fn under(folder: &Folder, pool: &str, scenario: &str, more: &[&str]) -> Result<Results, String> {
    let (pool, scenario) = (example(pool), folder.file("scenario.yaml", scenario));
    let line = ["--pool", &pool, "--scenario", &scenario, "--seeds", "1"];
    results(&[&line[..], &["--rules", "static-equal"], more].concat())
}

fn assumed(results: &Results) -> String {
    results.scenario.assumed.join("\n")
}

#[test]
fn what_is_about_pods_is_refused_where_there_are_shares_and_taken_where_there_are_pods() {
    let folder = Folder::new("pods");
    for (field, value) in [("coldStart", "5"), ("imagePull", "7"), ("drain", "0")] {
        let text = format!("seconds: 60\nagents: {{nlp: {{{field}: {value}}}}}");
        let error = under(&folder, "time-slicing.yaml", &text, &[]).unwrap_err();
        let said = format!("scenario.yaml: agents.nlp.{field}: {value}: is about pods");
        assert!(
            error.contains(&said) && error.contains("cluster.lag"),
            "{error}"
        );
        let text = text.replace("nlp", "coder");
        under(&folder, "whole-gpu.yaml", &text, &[]).unwrap();
    }
    let text = "seconds: 60\ndispatch: OneQueue";
    let error = under(&folder, "time-slicing.yaml", text, &[]).unwrap_err();
    assert!(
        error.contains("dispatch: OneQueue: is about pods"),
        "{error}"
    );
    under(&folder, "whole-gpu.yaml", text, &[]).unwrap();
}

#[test]
fn a_scaling_without_a_trace_or_beside_another_is_refused() {
    let folder = Folder::new("scaling");
    folder.file("trace.csv", "arrival_s\n0\n1\n2\n30\n");
    let scaling = "scaling: {type: Thinning, rate: 0.1}";
    for (agent, reason) in [
        (scaling.to_owned(), "scales a trace, and this load is none"),
        (
            format!("{scaling}, arrivals: {{type: Poisson, rate: 1}}"),
            "scales a trace, and this load is none",
        ),
        (
            format!("{scaling}, arrivals: {{type: Trace, file: trace.csv, {scaling}}}"),
            "is given beside arrivals.scaling",
        ),
    ] {
        let text = format!("agents: {{{IDLE}, nlp: {{{agent}}}}}");
        let error = under(&folder, "time-slicing.yaml", &text, &[]).unwrap_err();
        assert!(
            error.contains("agents.nlp.scaling: Thinning { rate: 0.1 }: ")
                && error.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn an_efficiency_of_switching_is_said_to_have_no_effect_where_nobody_takes_turns() {
    let folder = Folder::new("switching");
    let scenario = |sharing: &str| {
        format!(
            "seconds: 60\ncluster: {{type: Fractions, sharing: {sharing}, switchingEfficiency: 0.9}}"
        )
    };
    let said = "cluster.switchingEfficiency (0.9) has no effect";
    for (sharing, has) in [("TimeSlicing", false), ("Partition", true), ("Mps", true)] {
        let found = under(&folder, "time-slicing.yaml", &scenario(sharing), &[]).unwrap();
        assert_eq!(assumed(&found).contains(said), has, "{sharing}");
    }
    let nodes = "seconds: 60\ncluster: {type: Nodes, switchingEfficiency: 0.9, groups: [{name: a, gpus: 8}]}";
    let found = under(&folder, "whole-gpu.yaml", nodes, &[]).unwrap();
    assert!(assumed(&found).contains(said), "{}", assumed(&found));
}

#[test]
fn instances_are_refused_where_the_pool_does_not_share_by_mig() {
    let folder = Folder::new("instances");
    let text = "cluster: {type: Nodes, groups: [{name: a, gpus: 8, instances: {nvidia.com/mig-1g.10gb: {count: 1, \
                multiprocessors: 14, memory: 9856Mi}}}]}";
    let error = under(&folder, "whole-gpu.yaml", text, &[]).unwrap_err();
    assert!(
        error.contains(
            "cluster.groups[0].instances: nvidia.com/mig-1g.10gb: the pool does not share by MIG"
        ),
        "{error}"
    );
}

#[test]
fn more_gpus_than_the_nodes_have_are_refused_and_fewer_are_what_is_given_out() {
    let folder = Folder::new("gpus");
    let nodes = |more: &str| {
        format!(
            "seconds: 60\ncluster: {{type: Nodes, groups: [{{name: a, gpus: 4, count: 2{more}}}]}}"
        )
    };
    let with = |text: &str, gpus| under(&folder, "whole-gpu.yaml", text, &["--gpus", gpus]);
    let error = with(&nodes(""), "+1").unwrap_err();
    assert!(
        error.starts_with("--gpus: +1: the pool would have 9 GPUs, and cluster.groups has 8")
            && error.contains("--set cluster.groups[a].count="),
        "{error}"
    );
    let fewer = with(&nodes(""), "-1").unwrap().scenario;
    assert!(
        fewer.cluster.contains("offered load 0.70 of 7 GPUs"),
        "{}",
        fewer.cluster
    );
    let said = fewer.assumed.join("\n");
    assert!(
        said.contains("of the 8 GPUs of the nodes rules give out the 7 that the pool declares"),
        "{said}"
    );
    // A node that may come is there for it.
    let elastic = nodes(", elastic: {min: 2, max: 3, provision: 1, idle: 1}");
    assert!(!assumed(&with(&elastic, "+1").unwrap()).contains("GPUs of the nodes"));
    let small = "seconds: 60\ncluster: {type: Nodes, groups: [{name: a, gpus: 6}]}";
    let found = under(&folder, "whole-gpu.yaml", small, &[]).unwrap();
    assert!(
        assumed(&found).contains(
            "of the 8 GPUs that the pool declares there are those that the nodes have, 6"
        ),
        "{}",
        assumed(&found)
    );
}

/// A pool of one agent, and a trace of a request a second from 0 s to 99 s.
fn recorded(folder: &Folder, more: &[&str]) -> Result<Results, String> {
    let rows: String = (0..100).map(|i| format!("{i},nlp\n")).collect();
    let other = "0,coordinator\n0,vision\n0,reasoning\n40,coordinator\n99,vision\n99,reasoning\n";
    let trace = folder.file("trace.csv", &format!("arrival_s,agent\n{rows}{other}"));
    let pool = example("time-slicing.yaml");
    let line = ["--pool", &pool, "--trace", &trace, "--seeds", "1"];
    results(&[&line[..], &["--rules", "static-equal"], more].concat())
}

#[test]
fn a_run_longer_than_its_trace_is_refused_and_one_that_cuts_it_says_so() {
    let folder = Folder::new("length");
    let whole = recorded(&folder, &[]).unwrap();
    assert_eq!(whole.scenario.seconds, 100.0);
    let all = &whole.results[0].measures;
    assert_eq!((all.requests, all.unserved), (106.0, 0.0), "none is lost");
    let said = assumed(&whole);
    assert!(
        said.contains("loads that end before the run of 100 s: coordinator 41 s; nothing"),
        "{said}"
    );
    let error = recorded(&folder, &["--seconds", "200"]).unwrap_err();
    assert!(
        error.contains("seconds: 200: the traces end after 100 s") && error.contains("at most 100"),
        "{error}"
    );
    let cut = recorded(&folder, &["--seconds", "50"]).unwrap();
    let said = assumed(&cut);
    assert!(
        said.contains("the run takes the first 50 s of loads that are longer: nlp 100 s, reasoning 100 s, vision 100 s"),
        "{said}"
    );
    assert_eq!(cut.results[0].measures.requests, 54.0);
}

#[test]
fn a_trace_that_ends_before_other_loads_do_is_said_and_offered_over_the_whole_run() {
    let folder = Folder::new("thin");
    let rows: String = (0..100).map(|i| format!("{i}\n")).collect();
    folder.file("trace.csv", &format!("arrival_s\n{rows}"));
    let of = |seconds: u32, arrivals: &str| {
        let text = format!(
            "seconds: {seconds}\nagents: {{{IDLE}, nlp: {{throughput: 1, arrivals: {{type: Trace, file: trace.csv{arrivals}}}}}}}"
        );
        under(&folder, "time-slicing.yaml", &text, &[]).unwrap()
    };
    let (short, long) = (of(100, ""), of(1000, ""));
    assert!(
        short
            .scenario
            .cluster
            .ends_with("offered load 1.00 of 1 GPUs")
    );
    assert!(!assumed(&short).contains("nothing arrives"));
    assert!(
        long.scenario
            .cluster
            .ends_with("offered load 0.10 of 1 GPUs")
    );
    assert!(
        assumed(&long).contains("loads that end before the run of 1000 s: nlp 100 s"),
        "{}",
        assumed(&long)
    );
    let asked = of(1000, ", seconds: 1000");
    assert!(
        assumed(&asked)
            .contains("arrivals.seconds of nlp is 1000, and trace.csv ends 99 s after `from`"),
        "{}",
        assumed(&asked)
    );
}

#[test]
fn the_speed_of_a_part_of_a_gpu_is_said_where_it_was_not() {
    let folder = Folder::new("speed");
    let fractions =
        |sharing: &str| format!("seconds: 60\ncluster: {{type: Fractions, sharing: {sharing}}}");
    let of = |pool: &str, sharing: &str, more: &[&str]| {
        assumed(&under(&folder, pool, &fractions(sharing), more).unwrap())
    };
    // The example's agents have exponents of 0.7, 0.7 and 0.3.
    assert!(!of("mig.yaml", "Partition", &[]).contains("as fast as it is large"));
    let one = ["--set", "spec.agents[nlp].model.speedExponent=1"];
    for sharing in ["Partition", "Mps"] {
        let said = of("mig.yaml", sharing, &one);
        assert!(
            said.contains(
                "as fast as it is large to nlp (model.speedExponent 1; 0.3 to 0.7 were measured"
            ),
            "{said}"
        );
        let said = of("time-slicing.yaml", sharing, &[]);
        assert!(
            said.contains("as fast as it is large: the pool does not share by MIG"),
            "{said}"
        );
    }
    let said = of("mig.yaml", "TimeSlicing", &one);
    assert!(
        said.contains("model.speedExponent of coordinator, reasoning has no effect"),
        "{said}"
    );
    assert!(!of("time-slicing.yaml", "TimeSlicing", &[]).contains("speed"));
}

/// A recording of two pools with the same agents.
fn two_pools(folder: &Folder) -> String {
    let session = Session::record(Kind::Whole, 1, 60);
    let one = session.lines.join("\n") + "\n";
    let other = one
        .replace("agents/team", "others/team")
        .replace("\"namespace\":\"agents\"", "\"namespace\":\"others\"");
    folder.file("1.jsonl", &one);
    folder.file("2.jsonl", &other);
    folder.0.display().to_string()
}

#[test]
fn of_a_recording_of_several_pools_one_is_chosen_by_its_name_or_its_manifest() {
    let folder = Folder::new("several");
    let path = two_pools(&folder);
    let short = ["--seeds", "1", "--rules", "static-equal"];
    let of = |more: &[&str]| results(&[&["--from", &path], &short[..], more].concat());
    let error = of(&[]).unwrap_err();
    assert!(
        error.contains(
            "has 2 pools: agents/team, others/team; say which: --from-pool agents/team, or --pool"
        ),
        "{error}"
    );
    for name in ["agents/team", "others/team"] {
        assert_eq!(of(&["--from-pool", name]).unwrap().scenario.pool, name);
    }
    let error = of(&["--from-pool", "agents/none"]).unwrap_err();
    assert!(
        error.contains("--from-pool agents/none: is not in it; it has 2 pools: agents/team"),
        "{error}"
    );
    let manifest = |namespace: &str, name: &str| {
        let recorded = recording::read(&folder.0, Some("others/team"), None).unwrap();
        let mut manifest = serde_json::to_value(recorded.manifest).unwrap();
        manifest["metadata"] = serde_json::json!({"name": name});
        if !namespace.is_empty() {
            manifest["metadata"]["namespace"] = namespace.into();
        }
        Folder::new(&format!("several-{namespace}-{name}")).kept("pool.yaml", &manifest.to_string())
    };
    let (meant, other, any) = (
        manifest("others", "team"),
        manifest("others", "else"),
        manifest("", "team"),
    );
    let found = of(&["--pool", &meant.1]).unwrap();
    assert_eq!(found.scenario.pool, "others/team");
    let error = of(&["--pool", &other.1]).unwrap_err();
    assert!(
        error.contains("and not others/else, which --pool describes; say which"),
        "{error}"
    );
    let error = of(&["--pool", &any.1]).unwrap_err();
    assert!(error.contains("does not say of which namespace"), "{error}");
}

#[test]
fn a_recording_counts_more_than_the_loads_of_a_scenario_and_no_longer_than_it_is() {
    let folder = Folder::new("counts");
    let session = Session::record(Kind::Whole, 1, 60);
    folder.file("1.jsonl", &(session.lines.join("\n") + "\n"));
    let path = folder.0.display().to_string();
    let of = |text: &str| {
        let scenario = folder.file("scenario.yaml", text);
        let line = ["--from", &path, "--scenario", &scenario, "--seeds", "1"];
        results(&[&line[..], &["--rules", "static-equal"]].concat())
    };
    let said = assumed(
        &of("trace: none.csv\nseconds: 20\nagents: {nlp: {arrivals: {type: Poisson, rate: 3}}}")
            .unwrap(),
    );
    for part in [
        "trace, agents.nlp.arrivals of the scenario is passed over",
        "the run takes the first 20 s",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    let error = of("seconds: 200").unwrap_err();
    assert!(
        error.contains("seconds: 200: the rates that were recorded end after 59 s"),
        "{error}"
    );
}
