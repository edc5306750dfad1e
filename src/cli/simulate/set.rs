//! What-if: `--set PATH=VALUE` on a manifest or a scenario before it is read.

use serde_yaml::{Mapping, Value};

/// One `--set`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    /// As it was written.
    text: String,
    path: Vec<Step>,
    value: Value,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A field.
    Field(String),
    /// An item of a list, by its name or its number.
    Item(String),
}

impl Set {
    /// Reads `spec.agents[reasoning].priority=High`: fields of the pool begin with `spec.`, all others are the scenario's.
    ///
    /// # Errors
    /// What is no such text; says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        const RIGHT: &str =
            "must be PATH=VALUE, such as spec.agents[coder].priority=High or cluster.lag=30";
        let (path, value) = text.split_once('=').ok_or(RIGHT)?;
        let value: Value = serde_yaml::from_str(value).map_err(|error| error.to_string())?;
        let mut steps = Vec::new();
        for part in path.split('.') {
            let (field, item) = match part.split_once('[') {
                Some((field, item)) => (field, Some(item)),
                None => (part, None),
            };
            if field.is_empty() {
                return Err(RIGHT.to_owned());
            }
            steps.push(Step::Field(field.to_owned()));
            if let Some(item) = item {
                let item = item.strip_suffix(']').filter(|item| !item.is_empty());
                steps.push(Step::Item(item.ok_or(RIGHT)?.to_owned()));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            path: steps,
            value,
        })
    }

    /// Sets a field of a pool: fractions are written as texts there.
    pub fn pool(field: &str, value: &str) -> Self {
        let path = field.split('.').map(|f| match f.strip_suffix("[0]") {
            Some(list) => vec![Step::Field(list.to_owned()), Step::Item("0".to_owned())],
            None => vec![Step::Field(f.to_owned())],
        });
        Self {
            text: format!("{field}={value}"),
            path: path.flatten().collect(),
            value: Value::String(value.to_owned()),
        }
    }

    /// Whether it is of the pool.
    pub fn is_of_pool(&self) -> bool {
        self.path.first() == Some(&Step::Field("spec".to_owned()))
    }

    /// Puts the value in. A last field that is not there is added, and so are fields on the way to it.
    ///
    /// # Errors
    /// A list or an item on the way that is not there; says what there is.
    pub fn apply(&self, root: &mut Value) -> Result<(), String> {
        let mut place = root;
        for step in &self.path {
            place = match step {
                Step::Field(name) => self.field(place, name)?,
                Step::Item(name) => self.item(place, name)?,
            };
        }
        *place = match &self.value {
            // The API writes fractions as texts.
            Value::Number(number) if self.is_of_pool() && number.is_f64() => {
                Value::String(number.to_string())
            }
            value => value.clone(),
        };
        Ok(())
    }

    fn field<'a>(&self, place: &'a mut Value, name: &str) -> Result<&'a mut Value, String> {
        if place.is_null() {
            *place = Value::Mapping(Mapping::new());
        }
        let Value::Mapping(fields) = place else {
            return Err(format!(
                "--set {}: {name:?} is asked of what has no fields",
                self.text
            ));
        };
        Ok(fields.entry(name.into()).or_insert(Value::Null))
    }

    fn item<'a>(&self, place: &'a mut Value, name: &str) -> Result<&'a mut Value, String> {
        let Value::Sequence(items) = place else {
            return Err(format!(
                "--set {}: [{name}] is asked of what is no list",
                self.text
            ));
        };
        let named = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
        let names: Vec<Option<String>> = items.iter().map(named).collect();
        let place = names
            .iter()
            .position(|found| found.as_deref() == Some(name))
            .or_else(|| name.parse().ok().filter(|i| *i < items.len()));
        let Some(place) = place else {
            let there: Vec<String> = names.into_iter().flatten().collect();
            return Err(format!(
                "--set {}: there is no {name:?} in the list; it has {}",
                self.text,
                there.join(", ")
            ));
        };
        Ok(&mut items[place])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(yaml: &str, text: &str) -> Result<Value, String> {
        let mut root = serde_yaml::from_str(yaml).unwrap();
        Set::parse(text)?.apply(&mut root).map(|()| root)
    }

    #[test]
    fn items_are_named_or_numbered_and_fields_are_added() {
        let pool = "spec: {devices: [{name: a, gpus: 4}], agents: [{name: x}, {name: y}]}";
        let found = set(pool, "spec.agents[y].priority=High").unwrap();
        assert_eq!(found["spec"]["agents"][1]["priority"], "High");
        let found = set(pool, "spec.devices[0].gpus=0.5").unwrap();
        assert_eq!(found["spec"]["devices"][0]["gpus"], "0.5");
        let found = set("{}", "cluster.lag=30").unwrap();
        assert_eq!(found["cluster"]["lag"], 30);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let pool = "spec: {agents: [{name: x}, {name: y}]}";
        let error = set(pool, "spec.agents[z].priority=High").unwrap_err();
        assert!(
            error.contains("no \"z\" in the list; it has x, y"),
            "{error}"
        );
        for text in ["spec", "=1", "a[=1", "a[]=1", "spec.agents[x"] {
            assert!(Set::parse(text).is_err(), "{text}");
        }
        let error = set("spec: 1", "spec.agents[x].a=1").unwrap_err();
        assert!(error.contains("has no fields"), "{error}");
    }
}
