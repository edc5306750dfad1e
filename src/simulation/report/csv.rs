//! The figures as CSV: a line for each rule and agent, the agent of the rule's own line being `*`.

use super::results::{Intervals, Measures, Results};
use serde_json::Value;

/// The parts of an interval, as the JSON calls them.
const PARTS: [&str; 3] = ["mean", "low", "high"];

/// CSV with a header; names as in the JSON, an interval's parts as `meanLatencyInterval.low`; empty where the JSON has null.
pub fn csv(results: &Results) -> String {
    let measures = names(&Measures::default());
    let intervals = names(&Intervals::default());
    let parts = intervals
        .iter()
        .flat_map(|name| PARTS.map(|part| format!("{name}.{part}")));
    let header: Vec<String> = measures.iter().cloned().chain(parts).collect();
    let mut out = format!("policy,agent,{}\n", header.join(","));
    for rule in &results.results {
        let all = std::iter::once(("*", &rule.measures, &rule.intervals));
        let agents = rule
            .agents
            .iter()
            .map(|agent| (agent.name.as_str(), &agent.measures, &agent.intervals));
        for (name, figures, lie) in all.chain(agents) {
            let figures = serde_json::to_value(figures).unwrap_or_default();
            let lie = serde_json::to_value(lie).unwrap_or_default();
            let figures = measures.iter().map(|name| cell(&figures[name.as_str()]));
            let lie = intervals
                .iter()
                .flat_map(|name| PARTS.map(|part| cell(&lie[name.as_str()][part])));
            let cells: Vec<String> = figures.chain(lie).collect();
            out += &format!("{},{name},{}\n", rule.policy, cells.join(","));
        }
    }
    out
}

/// Names of the figures, in alphabetical order.
fn names(of: &impl serde::Serialize) -> Vec<String> {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        number => number.to_string(),
    }
}
