//! What cannot be is refused before the work, and where it stands.

use super::*;

#[test]
fn pods_that_no_node_has_room_for_are_refused_in_the_pools_file_and_nodes_in_the_scenarios() {
    let folder = Folder::new("room");
    let pool = example("whole-gpu.yaml");
    let on = |groups: &str, more: &[&str]| {
        let text = format!("seconds: 60\ncluster: {{type: Nodes, groups: [{groups}]}}");
        let scenario = folder.file("scenario.yaml", &text);
        let line = ["--pool", &pool, "--scenario", &scenario, "--seeds", "1"];
        results(&[&line[..], &["--rules", "static-equal"], more].concat())
    };
    let error = on("{name: a, gpus: 1, count: 8}", &[]).unwrap_err();
    let begins =
        format!("{pool}: spec.agents[coder].model.gpusPerReplica is 2, expected at most 1");
    assert!(error.starts_with(&begins), "{error}");
    // They need five.
    let error = on("{name: a, gpus: 4}", &[]).unwrap_err();
    assert!(
        error.contains("scenario.yaml: cluster.groups is 4 GPUs at most, expected room for"),
        "{error}"
    );
    let elastic = "{name: a, gpus: 4, elastic: {min: 1, max: 2, provision: 9, idle: 9}}";
    assert!(on(elastic, &[]).is_ok());
    let error = results(&["--pool", &pool, "--gpus", "4"]).unwrap_err();
    let begins = format!("{pool}: spec.devices[0].gpus is 4, expected room for");
    assert!(error.starts_with(&begins), "{error}");
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_anything_is_read() {
    let refused = |line: &[&str]| {
        let failure = simulate(args(line)).unwrap_err();
        assert_eq!(failure.code(), 2, "{failure}");
        failure.to_string()
    };
    let paper = ["--paper", "--trace", "/none.csv", "--output"];
    for format in ["json", "csv"] {
        let error = refused(&[&paper[..], &[format]].concat());
        assert!(
            error.starts_with("--output: this page has no such format"),
            "{error}"
        );
    }
    let pool = ["--pool", "/none.yaml"];
    assert_eq!(
        refused(&[&pool[..], &["-o", "/none/x.html"]].concat()),
        "/none/x.html: cannot be written: there is no folder /none"
    );
    let folder = Folder::new("output");
    let file = folder.file("file", "");
    let error = refused(&[&pool[..], &["--plots", &file]].concat());
    assert!(error.contains("cannot be made: "), "{error}");
}

#[test]
fn an_agent_that_only_the_trace_has_is_refused_in_the_traces_file_with_its_first_line() {
    let folder = Folder::new("stranger");
    let pool = example("time-slicing.yaml");
    let rows = "arrival_s,agent\n0,coordinator\n1,other\n2,nlp\n3,other\n4,vision\n5,reasoning\n";
    let trace = folder.file("trace.csv", rows);
    let right = "the pool has no such agent; it has coordinator, nlp, reasoning, vision".to_owned();
    let expected = format!("{trace}, line 3: agent is \"other\": {right}");
    for path in [&trace, &folder.0.display().to_string()] {
        let error = results(&["--pool", &pool, "--trace", path]).unwrap_err();
        assert_eq!(error, expected, "{path}");
    }
    let missing = folder.file("trace.csv", "arrival_s,agent\n0,nlp\n9,nlp\n");
    let error = results(&["--pool", &pool, "--trace", &missing]).unwrap_err();
    assert!(error.starts_with(&format!("{missing}: ")), "{error}");
}

#[test]
fn a_number_below_zero_is_taken_for_a_number_and_refused_as_one() {
    let pool = example("time-slicing.yaml");
    for (flag, right) in [
        ("--lag", "--lag: -5: must be at least 0"),
        ("--seconds", "--seconds: -5: must be above 0"),
    ] {
        let error = results(&["--pool", &pool, flag, "-5"]).unwrap_err();
        assert_eq!(error, right);
    }
    let error = Line::try_parse_from(["simulate", "--pool", &pool, "--seeds", "-5"]);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("-5 is not in 1..=1000"), "{error}");
}
