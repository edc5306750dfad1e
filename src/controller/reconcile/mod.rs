//! One tick of one pool: admit, observe, allocate, plan, apply, report.

mod act;
mod admit;
mod loose;
mod record;
mod turn;

use super::apply::Done;
use super::backoff::Backoff;
use super::events::News;
use super::observe::{AgentView, View, view};
use super::promises::{Owed, Promised};
use super::readings::{Readings, falls_back};
use super::report::Reporter;
use super::reverts::Expected;
use super::shared::Shared;
use super::short::Short;
use crate::allocation::{self, Allotment, Lag};
use crate::api::{AgentPool, ValidPool, annotations};
use crate::recording::{self, Inputs, Memory};
use crate::sharing::{self, Plan, Survey};
use crate::signals::{AgentSignal, Problem};
use act::{Writes, refuse, report, settle};
use admit::admit;
use jiff::Timestamp;
use record::{Recorded, record};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use turn::Turn;

/// A start-up counts as no longer than the longest actuation lag that can be declared.
const LONGEST_STARTUP: Duration = Duration::from_secs(3600);

/// What a pool remembers from tick to tick. Losing it is safe: a restart holds until signals are warm, and status has the learned lag.
#[derive(Debug)]
pub struct State {
    readings: Readings,
    memory: Memory,
    lag: Lag,
    started_pods: BTreeSet<Arc<str>>,
    /// Since when this process knows the pool.
    since: Timestamp,
    reporter: Reporter,
    news: News,
    /// It led at the last tick.
    leads: bool,
    backoff: Backoff,
    expected: Expected,
    recorded: Recorded,
    short: Short,
    /// After a write in its turn that got no answer the pool takes nothing for a while.
    turns: Backoff,
}

impl Default for State {
    fn default() -> Self {
        let lag = Lag::new(Duration::ZERO);
        Self {
            readings: Readings::default(),
            memory: Memory::default(),
            lag,
            started_pods: BTreeSet::new(),
            since: Timestamp::now(),
            reporter: Reporter::default(),
            news: News::default(),
            leads: false,
            backoff: Backoff::default(),
            expected: Expected::default(),
            recorded: Recorded::default(),
            short: Short::default(),
            turns: Backoff::default(),
        }
    }
}

/// What a tick came to.
#[derive(Debug, Default)]
pub struct Tick {
    /// Changes that were made.
    pub done: Vec<Done>,
    /// When the pool is to be looked at again.
    pub interval: Option<Duration>,
}

/// One tick. `scrape`: it is due by the pool's interval, not only woken by a change.
pub async fn reconcile(
    shared: &Shared,
    current: Current<'_>,
    state: &mut State,
    scrape: bool,
) -> Tick {
    let pool = current.begun;
    let namespace = pool.metadata.namespace.as_deref().unwrap_or_default();
    let leads = shared.writer.leads_in(namespace);
    state.reporter.resume(pool, leads);
    if leads && !state.leads {
        state.memory.take_over();
    }
    state.leads = leads;
    let status = pool.status.as_ref();
    state.news.resume(status, leads, shared.clock.now());
    if let Some(seconds) = status.and_then(|status| status.actuation_lag_seconds) {
        let learned = Duration::from_secs(seconds.into());
        state.lag.resume(learned.min(LONGEST_STARTUP));
    }
    let sources = shared.config.metric_sources.keys().map(String::as_str);
    let valid = match admit(pool, shared.nodes_hidden(), sources) {
        Ok(valid) => valid,
        Err(invalid) => {
            let uid = pool.metadata.uid.as_deref().unwrap_or_default();
            shared.claims.note(uid, false);
            return refuse(shared, pool, state, &invalid).await;
        }
    };
    shared.claims.note(&valid.uid, valid.may_write());
    let again = Tick {
        interval: Some(valid.interval),
        ..Tick::default()
    };
    let seen = observe(shared, &valid, state, scrape).await;
    if !current.stands() {
        return again; // It was changed meanwhile, and the next tick begins at once.
    }
    let remembered = state.memory.clone();
    let mut round = Round::decide(&valid, seen, state);
    let settled = settle(shared, &valid, &round, state).await;
    let turn = match settled.holds {
        true => Turn::Unneeded,
        false => {
            let given_up = &settled.given_up;
            turn::take(
                shared,
                &valid,
                current,
                &mut round,
                state,
                given_up,
                &remembered,
            )
            .await
        }
    };
    if let Turn::Changed = turn {
        state.memory = remembered;
        return again;
    }
    count(shared, &valid.namespace, &round);
    record(shared, pool, &round, remembered, state);
    let reserved = turn::explain(turn, &valid, &mut round);
    let mut tick = again;
    tick.done = settled.done;
    if !settled.holds {
        let writes = Writes {
            shared,
            pool: &valid,
            current,
            round: &round,
        };
        let done = writes.apply(state, &settled.given_up, reserved).await;
        tick.done.extend(done);
    }
    report(shared, pool, &valid, &round, state, &tick).await;
    tick
}

