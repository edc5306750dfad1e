//! What a tick means for the pool: its conditions.

use super::Outcome;
use super::wedge::wedge;
use crate::api::Mode;
use crate::api::conditions::{ConditionType as C, Verdict};
use crate::controller::apply::agent_of;
use crate::controller::standing::describe;
use crate::sharing::HoldReason;
use crate::signals::Freshness;

impl Outcome<'_> {
    /// Every condition.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let signals = self.signals_fresh();
        let capacity = self.capacity_available();
        let conflicted = self.conflicted();
        let paused = self.paused();
        let stalled = self.stalled(&conflicted);
        let moving = !self.plan.steps.is_empty()
            || self.plan.unfinished
            || self
                .observed
                .agents
                .iter()
                .any(|a| a.rolling || a.restore.is_some());
        let reconciling = match (
            &stalled.holds,
            self.failure.as_deref(),
            moving && self.pool.may_write(),
        ) {
            (true, ..) => Verdict::new(C::Reconciling, false, "Stalled", "nothing is under way"),
            (_, Some(failure), _) => Verdict::new(C::Reconciling, true, "WriteFailed", failure),
            (_, _, true) => Verdict::new(C::Reconciling, true, "Moving", self.moving()),
            _ => Verdict::new(
                C::Reconciling,
                false,
                "Settled",
                "what was decided is in force",
            ),
        };
        let ready = if stalled.holds {
            Verdict::new(C::Ready, false, stalled.reason, stalled.message.clone())
        } else if reconciling.holds {
            Verdict::new(
                C::Ready,
                false,
                reconciling.reason,
                reconciling.message.clone(),
            )
        } else if paused.holds {
            Verdict::new(
                C::Ready,
                true,
                paused.reason,
                "decides, and writes nothing but status",
            )
        } else {
            Verdict::new(C::Ready, true, "Settled", "what was decided is in force")
        };
        vec![
            ready,
            reconciling,
            stalled,
            signals,
            capacity,
            self.minimum_unmet(),
            self.memory_bound(),
            conflicted,
            paused,
        ]
    }

    fn moving(&self) -> String {
        let names = |pick: &dyn Fn(usize) -> bool| {
            let some: Vec<&str> = self
                .pool
                .agents
                .iter()
                .enumerate()
                .filter(|(i, _)| pick(*i))
                .map(|(_, a)| a.name.as_str())
                .collect();
            some.join(", ")
        };
        let waits = |i: usize| self.plan.holds.get(i).is_some_and(Option::is_some);
        let stepping: Vec<usize> = self.plan.steps.iter().map(agent_of).collect();
        let steps = names(&|i| stepping.contains(&i));
        let held = names(&waits);
        match (steps.is_empty(), held.is_empty()) {
            (false, _) => format!("changing {steps}"),
            (true, false) => format!("waiting for {held}"),
            (true, true) => "pods are being replaced".to_owned(),
        }
    }

    fn signals_fresh(&self) -> Verdict {
        let lost: Vec<String> = self
            .pool
            .agents
            .iter()
            .zip(self.signals)
            .filter_map(|(agent, signal)| {
                let signal = signal
                    .as_ref()
                    .filter(|s| s.freshness != Freshness::Fresh)?;
                let state = signal.freshness.as_str();
                Some(match signal.problems.first() {
                    Some((pod, problem)) => {
                        format!("{}: {state}, pod {pod}: {problem}", agent.name)
                    }
                    None => format!("{}: {state}", agent.name),
                })
            })
            .collect();
        let unknown = self
            .signals
            .iter()
            .flatten()
            .filter(|s| !s.freshness.is_known())
            .count();
        // Said long before the last values are too old.
        if let Some(problem) = self.outage.filter(|_| unknown == 0) {
            let message = format!(
                "metric source {:?} cannot be read: {problem}; what was known last still holds",
                self.pool.prometheus.as_deref().unwrap_or_default()
            );
            return Verdict::new(C::SignalsFresh, false, "SourceUnreachable", message);
        }
        match (lost.is_empty(), unknown) {
            (true, _) => Verdict::new(
                C::SignalsFresh,
                true,
                "AllFresh",
                format!("{} agents", self.signals.len()),
            ),
            (false, 0) => Verdict::new(C::SignalsFresh, false, "SomePodsLost", lost.join("; ")),
            (false, _) => Verdict::new(C::SignalsFresh, false, "SignalsLost", lost.join("; ")),
        }
    }

    fn minimum_unmet(&self) -> Verdict {
        let below: Vec<String> = (0..self.pool.agents.len())
            .filter_map(|i| {
                let agent = &self.pool.agents[i];
                if let Some(why) = self.plan.unmet.get(i).cloned().flatten() {
                    return Some(format!("{}: {why}", agent.name));
                }
                let allotment = self.decision.get(i).filter(|a| a.minimum_unmet)?;
                Some(format!(
                    "{}: target {} is below its minimum {} (demand {})",
                    agent.name, allotment.target, agent.min_share, allotment.demand
                ))
            })
            .collect();
        if below.is_empty() {
            Verdict::new(
                C::MinimumUnmet,
                false,
                "AllMet",
                "every agent has its minimum share or all it asks for",
            )
        } else {
            Verdict::new(C::MinimumUnmet, true, "BelowMinimum", below.join("; "))
        }
    }

    fn memory_bound(&self) -> Verdict {
        let bound: Vec<String> = self
            .pool
            .agents
            .iter()
            .zip(&self.plan.memory_bound)
            .filter_map(|(agent, why)| why.as_ref().map(|why| format!("{}: {why}", agent.name)))
            .collect();
        if bound.is_empty() {
            Verdict::new(C::MemoryBound, false, "Fits", "GPU memory bounds no agent")
        } else {
            Verdict::new(C::MemoryBound, true, "MemoryBound", bound.join("; "))
        }
    }

    fn conflicted(&self) -> Verdict {
        let conflicts: Vec<_> = self
            .view
            .agents
            .iter()
            .filter_map(|a| a.refusal.as_ref())
            .filter(|r| r.conflict)
            .collect();
        match conflicts.first() {
            None => Verdict::new(
                C::Conflicted,
                false,
                "NoConflict",
                "no other manager was found",
            ),
            Some(first) => {
                let all: Vec<&str> = conflicts.iter().map(|r| r.message.as_str()).collect();
                Verdict::new(C::Conflicted, true, first.reason, all.join("; "))
            }
        }
    }

    fn paused(&self) -> Verdict {
        if self.pool.paused {
            Verdict::new(
                C::Paused,
                true,
                "PausedByAnnotation",
                "annotation agentpool.dev/paused is \"true\": nothing is written but status",
            )
        } else if self.pool.mode == Mode::Observe {
            Verdict::new(
                C::Paused,
                true,
                "Observing",
                "mode is Observe: nothing is written but status",
            )
        } else {
            Verdict::new(C::Paused, false, "Active", "mode is Auto")
        }
    }

    fn stalled(&self, conflicted: &Verdict) -> Verdict {
        let refusals: Vec<_> = self
            .view
            .agents
            .iter()
            .filter_map(|a| a.refusal.as_ref())
            .filter(|r| !r.conflict)
            .collect();
        if let Some(first) = refusals.first() {
            let all: Vec<&str> = refusals.iter().map(|r| r.message.as_str()).collect();
            return Verdict::new(C::Stalled, true, first.reason, all.join("; "));
        }
        if conflicted.holds {
            return Verdict::new(
                C::Stalled,
                true,
                conflicted.reason,
                conflicted.message.clone(),
            );
        }
        let failing: Vec<String> = self
            .pool
            .agents
            .iter()
            .zip(&self.view.agents)
            .filter_map(|(agent, view)| {
                let failure = view.workload.as_ref()?.failure.as_ref();
                let failure = failure.or(view.short.as_ref())?;
                Some(format!("{}: {failure}", agent.name))
            })
            .collect();
        if !failing.is_empty() {
            return Verdict::new(C::Stalled, true, "PodsRefused", failing.join("; "));
        }
        let wedged: Vec<String> = self
            .pool
            .agents
            .iter()
            .zip(&self.view.agents)
            .filter_map(|(agent, view)| {
                let workload = view.workload.as_ref()?;
                wedge(&describe(agent), workload, &view.pods, self.at)
            })
            .collect();
        if !wedged.is_empty() {
            return Verdict::new(C::Stalled, true, "RolloutWedged", wedged.join("; "));
        }
        let swap = self
            .plan
            .holds
            .iter()
            .flatten()
            .find(|h| h.reason == HoldReason::SwapNeedsDowntime);
        match swap {
            Some(hold) => Verdict::new(C::Stalled, false, "SwapHeld", hold.message.clone()),
            None => Verdict::new(
                C::Stalled,
                false,
                "Progressing",
                "nothing needs anybody's help",
            ),
        }
    }
}
