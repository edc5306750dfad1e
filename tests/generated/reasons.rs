//! Reasons of conditions and events: what each means, and that the controller gives these and no others.

use crate::{root, sources};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Reason, conditions that carry it, what it means and what would help. Ready repeats the reason that keeps it False.
const CONDITIONS: &[(&str, &str, &str)] = &[
    (
        "Settled",
        "Ready, Reconciling",
        "What was decided is in force.",
    ),
    (
        "Moving",
        "Reconciling",
        "Changes are made, or wait for pods that come or go; the message names the agents.",
    ),
    (
        "WriteFailed",
        "Reconciling",
        "A write was refused or timed out; it is tried again. The message has the API server's words: often a missing permission, a quota or a policy.",
    ),
    (
        "SwapCut",
        "Reconciling",
        "A swap was cut by a pause or by mode Observe while its agent had no replicas. It comes up, although nothing else is written, as soon as one of the two instances that the message names is free.",
    ),
    (
        "Stalled",
        "Reconciling",
        "The pool is Stalled. Nothing is under way, or only other agents are changed, which the message names.",
    ),
    ("Progressing", "Stalled", "Nothing needs anybody's help."),
    (
        "InvalidSpec",
        "Stalled",
        "A field is wrong; the message has the field, its value and what would be right, and any workload that a swap has left without replicas. Nothing is written until it is changed; a swap that was begun ends first.",
    ),
    (
        "Unreadable",
        "Stalled",
        "The pool is not one that this version of the operator knows, as after a rollback: the message has what it cannot read. Its workloads are left as they are.",
    ),
    (
        "SwapHeld",
        "Stalled",
        "Not stalled, but a swap of MIG instances waits: add a spare instance or set policy.disruption.allowDowntime.",
    ),
    (
        "PodsRefused",
        "Stalled",
        "The API server refuses an agent's pods, by quota or policy; the message has its words, or for a StatefulSet where to read them.",
    ),
    (
        "RolloutWedged",
        "Stalled",
        "A StatefulSet replaces no pod because one of its pods never becomes ready, or a Deployment starts a pod before it stops another and no node has a GPU for it; the message names the pod and what to do.",
    ),
    (
        "WorkloadNotFound",
        "Stalled",
        "An agent's workload does not exist in the pool's namespace, or no container of it asks for a GPU. The other agents go on.",
    ),
    (
        "ContainerNotFound",
        "Stalled",
        "agents[].container names a container that the pod template does not have; the message lists those it has.",
    ),
    (
        "ContainerAmbiguous",
        "Stalled",
        "The pod template has several containers: name one in agents[].container.",
    ),
    (
        "ContainerAsksForNoGpu",
        "Stalled",
        "The agent's container asks for no GPU: set its resources.limits, or name the container that does.",
    ),
    (
        "SeveralGpuContainers",
        "Stalled",
        "Several containers of a pod ask for GPUs: one may.",
    ),
    (
        "GpuInitContainer",
        "Stalled",
        "An init container asks for a GPU: only the model server may.",
    ),
    (
        "UnknownGpuResource",
        "Stalled",
        "A container asks for a GPU resource that is not of the known set.",
    ),
    (
        "WrongGpuRequest",
        "Stalled",
        "A container's GPU request does not fit the sharing type; the message says what would. For MIG, requests.takeOver Allowed lets the operator replace it.",
    ),
    (
        "DeploymentPaused",
        "Stalled",
        "The Deployment has spec.paused: nothing would be rolled out.",
    ),
    (
        "UpdateStrategyOnDelete",
        "Stalled",
        "The StatefulSet has update strategy OnDelete or a partition: a change would reach no pod.",
    ),
    (
        "Autoscaled",
        "Conflicted",
        "A HorizontalPodAutoscaler or a KEDA ScaledObject scales the workload: remove it or the agent.",
    ),
    (
        "ClaimedByPool",
        "Conflicted",
        "An older AgentPool has the workload; it keeps it.",
    ),
    (
        "OwnedByController",
        "Conflicted",
        "A controller above the workload would revert every change: such workloads are not supported.",
    ),
    (
        "Reverted",
        "Conflicted",
        "Another manager put back a value that the operator had set, several times; the message names it. The operator has stopped.",
    ),
    ("NoConflict", "Conflicted", "No other manager was found."),
    (
        "AllFresh",
        "SignalsFresh",
        "Every agent's signals are fresh.",
    ),
    (
        "SomePodsLost",
        "SignalsFresh",
        "Some pods give no fresh signals; enough others do.",
    ),
    (
        "SignalsLost",
        "SignalsFresh",
        "An agent's load is not known: it keeps what it has, then metrics.onStale says what follows.",
    ),
    (
        "SourceUnreachable",
        "SignalsFresh",
        "The pool's metrics server could not be read twice in a row; what was known last still holds, until SignalsLost.",
    ),
    (
        "Available",
        "CapacityAvailable",
        "The GPUs that the pool may spend are there.",
    ),
    (
        "AsDeclared",
        "CapacityAvailable",
        "The operator cannot see nodes: devices[0].gpus is believed.",
    ),
    (
        "LessThanDeclared",
        "CapacityAvailable",
        "The selected nodes have fewer GPUs than devices[0].gpus.",
    ),
    (
        "GpusMissing",
        "CapacityAvailable",
        "A node offers fewer GPUs than the pool's pods hold on it: its device plugin or kubelet restarts, or GPUs are lost. The pods are left alone and count; nothing new is placed there.",
    ),
    (
        "MigSingle",
        "CapacityAvailable",
        "What a node announces as nvidia.com/gpu are MIG slices, by the device plugin's MIG strategy single: they count as none. Set the strategy to mixed, or leave the node out by devices[0].nodeSelector.",
    ),
    (
        "SharedGpus",
        "CapacityAvailable",
        "What a node announces as nvidia.com/gpu are time slices (label nvidia.com/gpu.replicas): to a pool on whole GPUs they count as none. Use sharing type TimeSlicing, or leave the node out by devices[0].nodeSelector.",
    ),
    (
        "HeldByOthers",
        "CapacityAvailable",
        "Pods of no agent of the pool hold GPUs that the pool declares.",
    ),
    (
        "NoNodes",
        "CapacityAvailable",
        "No GPU node has the labels of devices[0].nodeSelector.",
    ),
    (
        "NoGpus",
        "CapacityAvailable",
        "The selected nodes have no free GPU that fits the sharing type.",
    ),
    (
        "AllMet",
        "MinimumUnmet",
        "Every agent has its minimum share, or all it asks for.",
    ),
    (
        "BelowMinimum",
        "MinimumUnmet",
        "An agent with demand has less than its minimum share; the message has the numbers.",
    ),
    ("Fits", "MemoryBound", "GPU memory bounds no agent."),
    (
        "MemoryBound",
        "MemoryBound",
        "GPU memory keeps an agent from the share it should have; the message has the numbers.",
    ),
    ("Active", "Paused", "Decisions are written."),
    (
        "Observing",
        "Paused",
        "mode is Observe: nothing is written but status; a swap that was begun ends first.",
    ),
    (
        "PausedByAnnotation",
        "Paused",
        "The annotation agentpool.dev/paused is \"true\": nothing is written but status; a swap that was begun ends first.",
    ),
];

