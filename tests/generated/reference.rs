//! `docs/reference.md`: the manual of the API in tables.

use crate::fields::{fields, schema};
use crate::reasons;
use crate::sources::{constants, variants};
use serde_json::Value;
use std::fmt::Write;

const HEAD: &str = "\
# AgentPool reference

<!-- Generated from the CRD and the sources by `make generate`; a test fails when it is out of date. -->

API version `agentpool.dev/v1alpha1`, kind `AgentPool`, namespaced, short name `ap`. The same texts are at hand on the cluster:
`kubectl explain agentpool.spec.agents --recursive`. Complete pools to copy are in [`examples/`](../examples).

Shares are in GPUs: `1`, `\"0.35\"` and `350m` are a whole GPU, 35 % of one, and the same. Durations are written as `90s` or `2m30s`.
Fractions are quoted: the API server takes `\"0.1\"`, `100m` and `1`, but not a bare `0.1`.
Fields that are not listed are refused by `kubectl apply` (strict validation), values outside their range by the API server; both name
the field, its value and what would be right.
";

/// The whole reference.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    section(&mut out, "Spec", "");
    table_of_fields(&mut out, "spec");
    section(
        &mut out,
        "Rules over several fields",
        "The API server refuses a pool that breaks one of these.",
    );
    rules(&mut out, "", &schema());
    section(
        &mut out,
        "Status",
        "Written when a decision or a condition changes, else at most every 30 s. Ages and live rates are metrics, not status.",
    );
    table_of_fields(&mut out, "status");
    section(
        &mut out,
        "Conditions",
        "`kubectl wait --for=condition=Ready agentpool/NAME` waits until what was decided is in force.",
    );
    names(
        &mut out,
        "Type",
        &variants("src/api/conditions.rs", "ConditionType"),
    );
    section(
        &mut out,
        "Reasons of conditions",
        "Stable names; the message beside them has the numbers. Ready repeats the reason that keeps it False, Stalled that of Conflicted.",
    );
    names(&mut out, "Reason | Condition", &reasons::conditions());
    section(
        &mut out,
        "Reasons of a target share",
        "In `status.agents[].reason`: why the policy asks for this share. Where nothing may be written for the agent, the reason of the condition stands there instead.",
    );
    names(
        &mut out,
        "Reason",
        &variants("src/allocation/types.rs", "Reason"),
    );
    section(
        &mut out,
        "Reasons of a hold",
        "In `status.agents[].hold`: why a change that is wanted is not made now.",
    );
    names(
        &mut out,
        "Reason",
        &variants("src/sharing/types.rs", "HoldReason"),
    );
    section(
        &mut out,
        "States of signals",
        "In `status.agents[].signals`.",
    );
    names(
        &mut out,
        "State",
        &variants("src/signals/window/mod.rs", "Freshness"),
    );
    section(
        &mut out,
        "Problems of signals",
        "Why a pod's signal is not used; condition SignalsFresh says so in words. None of them is ever read as zero load.",
    );
    names(
        &mut out,
        "Problem",
        &variants("src/signals/problem.rs", "Problem"),
    );
    section(
        &mut out,
        "Reasons of events",
        "One event a change. A condition that turns bad is an event too, with the condition's reason.",
    );
    names(&mut out, "Reason", &reasons::events());
    section(&mut out, "Annotations", "");
    names(&mut out, "Annotation", &constants("src/api/annotations.rs"));
    out
}

fn section(out: &mut String, title: &str, text: &str) {
    let _ = write!(out, "\n## {title}\n\n");
    if !text.is_empty() {
        let _ = write!(out, "{text}\n\n");
    }
}

fn table_of_fields(out: &mut String, part: &str) {
    out.push_str("| Field | Value | Default | What it is |\n|---|---|---|---|\n");
    for field in fields(part) {
        let default = if field.required {
            "required".into()
        } else {
            field.default()
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | {} |",
            field.path.trim_start_matches(&format!("{part}.")),
            field.kind(),
            cell(field.description())
        );
    }
}

/// Rules of objects; those of a single field stand in its description.
fn rules(out: &mut String, path: &str, schema: &Value) {
    let properties = schema["properties"].as_object();
    let validations = schema["x-kubernetes-validations"].as_array();
    for rule in validations
        .into_iter()
        .flatten()
        .filter(|_| properties.is_some())
    {
        let field = rule["fieldPath"].as_str().unwrap_or_default();
        let message = rule["message"].as_str().unwrap_or_default();
        let _ = writeln!(out, "- `{path}{field}`: {message}");
    }
    for (name, below) in properties.into_iter().flatten() {
        let path = format!("{path}.{name}");
        let path = path.trim_start_matches('.');
        rules(out, path, below);
        rules(out, &format!("{path}[]"), &below["items"]);
    }
}

fn names(out: &mut String, title: &str, names: &[(String, String)]) {
    let columns = "|---".repeat(2 + title.matches('|').count());
    let _ = writeln!(out, "| {title} | What it means |\n{columns}|");
    for (name, meaning) in names {
        let _ = writeln!(out, "| `{name}` | {} |", cell(meaning));
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
