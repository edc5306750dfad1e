//! GPUs that pods hold and their node does not offer. A device plugin that restarts takes seconds; what is away for long is lost.

use super::NodeRecord;
use crate::units::GpuResource;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A device plugin that is updated, or a node that restarts, is back within this time.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Since when nodes have not offered what pods hold there, as far as this process has seen it.
#[derive(Debug, Default)]
pub struct Absences {
    since: Mutex<BTreeMap<String, Instant>>,
}

impl Absences {
    /// Whether the node has not offered for long what is held there, as it does not now. `node`: `None` when it is gone.
    pub fn is_long(
        &self,
        name: &str,
        node: Option<&NodeRecord>,
        held: &BTreeMap<GpuResource, u32>,
        now: Instant,
    ) -> bool {
        let offers = |node: &NodeRecord| {
            let of = |resource| node.allocatable.get(resource).copied().unwrap_or(0);
            node.ready && held.iter().all(|(resource, n)| *n <= of(resource))
        };
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if node.is_some_and(offers) {
            since.remove(name);
            return false;
        }
        let first = *since.entry(name.to_owned()).or_insert(now);
        now.saturating_duration_since(first) >= PATIENCE
    }

    /// Forgets nodes that hold nothing any more.
    pub fn keep(&self, holds: impl Fn(&str) -> bool) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|name, _| holds(name));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::whole;
    use super::*;

    #[test]
    fn an_absence_is_long_after_ten_minutes_and_begins_anew_when_the_gpus_were_back() {
        let absences = Absences::default();
        let held = [(GpuResource::whole(), 4)].into();
        let start = Instant::now();
        let is_long = |node: Option<NodeRecord>, seconds| {
            let now = start + Duration::from_secs(seconds);
            absences.is_long("n", node.as_ref(), &held, now)
        };
        assert!(!is_long(Some(whole(0)), 0));
        assert!(!is_long(Some(whole(3)), 599));
        assert!(is_long(Some(whole(3)), 600));
        assert!(!is_long(Some(whole(4)), 601));
        assert!(!is_long(None, 602));
        let dark = NodeRecord {
            ready: false,
            ..whole(4)
        };
        assert!(is_long(Some(dark), 1202));
        absences.keep(|name| name != "n");
        assert!(!is_long(None, 1203));
    }
}
