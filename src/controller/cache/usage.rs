use super::{PodRecord, Store, add};
use crate::units::GpuResource;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type ByNode = BTreeMap<String, BTreeMap<GpuResource, u32>>;

/// GPU requests of all pods bound to each node, in all namespaces; computed once per change of the pods, not once per pool.
#[derive(Debug, Default)]
pub struct Usage {
    cached: Mutex<Option<(u64, Arc<ByNode>)>>,
}

impl Usage {
    /// Requests by node and resource, terminating pods included: a pod holds its GPUs until its object is gone.
    pub fn by_node(&self, pods: &Store<PodRecord>) -> Arc<ByNode> {
        let changes = pods.changes();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = cached.as_ref().filter(|(at, _)| *at == changes) {
            return known.clone();
        }
        let mut sums = ByNode::new();
        pods.each(|pod| {
            let Some(node) = &pod.node else { return };
            match sums.get_mut(node) {
                Some(sum) => add(sum, &pod.requests),
                None => {
                    sums.insert(node.clone(), pod.requests.clone());
                }
            }
        });
        let sums = Arc::new(sums);
        *cached = Some((changes, sums.clone()));
        sums
    }
}
