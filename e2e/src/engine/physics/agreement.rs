//! The stand-in and the simulator serve the same calls by the same schedule: two programs, one physics.

#![allow(clippy::unwrap_used)]

use super::*;
use agentpool::simulation::engine::{Device, Dispatch, Engine, ServerId, ServerSpec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const GPUS: usize = 4;
const CALLS: usize = 1500;

/// Both, under the same calls. Every process is an agent of its own, so that the simulator has nobody else to send a request to.
struct Both {
    physics: Physics,
    engine: Engine,
    gpus: Vec<DeviceId>,
    alive: Vec<(ProcessId, ServerId, usize)>,
    agents: usize,
    /// By agent and time of arrival: when it was done.
    told: [Vec<(usize, f64, f64, f64)>; 2],
    agent_of: BTreeMap<ProcessId, usize>,
}

impl Both {
    fn new(efficiency: f64) -> Self {
        let mut physics = Physics::new(efficiency);
        let mut engine = Engine::new(CALLS, Dispatch::FewestRequests);
        let gpus = (0..GPUS).map(|_| physics.add_device()).collect();
        for _ in 0..GPUS {
            engine.add_device(Device::Turns { efficiency });
        }
        Self {
            physics,
            engine,
            gpus,
            alive: Vec::new(),
            agents: 0,
            told: [Vec::new(), Vec::new()],
            agent_of: BTreeMap::new(),
        }
    }

    fn until(&mut self, now: f64) {
        for f in self.physics.advance(now) {
            let agent = self.agent_of[&f.process];
            self.told[0].push((agent, f.submitted, f.started, f.at));
        }
        while self.engine.next() <= now {
            let f = self.engine.step().unwrap();
            self.told[1].push((f.agent, f.arrived, f.started, f.at));
        }
    }

    fn start(&mut self, now: f64, devices: &[usize], speed: f64, max_running: u32) {
        let spec = ProcessSpec {
            devices: devices.iter().map(|d| self.gpus[*d]).collect(),
            speed,
            max_running: max_running as usize,
        };
        let process = self.physics.start(spec);
        let server = self.engine.start(
            now,
            ServerSpec {
                agent: self.agents,
                devices: devices.to_vec(),
                speed: speed * devices.len() as f64,
                weight: 1.0,
                max_running,
            },
        );
        self.alive.push((process, server, self.agents));
        self.agent_of.insert(process, self.agents);
        self.agents += 1;
    }
}

#[test]
fn the_simulator_keeps_the_same_schedule() {
    for seed in 0..40 {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut both = Both::new([1.0, 0.9, 0.5][seed as usize % 3]);
        let mut now = 0.0;
        for _ in 0..CALLS {
            now += dice.random_range(0.0..0.4);
            both.until(now);
            let pick = dice.random_range(0..100);
            if both.alive.is_empty() || (pick < 2 && both.alive.len() < 9) {
                let first = dice.random_range(0..GPUS);
                let mut devices = vec![first];
                if dice.random_bool(0.3) {
                    devices.push((first + 1) % GPUS);
                }
                let speed = [1.0, 0.5, 0.25][dice.random_range(0..3)];
                let most = [1, 2, 4, 1000][dice.random_range(0..4)];
                both.start(now, &devices, speed, most);
            } else if pick < 3 {
                let at = dice.random_range(0..both.alive.len());
                let (process, server, _) = both.alive.remove(at);
                both.physics.stop(now, process);
                both.engine.stop(now, server);
            } else {
                let at = dice.random_range(0..both.alive.len());
                let (process, _, agent) = both.alive[at];
                let work = dice.random_range(0.0..0.4);
                both.physics.submit(now, process, work).unwrap();
                both.engine.arrive(now, agent, work);
            }
        }
        both.until(1e9);
        let [ours, theirs] = &mut both.told;
        let order = |a: &(usize, f64, f64, f64), b: &(usize, f64, f64, f64)| {
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        ours.sort_by(order);
        theirs.sort_by(order);
        assert_eq!(ours.len(), theirs.len(), "seed {seed}");
        assert!(ours.len() > CALLS / 4, "seed {seed}: {}", ours.len());
        for (a, b) in ours.iter().zip(theirs.iter()) {
            let same =
                a.0 == b.0 && a.1 == b.1 && (a.2 - b.2).abs() < 1e-9 && (a.3 - b.3).abs() < 1e-9;
            assert!(same, "seed {seed}: {a:?} and {b:?}");
        }
    }
}