/// Events that tell a change; a condition that turns bad is an event of its own reason.
const EVENTS: &[(&str, &str)] = &[
    ("Scaled", "A workload's replicas were set."),
    (
        "GpuRequestChanged",
        "The GPU request of a pod template was replaced.",
    ),
    (
        "SwapStarted",
        "A swap of MIG instances began; what to put back is written on the workload.",
    ),
    ("SwapFinished", "A swap of MIG instances is complete."),
];

/// Reasons of conditions, each with where it stands.
pub fn conditions() -> Vec<(String, String)> {
    let row = |(reason, at, meaning): &(&str, &str, &str)| {
        (
            format!("{reason}` | `{}", at.replace(", ", "`, `")),
            (*meaning).to_owned(),
        )
    };
    CONDITIONS.iter().map(row).collect()
}

/// Reasons of events.
pub fn events() -> Vec<(String, String)> {
    let row = |(reason, meaning): &(&str, &str)| ((*reason).to_owned(), (*meaning).to_owned());
    EVENTS.iter().map(row).collect()
}

/// The reasons that the controller's sources give: single words in CamelCase among the arguments of what makes a reason.
fn given(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for start in [
        "Verdict::new(",
        "verdict(",
        "Refusal::new(",
        "Refusal::conflict(",
        "done(",
        "reason: ",
    ] {
        for (at, _) in text.match_indices(start) {
            let arguments = arguments(&text[at + start.len()..], start.ends_with('('));
            // Every second piece between quotes is text.
            let words = arguments.split('"').skip(1).step_by(2);
            let is_reason = |word: &&str| {
                word.starts_with(|c: char| c.is_ascii_uppercase())
                    && word.chars().all(|c| c.is_ascii_alphanumeric())
            };
            found.extend(words.filter(is_reason).map(str::to_owned));
        }
    }
    found
}

/// What stands before the closing bracket, or before the end of a field.
fn arguments(text: &str, bracket: bool) -> &str {
    let mut depth = 0;
    let end = text.find(|c| match c {
        '(' => {
            depth += 1;
            false
        }
        ')' if depth > 0 => {
            depth -= 1;
            false
        }
        ')' => true,
        ',' => !bracket,
        _ => false,
    });
    &text[..end.unwrap_or(text.len())]
}

fn sources_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources_below(&path, found);
        } else if path.file_name().is_none_or(|name| name != "tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_reason_that_the_controller_gives_is_explained_and_no_other() {
    let mut files = Vec::new();
    sources_below(&root().join("src/controller"), &mut files);
    let mut all = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]").next().unwrap();
        all.extend(given(code));
    }
    let explained: BTreeSet<String> = CONDITIONS
        .iter()
        .map(|(reason, ..)| *reason)
        .chain(EVENTS.iter().map(|(reason, _)| *reason))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = all.difference(&explained).collect();
    let gone: Vec<_> = explained.difference(&all).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "tests/generated/reasons.rs explains reasons to users: add {missing:?}, remove {gone:?}, then `make generate`"
    );
}

#[test]
fn every_reason_stands_at_conditions_that_exist() {
    let types = sources::variants("src/api/conditions.rs", "ConditionType");
    for (reason, at, _) in CONDITIONS {
        for kind in at.split(", ") {
            assert!(
                types.iter().any(|(name, _)| name == kind),
                "{reason}: {kind}"
            );
        }
    }
}

#[test]
fn reasons_are_found_where_they_are_given_and_not_among_messages() {
    let text = "Verdict::new(C::Ready, true, if f() { \"One\" } else { \"Two\" }, format!(\"{} x\")); Refusal { reason: \"Three\", message: \"Four\" } x(\"Five\")";
    let found: Vec<_> = given(text).into_iter().collect();
    assert_eq!(found, ["One", "Three", "Two"]);
}
