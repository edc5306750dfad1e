//! A model of several candidates against one API server, over random interleavings of delays, losses and pauses.
//!
//! The server is a register with a version, as etcd gives it to a lease. Candidates run the real [`decide`]; what a
//! candidate does (read, decide, write, learn the answer) may be cut anywhere by a pause of any length, its request may
//! be carried out late, and its answer may be lost.

use super::decide::{Action, Observation, Record, Terms, decide};
use proptest::prelude::*;
use std::time::Duration;

const CANDIDATES: usize = 3;
const NAMES: [&str; CANDIDATES] = ["a", "b", "c"];

/// What happens next in the world.
#[derive(Debug, Clone)]
enum Event {
    /// Time passes, in ms.
    Pass(u64),
    /// A candidate takes its next small step.
    Step(usize),
    /// A write that is under way is carried out at the server; whether its answer comes back.
    Land { who: usize, answered: bool },
    /// A candidate dies and starts again with nothing in memory, under the same name.
    Restart(usize),
}

#[derive(Debug, Clone, Default)]
struct Candidate {
    seen: Option<Observation>,
    /// A read that came back, not yet decided on: record and version.
    read: Option<(Record, u64)>,
    /// A write under way: the version it was decided on, and when it was sent.
    write: Option<(u64, Duration)>,
    /// End of the term it believes in.
    until: Duration,
}

struct World {
    now: Duration,
    record: Record,
    version: u64,
    candidates: [Candidate; CANDIDATES],
    terms: Terms,
    led: usize,
}

impl World {
    fn new(terms: Terms) -> Self {
        Self {
            now: Duration::from_secs(1),
            record: Record::default(),
            version: 0,
            candidates: Default::default(),
            terms,
            led: 0,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Pass(ms) => self.now += Duration::from_millis(ms),
            Event::Step(who) => self.step(who),
            Event::Land { who, answered } => self.land(who, answered),
            Event::Restart(who) => self.candidates[who] = Candidate::default(),
        }
    }

    fn step(&mut self, who: usize) {
        let (now, terms) = (self.now, self.terms);
        let me = &mut self.candidates[who];
        match me.read.take() {
            None => me.read = Some((self.record.clone(), self.version)),
            Some((record, version)) => {
                let seen = Observation::update(me.seen.take(), record, now);
                if decide(now, &seen, NAMES[who], terms) != Action::Wait {
                    me.write = Some((version, now));
                }
                me.seen = Some(seen);
            }
        }
    }

    fn land(&mut self, who: usize, answered: bool) {
        let Some((version, sent)) = self.candidates[who].write.take() else {
            return;
        };
        if version != self.version {
            return;
        }
        self.version += 1;
        self.record = Record {
            holder: Some(NAMES[who].to_owned()),
            renewed: Some(self.version.to_string()),
            duration: Some(self.terms.duration),
        };
        if answered {
            self.candidates[who].until = sent + self.terms.deadline;
        }
    }

    fn leaders(&self) -> usize {
        self.candidates
            .iter()
            .filter(|c| self.now < c.until)
            .count()
    }
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..CANDIDATES;
    prop_oneof![
        3 => (1_u64..2_000).prop_map(Event::Pass),
        1 => (2_000_u64..30_000).prop_map(Event::Pass),
        8 => who.clone().prop_map(Event::Step),
        6 => (who.clone(), prop::bool::weighted(0.8)).prop_map(|(who, answered)| Event::Land { who, answered }),
        1 => who.prop_map(Event::Restart),
    ]
}

/// Runs the world; the largest number of leaders at one instant, and how often there was one.
fn most_leaders(terms: Terms, events: &[Event]) -> (usize, usize) {
    let mut world = World::new(terms);
    let mut most = 0;
    for event in events {
        world.happen(event);
        most = most.max(world.leaders());
        world.led += usize::from(world.leaders() == 1);
    }
    (most, world.led)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn two_replicas_never_both_believe_that_they_lead(events in prop::collection::vec(event(), 1..200)) {
        let (most, _) = most_leaders(Terms::of(Duration::from_secs(15)), &events);
        prop_assert!(most <= 1, "{most} leaders at once");
    }
}

#[test]
fn the_model_finds_two_leaders_when_the_term_outlasts_the_lease() {
    let broken = Terms {
        deadline: Duration::from_secs(20),
        ..Terms::of(Duration::from_secs(15))
    };
    let land = |who| Event::Land {
        who,
        answered: true,
    };
    let events = [
        Event::Step(0),
        Event::Step(0),
        land(0),
        Event::Step(1),
        Event::Step(1),
        Event::Pass(15_001),
        Event::Step(1),
        Event::Step(1),
        land(1),
    ];
    assert_eq!(most_leaders(broken, &events).0, 2);
    let (most, led) = most_leaders(Terms::of(Duration::from_secs(15)), &events);
    assert_eq!(most, 1);
    assert!(led >= 2, "both led in turn");
}

#[test]
fn when_the_leader_dies_another_leads_within_its_duration_and_two_looks() {
    let terms = Terms::of(Duration::from_secs(15));
    let mut world = World::new(terms);
    for event in [
        Event::Step(0),
        Event::Step(0),
        Event::Land {
            who: 0,
            answered: true,
        },
    ] {
        world.happen(&event);
    }
    let died = world.now;
    while world.candidates[1].until <= world.now {
        world.happen(&Event::Step(1));
        world.happen(&Event::Step(1));
        world.happen(&Event::Land {
            who: 1,
            answered: true,
        });
        world.now += terms.retry;
        assert!(world.now - died < Duration::from_secs(20), "no take-over");
    }
    assert!(world.now - died >= terms.duration);
}
