//! Units that several rooms speak: GPU shares in milli-GPUs, memory in MiB, GPU resource names, priorities.

mod duration;
pub mod exact;
mod gpus;
mod memory;
mod priority;
mod resource;

pub use duration::parse_duration;
pub use gpus::MilliGpus;
pub use memory::Mebibytes;
pub use priority::Priority;
pub use resource::GpuResource;

/// A text that is not a value of the unit asked for; says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct UnitError {
    /// The text as given.
    pub value: String,
    /// What would be right, as a noun phrase.
    pub expected: &'static str,
}

impl UnitError {
    fn new(value: &str, expected: &'static str) -> Self {
        Self {
            value: value.chars().take(64).collect(),
            expected,
        }
    }
}
