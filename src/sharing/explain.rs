//! Why an agent gets what it gets: what is held back, bounded or out of reach, with the numbers.

use super::cases::Case;
use super::decide::Decided;
use super::hysteresis;
use super::market::Market;
use super::room::Room;
use super::types::{Hold, HoldReason, Quantum};
use crate::allocation::{Allotment, Reason};
use crate::units::MilliGpus;

/// The decision with its reasons.
pub(super) fn explain(
    market: &Market<'_>,
    room: &Room,
    cases: &[Case],
    mut chosen: Vec<Option<Quantum>>,
    decision: &[Allotment],
) -> Decided {
    let mut decided = Decided::default();
    for (i, case) in cases.iter().enumerate() {
        let agent = &market.shape.agents[i];
        let got = chosen[i].as_ref().map_or(0, |quantum| quantum.replicas);
        let refusal = market.refusal(i);
        let barred = !market.serves(i);
        let unmet = (got < agent.min_replicas && (barred || !case.fixed)).then(|| {
            refusal.clone().unwrap_or_else(|| {
                let there: Vec<String> = room
                    .totals
                    .iter()
                    .map(|(resource, total)| format!("{total} {resource}"))
                    .collect();
                format!(
                    "{got} of at least {} replicas fit; the pool may spend {} GPUs and hold {}",
                    agent.min_replicas,
                    MilliGpus(room.budget),
                    there.join(", "),
                )
            })
        });
        if got == 0 && agent.min_replicas > 0 && !case.fixed {
            chosen[i] = None; // It is left as it is rather than scaled to nothing.
        }
        decided
            .holds
            .push(hold(market, i, case, chosen[i].as_ref(), &decision[i]));
        decided.memory_bound.push(market.too_large(i));
        decided.unmet.push(unmet);
    }
    decided.quanta = chosen;
    decided
}

/// The change that is wanted and not decided on, if there is one.
fn hold(
    market: &Market<'_>,
    i: usize,
    case: &Case,
    chosen: Option<&Quantum>,
    allotment: &Allotment,
) -> Option<Hold> {
    let now = case.in_force.as_ref()?;
    let (share, target) = (case.share(), case.target);
    if allotment.reason == Reason::AtCeiling
        && let Some(larger) = market.locked_out(i)
    {
        return Some(Hold {
            reason: HoldReason::TakeOverRefused,
            message: format!(
                "in force {}; {} would serve more, but the template's GPU request is another manager's: set requests.takeOver to Allowed to have it replaced",
                MilliGpus(share),
                larger.resource
            ),
            resources: Vec::new(),
        });
    }
    let tolerated = hysteresis::tolerated(&market.shape.behavior, share);
    if target.abs_diff(share) <= tolerated || chosen.is_some_and(|q| q != now) {
        return None;
    }
    let numbers = format!(
        "target {}, in force {}",
        MilliGpus(target),
        MilliGpus(share)
    );
    let (reason, message) = if market.ground.agents[i].frozen {
        (HoldReason::Frozen, numbers)
    } else if case.fixed {
        (HoldReason::SignalLost, numbers)
    } else if case.aim != target && case.aim == share {
        let window = if target > share {
            market.shape.behavior.scale_up_window
        } else {
            market.shape.behavior.scale_down_window
        };
        let text = format!(
            "{numbers}; not for the whole of the last {} s",
            window.as_secs()
        );
        (HoldReason::Stabilizing, text)
    } else if case.near {
        let band = hysteresis::band(&market.shape.behavior, share, market.step(i));
        let text = format!("{numbers}; no move for less than {}", MilliGpus(band));
        (HoldReason::WithinTolerance, text)
    } else if target > share {
        (
            HoldReason::WaitingForCapacity,
            format!("{numbers}; nothing larger fits"),
        )
    } else {
        return None;
    };
    Some(Hold {
        reason,
        message,
        resources: Vec::new(),
    })
}

/// Says which swaps are not made because they would stop an agent for a moment; `stopping` is what would be decided if that
/// were permitted.
pub(super) fn stops(cases: &[Case], stopping: Vec<Option<Quantum>>, decided: &mut Decided) {
    for (i, quantum) in stopping.into_iter().enumerate() {
        let resource = decided.quanta[i].as_ref().map(|q| &q.resource);
        let stabilizing = decided.holds[i]
            .as_ref()
            .is_some_and(|hold| hold.reason == HoldReason::Stabilizing);
        let Some(quantum) = quantum.filter(|q| Some(&q.resource) != resource) else {
            continue;
        };
        if cases[i].fixed || stabilizing {
            continue;
        }
        decided.holds[i] = Some(Hold {
            reason: HoldReason::SwapNeedsDowntime,
            message: format!(
                "target {}, in force {}; {} x {} cannot be reached while everyone runs: set disruption.allowDowntime to let an agent stop for a moment",
                MilliGpus(cases[i].target),
                MilliGpus(cases[i].share()),
                quantum.replicas,
                quantum.resource
            ),
            resources: vec![quantum.resource],
        });
    }
}
