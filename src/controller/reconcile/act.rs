//! The writes of a tick: steps, status, events.

use super::loose;
use super::{Seen, State, Tick};
use crate::allocation::Allotment;
use crate::api::conditions::{ConditionType, Verdict};
use crate::api::{AgentPool, Invalid, ValidPool};
use crate::controller::apply::{Applier, agent_of};
use crate::controller::backoff::Backoff;
use crate::controller::cache::Caches;
use crate::controller::claims::Claims;
use crate::controller::cut::cut;
use crate::controller::outcome::{self, Outcome};
use crate::controller::report::{Report, Reporter};
use crate::controller::reverts::{self, Expected};
use crate::controller::shared::Shared;
use crate::controller::write::WriteError;
use crate::sharing::{Plan, Step};
use crate::telemetry::AgentSample;
use k8s_openapi::jiff::Timestamp;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a pool that cannot be read is looked at: a change of it wakes at once.
const UNREADABLE: Duration = Duration::from_secs(60);
/// The same, while something that was begun has to be ended.
const LOOSE: Duration = Duration::from_secs(1);

pub(super) async fn apply(
    shared: &Shared,
    pool: &ValidPool,
    seen: &Seen,
    plan: &Plan,
    state: &mut State,
) -> Tick {
    let State {
        backoff, expected, ..
    } = state;
    let mut tick = Tick::default();
    if !pool.may_write() || !shared.writer.leads() {
        // What others change while we may not write is no revert.
        *expected = Expected::default();
    }
    if !shared.writer.leads() {
        return tick;
    }
    let steps: &[Step] = match pool.may_write() {
        true => &plan.steps,
        false => &[],
    };
    let loose = loose::of(pool, &seen.view, steps);
    backoff.keep(|name| {
        let mut stepping = steps.iter().map(|step| &pool.agents[agent_of(step)].name);
        stepping.any(|agent| agent == name) || loose.iter().any(|end| end.agent == name)
    });
    tick.done = loose::tie(shared, &pool.namespace, &loose, backoff, seen.now).await;
    if !tick.done.is_empty() {
        return tick; // What was observed no longer holds.
    }
    let applier = Applier {
        writer: &shared.writer,
        caches: &shared.caches,
        pool,
        view: &seen.view,
    };
    let mut given_up = Vec::new();
    for (index, count) in expected.reverted(pool, &seen.view) {
        if count.count >= reverts::MOST {
            given_up.push(index);
        }
        if let Err(error) = applier.count_revert(index, &count).await {
            tracing::warn!(pool = pool.key(), %error, "a revert was not counted");
        }
    }
    for step in steps {
        let agent = &pool.agents[agent_of(step)].name;
        if backoff.holds(agent, seen.now) || given_up.contains(&agent_of(step)) {
            continue;
        }
        match applier.apply(step).await {
            Ok(done) => {
                backoff.clear(agent);
                expected.wrote(agent, step);
                shared
                    .metrics
                    .count_requests_cut(requests_in_victims(seen, step));
                if let Some(read) = seen.read {
                    shared.metrics.observe_scrape_to_write(read.elapsed());
                }
                tick.done.extend(done);
            }
            Err(WriteError::NotLeading) => break,
            Err(error) => {
                if error.is_unsure() {
                    // If it was carried out, what we see next is our own doing.
                    expected.forget(agent);
                }
                failed(shared, backoff, agent, step, &error, seen.now);
                // The steps of a plan are independent, but what was observed no longer holds: look again first.
                if error.is_race() {
                    break;
                }
            }
        }
    }
    tick
}

/// A write for an agent failed, or lost a race.
pub(super) fn failed(
    shared: &Shared,
    backoff: &mut Backoff,
    agent: &str,
    what: impl Debug,
    error: &WriteError,
    now: Duration,
) {
    if error.is_race() {
        return backoff.raced(agent, now, error.to_string());
    }
    tracing::warn!(agent, %error, ?what, "a write failed");
    shared.metrics.count_reconcile_error("Write");
    backoff.failed(agent, now, error.to_string());
}

/// Requests running and waiting in the pods that a scale-in takes, as far as they are known.
fn requests_in_victims(seen: &Seen, step: &Step) -> u64 {
    let Step::Scale { agent, victims, .. } = step else {
        return 0;
    };
    let pods = seen.inputs.observed.agents[*agent].pods.iter();
    let cut: f64 = pods
        .filter(|pod| victims.contains(&pod.name))
        .filter_map(|pod| pod.load)
        .sum();
    // A float that is negative or not finite saturates; loads are neither.
    cut.round() as u64
}

#[allow(clippy::too_many_arguments)]
pub(super) async fn report(
    shared: &Shared,
    object: &AgentPool,
    pool: &ValidPool,
    seen: &Seen,
    decision: &[Allotment],
    plan: &Plan,
    state: &mut State,
    tick: &mut Tick,
) {
    if !shared.writer.leads() {
        // Of two replicas that publish a pool each sum over them is wrong.
        shared.metrics.forget_pool(&pool.namespace, &pool.name);
        return;
    }
    let samples = pool
        .agents
        .iter()
        .enumerate()
        .map(|(i, agent)| AgentSample {
            agent: agent.name.clone(),
            measured: seen.signals[i]
                .as_ref()
                .and_then(|s| s.age)
                .and_then(|age| Instant::now().checked_sub(age)),
            target: decision[i].target,
            realized: seen.survey.agents[i].realized,
        });
    shared
        .metrics
        .publish_pool(&pool.namespace, &pool.name, samples.collect());
    let outcome = Outcome {
        pool,
        view: &seen.view,
        observed: &seen.inputs.observed,
        survey: &seen.survey,
        signals: &seen.signals,
        outage: seen.outage,
        decision,
        plan,
        lag: state.lag.is_learned().then(|| state.lag.get()),
        failure: state.backoff.why(),
        at: Timestamp::now(),
    };
    let report = Report {
        verdicts: outcome.verdicts(),
        capacity: Some(outcome.capacity()),
        lag: outcome.lag,
        agents: outcome.agents(),
    };
    let bad = state.news.of(&report.verdicts, seen.now);
    shared.events.publish(object, &tick.done, &bad);
    let place = (pool.namespace.as_str(), pool.name.as_str());
    let (generation, now) = (pool.generation, seen.now);
    write_status(shared, &mut state.reporter, place, generation, report, now).await;
}

