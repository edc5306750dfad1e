//! The fields of the CRD as a flat list, and what every one of them must say of itself.

use serde_json::Value;

/// One field of the CRD.
pub struct Field {
    /// Path, such as `spec.agents[].minShare`.
    pub path: String,
    /// Its schema.
    pub schema: Value,
    /// It must be present.
    pub required: bool,
}

impl Field {
    pub fn description(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }

    /// What may stand there, in a few words.
    pub fn kind(&self) -> String {
        let schema = &self.schema;
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> = values.iter().map(|v| format!("`{}`", plain(v))).collect();
            return values.join(", ");
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return "integer or string".into();
        }
        match schema["type"].as_str().unwrap_or_default() {
            "array" => format!("list{}", bound(schema, "minItems", "maxItems")),
            "object" if schema["additionalProperties"].is_object() => {
                format!("map of strings{}", bound(schema, "", "maxProperties"))
            }
            "integer" => format!("integer{}", bound(schema, "minimum", "maximum")),
            other => other.into(),
        }
    }

    /// The default as YAML in one line; empty where there is none or it only repeats the defaults of the fields below.
    pub fn default(&self) -> String {
        match &self.schema["default"] {
            Value::Null | Value::Object(_) | Value::Array(_) => String::new(),
            Value::String(text) if text.is_empty() => String::new(),
            value => format!("`{}`", plain(value)),
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn bound(schema: &Value, least: &str, most: &str) -> String {
    match (schema[least].as_f64(), schema[most].as_f64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (None, Some(most)) => format!(", at most {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, None) => String::new(),
    }
}

/// The schema of the CRD's one version.
pub fn schema() -> Value {
    let crd = serde_json::to_value(agentpool::api::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// All fields under `spec` or `status`, depth first, required ones before optional ones. Kubernetes' own condition type is not ours to describe.
pub fn fields(part: &str) -> Vec<Field> {
    let mut found = Vec::new();
    below(part, &schema()["properties"][part], &mut found);
    found
}

fn below(path: &str, schema: &Value, found: &mut Vec<Field>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required = |name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|n| n == name))
    };
    let (first, then): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| required(name));
    for (name, schema) in first.into_iter().chain(then) {
        let list = schema["type"] == "array";
        let path = format!("{path}.{name}{}", if list { "[]" } else { "" });
        found.push(Field {
            path: path.clone(),
            schema: schema.clone(),
            required: required(name),
        });
        if !path.ends_with("conditions[]") {
            below(&path, if list { &schema["items"] } else { schema }, found);
        }
    }
}

#[test]
fn every_field_of_the_spec_says_what_it_is_its_default_and_its_range() {
    let fields = fields("spec");
    assert!(fields.len() > 50, "only {} fields", fields.len());
    for field in fields {
        let (path, text) = (&field.path, field.description());
        assert!(text.len() >= 20 && text.ends_with('.'), "{path}: {text:?}");
        if field.required {
            assert!(text.contains("Required."), "{path} is required: {text:?}");
        } else {
            assert!(text.contains("Default"), "{path} is optional: {text:?}");
        }
        let default = field.default().replace('`', "");
        assert!(
            text.contains(&default),
            "{path} has the default {default}: {text:?}"
        );
        for bound in ["minimum", "maximum", "maxProperties"] {
            let Some(bound) = field.schema[bound].as_f64() else {
                continue;
            };
            assert!(
                text.contains(&bound.to_string()),
                "{path} is bounded by {bound}: {text:?}"
            );
        }
        for value in field.schema["enum"].as_array().into_iter().flatten() {
            assert!(
                text.contains(&plain(value)),
                "{path} may be {value}: {text:?}"
            );
        }
    }
}

#[test]
fn every_field_of_the_status_says_what_it_is() {
    for field in fields("status") {
        let text = field.description();
        assert!(
            text.len() >= 15 && text.ends_with('.'),
            "{}: {text:?}",
            field.path
        );
    }
}

#[test]
fn everything_is_bounded_lists_maps_strings_and_numbers() {
    for field in fields("spec").into_iter().chain(fields("status")) {
        let schema = &field.schema;
        let has = |key: &str| !schema[key].is_null();
        let bounded = match schema["type"].as_str() {
            Some("array") => has("maxItems"),
            Some("object") => has("properties") || has("maxProperties"),
            Some("string") => has("enum") || has("maxLength"),
            Some("integer") => has("maximum") || field.path.starts_with("status."),
            Some("boolean") => true,
            _ => schema["x-kubernetes-int-or-string"] == true && has("maxLength"),
        };
        assert!(bounded, "{} is not bounded: {schema}", field.path);
    }
}

#[test]
fn no_field_can_hold_null_and_every_rule_says_what_would_be_right() {
    fn look(path: &str, schema: &Value) -> usize {
        assert!(schema["nullable"].is_null(), "{path} is nullable");
        let rules = schema["x-kubernetes-validations"].as_array();
        let mut seen = 0;
        for rule in rules.into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default();
            let right = ["must ", "needs ", "required", "only"];
            assert!(
                right.iter().any(|word| message.contains(word)),
                "{path}: {message:?}"
            );
            seen += 1;
        }
        let properties = schema["properties"].as_object();
        for (name, below) in properties.into_iter().flatten() {
            seen += look(&format!("{path}.{name}"), below);
        }
        if schema["items"].is_object() {
            seen += look(&format!("{path}[]"), &schema["items"]);
        }
        seen
    }
    let seen = look("", &schema());
    assert!(seen > 30, "only {seen} rules");
}
