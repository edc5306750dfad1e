//! How long a promise holds others off. What could have been taken all the time and was not is not believed for ever: the pods may have an
//! affinity that no node meets, or a quota of nothing.

use super::due::Due;
use std::time::Duration;

/// So long is a promise believed while it could be kept. A scheduler that is well binds a pod within seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// So long where the scheduler says of the pods that no node can take them. It tries again within ten seconds when something becomes free.
pub const REFUSED: Duration = Duration::from_secs(15);

/// So long a pod that is not ready excuses a controller that creates one after the other: what a Deployment takes as no progress
/// (`progressDeadlineSeconds`, <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>). One that never gets ready would keep
/// a place for the next one for ever.
const STARTING: Duration = Duration::from_secs(600);

/// So much of the time since the look before counts at most. Pools look only when they want to take something: what was free minutes ago may
/// have been taken and given back since, and nobody saw it.
const UNSEEN: Duration = Duration::from_secs(5);

/// What is known of the promise of one resource to one workload.
#[derive(Debug, Default)]
pub struct Patience {
    /// Units that its pods had when it was last looked at.
    bound: u32,
    /// Units that were promised by ourselves.
    units: u32,
    /// How long it was seen that it could be kept since a pod of it was bound last. New writes do not start it anew: a pool whose load jumps up
    /// and down would be believed for ever.
    open: Duration,
    /// When it was looked at last, if it could be kept then.
    since: Option<Duration>,
    /// Since when the controller waits for a pod to become ready.
    waits: Option<Duration>,
}

impl Patience {
    /// How much of what is due holds others off now. `open`: it could be kept now.
    pub fn of(&mut self, due: &Due, open: bool, now: Duration) -> u32 {
        self.count(due.bound);
        self.units = match due.ours {
            true => due.units,
            false => self.units.min(due.units),
        };
        let excused = due.waits && {
            let since = *self.waits.get_or_insert(now);
            now.saturating_sub(since) < STARTING
        };
        if !due.waits {
            self.waits = None;
        }
        if open && !excused {
            let before = self.since.replace(now).unwrap_or(now);
            let seen = now.saturating_sub(before).min(UNSEEN);
            self.open = self.open.saturating_add(seen);
        } else {
            self.since = None;
        }
        let refused = match self.open >= REFUSED {
            true => due.unschedulable,
            false => 0,
        };
        match self.open >= PATIENCE {
            true => 0,
            false => self.units.saturating_sub(refused),
        }
    }

    /// Nothing is due now, and its pods have so much: perhaps because the promise was kept.
    pub fn rest(&mut self, bound: u32) {
        self.count(bound);
        self.since = None;
        self.waits = None;
        self.units = 0;
    }

    /// Counts what the pods have: a promise of which a part was kept is believed anew.
    fn count(&mut self, bound: u32) {
        if bound > self.bound {
            self.open = Duration::ZERO;
            self.since = None;
            self.waits = None;
        }
        self.bound = bound;
    }
}
