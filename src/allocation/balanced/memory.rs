use super::super::types::{Agent, Snapshot};
use super::evidence::CANDIDATES;
use super::forecast::MEANS;
use super::outlook::span;
use super::whole::{ASKED, Held, ROWS};
use super::{Horizon, LARGEST_LOAD, exact};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Marks made in one horizon: what was in flight is known to this part of the horizon.
const FINE: f64 = 8.0;
/// Marks kept: those of one horizon, and its two ends.
const MARKS: usize = 10;
/// Lags, intervals and drains beyond count as this, in seconds.
pub(super) const LONGEST: f64 = 86_400.0;

/// What Balanced remembers from decision to decision; about 1 KB an agent. Losing it is safe: what is in force is held until
/// there is evidence again.
///
/// As JSON its floats are the integers of their bits, so that what is read back is what was written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When it last decided.
    at: Option<Duration>,
    /// When marks were made, the oldest first; those of each agent stand in the same order.
    marked: Vec<Duration>,
    /// Fading mean of each candidate's weighted backlog.
    #[serde(with = "exact::array")]
    pub(super) cost: [f64; CANDIDATES],
    /// Starts of replicas that may be made now.
    #[serde(default)]
    pub(super) allowed: Allowed,
    /// The candidate that is followed.
    pub(super) followed: usize,
    /// In the order of the snapshot's agents.
    pub(super) agents: Vec<Learned>,
}

/// Starts of replicas that may be made: of each candidate, and of what is asked for.
///
/// What is asked for begins with none, so that a bound on starts holds from the beginning. The candidates begin with all that they may
/// keep: what a candidate is worth in the long run must not depend on how a memory begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Allowed(#[serde(with = "exact::array")] pub(super) [f64; ROWS]);

impl Default for Allowed {
    fn default() -> Self {
        let mut rows = [LARGEST_LOAD; ROWS];
        rows[ASKED] = 0.0;
        Self(rows)
    }
}

const fn never() -> f64 {
    -1.0
}

/// What is remembered of one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    pub(super) name: String,
    /// Requests that reached it while it was known.
    #[serde(with = "exact::one")]
    pub(super) seen: f64,
    /// Fading means of its arrivals a second, from zero: each lacks what its mass lacks to one.
    #[serde(with = "exact::array")]
    pub(super) rate: [f64; MEANS],
    /// How full the means are.
    #[serde(with = "exact::array")]
    pub(super) mass: [f64; MEANS],
    /// What each mean foretells.
    #[serde(with = "exact::array")]
    pub(super) foretold: [f64; MEANS],
    /// Fading mean of each one's squared error, in requests² a second.
    #[serde(with = "exact::array")]
    pub(super) error: [f64; MEANS],
    /// How full those errors are.
    #[serde(with = "exact::one")]
    pub(super) error_mass: f64,
    /// Arrivals a second that are expected.
    #[serde(with = "exact::one")]
    pub(super) forecast: f64,
    /// How uncertain that is: variance of the arrivals around it, in requests² a second.
    #[serde(with = "exact::one")]
    pub(super) dispersion: f64,
    /// Milli-GPUs that were in force when its load was first known; negative: it was not yet.
    #[serde(default = "never", with = "exact::one")]
    pub(super) begun: f64,
    /// Milli-GPUs that it holds while nothing pays.
    #[serde(default, with = "exact::one")]
    pub(super) hold: f64,
    /// Fraction of the pool that the assignment gives it.
    #[serde(with = "exact::one")]
    pub(super) wish: f64,
    /// Fraction that would be its share if what it holds did not count.
    #[serde(with = "exact::one")]
    pub(super) aim: f64,
    /// The wish that would be in force now; negative: none yet.
    #[serde(with = "exact::one")]
    pub(super) in_force: f64,
    /// Its backlog under each candidate.
    #[serde(with = "exact::array")]
    pub(super) shadow: [f64; CANDIDATES],
    /// What it holds under each candidate and what is asked for, where shares are whole replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) held: Vec<Held>,
    marks: Vec<Mark>,
}

/// When the marks were made, seen from now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    marked: &'a [Duration],
    now: Duration,
}

impl Past<'_> {
    /// Requests of an agent since each of its marks, and the seconds that this is ago; the last mark first. Ends where arrivals were
    /// missed.
    pub(super) fn counts(self, learned: &Learned) -> impl Iterator<Item = (f64, f64)> {
        let marks = learned.marks.iter().zip(self.marked).rev();
        let known = marks.take_while(|(mark, _)| mark.seen >= 0.0);
        let since = known.map(move |(mark, then)| {
            let age = self.now.saturating_sub(*then).as_secs_f64();
            (learned.seen - mark.seen, age)
        });
        since.filter(|(_, age)| *age > 0.0)
    }
}

/// What was foretold and wished for at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Requests seen until then; negative: not known, and nothing can be learned from it.
    #[serde(with = "exact::one")]
    pub(super) seen: f64,
    #[serde(with = "exact::array")]
    pub(super) foretold: [f64; MEANS],
    #[serde(with = "exact::one")]
    wish: f64,
}

impl Mark {
    const NOTHING: Self = Self {
        seen: -1.0,
        foretold: [0.0; MEANS],
        wish: -1.0,
    };
}

