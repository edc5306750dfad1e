//! What everyone holds while nothing pays: what was in force when the policy first knew its load.
//!
//! Somebody chose that split, or the policy itself found it before the operator was restarted. Every move from it costs a start, so it
//! is not given up for want of evidence. Where capacity is another than then, it is divided in the same proportion.

use super::super::demand::load;
use super::super::rounding::LARGEST;
use super::super::types::Agent;
use super::Pool;
use super::memory::Learned;

/// Who had less than this part of an equal share counts as if it had had so much, so that none starves for want of evidence.
const LEAST: f64 = 0.05;

/// Writes what every agent of known load holds, in milli-GPUs: in sum what the pool may divide. Equal parts where nothing was in force, and
/// where replicas come and go all day (`saves`): what was in force when a process began says nothing there.
pub(super) fn hold(learned: &mut [Learned], agents: &[Agent<'_>], pool: Pool, saves: bool) {
    let equal = pool.free / pool.agents;
    let (mut begun, mut all) = (0.0, 0.0);
    for (learned, agent) in learned.iter_mut().zip(agents) {
        learned.hold = 0.0;
        if load(agent).is_none() {
            continue;
        }
        if learned.begun < 0.0 {
            learned.begun = agent.realized.0.min(LARGEST) as f64;
        }
        let floor = agent.floor.min(agent.ceiling).0 as f64;
        learned.hold = learned.begun.max(floor).max(LEAST * equal);
        begun += learned.begun;
        all += learned.hold;
    }
    let scale = pool.free / all;
    for (learned, agent) in learned.iter_mut().zip(agents) {
        if load(agent).is_some() {
            learned.hold = if begun > 0.0 && !saves {
                learned.hold * scale
            } else {
                equal
            };
        }
    }
}
