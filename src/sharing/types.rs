use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a share becomes Kubernetes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Whole GPUs; the share becomes a replica count.
    WholeGpu,
    /// Access tokens of time-sliced GPUs; the share becomes a number of copies.
    TimeSlicing {
        /// What a container asks for, exactly 1 of it.
        resource: GpuResource,
        /// Tokens per physical GPU, as the device plugin is configured; `None`: from the nodes' labels.
        slices_per_gpu: Option<u32>,
    },
    /// MIG instances that exist on the nodes (device plugin strategy `mixed`).
    Mig,
}

/// The pool's declared facts that sharing needs; agents ascending by name, in the same order everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolShape {
    /// How a share becomes objects.
    pub strategy: Strategy,
    /// At most this many GPUs; `None`: what the nodes have.
    pub declared_gpus: Option<MilliGpus>,
    /// Capacity is taken as declared, because the operator may not see nodes (namespaced mode).
    pub nodes_hidden: bool,
    /// Whether a swap may leave an agent without a pod for a moment.
    pub allow_downtime: bool,
    /// At most this many agents may be in a disruptive change at once; ≥ 1.
    pub max_concurrent: u32,
    /// Hysteresis.
    pub behavior: Behavior,
    /// The agents.
    pub agents: Vec<AgentShape>,
}

/// When a change is worth its price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behavior {
    /// A change of an agent's share by less than this fraction of the share in force is held; in [0, 1].
    pub tolerance: f64,
    /// Time a higher recommendation must last before it is followed.
    pub scale_up_window: Duration,
    /// Time a lower recommendation must last before GPUs nobody else asks for are given back. While another agent of the pool is short,
    /// only `scale_up_window` applies: the pool moves what it has before it starves anyone.
    pub scale_down_window: Duration,
}

/// One agent's declared facts.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentShape {
    /// Name, unique in the pool.
    pub name: String,
    /// Importance.
    pub priority: Priority,
    /// Fewest replicas; 0 only where the pool says so.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// GPUs of one replica (tensor parallel: all on one node); ≥ 1. WholeGPU only.
    pub gpus_per_replica: u32,
    /// GPU memory of one replica; must fit the instance or, time-sliced, beside the other copies.
    pub memory_per_replica: Option<Mebibytes>,
}

/// One GPU node that the pool's selector matches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Node name.
    pub name: String,
    /// Ready and not cordoned: new pods may land here.
    pub schedulable: bool,
    /// Allocatable GPU resources.
    pub allocatable: BTreeMap<GpuResource, u32>,
    /// Requests of all non-terminal pods bound to the node, of any namespace, terminating ones included.
    pub used: BTreeMap<GpuResource, u32>,
    /// Of `used`: requests of pods that are no agent's of this pool.
    pub foreign: BTreeMap<GpuResource, u32>,
    /// Physical GPUs (`nvidia.com/gpu.count`).
    pub gpus: u32,
    /// Time-slicing tokens per GPU (`nvidia.com/gpu.replicas`), when labelled.
    pub slices_per_gpu: Option<u32>,
    /// Its GPUs are in MIG mode under the device plugin's strategy `single`: what bears the name of a whole GPU is a slice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mig_single: bool,
    /// Memory of one physical GPU (`nvidia.com/gpu.memory`, MiB), when labelled.
    pub gpu_memory: Option<Mebibytes>,
    /// Streaming multiprocessors of a whole GPU of this product, when known.
    pub multiprocessors: Option<u32>,
    /// Facts of each MIG resource on this node, from its labels.
    pub instances: BTreeMap<GpuResource, InstanceFacts>,
}

/// Why what a node announces under the name of a GPU is not what the pool takes it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// MIG slices, under the device plugin's strategy `single`.
    MigSingle,
    /// Turns on a GPU that is time-sliced without another name.
    Shared {
        /// Turns of one GPU.
        slices: u32,
    },
}

/// What the node's labels say of one MIG profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceFacts {
    /// Streaming multiprocessors of one instance (`.multiprocessors`).
    pub multiprocessors: u32,
    /// Usable memory of one instance (`.memory`, MiB), smaller than the profile's name says.
    pub memory: Mebibytes,
}

