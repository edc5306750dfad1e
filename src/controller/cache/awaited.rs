use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Lists that have not come in yet: of namespaces, or of all (`None`).
#[derive(Debug)]
pub struct Awaited(RwLock<BTreeSet<Option<String>>>);

impl Default for Awaited {
    fn default() -> Self {
        Self::new([None])
    }
}

impl Awaited {
    /// Of these places; `None`: of all in one.
    pub fn new(places: impl IntoIterator<Item = Option<String>>) -> Self {
        Self(RwLock::new(places.into_iter().collect()))
    }

    /// Of these places, and of no others.
    pub fn expect(&self, places: impl IntoIterator<Item = Option<String>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = places.into_iter().collect();
    }

    /// A list is in.
    pub fn came(&self, place: Option<&str>) {
        let place = place.map(str::to_owned);
        let mut missing = self.0.write().unwrap_or_else(PoisonError::into_inner);
        missing.remove(&place);
    }

    /// Whether what there is in a namespace is known.
    pub fn has(&self, namespace: &str) -> bool {
        let missing = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let concerns = |place: &Option<String>| place.as_deref().is_none_or(|ns| ns == namespace);
        !missing.iter().any(concerns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_known_when_its_own_list_is_in_whatever_others_do() {
        let awaited = Awaited::default();
        assert!(!awaited.has("a"));
        awaited.expect(["a", "b"].map(|ns| Some(ns.to_owned())));
        awaited.came(Some("a"));
        assert!(awaited.has("a") && !awaited.has("b"));
        awaited.came(Some("a"));
        assert!(!awaited.has("b"));
        awaited.came(Some("b"));
        assert!(awaited.has("b"));
    }

    #[test]
    fn a_list_of_all_is_waited_for_by_everybody() {
        let awaited = Awaited::default();
        awaited.came(None);
        assert!(awaited.has("a") && awaited.has("b"));
    }
}
