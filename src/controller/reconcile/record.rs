//! What a tick decided goes into the recording, when there is one.

use super::{Round, State};
use crate::api::AgentPool;
use crate::controller::shared::Shared;
use crate::recording::{Memory, Output, Pool};
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

/// Records a decision: of the leader, whose decisions are carried out. `memory` is what the pool remembered before.
pub(super) fn record(
    shared: &Shared,
    object: &AgentPool,
    round: &Round,
    memory: Memory,
    state: &mut State,
) {
    let number = state.recorded.decisions;
    state.recorded.decisions = number.saturating_add(1);
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let leads = shared.writer.leads_in(namespace);
    let Some(recorder) = shared.recorder.as_ref().filter(|_| leads) else {
        return;
    };
    recorder.record(Taken {
        pool: state.recorded.pool(object, shared.nodes_hidden()),
        number,
        wall: jiff::Timestamp::now(),
        inputs: round.seen.inputs.clone(),
        memory,
        output: Output {
            allotments: round.decision.clone(),
            plan: round.plan.clone(),
        },
    });
}
