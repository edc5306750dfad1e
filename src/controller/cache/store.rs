use super::awaited::Awaited;
use super::labels::Labels;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// Namespace (empty for cluster-scoped things) and name; workloads and autoscalers carry their kind in the name: `Deployment/x`.
pub type Key = (String, String);

/// What a list brought: each record with the resource version it was read from.
pub type Listed<T> = BTreeMap<Key, (u64, Arc<T>)>;

/// What a record is looked for by.
pub trait Filed {
    /// Its labels; none for what is only looked for by name.
    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        None
    }
}

/// Records by key, each with the resource version it was read from.
///
/// A write of our own puts its answer here at once, and an older event from the watch does not undo it, so that a decision is
/// never made on a state from before our own last write. What there is and what is gone only the watch says.
#[derive(Debug)]
pub struct Store<T> {
    records: RwLock<Shelf<T>>,
    changes: AtomicU64,
    awaited: Awaited,
}

#[derive(Debug)]
struct Shelf<T> {
    by_key: Listed<T>,
    by_label: Labels,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_label: Labels::default(),
        }
    }
}

impl<T: PartialEq + Filed> Shelf<T> {
    fn put(&mut self, key: Key, version: u64, record: T) -> bool {
        let known = match self.by_key.get_mut(&key) {
            Some((newest, _)) if *newest > version => return false,
            Some((newest, known)) if **known == record => {
                *newest = version;
                return false;
            }
            Some((_, known)) => Some(known.clone()),
            None => None,
        };
        if known
            .as_ref()
            .is_none_or(|known| known.labels() != record.labels())
        {
            if let Some(known) = known {
                self.unfile(&key, &known);
            }
            self.file(&key, &record);
        }
        self.by_key.insert(key, (version, Arc::new(record)));
        true
    }

    fn remove(&mut self, key: &Key) -> bool {
        let record = self.by_key.remove(key);
        if let Some((_, record)) = &record {
            self.unfile(key, record);
        }
        record.is_some()
    }

    fn file(&mut self, key: &Key, record: &T) {
        if let Some(labels) = record.labels() {
            self.by_label.add(&key.0, &key.1, labels);
        }
    }

    fn unfile(&mut self, key: &Key, record: &T) {
        if let Some(labels) = record.labels() {
            self.by_label.remove(&key.0, &key.1, labels);
        }
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            records: RwLock::default(),
            changes: AtomicU64::new(0),
            awaited: Awaited::default(),
        }
    }
}

impl<T: PartialEq + Filed> Store<T> {
    /// Takes a record unless a newer one is there. Says whether anything but the version changed.
    pub fn put(&self, key: Key, version: u64, record: T) -> bool {
        let changed = self.shelf().put(key, version, record);
        self.count(changed)
    }

    /// Takes the answer to a write of our own, `None` when the object is of no interest any more. Not where nothing is known: an answer may
    /// come after the watch has told that the object is gone, and nothing would ever take it out again.
    pub fn answer(&self, key: Key, version: u64, record: Option<T>) {
        let mut shelf = self.shelf();
        let known = shelf.by_key.get(&key);
        if known.is_none_or(|(newest, _)| *newest > version) {
            return;
        }
        let changed = match record {
            Some(record) => shelf.put(key, version, record),
            None => shelf.remove(&key),
        };
        self.count(changed);
    }

    /// Removes a record. Says whether it was there.
    pub fn remove(&self, key: &Key) -> bool {
        let removed = self.shelf().remove(key);
        self.count(removed)
    }

