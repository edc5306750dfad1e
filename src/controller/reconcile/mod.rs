//! One tick of one pool: admit, observe, allocate, plan, apply, report.

mod act;
mod admit;
mod record;

use super::apply::Done;
use super::backoff::Backoff;
use super::observe::{View, view};
use super::promises;
use super::readings::{Readings, falls_back};
use super::report::Reporter;
use super::reverts::Expected;
use super::shared::Shared;
use super::short::Short;
use crate::allocation::{self, Allotment, Lag};
use crate::api::{AgentPool, ValidPool};
use crate::recording::{self, Inputs, Memory};
use crate::sharing::{self, Plan, Step, Survey};
use crate::signals::{AgentSignal, Problem};
use act::{apply, refuse, report};
use admit::admit;
use record::{Recorded, before, record};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::MutexGuard;

/// What a pool remembers from tick to tick. Losing it is safe: a restart holds until signals are warm.
#[derive(Debug)]
pub struct State {
    readings: Readings,
    memory: Memory,
    lag: Lag,
    started_pods: BTreeSet<Arc<str>>,
    reporter: Reporter,
    backoff: Backoff,
    expected: Expected,
    recorded: Recorded,
    short: Short,
}

impl Default for State {
    fn default() -> Self {
        let lag = Lag::new(Duration::ZERO);
        Self {
            readings: Readings::default(),
            memory: Memory::default(),
            lag,
            started_pods: BTreeSet::new(),
            reporter: Reporter::default(),
            backoff: Backoff::default(),
            expected: Expected::default(),
            recorded: Recorded::default(),
            short: Short::default(),
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
pub async fn reconcile(shared: &Shared, pool: &AgentPool, state: &mut State, scrape: bool) -> Tick {
    state.reporter.resume(pool);
    let sources = shared.config.metric_sources.keys().map(String::as_str);
    let valid = match admit(pool, shared.nodes_hidden(), sources) {
        Ok(valid) => valid,
        Err(invalid) => return refuse(shared, pool, state, &invalid).await,
    };
    let mut seen = observe(shared, &valid, state, scrape).await;
    let before = before(shared, state);
    let remembered = state.memory.clone();
    let (mut decision, mut plan) = decide(&valid, &seen, state);
    let turn = turn(shared, &valid, &seen, &plan).await;
    if turn.is_some() {
        // Others may have taken meanwhile what was free: what is decided upon is the cluster as it is now.
        state.memory = remembered;
        let (read, now) = (seen.read, seen.now);
        seen = look(
            shared,
            &valid,
            state,
            Looked {
                read,
                now,
                in_turn: true,
            },
        );
        (decision, plan) = decide(&valid, &seen, state);
    }
    count(shared, &decision, &plan);
    record(shared, pool, &seen, before, &decision, &plan, state);
    let mut tick = apply(shared, &valid, &seen, &plan, state).await;
    drop(turn);
    report(
        shared, pool, &valid, &seen, &decision, &plan, state, &mut tick,
    )
    .await;
    tick.interval = Some(valid.interval);
    tick
}

/// What a tick looks at.
struct Seen {
    view: View,
    inputs: Inputs,
    survey: Survey,
    signals: Vec<Option<AgentSignal>>,
    /// Why the pool's metrics server cannot be read.
    outage: Option<Problem>,
    /// When the scrapes that this tick decides upon were in.
    read: Instant,
    now: Duration,
}

/// The turn of a plan that takes something where other pools could take the same; held until its writes are made.
async fn turn<'a>(
    shared: &'a Shared,
    pool: &ValidPool,
    seen: &Seen,
    plan: &Plan,
) -> Option<MutexGuard<'a, ()>> {
    let takes = |step: &Step| match step {
        Step::Scale { from, to, .. } => to > from,
        Step::Retarget { .. } => true,
        Step::Remember { .. } | Step::Forget { .. } => false,
    };
    if !plan.steps.iter().any(takes) || !pool.may_write() || !shared.writer.leads() {
        return None;
    }
    promises::of_neighbours(pool, &seen.view, &shared.caches, &shared.claims)?;
    Some(shared.claims.turn().await)
}

async fn observe(shared: &Shared, pool: &ValidPool, state: &mut State, scrape: bool) -> Seen {
    state.readings.fit(pool);
    if scrape {
        let view = view(pool, &shared.caches, &shared.claims);
        read(shared, pool, &view, &mut state.readings).await;
    }
    let when = Looked {
        read: Instant::now(),
        now: shared.clock.now(),
        in_turn: false,
    };
    look(shared, pool, state, when)
}

/// When, and for what, the cluster is looked at.
struct Looked {
    read: Instant,
    now: Duration,
    /// To take what is free: what is promised to other pools is not.
    in_turn: bool,
}

/// The cluster as it is, and what is known of the load.
fn look(shared: &Shared, pool: &ValidPool, state: &mut State, when: Looked) -> Seen {
    let Looked { read, now, in_turn } = when;
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
    if in_turn {
        let promised = promises::of_neighbours(pool, &view, &shared.caches, &shared.claims);
        observed.promised = promised.unwrap_or_default();
    }
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
        signals,
        outage: state.readings.outage(),
        read,
        now,
    }
}

/// One round of readings, from wherever the pool's signals come.
async fn read(shared: &Shared, pool: &ValidPool, view: &View, readings: &mut Readings) {
    let samples = match &pool.prometheus {
        None => {
            readings
                .scrape(pool, view, &shared.scraper, &shared.metrics)
                .await
        }
        Some(name) => {
            let Some(source) = shared.sources.get(name) else {
                return;
            };
            if !readings.is_query_due(shared.clock.now()) {
                return;
            }
            readings.query(pool, view, source, &shared.metrics).await
        }
    };
    readings.take(pool, view, &samples, &shared.metrics, shared.clock.now());
}

/// Learns from every pod that became ready, once.
fn learn_lag(view: &View, pool: &ValidPool, state: &mut State) {
    state.lag.declare(pool.declared_lag);
    let pods = || view.agents.iter().flat_map(|a| &a.pods);
    for (_, pod) in pods() {
        if let (Some(created), Some(ready)) = (pod.created, pod.ready_since)
            && state.started_pods.insert(pod.uid.clone())
        {
            let startup = ready.duration_since(created);
            state
                .lag
                .saw(Duration::try_from(startup).unwrap_or(Duration::ZERO));
        }
    }
    if state.started_pods.len() > 4096 {
        let present: BTreeSet<Arc<str>> = pods().map(|(_, pod)| pod.uid.clone()).collect();
        state.started_pods.retain(|uid| present.contains(uid));
    }
}

/// The shares and the steps towards them.
fn decide(pool: &ValidPool, seen: &Seen, state: &mut State) -> (Vec<Allotment>, Plan) {
    let memory = &mut state.memory;
    let decision = recording::allot(pool, &seen.survey, &seen.inputs, &mut memory.allocation);
    let observed = &seen.inputs.observed;
    let (plan, next) = sharing::plan(&pool.shape, observed, &decision, &memory.sharing, seen.now);
    memory.sharing = next;
    (decision, plan)
}

fn count(shared: &Shared, decision: &[Allotment], plan: &Plan) {
    for allotment in decision {
        shared.metrics.count_decision(allotment.reason);
    }
    for hold in plan.holds.iter().flatten() {
        shared.metrics.count_hold(hold.reason);
    }
}
