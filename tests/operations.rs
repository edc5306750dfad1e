//! `docs/operations.md` names every flag and every metric, and none that does not exist.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::process::Command;

fn documented(open: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with(open))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_flag_of_run_is_documented() {
    let help = Command::new(env!("CARGO_BIN_EXE_agentpool"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: BTreeSet<String> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--")?.split(' ').next())
        .map(|flag| format!("--{flag}"))
        .collect();
    assert!(flags.len() >= 15, "{flags:?}");
    assert_eq!(flags, documented("--"));
}

#[test]
fn every_metric_is_documented() {
    let metrics = agentpool::telemetry::Metrics::new();
    metrics.count_decision(agentpool::allocation::Reason::Idle);
    metrics.count_hold(agentpool::sharing::HoldReason::Frozen);
    metrics.count_reconcile_error("any");
    let families: BTreeSet<String> = metrics
        .encode()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|family| match family.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, "info") => format!("{name}_info"),
            (name, _) => name.to_owned(),
        })
        .collect();
    assert!(families.len() >= 16, "{families:?}");
    assert_eq!(families, documented("agentpool_"));
}
