//! The writes of a tick: steps, status, events.

use super::loose;
use super::turn::{TURN, next, takes};
use super::{Current, Round, State, Tick};
use crate::allocation::Policy;
use crate::api::conditions::{ConditionType, Verdict};
use crate::api::{AgentPool, Invalid, ValidPool};
use crate::controller::apply::{Applier, Done, agent_of};
use crate::controller::backoff::Backoff;
use crate::controller::cache::Caches;
use crate::controller::claims::Claims;
use crate::controller::cut::cut;
use crate::controller::outcome::{self, Outcome};
use crate::controller::promises::Reserved;
use crate::controller::report::{Report, Reporter};
use crate::controller::reverts::{self, Expected};
use crate::controller::shared::Shared;
use crate::controller::write::WriteError;
use crate::sharing::{AgentObserved, Pod, PodState, Step};
use crate::telemetry::AgentSample;
use k8s_openapi::jiff::Timestamp;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a pool that cannot be read is looked at: a change of it wakes at once.
const UNREADABLE: Duration = Duration::from_secs(60);
/// The same, while something that was begun has to be ended.
const LOOSE: Duration = Duration::from_secs(1);

/// What was done before anything is taken or given up.
pub(super) struct Settled {
    pub(super) done: Vec<Done>,
    /// Agents whose fields are put back too often.
    pub(super) given_up: Vec<usize>,
    /// No step is to be made: none may be, or what was observed no longer holds.
    pub(super) holds: bool,
}

/// Ties up loose ends and counts reverts. None of it takes anything from others, so that nobody waits for it.
pub(super) async fn settle(
    shared: &Shared,
    pool: &ValidPool,
    round: &Round,
    state: &mut State,
) -> Settled {
    let State {
        backoff, expected, ..
    } = state;
    let mut settled = Settled {
        done: Vec::new(),
        given_up: Vec::new(),
        holds: true,
    };
    let leads = shared.writer.leads_in(&pool.namespace);
    if !pool.may_write() || !leads {
        // What others change while we may not write is no revert.
        *expected = Expected::default();
    }
    if !leads {
        return settled;
    }
    let seen = &round.seen;
    let steps: &[Step] = match pool.may_write() {
        true => &round.plan.steps,
        false => &[],
    };
    let loose = loose::of(pool, &seen.view, steps);
    backoff.keep(|name| {
        let mut stepping = steps.iter().map(|step| &pool.agents[agent_of(step)].name);
        stepping.any(|agent| agent == name) || loose.iter().any(|end| end.agent == name)
    });
    let tied = loose::tie(shared, &pool.namespace, &loose, backoff, seen.now).await;
    settled.done = tied.done;
    settled.holds = !settled.done.is_empty() || tied.unsure || !pool.may_write();
    if settled.holds {
        return settled;
    }
    let applier = applier(shared, pool, round);
    for (index, count) in expected.reverted(pool, &seen.view) {
        if count.count >= reverts::MOST {
            settled.given_up.push(index);
        }
        if let Err(error) = applier.count_revert(index, &count).await {
            tracing::warn!(pool = pool.key(), %error, "a revert was not counted");
        }
    }
    settled
}

fn applier<'a>(shared: &'a Shared, pool: &'a ValidPool, round: &'a Round) -> Applier<'a> {
    Applier {
        writer: &shared.writer,
        caches: &shared.caches,
        pool,
        view: &round.seen.view,
    }
}

/// The steps of a round, one write after the other.
pub(super) struct Writes<'a> {
    pub(super) shared: &'a Shared,
    pub(super) pool: &'a ValidPool,
    pub(super) current: Current<'a>,
    pub(super) round: &'a Round,
}

/// What came of a step.
enum Went {
    Well,
    /// It was not tried, or refused.
    Not,
    /// Nobody knows.
    Unsure,
    /// No other is to follow: what was observed no longer holds.
    Stop,
}

