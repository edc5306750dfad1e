//! What a tick means for the pool: its conditions.

use super::Outcome;
use super::wedge::wedge;
use crate::api::Mode;
use crate::api::conditions::{ConditionType as C, Verdict};
use crate::controller::apply::agent_of;
use crate::controller::standing::describe;
use crate::sharing::{HoldReason, Restore};
use crate::signals::Freshness;

/// Of a pool that may not write.
const WATCHES: &str = "decides, and writes nothing but status";

/// That a swap has left a workload at zero replicas, and what it waits for.
pub fn cut(what: &str, restore: &Restore) -> String {
    format!(
        "{what} has no replicas, because its swap from {} to {} was cut: it comes up as soon as one of the two is free",
        restore.from, restore.to
    )
}

impl Outcome<'_> {
    /// Every condition.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let signals = self.signals_fresh();
        let capacity = self.capacity_available();
        let conflicted = self.conflicted();
        let paused = self.paused();
        let cut = self.cut();
        let moving = self.pool.may_write()
            && (!self.plan.steps.is_empty()
                || self.plan.unfinished
                || self
                    .observed
                    .agents
                    .iter()
                    .any(|a| a.rolling || a.restore.is_some()));
        let mut stalled = self.stalled(&conflicted);
        if stalled.holds {
            // What else is wrong has no condition of its own then.
            let failure = self
                .failure
                .as_ref()
                .map(|f| format!("a write failed: {f}"));
            let all = [Some(stalled.message), failure, cut.clone()];
            let all: Vec<String> = all.into_iter().flatten().collect();
            stalled = Verdict::new(C::Stalled, true, stalled.reason, all.join("; "));
        }
        let reconciling = match (stalled.holds, self.failure.as_deref(), moving, cut) {
            (true, ..) => Verdict::new(C::Reconciling, false, "Stalled", self.others_moving()),
            (_, Some(failure), ..) => Verdict::new(C::Reconciling, true, "WriteFailed", failure),
            (_, _, true, _) => Verdict::new(C::Reconciling, true, "Moving", self.moving()),
            (_, _, _, Some(cut)) => Verdict::new(C::Reconciling, true, "SwapCut", cut),
            _ if paused.holds => Verdict::new(C::Reconciling, false, paused.reason, WATCHES),
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
            Verdict::new(C::Ready, true, paused.reason, WATCHES)
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

    /// Agents that a swap has left at zero replicas, and what each waits for.
    fn cut(&self) -> Option<String> {
        let agents = self.pool.agents.iter().zip(&self.observed.agents);
        let stopped: Vec<String> = agents
            .filter(|(_, seen)| seen.replicas == 0)
            .filter_map(|(agent, seen)| Some(cut(&describe(agent), seen.restore.as_ref()?)))
            .collect();
        (!stopped.is_empty()).then(|| stopped.join("; "))
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

    /// What is under way although something is stalled.
    fn others_moving(&self) -> String {
        let stepping: Vec<usize> = self.plan.steps.iter().map(agent_of).collect();
        let agents = self.pool.agents.iter().zip(&self.observed.agents);
        let moving = agents.enumerate().filter(|(i, (_, seen))| {
            let moves = stepping.contains(i) || seen.rolling || seen.restore.is_some();
            moves && self.pool.may_write() && !self.is_stuck(*i)
        });
        let moving: Vec<&str> = moving.map(|(_, (agent, _))| agent.name.as_str()).collect();
        if moving.is_empty() {
            return "nothing is under way".to_owned();
        }
        format!("the others go on: changing {}", moving.join(", "))
    }

    fn is_stuck(&self, i: usize) -> bool {
        self.view.agents[i].refusal.is_some()
            || self.failing(i).is_some()
            || self.wedged(i).is_some()
    }

    /// Why an agent's pods are not created.
    fn failing(&self, i: usize) -> Option<String> {
        let view = &self.view.agents[i];
        let failure = view.workload.as_ref()?.failure.as_ref();
        let failure = failure.or(view.short.as_ref())?;
        Some(format!("{}: {failure}", self.pool.agents[i].name))
    }

    /// Why an agent's rollout stands still.
    fn wedged(&self, i: usize) -> Option<String> {
        let view = &self.view.agents[i];
        let what = describe(&self.pool.agents[i]);
        wedge(&what, view.workload.as_ref()?, &view.pods, self.at)
    }

    fn signals_fresh(&self) -> Verdict {
        let source = self.outage.map(|problem| {
            let name = self.pool.prometheus.as_deref().unwrap_or_default();
            format!("metric source {name:?} cannot be read: {problem}")
        });
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
                    // With the source away, its pods' problems are only that.
                    Some((pod, problem)) if source.is_none() => {
                        format!("{}: {state}, pod {pod}: {problem}", agent.name)
                    }
                    _ => format!("{}: {state}", agent.name),
                })
            })
            .collect();
        let unknown = self
            .signals
            .iter()
            .flatten()
            .filter(|s| !s.freshness.is_known())
            .count();
        let lost = lost.join("; ");
        if let Some(source) = source {
            return match unknown {
                // Said long before the last values are too old.
                0 => Verdict::new(
                    C::SignalsFresh,
                    false,
                    "SourceUnreachable",
                    format!("{source}; what was known last still holds"),
                ),
                _ => Verdict::new(
                    C::SignalsFresh,
                    false,
                    "SignalsLost",
                    format!("{source}; {lost}"),
                ),
            };
        }
        match (lost.is_empty(), unknown) {
            (true, _) => Verdict::new(
                C::SignalsFresh,
                true,
                "AllFresh",
                format!("{} agents", self.signals.len()),
            ),
            (false, 0) => Verdict::new(C::SignalsFresh, false, "SomePodsLost", lost),
            (false, _) => Verdict::new(C::SignalsFresh, false, "SignalsLost", lost),
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
        let agents = 0..self.pool.agents.len();
        let failing: Vec<String> = agents.clone().filter_map(|i| self.failing(i)).collect();
        if !failing.is_empty() {
            return Verdict::new(C::Stalled, true, "PodsRefused", failing.join("; "));
        }
        let wedged: Vec<String> = agents.filter_map(|i| self.wedged(i)).collect();
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::allocation::{self, Load};
    use crate::api::{PolicyType, ValidPool};
    use crate::controller::claims::Claims;
    use crate::controller::fixtures::{caches, deployment, object, pool, whole};
    use crate::controller::observe::{View, view};
    use crate::controller::standing::Refusal;
    use crate::recording::{self, Inputs};
    use crate::sharing::{self, Observed, Plan, Step};
    use serde_json::json;
    use std::time::Duration;

    /// Two agents, of which `b` is refused.
    fn scene() -> (ValidPool, View, Observed) {
        let pool = pool("p", "WholeGPU", &["a", "b"]);
        let agents = ["a", "b"].map(|name| (name, deployment(name, 1, json!([]))));
        let caches = caches(&[("gpu", whole(4))], &agents, &[]);
        let mut view = view(&pool, &caches, &Claims::default());
        view.agents[1].refusal = Some(Refusal {
            reason: "Autoscaled",
            message: "HorizontalPodAutoscaler b scales Deployment b".to_owned(),
            conflict: true,
        });
        let observed = view.observed(&pool, &caches, |_| None);
        (pool, view, observed)
    }

    fn said(
        scene: &(ValidPool, View, Observed),
        plan: &Plan,
        failure: Option<&str>,
    ) -> [String; 3] {
        let (pool, view, observed) = scene;
        let outcome = Outcome {
            pool,
            view,
            observed,
            survey: &sharing::survey(&pool.shape, observed),
            signals: &[],
            outage: None,
            decision: &[],
            plan,
            lag: None,
            failure: failure.map(str::to_owned),
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        };
        let verdicts = outcome.verdicts();
        let of = |kind| verdicts.iter().find(|v| v.kind == kind).unwrap();
        assert!(of(C::Stalled).holds && !of(C::Reconciling).holds);
        assert_eq!(of(C::Stalled).reason, "Autoscaled");
        [C::Ready, C::Stalled, C::Reconciling].map(|kind| of(kind).message.clone())
    }

    /// What `MinimumUnmet` says of a pool of two agents on four GPUs under Adaptive: each has a minimum of two, and so many requests
    /// come a second at ten a second and GPU.
    fn minimum_unmet(requests: [f64; 2], plan: &Plan) -> (bool, &'static str, String) {
        let mut object = object("p", "WholeGPU", &["a", "b"]);
        object.spec.policy.kind = PolicyType::Adaptive;
        for agent in &mut object.spec.agents {
            agent.min_share = "2".into();
        }
        let pool = ValidPool::admit(&object).unwrap();
        let agents = ["a", "b"].map(|name| (name, deployment(name, 2, json!([]))));
        let caches = caches(&[("gpu", whole(4))], &agents, &[]);
        let view = view(&pool, &caches, &Claims::default());
        let load = |arrivals_per_second| Load::Measured {
            arrivals_per_second,
            backlog: 0.0,
        };
        let inputs = Inputs {
            now: Duration::ZERO,
            lag: Duration::ZERO,
            drain: Duration::from_secs(30),
            loads: requests.map(load).to_vec(),
            raised: vec![false; 2],
            observed: view.observed(&pool, &caches, |_| None),
        };
        let survey = sharing::survey(&pool.shape, &inputs.observed);
        let memory = &mut allocation::Memory::default();
        let outcome = Outcome {
            pool: &pool,
            view: &view,
            observed: &inputs.observed,
            survey: &survey,
            signals: &[],
            outage: None,
            decision: &recording::allot(&pool, &survey, &inputs, memory),
            plan,
            lag: None,
            failure: None,
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        };
        let verdicts = outcome.verdicts();
        let unmet = verdicts.iter().find(|v| v.kind == C::MinimumUnmet).unwrap();
        (unmet.holds, unmet.reason, unmet.message.clone())
    }

    #[test]
    fn where_the_papers_rule_breaks_a_minimum_status_says_whose_with_the_numbers() {
        // Six times as many requests for `a`: by the formula 3.4 GPUs and 2, which are scaled to the four that there are.
        let (holds, reason, message) = minimum_unmet([60.0, 10.0], &Plan::default());
        assert_eq!((holds, reason), (true, "BelowMinimum"));
        assert_eq!(message, "b: target 1474m is below its minimum 2 (demand 1)");

        let (holds, reason, message) = minimum_unmet([20.0, 20.0], &Plan::default());
        assert_eq!((holds, reason), (false, "AllMet"));
        assert!(message.contains("its minimum share"), "{message}");
    }

    #[test]
    fn a_minimum_for_which_there_is_no_place_is_said_in_the_plans_words() {
        let plan = Plan {
            unmet: vec![Some("1 of 2 replicas have a place".to_owned()), None],
            ..Plan::default()
        };
        let (holds, reason, message) = minimum_unmet([20.0, 20.0], &plan);
        assert_eq!((holds, reason), (true, "BelowMinimum"));
        assert_eq!(message, "a: 1 of 2 replicas have a place");
    }

    #[test]
    fn beside_an_agent_that_is_stalled_it_is_said_which_others_are_moved() {
        let scene = scene();
        let [.., reconciling] = said(&scene, &Plan::default(), None);
        assert_eq!(reconciling, "nothing is under way");
        let plan = Plan {
            steps: vec![Step::Scale {
                agent: 0,
                from: 1,
                to: 2,
                victims: Vec::new(),
            }],
            ..Plan::default()
        };
        let [.., reconciling] = said(&scene, &plan, None);
        assert_eq!(reconciling, "the others go on: changing a");
    }

    #[test]
    fn what_else_is_wrong_is_said_beside_what_is_stalled() {
        let mut scene = scene();
        scene.2.agents[0].replicas = 0;
        scene.2.agents[0].restore = Some(Restore {
            replicas: 1,
            from: "nvidia.com/mig-3g.40gb".to_owned(),
            to: "nvidia.com/mig-1g.10gb".to_owned(),
            to_replicas: 1,
        });
        let [ready, stalled, _] = said(&scene, &Plan::default(), Some("agent a: forbidden"));
        assert_eq!(ready, stalled);
        for part in [
            "HorizontalPodAutoscaler b",
            "agent a: forbidden",
            "Deployment a has no replicas",
            "nvidia.com/mig-3g.40gb",
        ] {
            assert!(stalled.contains(part), "{part} is not in: {stalled}");
        }
    }
}
