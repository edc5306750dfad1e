//! `docs/simulate.md`, from the types that are read and written.

use super::file::ScenarioFile;
use crate::simulation::control::Rule;
use crate::simulation::report::{Results, Table, legend};
use schemars::Schema;
use serde_json::Value;

/// The manual of `agentpool simulate`: prose, then a table for each thing that is read or written.
pub fn reference() -> String {
    let mut scenario = Table::new(["<field", "<what it is"]);
    fields(&schemars::schema_for!(ScenarioFile), &mut scenario);
    let mut json = Table::new(["<field", "<what it is"]);
    fields(&schemars::schema_for!(Results), &mut json);
    let mut rules = Table::new(["<rule", "<what it does", "<target after a colon", "<source"]);
    for rule in Rule::ALL {
        rules.row([
            rule.name(),
            rule.describe(),
            rule.target().unwrap_or("none"),
            rule.source(),
        ]);
    }
    include_str!("reference.md")
        .replace("{rules}", rules.markdown().trim_end())
        .replace("{scenario}", scenario.markdown().trim_end())
        .replace("{columns}", legend().markdown().trim_end())
        .replace("{json}", json.markdown().trim_end())
}

/// `docs/simulate.schema.json`: the JSON that is written, as a JSON Schema.
///
/// # Errors
/// None that is known: a schema has nothing that JSON has not.
pub fn schema() -> serde_json::Result<String> {
    serde_json::to_string_pretty(&schemars::schema_for!(Results)).map(|text| text + "\n")
}

/// A row for each field of a schema, those of inner types with their paths.
fn fields(schema: &Schema, table: &mut Table) {
    walk(schema.as_value(), schema.as_value(), "", table);
}

fn walk(root: &Value, schema: &Value, path: &str, table: &mut Table) {
    // The same three fields wherever it stands.
    if schema["$ref"] == "#/$defs/Interval" {
        return;
    }
    let schema = resolved(root, schema);
    for variant in ["oneOf", "anyOf", "allOf"] {
        for inner in schema[variant].as_array().into_iter().flatten() {
            walk(root, inner, path, table);
        }
    }
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        let place = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let inner = resolved(root, property);
        let kind = property["const"].as_str().or(inner["const"].as_str());
        let says = |of: &Value| of["description"].as_str().map(one_line);
        let what = match kind {
            Some(kind) => format!("{kind}: {}", says(schema).unwrap_or_default()),
            None => says(property).or_else(|| says(inner)).unwrap_or_default(),
        };
        table.row([format!("`{place}`"), what]);
        if inner["items"].is_object() {
            walk(root, &inner["items"], &format!("{place}[]"), table);
        } else if inner["additionalProperties"].is_object() {
            walk(
                root,
                &inner["additionalProperties"],
                &format!("{place}.NAME"),
                table,
            );
        } else {
            walk(root, inner, &place, table);
        }
    }
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next());
    name.map_or(schema, |name| &root["$defs"][name])
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
