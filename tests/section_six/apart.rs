//! The same queues written a second time, without a line of the simulator: second by second, four agents in hard parts of one GPU.

use crate::table::{Column, Row};
use agentpool::allocation::Policy;
use agentpool::simulation::load::trace::{Recording, Trace};
use std::collections::VecDeque;

/// What the words of the table leave open, and where the program that gave the published ratios was another than the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// While it has demand an agent is entitled to a minimum before the others are brought to one level: [`MINIMA`] of the paper's.
    Minima,
    /// Arrivals are a fading mean with the window as its time constant, from zero and in force from the first second on. The
    /// operator counts those in its window and moves nothing before it has seen half of it.
    Fading,
    /// A run ends with its trace, and what is not served counts with its age. Here it goes on until everything is served.
    Ends,
}

impl Difference {
    /// All of them: the reading that gives the published ratios.
    pub const ALL: [Self; 3] = [Self::Minima, Self::Fading, Self::Ends];

    /// Its letter in the table of docs/design.md.
    pub const fn letter(self) -> char {
        match self {
            Self::Minima => 'm',
            Self::Fading => 'f',
            Self::Ends => 'e',
        }
    }
}

/// Part of the paper's minima; found by trial.
pub const MINIMA: f64 = 0.3;

const AGENTS: [&str; 4] = ["coordinator", "nlp", "vision", "reasoning"];
/// The paper's minima, and what it divides by.
const OWN: ([f64; 4], [f64; 4]) = ([0.1, 0.3, 0.25, 0.35], [1.0, 2.0, 2.0, 1.0]);
const EQUAL: [f64; 4] = [0.25; 4];

/// Requests: when they arrive, and GPU-seconds.
pub struct Requests {
    agents: [Vec<(f64, f64)>; 4],
    throughput: [f64; 4],
    seconds: f64,
}

impl Requests {
    /// Those of a column, their work drawn by a seed (SplitMix64).
    pub fn draw(trace: &Trace, column: &Column, seed: u64) -> Self {
        let mut state = seed;
        let mut exponential = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            -(((z ^ (z >> 31)) >> 11) as f64 + 0.5).ln() + 53.0 * std::f64::consts::LN_2
        };
        let mut throughput = [0.0; 4];
        let agents = std::array::from_fn(|i| {
            let Recording::Requests(rows) = &trace.agents[AGENTS[i]] else {
                panic!("{}: rates and no requests", column.trace);
            };
            throughput[i] = rows.len() as f64 / column.seconds / (column.load * column.split[i]);
            rows.iter()
                .map(|row| (row.at, exponential() / throughput[i]))
                .collect()
        });
        Self {
            agents,
            throughput,
            seconds: column.seconds,
        }
    }
}

/// One agent's server: first come, first served.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(f64, f64)>,
    next: usize,
    latencies: Vec<f64>,
    /// Arrivals of the last seconds, as many as the window is long, and their fading mean.
    lately: VecDeque<f64>,
    mean: f64,
}

impl Queue {
    /// One second from `from` on, at this speed.
    fn pass(&mut self, requests: &[(f64, f64)], from: f64, speed: f64, window: f64) {
        let (mut now, mut came, end) = (from, 0.0, from + 1.0);
        loop {
            let next = requests.get(self.next).filter(|r| r.0 < end);
            let arrives = next.map_or(end, |r| r.0.max(now));
            while let Some((arrived, left)) = self.waiting.front_mut() {
                let done = now + *left / speed;
                if done > arrives {
                    *left -= (arrives - now) * speed;
                    break;
                }
                self.latencies.push(done - *arrived);
                self.waiting.pop_front();
                now = done;
            }
            now = arrives;
            let Some(request) = next else { break };
            self.waiting.push_back(*request);
            self.next += 1;
            came += 1.0;
        }
        self.lately.push_back(came);
        if self.lately.len() as f64 > window {
            self.lately.pop_front();
        }
        self.mean += (1.0 - (-1.0 / window).exp()) * (came - self.mean);
    }
}

