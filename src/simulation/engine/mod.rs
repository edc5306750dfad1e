//! Queues and physics: which request is served when, exactly and event by event.
//!
//! * A **server** is whatever serves requests of one agent: a share of a GPU, or one pod. At most `max_running` of its requests
//!   run and share its speed equally; the others wait in order of arrival.
//! * A **device** is a GPU that several servers share: they take turns, are capped, or interrupt each other ([`Device`]). A server
//!   on several devices is as fast as the slowest of them lets it be: tensor parallel ranks work in step.
//! * A request goes to the server of its agent with the fewest requests, of equals to the one that started first, and stays
//!   there. While no server takes requests, it waits in a queue of the agent. [`Dispatch::OneQueue`] always queues there.
//! * A request whose server stops is cut: it is sent again at once and starts from the beginning.
//!
//! Work is in GPU-seconds: the time on one whole idle GPU. What busy servers occupy is counted beside it, as a part of a GPU may be
//! faster than it is large. The caller's clock never goes back, and never passes [`Engine::next`] without [`Engine::step`]. The
//! same calls give the same schedule, to the bit.

mod agenda;
mod check;
mod device;
mod server;
#[cfg(test)]
mod tests;

pub(in crate::simulation) use agenda::Agenda;
pub use check::Broken;
pub use device::Device;
pub use server::ServerSpec;

use device::Busy;
use server::{Job, Running, Server, Spent};
use std::collections::VecDeque;

/// A server, by number; a number is used again after [`Engine::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(pub usize);

/// Where requests of an agent wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dispatch {
    /// In the server with the fewest requests, where they stay: a Service in front of engines that queue by themselves.
    #[default]
    FewestRequests,
    /// In one queue for all servers of the agent, from which each takes when it has room: a gateway or an activator.
    OneQueue,
}

/// A request that was served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    /// Whose.
    pub agent: usize,
    /// By whom.
    pub server: ServerId,
    /// When it arrived.
    pub arrived: f64,
    /// When it first ran.
    pub started: f64,
    /// When it was done.
    pub at: f64,
}

/// Counts of one agent since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that were served.
    pub finished: u64,
    /// Requests that run.
    pub running: u64,
    /// Times that a running request was cut.
    pub cut: u64,
    /// Requests that are in the system, integrated over time, in request-seconds; up to the last change.
    pub area: f64,
    /// GPU-seconds of work that were done, up to what was last looked at.
    done: f64,
    /// Of these, for requests that are served.
    served: f64,
    /// Of these, for requests that were cut.
    lost: f64,
    /// GPU-seconds that its busy servers occupied, up to what was last looked at.
    occupied: f64,
    changed: f64,
}

impl Counts {
    /// Requests in the system.
    #[inline]
    pub fn present(&self) -> u64 {
        self.arrived - self.finished
    }

    #[inline]
    fn pass(&mut self, now: f64) {
        self.area += self.present() as f64 * (now - self.changed);
        self.changed = now;
    }

    #[inline]
    fn spend(&mut self, spent: Spent) {
        self.done += spent.work;
        self.occupied += spent.gpus;
    }
}

#[derive(Debug, Clone, Default)]
struct Agent {
    dispatch: Dispatch,
    /// Servers that take requests, in the order in which they started.
    takers: Vec<usize>,
    queue: VecDeque<Job>,
    counts: Counts,
}

#[derive(Debug, Clone)]
struct Shared {
    device: Device,
    residents: Vec<usize>,
    busy: Busy,
}

/// All requests, servers and devices of one run.
#[derive(Debug, Clone)]
pub struct Engine {
    agents: Vec<Agent>,
    servers: Vec<Option<Server>>,
    free: Vec<usize>,
    devices: Vec<Shared>,
    agenda: Agenda,
    arrivals: u64,
    present: u64,
}

impl Engine {
    /// Nothing yet, for this many agents.
    pub fn new(agents: usize, dispatch: Dispatch) -> Self {
        let agent = Agent {
            dispatch,
            ..Agent::default()
        };
        Self {
            agents: vec![agent; agents],
            servers: Vec::new(),
            free: Vec::new(),
            devices: Vec::new(),
            agenda: Agenda::new(agents),
            arrivals: 0,
            present: 0,
        }
    }

