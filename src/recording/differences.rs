//! Where two values differ first, in words.

use serde_json::Value;

/// Lists with one item an agent, in the pool's order.
const BY_AGENT: [&str; 5] = ["allotments", "quanta", "holds", "memoryBound", "unmet"];

/// The first place at which `ours` is not what was recorded: `allotments, agent chat, target: recorded 1000, recomputed 1500`.
pub(super) fn first(recorded: &Value, ours: &Value, agents: &[&str]) -> Option<String> {
    let mut path = Vec::new();
    let (recorded, ours) = descend(recorded, ours, agents, &mut path)?;
    Some(format!(
        "{}: recorded {recorded}, recomputed {ours}",
        path.join(", ")
    ))
}

fn descend(
    recorded: &Value,
    ours: &Value,
    agents: &[&str],
    path: &mut Vec<String>,
) -> Option<(String, String)> {
    let said = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                path.push(key.clone());
                let found = match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => descend(a, b, agents, path),
                    (a, b) => Some((said(a), said(b))),
                };
                if found.is_none() {
                    path.pop();
                }
                found
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            let of_agents = path
                .last()
                .is_some_and(|key| BY_AGENT.contains(&key.as_str()));
            (0..a.len().max(b.len())).find_map(|i| {
                path.push(match agents.get(i).filter(|_| of_agents) {
                    Some(agent) => format!("agent {agent}"),
                    None => format!("item {}", i + 1),
                });
                let found = match (a.get(i), b.get(i)) {
                    (Some(a), Some(b)) => descend(a, b, agents, path),
                    (a, b) => Some((said(a), said(b))),
                };
                if found.is_none() {
                    path.pop();
                }
                found
            })
        }
        (a, b) if a == b => None,
        (a, b) => Some((a.to_string(), b.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::first;
    use serde_json::json;

    #[test]
    fn the_place_is_named_by_agent_and_field() {
        let a = json!({"allotments": [{"target": 1}, {"target": 2}], "plan": {"steps": []}});
        let mut b = a.clone();
        assert_eq!(first(&a, &b, &["x", "y"]), None);
        b["allotments"][1]["target"] = json!(3);
        let said = first(&a, &b, &["x", "y"]).unwrap();
        assert_eq!(
            said,
            "allotments, agent y, target: recorded 2, recomputed 3"
        );
        let mut b = a.clone();
        b["plan"]["steps"] = json!([{"Forget": {"agent": 0}}]);
        let said = first(&a, &b, &["x", "y"]).unwrap();
        assert!(
            said.starts_with("plan, steps, item 1: recorded nothing, recomputed {"),
            "{said}"
        );
    }
}