/// One pod of an agent. A pod exists until its object is gone; terminal pods (Succeeded, Failed) are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Pod name.
    pub name: String,
    /// Node it is bound to; `None`: not scheduled yet.
    pub node: Option<String>,
    /// GPU resources its containers ask for.
    pub requests: BTreeMap<GpuResource, u32>,
    /// Where it is in its life.
    pub state: PodState,
    /// The scheduler has said that no node can take it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// Requests running and waiting in it, when its metrics are fresh.
    #[serde(with = "crate::units::exact::option")]
    pub load: Option<f64>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodState {
    /// No node took it yet.
    Pending,
    /// Bound, not ready: pulls the image or loads the model.
    Loading,
    /// Ready.
    Ready,
    /// Has a deletion timestamp; still holds its GPU.
    Terminating,
    /// Has a deletion timestamp, and its node is gone or does not answer, or the pod should have been gone long ago: nobody knows when it
    /// will be. It still holds its GPU.
    Stranded,
    /// Not ready for long, on a node that has not offered for long what the pod holds: it serves no more.
    Lost,
}

/// How the workload replaces pods when its template changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rollout {
    /// Deployment `Recreate`: all old pods go first.
    Recreate,
    /// Deployment `RollingUpdate`.
    Rolling,
    /// StatefulSet `RollingUpdate`: one at a time, the old one first.
    Ordered,
}

/// What is in force for one agent, or why nothing may be written for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentObserved {
    /// `spec.replicas` of the workload.
    pub replicas: u32,
    /// GPU resources of the agent's container in the pod template.
    pub template: BTreeMap<GpuResource, u32>,
    /// How a template change rolls.
    pub rollout: Rollout,
    /// A rollout is under way: the workload's controller has not observed or finished the latest template.
    pub rolling: bool,
    /// Non-terminal pods.
    pub pods: Vec<Pod>,
    /// A swap that was begun and not finished, as remembered on the workload.
    pub restore: Option<Restore>,
    /// Nothing may be written for this agent (missing, paused, conflicted, ...): it keeps what it has.
    pub frozen: bool,
    /// Take-over of the template's GPU resource is refused: replicas may change, the template may not.
    pub template_locked: bool,
}

/// What to put back when a swap is interrupted; written to the workload before the first step of a swap with downtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// Replicas before the swap.
    pub replicas: u32,
    /// GPU resource of the template before the swap.
    pub from: String,
    /// GPU resource the swap wants.
    pub to: String,
    /// Replicas after the swap.
    pub to_replicas: u32,
}

/// Everything sharing may look at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Nodes that the pool's selector matches, ascending by name.
    pub nodes: Vec<Node>,
    /// The agents, ascending by name.
    pub agents: Vec<AgentObserved>,
    /// Replicas of other pools that may land on these nodes and have none yet: how many of each size, by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub promised: BTreeMap<GpuResource, BTreeMap<u32, u64>>,
}

/// Something a strategy can really give an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantum {
    /// Replicas.
    pub replicas: u32,
    /// What each replica's container asks for.
    pub resource: GpuResource,
    /// How many of it each replica asks for.
    pub count: u32,
    /// Share that all replicas together amount to, in GPUs (MIG: SM fraction).
    pub share: MilliGpus,
}

/// What is there to be shared: the part of observing that allocation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// GPUs that the pool may spend: found, less what other pods hold, with what is missing; at most what is declared.
    pub capacity: MilliGpus,
    /// GPUs found on schedulable nodes, whoever holds them; `None` when nodes are hidden.
    pub found: Option<MilliGpus>,
    /// GPUs held by pods that are no agent's of this pool.
    pub foreign: MilliGpus,
    /// GPUs that pods of the pool hold and their node does not offer now, by node: its device plugin is away, or they are lost.
    pub missing: BTreeMap<String, MilliGpus>,
    /// Nodes whose GPUs are not what they seem and count as none, by name.
    pub unfit: BTreeMap<String, Unfit>,
    /// Per agent, in order.
    pub agents: Vec<Extent>,
    /// What had to be assumed because a label is missing, for people; empty when nothing was.
    pub notes: Vec<String>,
}

/// The range one agent can have, and what it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Share of the smallest permitted quantum.
    pub floor: MilliGpus,
    /// Share of the largest quantum that could be given if the agent were alone.
    pub ceiling: MilliGpus,
    /// Share of one replica, where the share is a number of whole replicas (whole GPUs); else zero.
    pub quantum: MilliGpus,
    /// Share of the largest part of a GPU that one replica could be given (MIG); else zero.
    pub part: MilliGpus,
    /// Parts of several sizes are there that one replica could be given (MIG).
    pub swaps: bool,
    /// Share in force; pending and loading copies count as granted.
    pub realized: MilliGpus,
}

