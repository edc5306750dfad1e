//! A workload that was cut in the middle of a swap, in a namespace with a pool that cannot be read: nobody else brings it up.

use crate::api::{AgentPool, WorkloadKind};
use crate::controller::cache::WorkloadRecord;
use crate::controller::cut::cut;
use crate::controller::shared::Shared;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;

type Guarded = DeserializeGuard<AgentPool>;

/// Whether the workload was cut and no pool that can be read names it: one that can goes on with the swap, or ties it up.
pub(super) async fn leaves(
    shared: &Shared,
    namespace: &str,
    name: &str,
    record: &WorkloadRecord,
) -> bool {
    // No workload has an empty name: it is claimed only where any name is.
    let unreadable = || shared.claims.is_claimed(namespace, record.kind, "");
    if cut(record).is_none() || !unreadable() {
        return false;
    }
    let pools = Api::<Guarded>::namespaced(shared.writer.client().clone(), namespace);
    match shared.writer.read(pools.list(&ListParams::default())).await {
        Ok(pools) => !is_named(&pools.items, record.kind, name),
        Err(error) => {
            tracing::warn!(namespace, name, %error, "the pools that may go on with a swap cannot be listed");
            false
        }
    }
}

fn is_named(pools: &[Guarded], kind: WorkloadKind, name: &str) -> bool {
    let readable = pools.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    let mut agents = readable.flat_map(|pool| &pool.spec.agents);
    agents.any(|agent| agent.workload_ref.kind == kind && agent.workload_ref.name == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::fixtures::object;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_left_to_the_pools_that_can_be_read() {
        let pool = |name: &str, mode: &str, agent: &str| -> Guarded {
            let mut pool = serde_json::to_value(object(name, "WholeGPU", &[agent])).unwrap();
            pool["spec"]["mode"] = json!(mode);
            serde_json::from_value(pool).unwrap()
        };
        let pools = [pool("old", "Auto", "a"), pool("new", "Unheard", "b")];
        assert!(pools[1].0.is_err());
        let is_named = |name| is_named(&pools, WorkloadKind::Deployment, name);
        assert_eq!((is_named("a"), is_named("b")), (true, false));
    }
}
