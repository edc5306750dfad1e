//! One queue: some requests run at once and share the speed equally, the others wait in order of arrival.

use super::Job;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Lets jobs, in order of arrival, through a station with a speed (in GPUs; > 0) at which at most `limit` (≥ 1) run at once, and tells
/// the latency of each, in seconds, in the order in which they finish.
pub(super) fn serve(
    jobs: impl IntoIterator<Item = Job>,
    speed: f64,
    limit: u32,
    mut finished: impl FnMut(&Job, f64),
) {
    if limit == 1 {
        let mut free = 0.0;
        for job in jobs {
            free = job.at.max(free) + job.size / speed;
            finished(&job, free - job.at);
        }
        return;
    }
    let mut station = Station::new(speed, limit);
    for job in jobs {
        station.advance(job.at, &mut finished);
        station.arrive(job);
    }
    station.advance(f64::INFINITY, &mut finished);
}

/// Work done for each job that runs grows at the same pace, so that they finish in the order of what they had to do when they began.
struct Station {
    speed: f64,
    limit: usize,
    now: f64,
    /// GPU-seconds done for each running job since the station was last empty.
    done: f64,
    /// Jobs that run, by `done` at their end; ≥ 0, so that bits are in the order of numbers.
    running: BinaryHeap<Reverse<(u64, usize)>>,
    /// Jobs that run, by place.
    places: Vec<Job>,
    free: Vec<usize>,
    waiting: VecDeque<Job>,
}

impl Station {
    fn new(speed: f64, limit: u32) -> Self {
        Self {
            speed,
            limit: limit as usize,
            now: 0.0,
            done: 0.0,
            running: BinaryHeap::new(),
            places: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    fn advance(&mut self, until: f64, finished: &mut impl FnMut(&Job, f64)) {
        while let Some(&Reverse((end, place))) = self.running.peek() {
            let end = f64::from_bits(end);
            let pace = self.speed / self.running.len() as f64;
            let at = self.now + (end - self.done).max(0.0) / pace;
            if at > until {
                self.done += (until - self.now) * pace;
                break;
            }
            self.running.pop();
            (self.now, self.done) = (at, end);
            let job = self.places[place];
            finished(&job, at - job.at);
            self.free.push(place);
            if let Some(next) = self.waiting.pop_front() {
                self.begin(next);
            }
        }
        if self.running.is_empty() {
            self.done = 0.0;
        }
        if until.is_finite() {
            self.now = until;
        }
    }

    fn arrive(&mut self, job: Job) {
        if self.running.len() < self.limit {
            self.begin(job);
        } else {
            self.waiting.push_back(job);
        }
    }

    fn begin(&mut self, job: Job) {
        let place = self.free.pop().unwrap_or(self.places.len());
        if place == self.places.len() {
            self.places.push(job);
        } else {
            self.places[place] = job;
        }
        let end = self.done + job.size;
        self.running.push(Reverse((end.to_bits(), place)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(jobs: &[(f64, f64)], speed: f64, limit: u32) -> Vec<f64> {
        let mut told = vec![0.0; jobs.len()];
        let jobs = jobs.iter().enumerate();
        let jobs = jobs.map(|(agent, &(at, size))| Job { at, agent, size });
        serve(jobs, speed, limit, |job, latency| told[job.agent] = latency);
        told
    }

    /// Jobs of 2, 1 and 3 seconds at 0, 1 and 2, then one alone.
    const JOBS: [(f64, f64); 4] = [(0.0, 2.0), (1.0, 1.0), (2.0, 3.0), (20.0, 1.0)];

    #[test]
    fn one_at_a_time_is_first_come_first_served() {
        assert_eq!(latencies(&JOBS, 1.0, 1), [2.0, 2.0, 4.0, 1.0]);
        assert_eq!(latencies(&JOBS, 2.0, 1), [1.0, 0.5, 1.5, 0.5]);
    }

    /// At 1 the first has 1 left as the second; at 2 each has 0.5 and the third joins: all thirds until 3.5, then the third has 2.5.
    #[test]
    fn all_at_once_share_equally() {
        assert_eq!(latencies(&JOBS, 1.0, u32::MAX), [3.5, 2.5, 4.0, 1.0]);
    }

    /// The third waits until 3, when both others end at the same moment.
    #[test]
    fn a_limit_lets_the_others_wait() {
        assert_eq!(latencies(&JOBS, 1.0, 2), [3.0, 2.0, 4.0, 1.0]);
    }
}
