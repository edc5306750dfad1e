//! How fast requests are served, exactly and event by event.
//!
//! The model, from the outside in:
//!
//! * A **device** is a whole GPU or a MIG instance.
//! * A **process** is one pod's model server. It lives on one device, or on `k` of them (tensor parallel).
//! * Processes on one device take turns (time-slicing): those that have work share it equally, an idle one lends
//!   its turn. While two or more are busy the device loses a constant part of its speed to switching.
//! * Within a process at most `max_running` requests run and share its speed equally; the rest wait in order of
//!   arrival. `max_running` = 1 is a single server, first come first served.
//! * A tensor-parallel process is as fast as its devices together, each as slow as the slowest: they work in step.
//!
//! The work of a request is in GPU-seconds: the time that it takes alone on one whole, idle GPU.
//!
//! Nothing here reads a clock: time is an argument in seconds since an origin of the caller's choice and never goes
//! back (an earlier time counts as the present). The same calls give the same schedule, to the bit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A time in seconds that can be sorted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sortable(f64);

impl Eq for Sortable {}
impl PartialOrd for Sortable {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sortable {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A whole GPU or a MIG instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(usize);

/// A model server: one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(u64);

/// A request that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// What a process is.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSpec {
    /// The devices that it lives on; at least one.
    pub devices: Vec<DeviceId>,
    /// Its speed on one of these devices when alone there, as a part of a whole GPU's (1 = a whole GPU).
    pub speed: f64,
    /// How many requests run at once; at least one.
    pub max_running: usize,
}

/// A request that was served to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// Which request.
    pub request: RequestId,
    /// Who served it.
    pub process: ProcessId,
    /// When it joined the queue, in seconds.
    pub submitted: f64,
    /// When it left the queue and began to run, in seconds.
    pub started: f64,
    /// When it was done, in seconds.
    pub at: f64,
}

/// What a process has to do at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Requests that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    request: RequestId,
    submitted: f64,
    started: f64,
    work: f64,
}

#[derive(Debug)]
struct Process {
    spec: ProcessSpec,
    waiting: VecDeque<Job>,
    /// By the attained work at which each is done.
    running: BTreeMap<(Sortable, RequestId), Job>,
    /// Work that every request has got that has run since the process was last idle.
    attained: f64,
    /// GPU-seconds a second, for all running requests together.
    rate: f64,
    /// Work done since it was started, in GPU-seconds.
    delivered: f64,
    /// When `attained` and `delivered` were last brought up to date.
    synced: f64,
    /// The entry in `Physics::events`, if it is busy.
    next: Option<Sortable>,
}

#[derive(Debug, Default)]
struct Device {
    residents: Vec<ProcessId>,
    busy: usize,
}

/// The devices, the processes on them and the requests in them.
#[derive(Debug)]
pub struct Physics {
    now: f64,
    switching_efficiency: f64,
    devices: Vec<Device>,
    processes: BTreeMap<ProcessId, Process>,
    owner: BTreeMap<RequestId, ProcessId>,
    events: BTreeSet<(Sortable, ProcessId)>,
    finished: Vec<Finished>,
    next_process: u64,
    next_request: u64,
}

impl Physics {
    /// An empty world at time 0.
    ///
    /// `switching_efficiency` is the part of a device's speed that is left while two or more processes take turns
    /// on it, clamped to 0.01..=1. Measured: 0.90 with 3, 5 and 7 pods on an A100 (`nos` benchmark), 0.91 to 0.997
    /// with two engines on an H200.
    pub fn new(switching_efficiency: f64) -> Self {
        Self {
            now: 0.0,
            switching_efficiency: clamp(switching_efficiency, 0.01, 1.0),
            devices: Vec::new(),
            processes: BTreeMap::new(),
            owner: BTreeMap::new(),
            events: BTreeSet::new(),
            finished: Vec::new(),
            next_process: 0,
            next_request: 0,
        }
    }

    /// Adds a device without processes.
    pub fn add_device(&mut self) -> DeviceId {
        self.devices.push(Device::default());
        DeviceId(self.devices.len() - 1)
    }

    /// Starts an idle process; idle, it slows nobody down.
    pub fn start(&mut self, spec: ProcessSpec) -> ProcessId {
        let id = ProcessId(self.next_process);
        self.next_process += 1;
        let spec = ProcessSpec {
            speed: clamp(spec.speed, 1e-6, 1e6),
            max_running: spec.max_running.max(1),
            ..spec
        };
        for device in &spec.devices {
            self.devices[device.0].residents.push(id);
        }
        self.processes.insert(
            id,
            Process {
                spec,
                waiting: VecDeque::new(),
                running: BTreeMap::new(),
                attained: 0.0,
                rate: 0.0,
                delivered: 0.0,
                synced: self.now,
                next: None,
            },
        );
        id
    }

    /// Kills a process at `now`; the requests that it had are cut and returned in the order they were submitted.
    pub fn stop(&mut self, now: f64, id: ProcessId) -> Vec<RequestId> {
        self.run_to(now);
        let Some(mut process) = self.processes.remove(&id) else {
            return Vec::new();
        };
        if let Some(at) = process.next.take() {
            self.events.remove(&(at, id));
        }
        let was_busy = !process.running.is_empty();
        for device in &process.spec.devices {
            let device = &mut self.devices[device.0];
            device.residents.retain(|resident| *resident != id);
            device.busy -= usize::from(was_busy);
        }
        let mut cut: Vec<RequestId> = process.running.values().map(|job| job.request).collect();
        cut.extend(process.waiting.iter().map(|job| job.request));
        cut.sort_unstable();
        for request in &cut {
            self.owner.remove(request);
        }
        if was_busy {
            self.share_out(&process.spec.devices);
        }
        cut
    }