impl Writes<'_> {
    /// First what is taken, for as long as it is `reserved`; then what is given up, for which nobody waits. They are independent of each
    /// other.
    pub(super) async fn apply(
        &self,
        state: &mut State,
        given_up: &[usize],
        reserved: Option<Reserved<'_>>,
    ) -> Vec<Done> {
        let mut done = Vec::new();
        let (pool, steps) = (self.pool, &self.round.plan.steps);
        let kept = |step: &&Step| !given_up.contains(&agent_of(step));
        let taking = next(pool, steps, given_up, &state.backoff, self.round.seen.now);
        let mut stopped = false;
        for step in taking {
            match self.step(step, state, &mut done).await {
                Went::Well => state.turns.clear(TURN),
                Went::Not => {}
                Went::Unsure => {
                    // What else is reserved is others' again, and the pool is not the next to reserve it.
                    let now = self.shared.clock.now();
                    let agent = &self.pool.agents[agent_of(step)];
                    let namespace = self.pool.namespace.clone();
                    let workload = (namespace, agent.kind, agent.workload.clone());
                    if let Some(reserved) = &reserved {
                        reserved.unsure(&workload, now);
                    }
                    let why = "a write got no answer".to_owned();
                    state.turns.failed(TURN, now, why);
                    break;
                }
                Went::Stop => {
                    stopped = true;
                    break;
                }
            }
        }
        if let Some(reserved) = reserved {
            reserved.end();
        }
        if stopped {
            return done;
        }
        let others = steps.iter().filter(|step| !takes(step));
        for step in others.filter(kept) {
            // Without an answer each waits as long as a call may take: the next tick is soon enough for the others.
            if let Went::Stop | Went::Unsure = self.step(step, state, &mut done).await {
                break;
            }
        }
        done
    }

    async fn step(&self, step: &Step, state: &mut State, done: &mut Vec<Done>) -> Went {
        let (shared, seen) = (self.shared, &self.round.seen);
        let State {
            backoff, expected, ..
        } = state;
        let agent = &self.pool.agents[agent_of(step)].name;
        if backoff.holds(agent, seen.now) {
            return Went::Not;
        }
        if !self.current.stands() || shared.stop.is_cancelled() {
            return Went::Stop;
        }
        match applier(shared, self.pool, self.round).apply(step).await {
            Ok(made) => {
                backoff.clear(agent);
                expected.wrote(agent, step);
                shared
                    .metrics
                    .count_requests_cut(requests_cut(&seen.inputs.observed.agents, step));
                if let Some(read) = seen.read {
                    shared.metrics.observe_scrape_to_write(read.elapsed());
                }
                done.extend(made);
                Went::Well
            }
            Err(WriteError::NotLeading) => Went::Stop,
            Err(error) => {
                if error.is_unsure() {
                    // If it was carried out, what we see next is our own doing.
                    expected.forget(agent);
                }
                // The call took time: counted from before it the pause could be over already.
                failed(shared, backoff, agent, step, &error, shared.clock.now());
                match (error.is_race(), error.is_unsure()) {
                    // The steps of a plan are independent, but what was observed no longer holds: look again first.
                    (true, _) => Went::Stop,
                    (false, true) => Went::Unsure,
                    (false, false) => Went::Not,
                }
            }
        }
    }
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

/// Requests running and waiting in the pods that a step removes, as far as they are known: those that a scale-in gives up (a swap by way of
/// zero: all), and those that a rollout replaces.
fn requests_cut(agents: &[AgentObserved], step: &Step) -> u64 {
    let stays = |pod: &Pod| !matches!(pod.state, PodState::Terminating | PodState::Stranded);
    let removed = |pod: &&Pod| match step {
        Step::Scale { to: 0, .. } => stays(pod),
        Step::Scale { victims, .. } => victims.contains(&pod.name),
        // A swap that is taken back keeps the pods that it has not replaced yet.
        Step::Retarget {
            resource, count, ..
        } => stays(pod) && pod.requests.get(resource) != Some(count),
        Step::Remember { .. } | Step::Forget { .. } => false,
    };
    let pods = agents[agent_of(step)].pods.iter();
    let cut: f64 = pods.filter(removed).filter_map(|pod| pod.load).sum();
    // A float that is negative or not finite saturates; loads are neither.
    cut.round() as u64
}