    fn shelf(&self) -> RwLockWriteGuard<'_, Shelf<T>> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, changed: bool) -> bool {
        self.changes
            .fetch_add(u64::from(changed), Ordering::Release);
        changed
    }

    /// The record of a list that is still coming in: the one that is kept already, where it says the same. Otherwise a cluster that is listed
    /// anew would be held twice.
    pub fn shared(&self, key: &Key, record: T) -> Arc<T> {
        let shelf = self.records.read().unwrap_or_else(PoisonError::into_inner);
        match shelf.by_key.get(key) {
            Some((_, known)) if **known == record => known.clone(),
            _ => Arc::new(record),
        }
    }

    /// Replaces everything of a namespace (`None`: of all) by a fresh list; records of our own that are newer than the list's stay.
    pub fn replace(&self, namespace: Option<&str>, fresh: Listed<T>) {
        let mut shelf = self.shelf();
        let concerned = |key: &Key| namespace.is_none_or(|ns| key.0 == ns);
        let (mut old, others): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut shelf.by_key)
            .into_iter()
            .partition(|(key, _)| concerned(key));
        shelf.by_key = others;
        for (key, (version, record)) in fresh {
            let slot = match old.remove(&key) {
                Some((newest, known)) if newest > version => (newest, known),
                _ => (version, record),
            };
            shelf.by_key.insert(key, slot);
        }
        let Shelf { by_key, by_label } = &mut *shelf;
        *by_label = Labels::default();
        for ((namespace, name), (_, record)) in by_key {
            if let Some(labels) = record.labels() {
                by_label.add(namespace, name, labels);
            }
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Says which lists fill the store for the first time; one of all unless said.
    pub fn expect_lists(&self, places: Vec<Option<String>>) {
        self.awaited.expect(places);
    }

    /// The list of a namespace (`None`: of all) is in.
    pub fn listed(&self, namespace: Option<&str>) {
        self.awaited.came(namespace);
    }

    /// The record of a key.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.records
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_key
            .get(&key)
            .map(|(_, record)| record.clone())
    }

    /// All records of a namespace, in order of name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<(String, Arc<T>)> {
        let from = Bound::Included((namespace.to_owned(), String::new()));
        let shelf = self.records.read().unwrap_or_else(PoisonError::into_inner);
        shelf
            .by_key
            .range((from, Bound::Unbounded))
            .take_while(|((ns, _), _)| ns == namespace)
            .map(|((_, name), (_, record))| (name.clone(), record.clone()))
            .collect()
    }

    /// Records of a namespace that may bear all of these labels, in order of name: every one that does is among them. All of it without
    /// labels.
    pub fn labelled(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<(String, Arc<T>)> {
        let shelf = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = shelf.by_label.names(namespace, labels) else {
            drop(shelf);
            return self.in_namespace(namespace);
        };
        let found = names.into_iter().filter_map(|name| {
            let key = (namespace.to_owned(), name.to_owned());
            let (_, record) = shelf.by_key.get(&key)?;
            Some((key.1, record.clone()))
        });
        found.collect()
    }

    /// Shows every record, in order of key; nothing may be changed meanwhile.
    pub fn each(&self, mut see: impl FnMut(&T)) {
        let shelf = self.records.read().unwrap_or_else(PoisonError::into_inner);
        for (_, record) in shelf.by_key.values() {
            see(record);
        }
    }

    /// All records, in order of key.
    pub fn all(&self) -> Vec<(Key, Arc<T>)> {
        let shelf = self.records.read().unwrap_or_else(PoisonError::into_inner);
        shelf
            .by_key
            .iter()
            .map(|(key, (_, record))| (key.clone(), record.clone()))
            .collect()
    }

    /// Counts up with every change.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether what there is in a namespace has been listed once. Nothing is decided there before.
    pub fn synced_in(&self, namespace: &str) -> bool {
        self.awaited.has(namespace)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    impl Filed for &str {}
    impl Filed for u8 {}
    impl Filed for i32 {}

    impl Filed for BTreeMap<String, String> {
        fn labels(&self) -> Option<&BTreeMap<String, String>> {
            Some(self)
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_bears_a_label_is_found_in_order_of_name_until_it_loses_it_or_is_gone() {
        let store = Store::default();
        let found = |wanted: &[(&str, &str)]| -> Vec<String> {
            let found = store.labelled("ns", &labels(wanted));
            found.into_iter().map(|(name, _)| name).collect()
        };
        let (chat, new) = (("app", "chat"), ("hash", "new"));
        store.put(key("b"), 1, labels(&[chat]));
        store.put(key("a"), 1, labels(&[chat, new]));
        store.put(key("c"), 1, labels(&[("app", "code")]));
        store.put(("other".into(), "d".into()), 1, labels(&[chat]));
        assert_eq!(found(&[chat]), ["a", "b"]);
        assert_eq!(found(&[chat, new]), ["a"], "the rarest of them");
        assert_eq!(found(&[chat, ("hash", "none")]), [""; 0]);
        assert_eq!(found(&[]), ["a", "b", "c"]);
        store.put(key("a"), 2, labels(&[("app", "code"), new]));
        assert_eq!(found(&[chat]), ["b"]);
        assert_eq!(found(&[new]), ["a"]);
        store.remove(&key("b"));
        assert_eq!(found(&[chat]), [""; 0]);
        store.replace(
            Some("ns"),
            BTreeMap::from([(key("e"), (3, Arc::new(labels(&[chat]))))]),
        );
        assert_eq!(found(&[chat]), ["e"]);
        assert_eq!(found(&[new]), [""; 0]);
        assert_eq!(store.labelled("other", &labels(&[chat])).len(), 1);
    }

    fn key(name: &str) -> Key {
        ("ns".into(), name.into())
    }

    #[test]
    fn an_older_event_does_not_undo_our_own_write() {
        let store = Store::default();
        assert!(store.put(key("a"), 10, "ours"));
        assert!(!store.put(key("a"), 9, "older"));
        assert_eq!(store.get("ns", "a").as_deref(), Some(&"ours"));
        assert!(store.put(key("a"), 11, "newer"));
    }

    #[test]
    fn an_answer_that_comes_after_the_deletion_brings_nothing_back() {
        let store = Store::default();
        store.put(key("a"), 10, "before");
        store.answer(key("a"), 11, Some("ours"));
        assert_eq!(store.get("ns", "a").as_deref(), Some(&"ours"));
        store.answer(key("a"), 10, Some("older"));
        store.answer(key("a"), 10, None);
        assert_eq!(store.get("ns", "a").as_deref(), Some(&"ours"));
        store.remove(&key("a"));
        let changes = store.changes();
        store.answer(key("a"), 12, Some("late"));
        assert_eq!((store.get("ns", "a"), store.changes()), (None, changes));
    }

    #[test]
    fn an_answer_by_which_an_object_is_of_no_interest_takes_it_out() {
        let store = Store::default();
        store.put(key("a"), 10, "before");
        store.answer(key("a"), 11, None);
        assert_eq!(store.get("ns", "a"), None);
    }

    #[test]
    fn a_relist_drops_what_is_gone_and_keeps_what_is_newer() {
        let store = Store::default();
        store.put(key("gone"), 1, "x");
        store.put(key("ours"), 10, "ours");
        store.put(("other".into(), "x".into()), 1, "x");
        store.replace(
            Some("ns"),
            BTreeMap::from([
                (key("ours"), (5, Arc::new("listed"))),
                (key("new"), (6, Arc::new("new"))),
            ]),
        );
        assert!(store.get("other", "x").is_some());
        let all: Vec<_> = store
            .in_namespace("ns")
            .into_iter()
            .map(|(name, r)| (name, *r))
            .collect();
        assert_eq!(
            all,
            [("new".to_owned(), "new"), ("ours".to_owned(), "ours")]
        );
    }

    #[test]
    fn a_list_that_is_read_anew_is_not_held_twice() {
        let store = Store::default();
        store.put(key("a"), 1, "same");
        let known = store.get("ns", "a").unwrap();
        assert!(Arc::ptr_eq(&store.shared(&key("a"), "same"), &known));
        assert_eq!(*store.shared(&key("a"), "changed"), "changed");
        assert_eq!(*store.shared(&key("b"), "same"), "same");
    }

    #[test]
    fn a_repeated_record_is_no_change() {
        let store = Store::default();
        assert!(store.put(key("a"), 1, "same"));
        let changes = store.changes();
        assert!(!store.put(key("a"), 2, "same"));
        assert_eq!(store.changes(), changes);
    }

    #[test]
    fn a_namespace_is_not_its_prefix() {
        let store = Store::default();
        store.put(("team".into(), "a".into()), 1, 1);
        store.put(("team-b".into(), "b".into()), 1, 2);
        assert_eq!(store.in_namespace("team").len(), 1);
    }
}