    /// Adds a device that servers can share; its number.
    pub fn add_device(&mut self, device: Device) -> usize {
        self.devices.push(Shared {
            device,
            residents: Vec::new(),
            busy: Busy::of(std::iter::empty()),
        });
        self.devices.len() - 1
    }

    /// A server starts that is as fast as the GPUs are large that it has; requests that wait for one go to it.
    pub fn start(&mut self, now: f64, spec: ServerSpec) -> ServerId {
        let gpus = spec.speed;
        self.start_on(now, spec, gpus)
    }

    /// The same of one that has so many GPUs while its devices are all its own, whatever its speed.
    pub fn start_on(&mut self, now: f64, spec: ServerSpec, gpus: f64) -> ServerId {
        let agent = spec.agent;
        let id = self.free.pop().unwrap_or(self.servers.len());
        for device in &spec.devices {
            self.devices[*device].residents.push(id);
        }
        let server = Some(Server::new(spec, gpus, now));
        if id == self.servers.len() {
            self.servers.push(server);
            self.agenda.reach(id);
        } else {
            self.servers[id] = server;
        }
        self.agents[agent].takers.push(id);
        match self.agents[agent].dispatch {
            Dispatch::FewestRequests => {
                let queue = std::mem::take(&mut self.agents[agent].queue);
                queue.into_iter().for_each(|job| self.send(now, agent, job));
            }
            Dispatch::OneQueue => self.refill(now, id),
        }
        ServerId(id)
    }

    /// A server's speed, the GPUs that it has, and its weight change.
    pub fn set(&mut self, now: f64, id: ServerId, speed: f64, gpus: f64, weight: f64) {
        let Some(server) = self.servers[id.0].as_mut() else {
            return;
        };
        let spent = server.sync(now);
        self.agents[server.spec.agent].counts.spend(spent);
        server.spec.speed = speed;
        server.gpus = gpus;
        server.spec.weight = weight;
        if server.spec.devices.is_empty() {
            server.rate = speed;
            server.occupies = gpus;
            self.agenda.set(id.0, server.next());
        } else {
            self.share_out(now, id.0);
        }
    }

    /// A server takes no more requests and finishes what it runs; what waits in it is sent again at once.
    pub fn retire(&mut self, now: f64, id: ServerId) {
        let Some(server) = self.servers[id.0].as_mut() else {
            return;
        };
        let agent = server.spec.agent;
        let waiting = std::mem::take(&mut server.waiting);
        self.agents[agent].takers.retain(|taker| *taker != id.0);
        waiting
            .into_iter()
            .for_each(|job| self.send(now, agent, job));
    }

    /// A server is gone; the requests that it had are sent again at once, in the order in which they arrived.
    pub fn stop(&mut self, now: f64, id: ServerId) {
        self.retire(now, id);
        let Some(mut server) = self.servers[id.0].take() else {
            return;
        };
        let agent = server.spec.agent;
        let counts = &mut self.agents[agent].counts;
        counts.spend(server.sync(now));
        counts.lost += server.begun();
        counts.running -= server.running.len() as u64;
        counts.cut += server.running.len() as u64;
        self.agenda.set(id.0, f64::INFINITY);
        self.free.push(id.0);
        let devices = std::mem::take(&mut server.spec.devices);
        for device in &devices {
            self.devices[*device].residents.retain(|r| *r != id.0);
        }
        self.settle(now, &devices);
        let mut cut: Vec<Job> = server.running.into_iter().map(|r| r.job).collect();
        cut.sort_unstable_by_key(|job| job.number);
        cut.into_iter().for_each(|job| self.send(now, agent, job));
    }

