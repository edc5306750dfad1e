//! What a tick decided goes into the recording, when there is one.

use super::{Seen, State};
use crate::allocation::Allotment;
use crate::api::AgentPool;
use crate::controller::shared::Shared;
use crate::recording::{Memory, Output, Pool};
use crate::sharing::Plan;
use crate::telemetry::Taken;
use std::sync::Arc;

/// What is known of a pool for its recording.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Decisions so far, recorded or not.
    decisions: u64,
    pool: Option<Arc<Pool>>,
}

impl Recorded {
    /// The pool as it is recorded; made anew only when it has changed.
    fn pool(&mut self, object: &AgentPool, nodes_hidden: bool) -> Arc<Pool> {
        let is_same = |pool: &&Arc<Pool>| {
            let (now, then) = (&object.metadata, &pool.manifest.metadata);
            (&now.uid, now.generation) == (&then.uid, then.generation)
                && object.spec == pool.manifest.spec
        };
        let pool = self.pool.as_ref().filter(is_same).cloned();
        let pool = pool.unwrap_or_else(|| Arc::new(Pool::of(object, nodes_hidden)));
        self.pool = Some(pool.clone());
        pool
    }
}

/// What the pool remembers before it decides, when that is to be recorded.
pub(super) fn before(shared: &Shared, state: &State) -> Option<Memory> {
    let is_recorded = shared.recorder.is_some() && shared.writer.leads();
    is_recorded.then(|| state.memory.clone())
}

/// Records a decision: of the leader, whose decisions are carried out.
pub(super) fn record(
    shared: &Shared,
    object: &AgentPool,
    seen: &Seen,
    before: Option<Memory>,
    decision: &[Allotment],
    plan: &Plan,
    state: &mut State,
) {
    let number = state.recorded.decisions;
    state.recorded.decisions = number.saturating_add(1);
    let (Some(recorder), Some(memory)) = (&shared.recorder, before) else {
        return;
    };
    recorder.record(Taken {
        pool: state.recorded.pool(object, shared.nodes_hidden()),
        number,
        wall: jiff::Timestamp::now(),
        inputs: seen.inputs.clone(),
        memory,
        output: Output {
            allotments: decision.to_vec(),
            plan: plan.clone(),
        },
    });
}
