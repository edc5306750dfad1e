//! One run: load, engine, world, control and account tied together.

mod check;
mod room;

use super::control::{AgentSight, Controller, Sight, Wish};
use super::engine::{Agenda, Broken, Engine};
use super::load::{Request, Requests};
use super::outcome::Outcome;
use super::scenario::Scenario;
use super::tally::{Granted, Tally};
use super::world::{World, WorldError};
use std::collections::VecDeque;

/// Requests in the system at once, beyond which a run is given up: some 600 MB.
const MOST_PRESENT: u64 = 10_000_000;

/// Times that a world may change at one moment: more means that it never settles.
const MOST_ROUNDS: u32 = 1_000_000;

/// Why a run came to nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The scenario cannot be run.
    #[error("{field} is {value}, expected {expected}")]
    Scenario {
        /// Which field.
        field: String,
        /// What it is.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The rule in control wished for what cannot be.
    #[error(transparent)]
    Wish(#[from] WorldError),
    /// More requests came than memory holds.
    #[error(
        "after {at:.0} s more than {MOST_PRESENT} requests wait, most of them of agent {agent}: the load is far above what any \
         speed serves; lower its rate, shorten the run or raise the agent's throughput"
    )]
    Overload {
        /// When, in seconds.
        at: f64,
        /// Whose queue is the longest.
        agent: String,
    },
    /// Changes at one moment never end: a defect of the simulator or of the rule.
    #[error("time stands still at {at} s: changes follow each other without end")]
    Stuck {
        /// When, in seconds.
        at: f64,
    },
    /// A law of conservation does not hold: a defect of the simulator.
    #[error("{0}; this is a defect of the simulator, please report it with the scenario")]
    Broken(#[from] Broken),
}

/// Refuses what cannot be run whatever the rule, and nodes on which an agent could never have its pods. [`run`] refuses only the former: who
/// has no pod is served nothing, and that is a result too where it is meant.
///
/// # Errors
/// The first such field.
pub fn admit(scenario: &Scenario) -> Result<(), RunError> {
    check::under_any_rule(scenario)?;
    room::check(scenario)
}

/// Runs a scenario under a rule. `name` is what the outcome calls the rule, `seed` draws the load, `progress` is told now and then
/// which part of the time for which requests arrive is over.
///
/// Requests arrive for `scenario.seconds`; the run goes on until they are served, for as long again at most. What is then not
/// served counts with its age.
///
/// # Errors
/// When the scenario or the rule asks for what cannot be, or a law of conservation does not hold.
pub fn run(
    scenario: &Scenario,
    controller: &mut dyn Controller,
    name: &str,
    seed: u64,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome, RunError> {
    check::check(scenario, controller.interval())?;
    let mut run = Run::new(scenario, controller, seed);
    let (mut before, mut rounds) = (0.0, 0);
    let end = loop {
        let until = run.next();
        rounds = if until > before { 0 } else { rounds + 1 };
        if rounds > MOST_ROUNDS {
            return Err(RunError::Stuck { at: until });
        }
        before = until;
        match run.serve(until)? {
            Pause::Due => {}
            Pause::Changed => continue,
            Pause::Over(at) => break at,
        }
        run.charge(until);
        if until >= 2.0 * scenario.seconds {
            break until;
        }
        if until >= scenario.seconds {
            run.end_at = f64::INFINITY;
        }
        run.world.advance(until, &mut run.engine);
        run.wake(until);
        run.grant();
        if until >= run.warmup_at {
            run.begin(until);
        }
        run.measure(until);
        if until >= run.tick_at().min(run.woken_at) {
            run.decide(until, controller)?;
            run.grant();
        }
        if until >= run.tally.series.next() {
            run.engine.check_idleness(until)?;
            run.tally
                .point(until, &run.engine, run.paid(), &run.granted);
            progress((until / scenario.seconds).min(1.0));
        }
    };
    run.charge(end);
    run.outcome(end, name, seed)
}

/// Why no request is served for a moment.
enum Pause {
    /// Something other than a request is due.
    Due,
    /// The world has changed, and with it when it is due next.
    Changed,
    /// The last request was served then, and none comes.
    Over(f64),
}

/// What one run is made of.
struct Run<'a> {
    scenario: &'a Scenario,
    engine: Engine,
    world: World,
    tally: Tally,
    loads: Loads,
    interval: f64,
    /// Ticks so far, and measurements for ticks to come.
    ticks: u64,
    measured: u64,
    sights: VecDeque<Vec<AgentSight>>,
    /// What the last tick saw; nothing before the first.
    seen: Vec<AgentSight>,
    /// Whether the rule decides when a pod has changed, and since when it is to; infinite while it is not.
    wakes: bool,
    woken_at: f64,
    granted: Vec<Granted>,
    /// When the warm-up ends; infinite afterwards.
    warmup_at: f64,
    /// When requests stop; infinite afterwards.
    end_at: f64,
}

