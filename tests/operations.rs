//! `docs/operations.md` names every flag with its default and every metric, and none that does not exist.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn operations() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    std::fs::read_to_string(path).unwrap()
}

fn documented(open: &str) -> BTreeSet<String> {
    operations()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with(open))
        .map(str::to_owned)
        .collect()
}

/// Flags of `agentpool run`, each with its default where it has one, as `--help` shows them.
fn flags() -> BTreeMap<String, Option<String>> {
    let help = Command::new(env!("CARGO_BIN_EXE_agentpool"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (mut flags, mut last) = (BTreeMap::new(), String::new());
    for line in help.lines().map(str::trim) {
        if let Some(flag) = line.strip_prefix("--").and_then(|l| l.split(' ').next()) {
            last = format!("--{flag}");
            flags.insert(last.clone(), None);
        }
        let default = line.strip_prefix("[default: ");
        if let Some(default) = default.and_then(|l| l.strip_suffix(']')) {
            flags.insert(last.clone(), Some(default.to_owned()));
        }
    }
    flags
}

#[test]
fn every_flag_of_run_is_documented_with_its_default() {
    let flags = flags();
    assert!(flags.len() >= 15, "{flags:?}");
    let names: BTreeSet<String> = flags.keys().cloned().collect();
    assert_eq!(names, documented("--"));
    let defaults: Vec<_> = flags
        .iter()
        .filter_map(|(f, d)| d.as_ref().map(|d| (f, d)))
        .collect();
    assert!(defaults.len() >= 10, "{defaults:?}");
    let text = operations();
    for (flag, default) in defaults {
        let row = format!("| `{flag}` | `{default}` |");
        assert!(text.contains(&row), "docs/operations.md has no row {row}");
    }
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
