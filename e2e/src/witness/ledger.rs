//! What the witness knows and concludes. Pure: facts of nodes and pods in, violations and counts out; the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::facts::{Lifecycle, NodeFacts, PodFacts, PodKey};
use super::rules::WitnessRules;

/// Something that must never happen, and when it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// When it was seen.
    pub time: Timestamp,
    /// Node, pods, numbers.
    pub what: String,
}

/// What happened to the pods of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadCounts {
    /// Pods created, including those that were there at first.
    pub created: u32,
    /// Pods whose object is gone.
    pub gone: u32,
    /// Container restarts.
    pub restarts: u32,
    /// Pods that exist now.
    pub present: u32,
    /// Pods that are Ready now and not being deleted.
    pub ready: u32,
    /// Most pods that existed at once.
    pub max_present: u32,
    /// Most pods that were being deleted at once.
    pub max_terminating: u32,
    /// Fewest Ready pods since the first was Ready, or since the last mark.
    pub min_ready: Option<u32>,
}

/// The state of the witness.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub rules: WitnessRules,
    nodes: BTreeMap<String, NodeFacts>,
    pods: BTreeMap<PodKey, PodFacts>,
    workloads: BTreeMap<(String, String), WorkloadCounts>,
    pub violations: Vec<Violation>,
    /// Latest first seen Unschedulable, by pod.
    unschedulable: BTreeMap<PodKey, Timestamp>,
    /// One line for each thing that happened.
    pub history: Vec<String>,
}

impl Ledger {
    pub(super) fn new(rules: WitnessRules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// A node was added or changed. Its loss of a resource is nobody's violation: what stands there was placed before.
    pub(super) fn node(&mut self, name: String, facts: NodeFacts, now: Timestamp) {
        if self
            .nodes
            .get(&name)
            .is_some_and(|before| before.allocatable != facts.allocatable)
        {
            self.note(now, format!("node {name} now has {:?}", facts.allocatable));
        }
        self.nodes.insert(name, facts);
    }

    /// A node is gone.
    pub(super) fn node_gone(&mut self, name: &str, now: Timestamp) {
        if self.nodes.remove(name).is_some() {
            self.note(now, format!("node {name} is gone"));
        }
    }

    /// A pod was added or changed.
    pub(super) fn pod(&mut self, key: PodKey, facts: PodFacts, now: Timestamp) {
        let before = self.pods.insert(key.clone(), facts.clone());
        if before.as_ref().is_none_or(|old| old.uid != facts.uid) {
            self.check_declared(&key, &facts, now);
        }
        let counts = self.counts_of(&facts);
        match &before {
            None => counts.created += 1,
            Some(old) if old.uid != facts.uid => {
                counts.created += 1;
                counts.gone += 1;
            }
            Some(_) => {}
        }
        let restarted = facts.restarts.saturating_sub(
            before
                .as_ref()
                .filter(|old| old.uid == facts.uid)
                .map_or(0, |old| old.restarts),
        );
        counts.restarts += restarted;
        let was = before.as_ref().map(PodFacts::lifecycle);
        if was.as_ref() != Some(&facts.lifecycle()) || restarted > 0 {
            self.note(
                now,
                format!("pod {key} ({}) {}", facts.workload, facts.lifecycle()),
            );
        }
        self.recount(&facts);
        // Only what arrives on a node can break a bound there.
        let arrives = facts.holds_resources()
            && before
                .as_ref()
                .is_none_or(|old| old.node != facts.node || old.uid != facts.uid);
        if let (true, Some(node)) = (arrives, facts.node.clone()) {
            self.check_node(&node, &key, now);
        }
        self.check_schedulable(&key, &facts, now);
    }

    /// A pod's object is gone.
    pub(super) fn pod_gone(&mut self, key: &PodKey, now: Timestamp) {
        let Some(facts) = self.pods.remove(key) else {
            return;
        };
        self.unschedulable.remove(key);
        self.counts_of(&facts).gone += 1;
        self.note(now, format!("pod {key} ({}) is gone", facts.workload));
        self.recount(&facts);
    }

    /// Time passes: a pod may have waited for too long.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let waiting: Vec<PodKey> = self.unschedulable.keys().cloned().collect();
        for key in waiting {
            if let Some(facts) = self.pods.get(&key).cloned() {
                self.check_schedulable(&key, &facts, now);
            }
        }
    }

    /// Pods that the ledger knows, to find those that went while nobody watched.
    pub(super) fn pod_keys(&self) -> Vec<PodKey> {
        self.pods.keys().cloned().collect()
    }

