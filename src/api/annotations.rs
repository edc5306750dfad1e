//! Annotations that AgentPool reads or writes.

/// On an AgentPool, by its user: `"true"` freezes all writes but status; a swap that was begun ends first.
pub const PAUSED: &str = "agentpool.dev/paused";

/// On a workload, by the operator: what to put back when a swap with downtime is interrupted (JSON of `sharing::Restore`).
pub const RESTORE: &str = "agentpool.dev/restore";

/// On a workload, by the operator: the GPU request it had before a take-over (JSON object of resource names to values).
pub const PREVIOUS: &str = "agentpool.dev/previous-gpu-request";

/// On a workload, by the operator: the pool that acts on it (`namespace/name`).
pub const POOL: &str = "agentpool.dev/pool";

/// On a workload, by the operator: how often another manager has put back a value that we had changed.
pub const REVERTS: &str = "agentpool.dev/reverts";

/// On a pod, Kubernetes' own: lower dies first when its ReplicaSet is scaled in.
pub const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
