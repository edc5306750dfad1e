//! The life of a pod: made, bound, loading, ready, terminating, gone.

use super::pod::{Pod, PodId};
use super::workload::Action;
use super::{Cluster, Happening};
use crate::sharing::PodState;

impl Cluster {
    /// Lets controllers, scheduler and kubelets act until nothing more happens now.
    pub(super) fn turn(&mut self, now: f64) {
        loop {
            let due: Vec<PodId> = self
                .pods
                .iter()
                .filter(|(_, p)| p.due <= now)
                .map(|(id, _)| *id)
                .collect();
            let mut moved = !due.is_empty();
            due.into_iter().for_each(|id| self.arrive(now, id));
            for agent in 0..self.workloads.len() {
                moved |= self.control(now, agent);
            }
            let pending: Vec<PodId> = self
                .pods
                .iter()
                .filter(|(_, p)| p.state == PodState::Pending)
                .map(|(id, _)| *id)
                .collect();
            for id in pending {
                moved |= self.bind(now, id);
            }
            if !moved {
                return;
            }
        }
    }

    /// A pod whose time has come.
    fn arrive(&mut self, now: f64, id: PodId) {
        let Some(pod) = self.pods.get_mut(&id) else {
            return;
        };
        if !pod.is_live() {
            self.go(now, id);
            return;
        }
        pod.due = f64::INFINITY;
        pod.state = PodState::Ready;
        self.happened.push(Happening::Serves {
            pod: id,
            agent: pod.agent,
            devices: pod.devices.clone(),
            startup: now - pod.created,
        });
    }

    pub(super) fn go(&mut self, now: f64, id: PodId) {
        let Some(pod) = self.pods.remove(&id) else {
            return;
        };
        if let Some(at) = pod.node {
            self.machines.release(now, at, &pod.requests, &pod.devices);
        }
        self.happened.push(Happening::Gone { pod: id });
    }

    /// One action of an agent's controller, if there is one.
    fn control(&mut self, now: f64, agent: usize) -> bool {
        let own: Vec<(PodId, &Pod)> = self
            .pods
            .iter()
            .filter(|(_, p)| p.agent == agent)
            .map(|(id, p)| (*id, p))
            .collect();
        let Some(action) = self.workloads[agent].next(&own) else {
            return false;
        };
        match action {
            Action::Create(ordinal) => self.create(now, agent, ordinal),
            Action::Delete(id) => self.delete(now, id),
        }
        true
    }

    fn create(&mut self, now: f64, agent: usize, ordinal: Option<u32>) {
        let workload = &self.workloads[agent];
        self.made += 1;
        self.started[agent] += 1;
        let pod = Pod {
            agent,
            name: format!("{}-{}", self.names[agent], self.made),
            revision: workload.revision,
            ordinal: ordinal.unwrap_or(0),
            requests: workload.template.clone(),
            state: PodState::Pending,
            node: None,
            devices: Vec::new(),
            created: now,
            due: f64::INFINITY,
        };
        self.pods.insert(PodId(self.made), pod);
    }

    fn delete(&mut self, now: f64, id: PodId) {
        let Some(pod) = self.pods.get_mut(&id) else {
            return;
        };
        let served = pod.state == PodState::Ready;
        let drain = self.services[pod.agent].drain;
        pod.state = PodState::Terminating;
        pod.due = if served && !self.before {
            now + drain
        } else {
            now
        };
        if served {
            self.happened.push(Happening::Retires { pod: id });
        }
    }

    fn bind(&mut self, now: f64, id: PodId) -> bool {
        let Some(pod) = self.pods.get_mut(&id) else {
            return false;
        };
        let Some((at, devices, ready)) = self.machines.bind(now, &pod.requests) else {
            return false;
        };
        let service = &self.services[pod.agent];
        let pull = if self.machines.pulls(at, pod.agent) {
            service.image_pull
        } else {
            0.0
        };
        pod.node = Some(at);
        pod.devices = devices;
        pod.state = PodState::Loading;
        pod.due = if self.before {
            now
        } else {
            ready + pull + service.cold_start
        };
        true
    }
}