/// Writes the status where that is due. The pool goes on deciding when it cannot be written, and `/readyz` names a right that is missing.
async fn write_status(
    shared: &Shared,
    reporter: &mut Reporter,
    place: (&str, &str),
    generation: Option<i64>,
    report: Report,
    now: Duration,
) {
    let (namespace, name) = place;
    let written = reporter
        .report(&shared.writer, place, generation, report, now)
        .await;
    let what = format!("status of agentpools in {namespace}");
    match written {
        Ok(false) | Err(WriteError::NotLeading) => {}
        Ok(true) => shared.health.does(&what, Ok(())),
        Err(error) if error.is_race() => {}
        Err(error) => {
            tracing::warn!(namespace, name, %error, "status was not written");
            shared.metrics.count_reconcile_error("Status");
            if error.is_forbidden() {
                shared.health.does(&what, Err(error.to_string()));
            }
        }
    }
}

/// A pool that cannot be read: says which field, what it says, and what would be right; ends what was begun, and touches nothing else.
pub(super) async fn refuse(
    shared: &Shared,
    pool: &AgentPool,
    state: &mut State,
    invalid: &Invalid,
) -> Tick {
    let (namespace, name) = (
        pool.metadata.namespace.clone().unwrap_or_default(),
        pool.metadata.name.clone().unwrap_or_default(),
    );
    shared.metrics.count_reconcile_error("Invalid");
    shared.metrics.forget_pool(&namespace, &name);
    let mut message = invalid.to_string();
    if let Some(cut) = cut_in(&shared.caches, &shared.claims, pool) {
        message = format!("{message}; {cut}");
    }
    let verdicts = vec![
        Verdict::new(ConditionType::Ready, false, "InvalidSpec", message.clone()),
        Verdict::new(
            ConditionType::Reconciling,
            false,
            "InvalidSpec",
            "nothing is under way",
        ),
        Verdict::new(ConditionType::Stalled, true, "InvalidSpec", message),
    ];
    let report = Report {
        verdicts,
        capacity: None,
        lag: None,
        agents: Vec::new(),
    };
    let mut tick = Tick {
        interval: Some(UNREADABLE),
        ..Tick::default()
    };
    if shared.writer.leads() {
        let loose = loose::of_unreadable(shared, pool);
        if !loose.is_empty() {
            tick.interval = Some(LOOSE);
        }
        let now = shared.clock.now();
        state
            .backoff
            .keep(|name| loose.iter().any(|end| end.agent == name));
        tick.done = loose::tie(shared, &namespace, &loose, &mut state.backoff, now).await;
        let bad = state.news.of(&report.verdicts, now);
        shared.events.publish(pool, &tick.done, &bad);
        let (place, generation) = (
            (namespace.as_str(), name.as_str()),
            pool.metadata.generation,
        );
        write_status(shared, &mut state.reporter, place, generation, report, now).await;
    }
    tick
}

/// Workloads of a pool that cannot be read which a swap has left at zero replicas.
fn cut_in(caches: &Caches, claims: &Claims, pool: &AgentPool) -> Option<String> {
    let (namespace, uid) = (
        pool.metadata.namespace.as_ref()?,
        pool.metadata.uid.as_ref()?,
    );
    let workloads = pool.spec.agents.iter().map(|agent| &agent.workload_ref);
    let stopped = workloads.filter_map(|workload| {
        let (kind, name) = (workload.kind, &workload.name);
        let held = claims.holds(uid, namespace, kind, name);
        let record = caches.workloads(kind).get(namespace, name);
        let restore = cut(&*record.filter(|_| held)?)?;
        Some(outcome::cut(&format!("{kind:?} {name}"), &restore))
    });
    let stopped: Vec<String> = stopped.collect();
    (!stopped.is_empty()).then(|| stopped.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::annotations;
    use crate::controller::fixtures::{caches, deployment, object};
    use serde_json::json;

    #[test]
    fn of_a_pool_that_cannot_be_read_it_is_said_which_workload_a_swap_has_stopped() {
        let pool = object("p", "MIG", &["a", "b"]);
        let note = json!({ "replicas": 2, "from": "nvidia.com/mig-3g.40gb", "to": "nvidia.com/mig-1g.10gb", "toReplicas": 1 });
        let swapping = |name, replicas| {
            let mut record = deployment(name, replicas, json!([]));
            let key = annotations::RESTORE.to_owned();
            record.notes.insert(key, note.to_string());
            (name, record)
        };
        let caches = caches(&[], &[swapping("a", 0), swapping("b", 1)], &[]);
        let claims = Claims::default();
        assert_eq!(cut_in(&caches, &claims, &pool), None, "it has neither");
        claims.replace([&pool].into_iter(), &Default::default());
        let said = cut_in(&caches, &claims, &pool).unwrap_or_default();
        assert!(said.starts_with("Deployment a has no replicas"), "{said}");
        assert!(!said.contains("Deployment b"), "{said}");
    }
}
