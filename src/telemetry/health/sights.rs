//! What is watched, and when the API server last told something of it. What works tells something now and then; silence is no sign that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};
use std::time::Duration;
use tokio::time::Instant;

/// What nothing was told of for this long may be an old picture. Longer than a watch that works is silent, by time for some tries to resume it.
pub(super) const OUTDATED: Duration = Duration::from_secs(90);

/// Objects of a kind, of a namespace or of all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    what: String,
    namespace: Option<String>,
}

impl Watched {
    /// The plural of a kind (`pods`), and the namespace when not all are watched.
    pub fn new(what: &str, namespace: Option<&str>) -> Self {
        Self {
            what: what.to_owned(),
            namespace: namespace.map(str::to_owned),
        }
    }

    fn concerns(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|ns| ns == namespace)
    }
}

impl Display for Watched {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            None => f.write_str(&self.what),
            Some(namespace) => write!(f, "{} in {namespace}", self.what),
        }
    }
}

/// All that is watched.
#[derive(Debug, Default)]
pub(super) struct Sights {
    known: BTreeMap<Watched, Sight>,
}

#[derive(Debug)]
struct Sight {
    told: Instant,
    why: Option<String>,
}

impl Sight {
    fn is_outdated(&self, now: Instant) -> bool {
        now.duration_since(self.told) >= OUTDATED
    }
}

impl Sights {
    /// The API server told something, or a try to hear it failed; why, for people.
    pub(super) fn note(&mut self, now: Instant, watched: &Watched, works: Result<(), String>) {
        let first = || Sight {
            told: now,
            why: None,
        };
        let sight = self.known.entry(watched.clone()).or_insert_with(first);
        sight.why = works.err();
        if sight.why.is_none() {
            sight.told = now;
        }
    }

    /// It is not watched any more.
    pub(super) fn forget(&mut self, watched: &Watched) {
        self.known.remove(watched);
    }

    /// Whether what is known of a namespace may be an old picture.
    pub(super) fn is_outdated_in(&self, now: Instant, namespace: &str) -> bool {
        self.known
            .iter()
            .any(|(watched, sight)| watched.concerns(namespace) && sight.is_outdated(now))
    }

    /// Whether there is no namespace whose picture is known to be a new one.
    pub(super) fn is_outdated_everywhere(&self, now: Instant) -> bool {
        let namespaces: BTreeSet<&str> = self
            .known
            .keys()
            .map(|watched| watched.namespace.as_deref().unwrap_or_default())
            .collect();
        let mut named = namespaces.iter().filter(|ns| !ns.is_empty()).peekable();
        match named.peek() {
            None => self.is_outdated_in(now, ""),
            Some(_) => named.all(|ns| self.is_outdated_in(now, ns)),
        }
    }

    /// What may be an old picture, and why, for people; `failing`: also what failed when it was tried last.
    pub(super) fn complaints(&self, now: Instant, failing: bool) -> Vec<String> {
        let missing = self
            .known
            .iter()
            .filter(|(_, sight)| sight.is_outdated(now) || (failing && sight.why.is_some()));
        missing
            .map(|(watched, sight)| {
                let silent = || {
                    let seconds = now.duration_since(sight.told).as_secs();
                    format!("the API server has told nothing of it for {seconds} s")
                };
                let why = sight.why.clone().unwrap_or_else(silent);
                format!("cannot list or watch {watched}: {why}")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(what: &str, namespace: &str) -> Watched {
        Watched::new(what, Some(namespace).filter(|ns| !ns.is_empty()))
    }

    fn failed() -> Result<(), String> {
        Err("forbidden".to_owned())
    }

    #[test]
    fn what_nothing_is_told_of_for_too_long_is_an_old_picture_until_something_is() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let nodes = watched("nodes", "");
        let mut sights = Sights::default();
        sights.note(at(0), &nodes, Ok(()));
        assert!(!sights.is_outdated_in(at(89), "a"));
        assert!(sights.is_outdated_in(at(90), "a") && sights.is_outdated_everywhere(at(90)));
        let said = sights.complaints(at(90), false);
        assert!(said[0].ends_with("nodes: the API server has told nothing of it for 90 s"));
        sights.note(at(91), &nodes, failed());
        assert!(sights.is_outdated_in(at(91), "a"));
        let said = sights.complaints(at(91), false);
        assert_eq!(said, ["cannot list or watch nodes: forbidden"]);
        sights.note(at(92), &nodes, Ok(()));
        assert!(!sights.is_outdated_in(at(92), "a"));
    }

    #[test]
    fn failures_make_an_old_picture_only_if_nothing_is_told_meanwhile() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let nodes = watched("nodes", "");
        let mut sights = Sights::default();
        for seconds in (0..400).step_by(40) {
            sights.note(at(seconds), &nodes, failed());
            assert_eq!(sights.complaints(at(seconds), false), [""; 0]);
            assert_eq!(sights.complaints(at(seconds), true).len(), 1);
            sights.note(at(seconds + 30), &nodes, Ok(()));
        }
        let mut sights = Sights::default();
        for seconds in (0..90).step_by(2) {
            assert!(!sights.is_outdated_in(at(seconds), "a"));
            sights.note(at(seconds), &nodes, failed());
        }
        assert!(sights.is_outdated_in(at(90), "a"));
    }

    #[test]
    fn a_namespace_is_as_old_as_its_own_watches_and_those_of_all() {
        let start = Instant::now();
        let late = start + OUTDATED;
        let mut sights = Sights::default();
        for (what, namespace) in [("pods", "a"), ("pods", "b"), ("deployments", "b")] {
            sights.note(start, &watched(what, namespace), Ok(()));
        }
        sights.note(late, &watched("pods", "a"), Ok(()));
        sights.note(late, &watched("deployments", "b"), Ok(()));
        let old = |sights: &Sights, ns| sights.is_outdated_in(late, ns);
        assert!(!old(&sights, "a") && old(&sights, "b"));
        assert!(!sights.is_outdated_everywhere(late));
        sights.note(start, &watched("nodes", ""), Ok(()));
        assert!(old(&sights, "a") && sights.is_outdated_everywhere(late));
        sights.forget(&watched("nodes", ""));
        sights.forget(&watched("pods", "a"));
        assert!(sights.is_outdated_everywhere(late), "there is only b");
    }

    #[test]
    fn a_replica_that_watches_nothing_is_not_blind() {
        let sights = Sights::default();
        assert!(!sights.is_outdated_everywhere(Instant::now()));
    }
}
