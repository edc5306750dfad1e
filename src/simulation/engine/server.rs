use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// What a server is.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpec {
    /// Whose requests it serves, by position.
    pub agent: usize,
    /// Devices that it shares with others, by number; none when everything it uses is its own.
    pub devices: Vec<usize>,
    /// GPU-seconds of work a second that it does when its devices are all its own, in GPUs; ≥ 0.
    pub speed: f64,
    /// What its devices weigh it by; ≥ 0. See [`super::Device`].
    pub weight: f64,
    /// Requests that run at once and share its speed equally; at least 1.
    pub max_running: u32,
}

/// A request in the system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Job {
    /// When it arrived.
    pub arrived: f64,
    /// When it first ran; NaN before.
    pub started: f64,
    /// Its work, in GPU-seconds.
    pub work: f64,
    /// Position among all arrivals.
    pub number: u64,
}

/// A job that runs, and the attained work of its server at which it is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub done: f64,
    pub job: Job,
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Running {}
impl PartialOrd for Running {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Running {
    /// The largest is done first: a heap gives its largest.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = other.done.total_cmp(&self.done);
        by_time.then(other.job.number.cmp(&self.job.number))
    }
}

/// What a server did over a stretch of time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// Work, in GPU-seconds.
    pub work: f64,
    /// GPU-seconds that it occupied while it was busy: not its work where a part of a GPU is faster than it is large.
    pub gpus: f64,
}

/// A server: those of its requests that run share its speed equally.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub spec: ServerSpec,
    /// GPUs that it occupies while it is busy and its devices are all its own.
    pub gpus: f64,
    pub running: BinaryHeap<Running>,
    pub waiting: VecDeque<Job>,
    /// Work that every request has got that has run since the server was last idle.
    pub attained: f64,
    /// GPU-seconds of work a second while it is busy.
    pub rate: f64,
    /// GPUs that it occupies while it is busy.
    pub occupies: f64,
    /// When `attained` was last brought up to date.
    pub synced: f64,
}

impl Server {
    pub fn new(spec: ServerSpec, gpus: f64, now: f64) -> Self {
        Self {
            rate: spec.speed,
            occupies: gpus,
            spec,
            gpus,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            attained: 0.0,
            synced: now,
        }
    }

    #[inline]
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Requests in it.
    #[inline]
    pub fn load(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    #[inline]
    pub fn has_room(&self) -> bool {
        self.running.len() < self.spec.max_running as usize
    }

    /// Brings the attained work up to date; returns what was done since.
    #[inline]
    pub fn sync(&mut self, now: f64) -> Spent {
        let mut spent = Spent::default();
        if self.is_busy() {
            let seconds = now - self.synced;
            spent.work = seconds * self.rate;
            spent.gpus = seconds * self.occupies;
            self.attained += spent.work / self.running.len() as f64;
        } else {
            self.attained = 0.0;
        }
        self.synced = now;
        spent
    }

    /// When the next request is done if nothing changes; infinite when none ever is. Only after [`Self::sync`].
    #[inline]
    pub fn next(&self) -> f64 {
        match self.running.peek() {
            Some(first) if self.rate > 0.0 => {
                let left = (first.done - self.attained).max(0.0);
                self.synced + left * self.running.len() as f64 / self.rate
            }
            _ => f64::INFINITY,
        }
    }

    /// Work that running requests have got so far. Only after [`Self::sync`].
    pub fn begun(&self) -> f64 {
        let got = |r: &Running| r.job.work - (r.done - self.attained);
        self.running.iter().map(got).sum()
    }
}