/// The pool that a tick began with, and as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// With which the tick began.
    pub begun: &'a AgentPool,
    /// As it is now.
    pub now: &'a watch::Receiver<Arc<AgentPool>>,
}

impl Current<'_> {
    /// Whether it is still what its user wants: a pause counts from the moment at which it is seen, not from the next tick.
    fn stands(&self) -> bool {
        // Of the annotations only the one that is read: a tool that writes others all the time would leave no tick alone.
        fn wanted(pool: &AgentPool) -> (Option<&str>, Option<i64>, Option<&String>) {
            let meta = &pool.metadata;
            let all = meta.annotations.as_ref();
            let paused = all.and_then(|all| all.get(annotations::PAUSED));
            (meta.uid.as_deref(), meta.generation, paused)
        }
        wanted(self.begun) == wanted(&self.now.borrow())
    }
}

/// What a tick looked at, and what it came to.
struct Round {
    seen: Seen,
    decision: Vec<Allotment>,
    plan: Plan,
}

impl Round {
    /// The shares and the steps towards them.
    fn decide(pool: &ValidPool, seen: Seen, state: &mut State) -> Self {
        let memory = &mut state.memory;
        let decision = recording::allot(pool, &seen.survey, &seen.inputs, &mut memory.allocation);
        let observed = &seen.inputs.observed;
        let (plan, next) =
            sharing::plan(&pool.shape, observed, &decision, &memory.sharing, seen.now);
        memory.sharing = next;
        Self {
            seen,
            decision,
            plan,
        }
    }
}

/// What a tick looks at.
struct Seen {
    view: View,
    inputs: Inputs,
    survey: Survey,
    signals: Vec<Option<AgentSignal>>,
    /// Why the pool's metrics server cannot be read.
    outage: Option<Problem>,
    /// When the scrapes that this tick decides upon were in; `None`: a change woke it, and nothing was read.
    read: Option<Instant>,
    now: Duration,
    /// The state of the caches and claims.
    changes: u64,
    /// What is free and promised to others.
    promised: Promised,
}

async fn observe(shared: &Shared, pool: &ValidPool, state: &mut State, scrape: bool) -> Seen {
    state.readings.fit(pool);
    let mut at = None;
    if scrape {
        let view = view(pool, &shared.caches, &shared.claims);
        at = read(shared, pool, &view, &mut state.readings).await;
    }
    // The scrape took time: what is decided upon is the cluster as it is after it.
    let now = shared.clock.now();
    look(shared, pool, state, at, now, &Owed::default())
}

/// The cluster as it is, and what is known of the load. `owed`: what others are promised, as it was before.
fn look(
    shared: &Shared,
    pool: &ValidPool,
    state: &mut State,
    read: Option<Instant>,
    now: Duration,
    owed: &Owed,
) -> Seen {
    let changes = changes(shared);
    let mut view = view(pool, &shared.caches, &shared.claims);
    state.short.note(pool, &mut view, now);
    learn_lag(&view, pool, state);
    let pace = allocation::pace(pool.pace, state.lag.get());
    let signals = state.readings.signals(pool, now, pace.window);
    let load = |uid: &str| {
        signals
            .iter()
            .flatten()
            .find_map(|s| s.pods.get(uid))
            .filter(|p| p.fresh)
            .map(|p| p.backlog)
    };
    let mut observed = view.observed(pool, &shared.caches, load);
    let promised = owed.on(&view, &observed.nodes);
    observed.promised = promised.sizes.clone();
    let survey = sharing::survey(&pool.shape, &observed);
    let window = pool.policy.window(pace, pool.interval);
    let raised = |signal: &AgentSignal| falls_back(pool, signal);
    let inputs = Inputs {
        now,
        lag: state.lag.get(),
        drain: pace.drain,
        loads: pool
            .agents
            .iter()
            .map(|agent| state.readings.load(&agent.name, now, window))
            .collect(),
        raised: signals
            .iter()
            .map(|signal| signal.as_ref().is_some_and(raised))
            .collect(),
        observed,
    };
    Seen {
        view,
        inputs,
        survey,
        outage: state.readings.outage(signals.iter().flatten()),
        signals,
        read,
        now,
        changes,
        promised,
    }
}

