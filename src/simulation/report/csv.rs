//! The figures as CSV: a line for each rule and agent, the agent of the rule's own line being `*`.

use super::results::{Measures, Results};
use serde_json::Value;

/// CSV with a header; names as in the JSON, empty where the JSON has null.
pub fn csv(results: &Results) -> String {
    let columns = columns();
    let mut out = format!("policy,agent,{}\n", columns.join(","));
    for rule in &results.results {
        let all = std::iter::once(("*", &rule.measures));
        let agents = rule
            .agents
            .iter()
            .map(|agent| (agent.name.as_str(), &agent.measures));
        for (name, measures) in all.chain(agents) {
            let cells = cells(measures, &columns).join(",");
            out += &format!("{},{name},{cells}\n", rule.policy);
        }
    }
    out
}

/// Names of the figures, in alphabetical order.
fn columns() -> Vec<String> {
    match serde_json::to_value(Measures::default()) {
        Ok(Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn cells(measures: &Measures, columns: &[String]) -> Vec<String> {
    let value = serde_json::to_value(measures).unwrap_or_default();
    let cell = |column: &String| match &value[column.as_str()] {
        Value::Null => String::new(),
        number => number.to_string(),
    };
    columns.iter().map(cell).collect()
}