/// The next request of every agent.
struct Loads {
    agenda: Agenda,
    agents: Vec<(Requests, f64)>,
    seconds: f64,
    /// Seconds of work of a request of work 1, by agent.
    unit: Vec<f64>,
}

impl Loads {
    /// The first request: when, and whose.
    #[inline]
    fn first(&self) -> (f64, usize) {
        self.agenda.first()
    }

    /// Takes an agent's request: its work in GPU-seconds.
    #[inline]
    fn take(&mut self, agent: usize) -> f64 {
        let (requests, work) = &mut self.agents[agent];
        let taken = *work;
        let next = requests.next().filter(|request| request.at < self.seconds);
        let Request { at, work: next } = next.unwrap_or(Request {
            at: f64::INFINITY,
            work: 0.0,
        });
        *work = next * self.unit[agent];
        self.agenda.set(agent, at);
        taken
    }
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, controller: &dyn Controller, seed: u64) -> Self {
        let agents = scenario.services.len();
        let mut engine = Engine::new(agents, scenario.dispatch.unwrap_or(controller.dispatch()));
        let world = World::new(scenario, &mut engine);
        let mut loads = Loads {
            agenda: Agenda::new(agents),
            agents: scenario
                .loads
                .iter()
                .map(|load| (load.requests(seed), 0.0))
                .collect(),
            seconds: scenario.seconds,
            unit: scenario
                .services
                .iter()
                .map(|s| 1.0 / s.throughput)
                .collect(),
        };
        (0..agents).for_each(|agent| {
            loads.take(agent);
        });
        let target = scenario.latency_target;
        let mut run = Self {
            scenario,
            engine,
            world,
            tally: Tally::new(agents, scenario.seconds, scenario.warmup, target),
            loads,
            interval: controller.interval(),
            ticks: 1,
            measured: 1,
            sights: VecDeque::new(),
            seen: Vec::new(),
            wakes: controller.wakes(),
            woken_at: f64::INFINITY,
            granted: vec![Granted::default(); agents],
            warmup_at: scenario.warmup,
            end_at: scenario.seconds,
        };
        run.grant();
        run
    }

    fn tick_at(&self) -> f64 {
        self.ticks as f64 * self.interval
    }

    /// When the next measurement is taken: so much before its tick as the metrics are old.
    fn measure_at(&self) -> f64 {
        (self.measured as f64 * self.interval - self.scenario.metric_age).max(0.0)
    }

    /// When something other than a request is due next.
    fn next(&self) -> f64 {
        let limit = 2.0 * self.scenario.seconds;
        let dues = [
            self.tick_at(),
            self.woken_at,
            self.measure_at(),
            self.world.next(),
            self.tally.series.next(),
            self.warmup_at,
            self.end_at,
            limit,
        ];
        dues.into_iter().fold(f64::INFINITY, f64::min)
    }

    /// Serves requests until then, or until something else is to be done.
    fn serve(&mut self, until: f64) -> Result<Pause, RunError> {
        // What arrives as the warm-up ends is counted, so it comes after that.
        let last = if until < self.warmup_at {
            until
        } else {
            until.next_down()
        };
        loop {
            let (arrives, agent) = self.loads.first();
            let served = self.engine.next();
            if served <= arrives && served <= until {
                let Some(finished) = self.engine.step() else {
                    return Ok(Pause::Due);
                };
                self.tally.finished(&finished);
                let now = finished.at;
                if now >= self.scenario.seconds && self.engine.present() == 0 {
                    return Ok(Pause::Over(now));
                }
                if self.world.is_drained(finished.server, &self.engine) {
                    self.charge(now);
                    self.world.served(now, finished.server, &mut self.engine);
                    self.wake(now);
                    self.grant();
                    return Ok(Pause::Changed);
                }
            } else if arrives <= last {
                let present = self.engine.counts(agent).present();
                self.tally.arrived(arrives, agent, present);
                let work = self.loads.take(agent);
                self.engine.arrive(arrives, agent, work);
                if self.engine.present() > MOST_PRESENT {
                    return Err(self.overload(arrives));
                }
            } else {
                let over = until >= self.scenario.seconds && self.engine.present() == 0;
                return Ok(if over { Pause::Over(until) } else { Pause::Due });
            }
        }
    }

    fn overload(&self, at: f64) -> RunError {
        let agents = 0..self.granted.len();
        let longest = agents.max_by_key(|agent| self.engine.counts(*agent).present());
        let agent = longest.map(|agent| self.scenario.pool.agents[agent].name.clone());
        RunError::Overload {
            at,
            agent: agent.unwrap_or_default(),
        }
    }

    /// What the world grants from now on.
    fn grant(&mut self) {
        for (agent, granted) in self.granted.iter_mut().enumerate() {
            *granted = self.world.granted(agent);
        }
    }

    fn paid(&self) -> f64 {
        self.world.paid()
    }

    /// Charges what was granted until now, then looks at what is granted.
    fn charge(&mut self, now: f64) {
        self.tally.charge(now, self.paid(), &self.granted);
    }

    fn begin(&mut self, now: f64) {
        self.tally.begin(now, &self.engine, &self.granted);
        self.warmup_at = f64::INFINITY;
    }

    /// Takes the measurements that are due.
    fn measure(&mut self, now: f64) {
        while self.measure_at() <= now {
            let agent = |agent: usize| {
                let counts = self.engine.counts(agent);
                AgentSight {
                    arrived: counts.arrived as f64,
                    finished: counts.finished as f64,
                    running: counts.running as f64,
                    waiting: (counts.present() - counts.running) as f64,
                    fullest: self.engine.fullest(agent),
                    busy: self.engine.occupied(now, agent),
                    ..AgentSight::default()
                }
            };
            self.sights
                .push_back((0..self.granted.len()).map(agent).collect());
            self.measured += 1;
        }
    }

    /// A rule that wakes is to decide when a pod has changed.
    fn wake(&mut self, now: f64) {
        if self.wakes && self.world.take_news() {
            self.woken_at = now;
        }
    }

    fn decide(&mut self, now: f64, controller: &mut dyn Controller) -> Result<(), RunError> {
        self.woken_at = f64::INFINITY;
        let is_tick = now >= self.tick_at();
        if is_tick {
            self.ticks += 1;
            self.seen = self.sights.pop_front().unwrap_or_default();
        }
        if self.seen.is_empty() {
            return Ok(());
        }
        let rule = |sight: &Sight<'_>| {
            let mut wish = Wish::Nothing;
            controller.decide(sight, &mut wish);
            wish
        };
        self.world
            .decide(now, is_tick, &mut self.seen, &mut self.engine, rule)?;
        self.wake(now);
        Ok(())
    }

    fn outcome(self, end: f64, name: &str, seed: u64) -> Result<Outcome, RunError> {
        self.engine.check(end, &self.tally.latencies())?;
        let names: Vec<&str> = self
            .scenario
            .pool
            .agents
            .iter()
            .map(|a| a.name.as_str())
            .collect();
        let (paid, granted) = (self.tally.paid, self.tally.granted);
        let series = self.tally.series.points();
        let agents = self.tally.agents(end, &self.engine, &names, &self.granted);
        Ok(Outcome {
            rule: name.to_owned(),
            seed,
            seconds: end - self.scenario.warmup,
            paid,
            stranded: paid - granted,
            moves: agents.iter().map(|agent| agent.moves).sum(),
            series,
            agents,
        })
    }
}