impl Learned {
    fn new(name: &str, marks: usize) -> Self {
        let mut past = Vec::with_capacity(MARKS);
        past.resize(marks, Mark::NOTHING);
        Self {
            name: name.to_owned(),
            seen: 0.0,
            rate: [0.0; MEANS],
            mass: [0.0; MEANS],
            foretold: [0.0; MEANS],
            error: [0.0; MEANS],
            error_mass: 0.0,
            forecast: 0.0,
            dispersion: 0.0,
            begun: never(),
            hold: 0.0,
            wish: -1.0,
            aim: 0.0,
            in_force: -1.0,
            shadow: [0.0; CANDIDATES],
            held: Vec::new(),
            marks: past,
        }
    }

    /// Arrivals were missed: no forecast that spans this instant can be graded.
    pub(super) fn blind(&mut self) {
        self.marks.iter_mut().for_each(|mark| mark.seen = -1.0);
    }
}

impl Memory {
    /// Forgets what was asked for and what that seemed to be worth, not what was learned of the load: somebody else has decided meanwhile.
    pub fn begin_anew(&mut self) {
        (self.cost, self.followed) = ([0.0; CANDIDATES], 0);
        self.allowed = Allowed::default();
        for learned in &mut self.agents {
            (learned.begun, learned.wish, learned.in_force) = (never(), -1.0, -1.0);
            learned.shadow = [0.0; CANDIDATES];
            learned.held.clear();
        }
    }

    /// Begins a decision: what is remembered is brought in line with the snapshot's agents.
    pub(super) fn turn(&mut self, snapshot: &Snapshot<'_>, agents: &[Agent<'_>]) -> Horizon {
        if self.at.is_some_and(|at| at > snapshot.now) {
            *self = Self::default(); // Another clock: nothing in it has a known age.
        }
        let lag = snapshot.lag.as_secs_f64().min(LONGEST);
        let span = span(snapshot.lag, snapshot.interval);
        let elapsed = self.at.map_or(0.0, |at| self.since(at, snapshot.now));
        self.at = Some(snapshot.now);
        self.fit(agents);
        Horizon {
            lag,
            span,
            elapsed: elapsed.min(span),
        }
    }

    fn since(&self, then: Duration, now: Duration) -> f64 {
        now.saturating_sub(then).as_secs_f64()
    }

    /// The agents, and the time behind them.
    pub(super) fn agents_and_past(&mut self) -> (&mut [Learned], Past<'_>) {
        let past = Past {
            marked: &self.marked,
            now: self.at.unwrap_or_default(),
        };
        (&mut self.agents, past)
    }

    /// Keeps what is known of the agents that are there, forgets the others.
    fn fit(&mut self, agents: &[Agent<'_>]) {
        let marks = self.marked.len();
        let known = self.agents.len() == agents.len()
            && (self.agents.iter().zip(agents))
                .all(|(a, b)| a.name == b.name && a.marks.len() == marks);
        if known {
            return;
        }
        let mut before = std::mem::take(&mut self.agents).into_iter().peekable();
        for agent in agents {
            while before
                .next_if(|learned| learned.name.as_str() < agent.name)
                .is_some()
            {}
            let same = before.next_if(|l| l.name == agent.name && l.marks.len() == marks);
            self.agents
                .push(same.unwrap_or_else(|| Learned::new(agent.name, marks)));
        }
    }

    /// Compares marks that are one horizon old with what came. Each counts for the time until the next.
    pub(super) fn grade(
        &mut self,
        horizon: Horizon,
        grade: impl Fn(&mut Learned, &Mark, f64, f64),
    ) {
        let now = self.at.unwrap_or_default();
        while let Some(&first) = self.marked.first() {
            let age = self.since(first, now);
            if age < horizon.span {
                return;
            }
            let next = self.marked.get(1).copied().unwrap_or(now);
            let lasted = self.since(first, next);
            self.marked.remove(0);
            for learned in &mut self.agents {
                let mark = learned.marks.remove(0);
                learned.in_force = mark.wish;
                if mark.seen >= 0.0 {
                    grade(learned, &mark, age, lasted);
                }
            }
        }
    }

    /// Brings into force what was wished for a lag before the time that has just passed.
    pub(super) fn enforce(&mut self, horizon: Horizon) {
        let now = self.at.unwrap_or_default();
        let due = |then: &Duration| self.since(*then, now) >= horizon.lag + horizon.elapsed;
        if let Some(last) = self.marked.iter().rposition(due) {
            for learned in &mut self.agents {
                learned.in_force = learned.marks.get(last).map_or(-1.0, |mark| mark.wish);
            }
        }
    }

    /// Marks what is foretold and wished for now, when the last mark is old enough.
    pub(super) fn mark(&mut self, horizon: Horizon) {
        let now = self.at.unwrap_or_default();
        if let Some(&last) = self.marked.last()
            && self.since(last, now) < horizon.span / FINE
        {
            return;
        }
        if self.marked.len() == MARKS {
            self.marked.remove(0);
            for learned in &mut self.agents {
                learned.marks.remove(0);
            }
        }
        if self.marked.capacity() < MARKS {
            self.marked.reserve_exact(MARKS);
        }
        self.marked.push(now);
        for learned in &mut self.agents {
            let foretells = learned.mass.iter().any(|mass| *mass > 0.0);
            learned.marks.push(Mark {
                seen: if foretells { learned.seen } else { -1.0 },
                foretold: learned.foretold,
                wish: learned.wish,
            });
        }
    }
}