    /// A request of `work` GPU-seconds (negative and NaN count as 0) joins the queue of a process at `now`.
    /// `None` when there is no such process.
    pub fn submit(&mut self, now: f64, id: ProcessId, work: f64) -> Option<RequestId> {
        self.run_to(now);
        let request = RequestId(self.next_request);
        let process = self.processes.get_mut(&id)?;
        self.next_request += 1;
        self.owner.insert(request, id);
        process.waiting.push_back(Job {
            request,
            submitted: self.now,
            started: self.now,
            work: clamp(work, 0.0, f64::MAX),
        });
        self.refill(id);
        Some(request)
    }

    /// The client of a request went away at `now`: it leaves the queue. False when it is not there any more.
    pub fn cancel(&mut self, now: f64, request: RequestId) -> bool {
        self.run_to(now);
        let Some(id) = self.owner.remove(&request) else {
            return false;
        };
        let Some(process) = self.processes.get_mut(&id) else {
            return false;
        };
        process.waiting.retain(|job| job.request != request);
        sync(process, self.now);
        process
            .running
            .retain(|(_, running), _| *running != request);
        self.refill(id);
        true
    }

    /// When the next request will be done if nothing else happens.
    pub fn next_event(&self) -> Option<f64> {
        self.events.first().map(|(at, _)| at.0)
    }

    /// Lets time pass until `now` and returns what was finished since the last call, in order.
    pub fn advance(&mut self, now: f64) -> Vec<Finished> {
        self.run_to(now);
        std::mem::take(&mut self.finished)
    }

    /// What a process has to do at the time of the last call.
    pub fn queue(&self, id: ProcessId) -> Queue {
        self.processes
            .get(&id)
            .map_or_else(Queue::default, |process| Queue {
                running: process.running.len(),
                waiting: process.waiting.len(),
            })
    }

    /// How fast a process works now, in whole GPUs; 0 when it is idle.
    pub fn rate(&self, id: ProcessId) -> f64 {
        self.processes.get(&id).map_or(0.0, |process| process.rate)
    }

    /// GPU-seconds of work that a process has done by the time of the last call, on whatever became of its requests.
    pub fn delivered(&self, id: ProcessId) -> f64 {
        self.processes.get(&id).map_or(0.0, |process| {
            process.delivered + (self.now - process.synced) * process.rate
        })
    }

    fn run_to(&mut self, now: f64) {
        while let Some((at, id)) = self.events.first().copied() {
            if at.0 > now {
                break;
            }
            self.now = self.now.max(at.0);
            self.finish_first(id);
        }
        self.now = self.now.max(now);
    }

    fn finish_first(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if let Some(((tag, _), job)) = process.running.pop_first() {
            // The event's time was computed from this tag: taking the tag keeps rounding errors from adding up.
            sync(process, self.now);
            process.attained = tag.0;
            self.owner.remove(&job.request);
            self.finished.push(Finished {
                request: job.request,
                process: id,
                submitted: job.submitted,
                started: job.started,
                at: self.now,
            });
        }
        self.refill(id);
    }

    /// Starts waiting requests while there is room, then settles the speeds.
    fn refill(&mut self, id: ProcessId) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        sync(process, now);
        while process.running.len() < process.spec.max_running {
            let Some(mut job) = process.waiting.pop_front() else {
                break;
            };
            job.started = now;
            let done = Sortable(process.attained + job.work);
            process.running.insert((done, job.request), job);
        }
        let busy = !process.running.is_empty();
        if busy == (process.rate > 0.0) {
            return self.schedule(id);
        }
        if !busy {
            process.attained = 0.0;
            process.rate = 0.0;
        }
        let devices = process.spec.devices.clone();
        for device in &devices {
            let count = &mut self.devices[device.0].busy;
            *count = if busy { *count + 1 } else { *count - 1 };
        }
        self.schedule(id);
        self.share_out(&devices);
    }

    /// Gives every busy process on these devices its speed.
    fn share_out(&mut self, devices: &[DeviceId]) {
        let affected: BTreeSet<ProcessId> = devices
            .iter()
            .flat_map(|device| self.devices[device.0].residents.iter().copied())
            .collect();
        for id in affected {
            let Some(process) = self.processes.get_mut(&id) else {
                continue;
            };
            if process.running.is_empty() {
                continue;
            }
            sync(process, self.now);
            let slowest = process
                .spec
                .devices
                .iter()
                .map(|device| match self.devices[device.0].busy {
                    0 | 1 => 1.0,
                    n => self.switching_efficiency / n as f64,
                })
                .fold(1.0, f64::min);
            process.rate = process.spec.devices.len() as f64 * process.spec.speed * slowest;
            self.schedule(id);
        }
    }

    /// Puts the next end of a request of this process into the event list.
    fn schedule(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if let Some(at) = process.next.take() {
            self.events.remove(&(at, id));
        }
        if process.rate <= 0.0 {
            return;
        }
        if let Some(((tag, _), _)) = process.running.first_key_value() {
            let left = (tag.0 - process.attained).max(0.0);
            let at = Sortable(process.synced + left * process.running.len() as f64 / process.rate);
            process.next = Some(at);
            self.events.insert((at, id));
        }
    }
}

/// Brings the attained work of a process up to date.
fn sync(process: &mut Process, now: f64) {
    if !process.running.is_empty() {
        let work = (now - process.synced) * process.rate;
        process.delivered += work;
        process.attained += work / process.running.len() as f64;
    }
    process.synced = now;
}

/// `value` within bounds; NaN becomes the lower one.
fn clamp(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() {
        low
    } else {
        value.clamp(low, high)
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