/// Counts up with every change in the caches, and of claims, that a plan is made from.
fn changes(shared: &Shared) -> u64 {
    let caches = &shared.caches;
    let workloads = caches.deployments.changes() + caches.stateful_sets.changes();
    caches.nodes.changes() + caches.pods.changes() + workloads + shared.claims.changes()
}

/// One round of readings, from wherever the pool's signals come; says when they were in, if anything was due.
async fn read(
    shared: &Shared,
    pool: &ValidPool,
    view: &View,
    readings: &mut Readings,
) -> Option<Instant> {
    let samples = match &pool.prometheus {
        None => {
            readings
                .scrape(pool, view, &shared.scraper, &shared.metrics)
                .await
        }
        Some(name) => {
            let source = shared.sources.get(name)?;
            if !readings.is_query_due(shared.clock.now()) {
                return None;
            }
            readings.query(pool, view, source, &shared.metrics).await
        }
    };
    let at = Instant::now();
    readings.take(pool, view, &samples, &shared.metrics, shared.clock.now());
    Some(at)
}

/// Learns from every pod that became ready, once.
fn learn_lag(view: &View, pool: &ValidPool, state: &mut State) {
    state.lag.declare(pool.declared_lag);
    let pods = || view.agents.iter().flat_map(|a| &a.pods);
    for (_, pod) in pods() {
        if let (Some(created), Some(ready)) = (pod.created, pod.ready_since)
            && state.started_pods.insert(pod.uid.clone())
            && let Some(startup) = startup(created, ready, state.since)
        {
            state.lag.saw(startup);
        }
    }
    if state.lag.learned().is_none() {
        let ready = |agent: &AgentView| {
            let pods = agent.pods.iter();
            fastest(pods.filter_map(|(_, pod)| pod.created.zip(pod.ready_since)))
        };
        state.lag.guess(view.agents.iter().filter_map(ready));
    }
    if state.started_pods.len() > 4096 {
        let present: BTreeSet<Arc<str>> = pods().map(|(_, pod)| pod.uid.clone()).collect();
        state.started_pods.retain(|uid| present.contains(uid));
    }
}

/// How long a pod took to start, if that was seen. `ready` is when it *last* became ready: of a pod from before `since` it may be when a
/// node came back, days after its start. Creation is told in whole seconds.
fn startup(created: Timestamp, ready: Timestamp, since: Timestamp) -> Option<Duration> {
    if created.as_second() < since.as_second() {
        return None;
    }
    let startup = Duration::try_from(ready.duration_since(created)).unwrap_or(Duration::ZERO);
    Some(startup.min(LONGEST_STARTUP))
}

/// What the fastest start of an agent's pods took at most, each created and ready at these times.
fn fastest(pods: impl Iterator<Item = (Timestamp, Timestamp)>) -> Option<Duration> {
    pods.filter_map(|(created, ready)| ready.duration_since(created).try_into().ok())
        .min()
}

fn count(shared: &Shared, namespace: &str, round: &Round) {
    if !shared.writer.leads_in(namespace) {
        return; // A follower's decisions are nobody's: counted, they would double the leader's.
    }
    for allotment in &round.decision {
        shared.metrics.count_decision(allotment.reason);
    }
    for hold in round.plan.holds.iter().flatten() {
        shared.metrics.count_hold(hold.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_teaches_when_it_was_seen_and_an_hour_at_most() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap_or_default();
        let took = |created, ready| startup(at(created), at(ready), at(0));
        assert_eq!(took(10, 40), Some(Duration::from_secs(30)));
        assert_eq!(took(10, 9), Some(Duration::ZERO));
        assert_eq!(took(0, 2), Some(Duration::from_secs(2)));
        assert_eq!(took(10, 90_000), Some(LONGEST_STARTUP));
        let an_old_pod_on_a_node_that_came_back = took(-86_400, 5);
        assert_eq!(an_old_pod_on_a_node_that_came_back, None);
    }

    #[test]
    fn of_an_agents_pods_the_fastest_start_is_taken() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap_or_default();
        let of = |pods: &[(i64, i64)]| fastest(pods.iter().map(|(c, r)| (at(*c), at(*r))));
        assert_eq!(of(&[(0, 300), (0, 120)]), Some(Duration::from_secs(120)));
        assert_eq!(of(&[(9, 8)]), None, "clocks differ");
        assert_eq!(of(&[]), None);
    }
}
