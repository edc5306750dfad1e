use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names of records by namespace and label, so that the few pods of a workload are found among the many of a namespace.
///
/// A label is kept as its hash only: two that share one are told apart by whoever asked, who looks at the labels themselves.
#[derive(Debug, Default)]
pub(super) struct Labels {
    names: BTreeMap<u64, Vec<Box<str>>>,
}

fn hash(namespace: &str, label: (&String, &String)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, label).hash(&mut hasher);
    hasher.finish()
}

impl Labels {
    /// Files a name under its labels; it is under none of them yet.
    pub(super) fn add(&mut self, namespace: &str, name: &str, labels: &BTreeMap<String, String>) {
        for label in labels {
            let names = self.names.entry(hash(namespace, label)).or_default();
            names.push(name.into());
        }
    }

    /// Takes a name out again.
    pub(super) fn remove(
        &mut self,
        namespace: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) {
        for label in labels {
            let hash = hash(namespace, label);
            if let Some(names) = self.names.get_mut(&hash) {
                names.retain(|known| **known != *name);
                if names.is_empty() {
                    self.names.remove(&hash);
                }
            }
        }
    }

    /// Names under the rarest of these labels, in order: every record that bears all of them is among these. `None` without labels.
    pub(super) fn names(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Vec<&str>> {
        let rows = labels.iter().map(|label| {
            self.names
                .get(&hash(namespace, label))
                .map_or(&[][..], Vec::as_slice)
        });
        let rarest = rows.min_by_key(|names| names.len())?;
        let mut names: Vec<&str> = rarest.iter().map(|name| &**name).collect();
        names.sort_unstable();
        Some(names)
    }
}