/// One change to the cluster. Steps of one plan are independent of each other: what must wait is not in the plan yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum Step {
    /// Write what to put back, before a swap with downtime begins.
    Remember {
        /// Index of the agent.
        agent: usize,
        /// What to put back.
        restore: Restore,
    },
    /// Remove what `Remember` wrote: the swap is complete.
    Forget {
        /// Index of the agent.
        agent: usize,
    },
    /// Set `spec.replicas` through the scale subresource.
    Scale {
        /// Index of the agent.
        agent: usize,
        /// Replicas expected before.
        from: u32,
        /// Replicas after.
        to: u32,
        /// On a scale-in: the pods to be cut first (least loaded), which get a low `pod-deletion-cost`.
        victims: Vec<String>,
    },
    /// Replace the GPU resource of the pod template, limits and requests together, in one JSON patch.
    Retarget {
        /// Index of the agent.
        agent: usize,
        /// Resources to remove, with the values expected.
        remove: BTreeMap<GpuResource, u32>,
        /// Resource to set.
        resource: GpuResource,
        /// How many of it.
        count: u32,
    },
}

/// Why a change that is wanted is not made now. Stable CamelCase names, as in [`HoldReason::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HoldReason {
    /// The change is within tolerance of what is in force.
    WithinTolerance,
    /// The recommendation has not lasted for its stabilization window.
    Stabilizing,
    /// Waits until pods of shrinking agents are gone and their GPUs are free.
    WaitingForCapacity,
    /// Waits until another copy on time-sliced GPUs is ready or gone: an engine that starts measures the free memory of the whole GPU.
    WaitingForStart,
    /// Waits after a write that got no answer: what it may have taken is taken by nobody else meanwhile.
    WaitingForAnswer,
    /// Waits for the agent's own rollout or scaling to finish.
    WaitingForRollout,
    /// As many agents as permitted are in a disruptive change already.
    DisruptionLimit,
    /// The swap needs a spare instance or `allowDowntime`.
    SwapNeedsDowntime,
    /// A larger instance would serve the agent better, but its template's GPU request is somebody else's and may not be taken over.
    TakeOverRefused,
    /// GPU memory does not permit another copy or a smaller instance.
    MemoryBound,
    /// Nothing may be written for this agent; a condition says why.
    Frozen,
    /// The agent's signals are lost, or somebody's whose share it would need.
    SignalLost,
}

impl HoldReason {
    /// The stable CamelCase name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WithinTolerance => "WithinTolerance",
            Self::Stabilizing => "Stabilizing",
            Self::WaitingForCapacity => "WaitingForCapacity",
            Self::WaitingForStart => "WaitingForStart",
            Self::WaitingForAnswer => "WaitingForAnswer",
            Self::WaitingForRollout => "WaitingForRollout",
            Self::DisruptionLimit => "DisruptionLimit",
            Self::SwapNeedsDowntime => "SwapNeedsDowntime",
            Self::TakeOverRefused => "TakeOverRefused",
            Self::MemoryBound => "MemoryBound",
            Self::Frozen => "Frozen",
            Self::SignalLost => "SignalLost",
        }
    }
}

/// A change that is wanted and held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// The numbers, for people.
    pub message: String,
    /// GPU resources that are to become free first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<GpuResource>,
}

/// What is to be done now, and what each agent is to end up with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Steps to take now, in order; empty when there is nothing to do or everything must wait.
    pub steps: Vec<Step>,
    /// Per agent: the quantum decided on, `None` when it has none (frozen without a known quantum, or nothing fits).
    pub quanta: Vec<Option<Quantum>>,
    /// Per agent: the change that is wanted and held.
    pub holds: Vec<Option<Hold>>,
    /// Per agent: why memory bounds it, with the numbers; `None` when it does not.
    pub memory_bound: Vec<Option<String>>,
    /// Per agent: why it cannot even have its smallest quantum, with the numbers.
    pub unmet: Vec<Option<String>>,
    /// Steps still to come after these (barriers pending): the pool is being reconciled.
    pub unfinished: bool,
}