/// Mean time in the system under a row's rule, in seconds; `None`: under equal parts.
pub fn mean(requests: &Requests, row: Option<&Row>, reading: &[Difference]) -> f64 {
    let has = |difference| reading.contains(&difference);
    let (window, drain) = row.map_or((1.0, 1.0), |r| (r.pace.0 as f64, r.pace.1 as f64));
    let mut queues: [Queue; 4] = Default::default();
    let (mut shares, mut coming) = (EQUAL, VecDeque::new());
    let mut now = 0.0;
    loop {
        while coming.front().is_some_and(|(at, _)| *at <= now) {
            shares = coming.pop_front().map_or(shares, |(_, shares)| shares);
        }
        for (i, queue) in queues.iter_mut().enumerate() {
            queue.pass(&requests.agents[i], now, shares[i], window);
        }
        now += 1.0;
        let all_served = || queues.iter().all(|queue| queue.waiting.is_empty());
        let is_over = now >= requests.seconds && (has(Difference::Ends) || all_served());
        if is_over || now >= 2.0 * requests.seconds {
            break;
        }
        // The operator's first sample is taken at its first tick, and one sample says no rate.
        let seen = (now - 1.0).min(window);
        let holds =
            !has(Difference::Fading) && now - 1.0 < 0.95 * (window / 2.0).max(2.0).min(window);
        let Some(row) = row.filter(|_| !holds) else {
            continue;
        };
        // The paper's rule looks at the last second in both readings.
        let fades = has(Difference::Fading) && row.policy == Policy::WaterFilling;
        let rates = queues.each_ref().map(|queue| {
            if fades {
                queue.mean
            } else {
                queue.lately.iter().sum::<f64>() / seen.max(1.0)
            }
        });
        let decided = match row.policy {
            Policy::Adaptive => paper(rates, row.own),
            _ => {
                let part = if has(Difference::Minima) { MINIMA } else { 0.0 };
                let demands = std::array::from_fn(|i| {
                    let backlog = queues[i].waiting.len() as f64;
                    (rates[i] + backlog / drain) / requests.throughput[i]
                });
                water(demands, OWN.0.map(|minimum| part * minimum))
            }
        };
        coming.push_back((now + row.lag, decided));
    }
    let ages = |queue: &Queue| -> f64 { queue.waiting.iter().map(|(at, _)| now - at).sum() };
    let sum = |queue: &Queue| queue.latencies.iter().sum::<f64>() + ages(queue);
    let count = |queue: &Queue| queue.latencies.len() + queue.waiting.len();
    queues.iter().map(sum).sum::<f64>() / queues.iter().map(count).sum::<usize>() as f64
}

/// Minima as far as there is demand, then everybody up to one level, when demand exceeds what there is; else what is spare by the
/// square root of demand.
fn water(demands: [f64; 4], minima: [f64; 4]) -> [f64; 4] {
    let sum: f64 = demands.iter().sum();
    if sum <= 1.0 {
        let roots: f64 = demands.iter().map(|d| d.sqrt()).sum();
        if roots == 0.0 {
            return EQUAL;
        }
        return demands.map(|d| d + (1.0 - sum) * d.sqrt() / roots);
    }
    let entitled: [f64; 4] = std::array::from_fn(|i| demands[i].min(minima[i]));
    let wanted: [f64; 4] = std::array::from_fn(|i| demands[i] - entitled[i]);
    let more = level(wanted, 1.0 - entitled.iter().sum::<f64>());
    std::array::from_fn(|i| entitled[i] + more[i])
}

/// What everybody gets of so much when nobody gets more than one level, or than is wanted.
fn level(wanted: [f64; 4], mut left: f64) -> [f64; 4] {
    let mut sorted = wanted;
    sorted.sort_by(f64::total_cmp);
    for (i, most) in sorted.into_iter().enumerate() {
        let level = left / (4 - i) as f64;
        if most > level {
            return wanted.map(|w| w.min(level));
        }
        left -= most;
    }
    wanted
}

/// The paper's rule.
fn paper(rates: [f64; 4], own: bool) -> [f64; 4] {
    let (minima, divisors) = if own { OWN } else { (EQUAL, [1.0; 4]) };
    let demands: [f64; 4] = std::array::from_fn(|i| rates[i] * minima[i] / divisors[i]);
    let sum: f64 = demands.iter().sum();
    let part = |i: usize| if sum > 0.0 { demands[i] / sum } else { 0.0 };
    let shares: [f64; 4] = std::array::from_fn(|i| part(i).max(minima[i]));
    let given: f64 = shares.iter().sum::<f64>().max(1.0);
    shares.map(|share| share / given)
}