    /// A request of an agent arrives, with its work in GPU-seconds; ≥ 0.
    #[inline]
    pub fn arrive(&mut self, now: f64, agent: usize, work: f64) {
        let counts = &mut self.agents[agent].counts;
        counts.pass(now);
        counts.arrived += 1;
        self.present += 1;
        self.arrivals += 1;
        let job = Job {
            arrived: now,
            started: f64::NAN,
            work,
            number: self.arrivals,
        };
        self.send(now, agent, job);
    }

    #[inline]
    fn send(&mut self, now: f64, agent: usize, job: Job) {
        let Agent {
            dispatch,
            takers,
            queue,
            ..
        } = &mut self.agents[agent];
        let servers = &mut self.servers;
        let load = |id: &usize| servers[*id].as_ref().map_or(usize::MAX, Server::load);
        let chosen = match takers.as_slice() {
            [only] => Some(*only),
            many => many.iter().copied().min_by_key(load),
        };
        let target = chosen.and_then(|id| servers[id].as_mut().map(|server| (id, server)));
        match target {
            Some((id, server)) if server.has_room() => self.run(now, id, job),
            Some((_, server)) if *dispatch == Dispatch::FewestRequests => {
                server.waiting.push_back(job);
            }
            _ => queue.push_back(job),
        }
    }

    /// A request begins to run.
    #[inline]
    fn run(&mut self, now: f64, id: usize, mut job: Job) {
        let Some(server) = self.servers[id].as_mut() else {
            return;
        };
        let counts = &mut self.agents[server.spec.agent].counts;
        counts.spend(server.sync(now));
        counts.running += 1;
        if job.started.is_nan() {
            job.started = now;
        }
        let woke = !server.is_busy();
        server.running.push(Running {
            done: server.attained + job.work,
            job,
        });
        if woke && !server.spec.devices.is_empty() {
            self.share_out(now, id);
        } else {
            self.agenda.set(id, server.next());
        }
    }

    /// Starts waiting requests while there is room.
    #[inline]
    fn refill(&mut self, now: f64, id: usize) {
        while let Some(server) = self.servers[id].as_mut().filter(|server| server.has_room()) {
            let agent = &mut self.agents[server.spec.agent];
            let job = server.waiting.pop_front().or_else(|| {
                let takes = agent.dispatch == Dispatch::OneQueue && agent.takers.contains(&id);
                takes.then(|| agent.queue.pop_front()).flatten()
            });
            let Some(job) = job else {
                return;
            };
            self.run(now, id, job);
        }
    }

    /// When the next request is served; infinite when none ever is.
    #[inline]
    pub fn next(&self) -> f64 {
        self.agenda.first().0
    }

    /// Serves the next request; `None` when there is none.
    #[inline]
    pub fn step(&mut self) -> Option<Finished> {
        let (now, id) = self.agenda.first();
        let server = self.servers.get_mut(id)?.as_mut()?;
        let agent = server.spec.agent;
        // The event's time was computed from this job: taking its number keeps rounding errors from adding up.
        let spent = server.sync(now);
        let Running {
            done: attained,
            job,
        } = server.running.pop()?;
        server.attained = attained;
        let counts = &mut self.agents[agent].counts;
        counts.pass(now);
        counts.spend(spent);
        counts.served += job.work;
        counts.finished += 1;
        counts.running -= 1;
        self.present -= 1;
        self.refill(now, id);
        self.rest(now, id);
        Some(Finished {
            agent,
            server: ServerId(id),
            arrived: job.arrived,
            started: job.started,
            at: now,
        })
    }

    /// After a request left: the server may be idle now.
    #[inline]
    fn rest(&mut self, now: f64, id: usize) {
        let Some(server) = self.servers[id].as_ref() else {
            return;
        };
        self.agenda.set(id, server.next());
        if !server.is_busy() && !server.spec.devices.is_empty() {
            self.share_out(now, id);
        }
    }

    /// Gives every busy server on a server's devices its speed.
    fn share_out(&mut self, now: f64, id: usize) {
        let Some(server) = self.servers[id].as_ref() else {
            return;
        };
        let devices = server.spec.devices.clone();
        self.settle(now, &devices);
    }

