use crate::sharing::PodState;
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// One pod of a run, numbered in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub usize);

/// A pod as the cluster has it.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// Whose it is.
    pub agent: usize,
    /// Its name, as a victim is called.
    pub name: String,
    /// Revision of the template that it was made from.
    pub revision: usize,
    /// Position in a StatefulSet.
    pub ordinal: u32,
    /// What its container asks for.
    pub requests: BTreeMap<GpuResource, u32>,
    /// Where it is in its life.
    pub state: PodState,
    /// The node it is bound to.
    pub node: Option<usize>,
    /// The devices it was given, by number.
    pub devices: Vec<usize>,
    /// When it was made.
    pub created: f64,
    /// When it will be ready, or gone at the latest.
    pub due: f64,
}

impl Pod {
    /// It holds replicas of its workload.
    pub fn is_live(&self) -> bool {
        self.state != PodState::Terminating
    }
}