    pub(super) fn node_names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    pub(super) fn counts(&self, namespace: &str, workload: &str) -> WorkloadCounts {
        self.workloads
            .get(&(namespace.to_owned(), workload.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    /// Starts the maxima and minima anew from what is there.
    pub(super) fn mark(&mut self) {
        for counts in self.workloads.values_mut() {
            counts.max_present = counts.present;
            counts.max_terminating = 0;
            counts.min_ready = Some(counts.ready);
        }
    }

    fn counts_of(&mut self, facts: &PodFacts) -> &mut WorkloadCounts {
        self.workloads
            .entry((facts.namespace.clone(), facts.workload.clone()))
            .or_default()
    }

    fn recount(&mut self, of: &PodFacts) {
        let same = self
            .pods
            .values()
            .filter(|pod| pod.namespace == of.namespace && pod.workload == of.workload);
        let (mut present, mut ready, mut terminating) = (0, 0, 0);
        for pod in same {
            present += 1;
            terminating += u32::from(pod.terminating);
            ready += u32::from(pod.lifecycle() == Lifecycle::Ready);
        }
        let counts = self.counts_of(of);
        (counts.present, counts.ready) = (present, ready);
        counts.max_present = counts.max_present.max(present);
        counts.max_terminating = counts.max_terminating.max(terminating);
        counts.min_ready = match counts.min_ready {
            Some(least) => Some(least.min(ready)),
            None => (ready > 0).then_some(ready),
        };
    }

    fn on_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a PodKey, &'a PodFacts)> {
        self.pods
            .iter()
            .filter(move |(_, pod)| pod.node.as_deref() == Some(node) && pod.holds_resources())
    }

    fn check_node(&mut self, name: &str, newcomer: &PodKey, now: Timestamp) {
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        let mut found = Vec::new();
        for (resource, allocatable) in &node.allocatable {
            let users: Vec<(&PodKey, u64)> = self
                .on_node(name)
                .filter_map(|(key, pod)| pod.requests.get(resource).map(|amount| (key, *amount)))
                .collect();
            let sum: u64 = users.iter().map(|(_, amount)| amount).sum();
            if sum > *allocatable
                && self
                    .pods
                    .get(newcomer)
                    .is_some_and(|pod| pod.requests.contains_key(resource))
            {
                let list: Vec<String> = users
                    .iter()
                    .map(|(key, amount)| format!("{key}: {amount}"))
                    .collect();
                found.push(format!(
                    "node {name} has {allocatable} {resource}, its pods ask for {sum} ({})",
                    list.join(", ")
                ));
            }
        }
        found.extend(self.memory_violation(name, node));
        for what in found {
            self.violate(now, what);
        }
    }

    /// Time-sliced copies share a GPU's memory, and nobody can see which GPU a pod got: in the worst case the largest copies are on one GPU, as
    /// many as it has slices.
    fn memory_violation(&self, name: &str, node: &NodeFacts) -> Option<String> {
        let (capacity, slices) = (node.shared_gpu_memory_mib?, node.slices_per_gpu);
        let mut sizes: Vec<(u64, &PodKey)> = self
            .on_node(name)
            .filter(|(_, pod)| {
                pod.requests
                    .keys()
                    .any(|resource| resource.ends_with(".shared"))
            })
            .filter_map(|(key, pod)| self.rules.memory_of(pod).map(|memory| (memory, key)))
            .collect();
        sizes.sort_by(|one, two| two.cmp(one));
        sizes.truncate(slices);
        let sum: u64 = sizes.iter().map(|(memory, _)| memory).sum();
        let list: Vec<String> = sizes
            .iter()
            .map(|(memory, key)| format!("{key}: {memory}"))
            .collect();
        (sum > capacity).then(|| {
            format!("a GPU of node {name} has {capacity} MiB, the copies that may share it need {sum} MiB ({})", list.join(", "))
        })
    }

    /// What the scheduler does not enforce: a pool that declares fewer GPUs than the nodes have.
    fn check_declared(&mut self, newcomer: &PodKey, facts: &PodFacts, now: Timestamp) {
        let asked = |resource: &str| -> u64 {
            let counted = self
                .pods
                .values()
                .filter(|pod| !pod.finished && self.rules.watches(&pod.namespace));
            counted.filter_map(|pod| pod.requests.get(resource)).sum()
        };
        let over: Vec<String> = self
            .rules
            .declared
            .iter()
            .filter(|(resource, _)| facts.requests.contains_key(*resource))
            .map(|(resource, most)| (resource, most, asked(resource)))
            .filter(|(_, most, asked)| asked > most)
            .map(|(resource, most, asked)| {
                format!("{most} {resource} are declared, with pod {newcomer} {asked} are asked for")
            })
            .collect();
        for what in over {
            self.violate(now, what);
        }
    }

    fn check_schedulable(&mut self, key: &PodKey, facts: &PodFacts, now: Timestamp) {
        let Some(message) = facts
            .unschedulable
            .as_ref()
            .filter(|_| !facts.terminating && self.rules.watches(&facts.namespace))
        else {
            self.unschedulable.remove(key);
            return;
        };
        let since = *self.unschedulable.entry(key.clone()).or_insert(now);
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let told = self
            .violations
            .iter()
            .any(|violation| violation.what.contains(&format!("pod {key} cannot")));
        if waited >= self.rules.unschedulable_grace && !told {
            let what = format!(
                "pod {key} cannot be scheduled ({} so far, {waited:?} allowed: {:?}): {message}",
                facts.workload, self.rules.unschedulable_grace
            );
            self.violate(now, what);
        }
    }

    fn violate(&mut self, time: Timestamp, what: String) {
        self.note(time, format!("VIOLATION: {what}"));
        self.violations.push(Violation { time, what });
    }

    fn note(&mut self, time: Timestamp, what: String) {
        self.history.push(format!("{time:.3} {what}"));
    }
}

#[cfg(test)]
mod tests;