    fn settle(&mut self, now: f64, devices: &[usize]) {
        for device in devices {
            let shared = &mut self.devices[*device];
            let busy = |id: &usize| {
                let server = self.servers[*id].as_ref().filter(|server| server.is_busy());
                server.map(|server| (*id, server.spec.weight))
            };
            shared.busy = Busy::of(shared.residents.iter().filter_map(busy));
        }
        for device in devices {
            for i in 0..self.devices[*device].residents.len() {
                let id = self.devices[*device].residents[i];
                if let Some(server) = self.servers[id].as_mut().filter(|server| server.is_busy()) {
                    let spent = server.sync(now);
                    self.agents[server.spec.agent].counts.spend(spent);
                    let weight = server.spec.weight;
                    let slowest = |part: fn(&Device, &Busy, usize, f64) -> f64| {
                        let part = |device: &usize| {
                            let shared = &self.devices[*device];
                            part(&shared.device, &shared.busy, id, weight)
                        };
                        server.spec.devices.iter().map(part).fold(1.0, f64::min)
                    };
                    let (rate, occupies) = (slowest(Device::part), slowest(Device::occupied));
                    server.rate = server.spec.speed * rate;
                    server.occupies = server.gpus * occupies;
                    self.agenda.set(id, server.next());
                }
            }
        }
    }

    /// Requests in the system.
    #[inline]
    pub fn present(&self) -> u64 {
        self.present
    }

    /// Requests in a server: running and waiting; `None` when it is gone.
    pub fn load(&self, id: ServerId) -> Option<(usize, usize)> {
        let server = self.servers.get(id.0)?.as_ref()?;
        Some((server.running.len(), server.waiting.len()))
    }

    /// Requests in the fullest of the servers that take requests of an agent, running and waiting; what waits in front of all of them
    /// counts in equal parts. 0 where there is no such server.
    pub fn fullest(&self, agent: usize) -> f64 {
        let Agent { takers, queue, .. } = &self.agents[agent];
        let loads = takers.iter().filter_map(|id| self.servers[*id].as_ref());
        let most = loads.map(Server::load).max();
        most.map_or(0.0, |most| {
            most as f64 + queue.len() as f64 / takers.len() as f64
        })
    }

    /// What was counted of an agent.
    #[inline]
    pub fn counts(&self, agent: usize) -> &Counts {
        &self.agents[agent].counts
    }

    /// GPU-seconds of work that were done for an agent until `now`.
    pub fn done(&self, now: f64, agent: usize) -> f64 {
        self.agents[agent].counts.done + self.open(now, agent, |server| server.rate)
    }

    /// GPU-seconds that an agent's busy servers have occupied until `now`.
    pub fn occupied(&self, now: f64, agent: usize) -> f64 {
        self.agents[agent].counts.occupied + self.open(now, agent, |server| server.occupies)
    }

    /// What an agent's busy servers came to since they were last looked at, each at this much a second.
    fn open(&self, now: f64, agent: usize, each: impl Fn(&Server) -> f64) -> f64 {
        let servers = self.servers.iter().flatten();
        let own = servers.filter(|server| server.spec.agent == agent && server.is_busy());
        own.map(|server| (now - server.synced) * each(server)).sum()
    }

    /// Requests of an agent that are in the system: when each arrived and first ran.
    pub fn unserved(&self, agent: usize) -> impl Iterator<Item = (f64, Option<f64>)> {
        self.jobs(agent)
            .map(|job| (job.arrived, Some(job.started).filter(|s| !s.is_nan())))
    }

    fn jobs(&self, agent: usize) -> impl Iterator<Item = &Job> {
        let servers = self.servers.iter().flatten();
        let own = servers.filter(move |server| server.spec.agent == agent);
        own.flat_map(|s| s.running.iter().map(|r| &r.job).chain(&s.waiting))
            .chain(&self.agents[agent].queue)
    }

    /// Servers that take requests of an agent.
    pub fn takers(&self, agent: usize) -> u32 {
        self.agents[agent]
            .takers
            .len()
            .try_into()
            .unwrap_or(u32::MAX)
    }
}