pub(super) async fn report(
    shared: &Shared,
    object: &AgentPool,
    pool: &ValidPool,
    round: &Round,
    state: &mut State,
    tick: &Tick,
) {
    let Round {
        seen,
        decision,
        plan,
    } = round;
    if !shared.writer.leads_in(&pool.namespace) {
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
            outlook: match pool.policy {
                Policy::Balanced(_) => {
                    let learned = &state.memory.allocation;
                    learned.outlook(&agent.name, seen.inputs.lag, pool.interval)
                }
                Policy::WaterFilling | Policy::Adaptive | Policy::StaticEqual => None,
            },
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
        lag: state.lag.learned(),
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
        lag: state.lag.learned(),
        agents: Vec::new(),
    };
    let mut tick = Tick {
        interval: Some(UNREADABLE),
        ..Tick::default()
    };
    if shared.writer.leads_in(&namespace) {
        let loose = loose::of_unreadable(shared, pool);
        if !loose.is_empty() {
            tick.interval = Some(LOOSE);
        }
        let now = shared.clock.now();
        state
            .backoff
            .keep(|name| loose.iter().any(|end| end.agent == name));
        let tied = loose::tie(shared, &namespace, &loose, &mut state.backoff, now).await;
        tick.done = tied.done;
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
        let restore = cut(&*record.filter(|record| held && record.replicas == 0)?)?;
        Some(outcome::cut(&format!("{kind:?} {name}"), &restore))
    });
    let stopped: Vec<String> = stopped.collect();
    (!stopped.is_empty()).then(|| stopped.join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::annotations;
    use crate::controller::fixtures::{caches, deployment, object, pool, whole};
    use crate::controller::observe::view;
    use crate::units::GpuResource;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn requests_are_cut_in_the_pods_that_a_scale_in_gives_up_and_in_those_that_a_rollout_replaces()
    {
        let caches = caches(
            &[("gpu", whole(4))],
            &[("a", deployment("a", 4, json!([])))],
            &[("a", "gpu"), ("a", "gpu"), ("a", "gpu"), ("a", "gpu")],
        );
        let pool = pool("p", "MIG", &["a"]);
        let view = view(&pool, &caches, &Claims::default());
        let mut agents = view.observed(&pool, &caches, |_| None).agents;
        let mig = GpuResource::parse("nvidia.com/mig-3g.40gb").unwrap();
        let loads = [Some(5.0), Some(7.5), None, Some(100.0)];
        for (pod, load) in agents[0].pods.iter_mut().zip(loads) {
            pod.load = load;
        }
        agents[0].pods[3].state = PodState::Terminating;

        let scale = |to, victims: &[&str]| Step::Scale {
            agent: 0,
            from: 4,
            to,
            victims: victims.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(requests_cut(&agents, &scale(2, &["a-0", "a-2"])), 5);
        assert_eq!(requests_cut(&agents, &scale(8, &[])), 0);
        let by_way_of_zero = requests_cut(&agents, &scale(0, &[]));
        assert_eq!(by_way_of_zero, 13, "all but the one that goes already");

        let retarget = |resource: &GpuResource| Step::Retarget {
            agent: 0,
            remove: BTreeMap::new(),
            resource: resource.clone(),
            count: 1,
        };
        assert_eq!(requests_cut(&agents, &retarget(&mig)), 13);
        agents[0].pods[0].requests = BTreeMap::from([(mig.clone(), 1)]);
        assert_eq!(
            requests_cut(&agents, &retarget(&mig)),
            8,
            "one has what is wanted"
        );
        assert_eq!(requests_cut(&agents, &Step::Forget { agent: 0 }), 0);
    }

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
