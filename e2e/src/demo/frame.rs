//! What is known at one moment: a row for every agent, and what the clients of both lanes see.

use std::collections::BTreeMap;

use agentpool::api::{AgentPool, AgentStatus};

use super::scene::Scene;
use crate::engine::stats::Latencies;
use crate::load::Driver;
use crate::load::recorder::Recorder;

/// Over how many of the last seconds rates are averaged.
const RATE_WINDOW: u64 = 5;
/// The pool's fleet and the twin's, in the order in which they are driven.
pub const LANES: [usize; 2] = [0, 1];

/// Replicas asked for and replicas ready, by name of the Deployment.
pub type Workloads = BTreeMap<String, (i32, i32)>;

/// One moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Seconds since the load began.
    pub at: f64,
    /// The agents, in the order of the scene.
    pub rows: Vec<Row>,
    /// What clients see: of the pool, of the twin.
    pub lanes: [Seen; 2],
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Requests that arrive, a second.
    pub rate: f64,
    /// Share that the policy asks for, as status says.
    pub target: String,
    /// Share in force, as status says.
    pub in_force: String,
    /// Replicas asked for and ready: of the pool, of the twin.
    pub replicas: [(i32, i32); 2],
    /// Requests that are open: at the pool, at the twin.
    pub open: [u64; 2],
    /// Why the share is what it is.
    pub why: String,
}

/// What the clients of a lane see.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Mean latency since the start, in seconds.
    pub mean: f64,
    /// 95 % of the requests were answered within this time, in seconds.
    pub p95: f64,
    /// Requests that are open.
    pub open: u64,
}

/// Puts a frame together.
pub fn frame(
    scene: &Scene,
    driver: &Driver,
    pool: &AgentPool,
    workloads: [&Workloads; 2],
) -> Frame {
    let at = driver.now();
    let records = LANES.map(|lane| driver.records(lane));
    let statuses = pool
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.agents);
    let rows = scene.workloads.iter().map(|workload| {
        let name = &workload.name;
        let status = statuses.iter().find(|status| status.name == *name);
        let open = [0, 1].map(|lane| {
            records[lane]
                .get(name)
                .map_or(0, |record| record.counts().open)
        });
        Row {
            rate: records[0].get(name).map_or(0.0, |record| rate(record, at)),
            target: status.map_or("?".to_owned(), |status| status.target_share.clone()),
            in_force: status.map_or("?".to_owned(), |status| status.realized_share.clone()),
            replicas: workloads.map(|lane| lane.get(name).copied().unwrap_or_default()),
            open,
            why: status.map_or_else(String::new, why),
            name: name.clone(),
        }
    });
    Frame {
        at,
        rows: rows.collect(),
        lanes: records.map(|lane| seen(&lane)),
    }
}

/// What the clients of a lane have seen so far, all agents together.
pub fn seen(records: &BTreeMap<String, Recorder>) -> Seen {
    let mut all = Latencies::default();
    let mut open = 0;
    for record in records.values() {
        all.merge(record.latencies());
        open += record.counts().open;
    }
    let summary = all.summary();
    Seen {
        mean: summary.mean,
        p95: summary.p95,
        open,
    }
}

/// The reason of an agent's share, and what holds a change, as the pool's status says them.
fn why(status: &AgentStatus) -> String {
    match &status.hold {
        Some(hold) => format!("{}, held: {hold}. {}", status.reason, status.message),
        None => format!("{}. {}", status.reason, status.message),
    }
}

/// Requests a second over the last whole seconds.
fn rate(record: &Recorder, now: f64) -> f64 {
    let this = now.max(0.0) as u64;
    let from = this.saturating_sub(RATE_WINDOW);
    let seconds = this - from;
    if seconds == 0 {
        return 0.0;
    }
    let recent = record
        .series()
        .iter()
        .filter(|second| (from..this).contains(&second.second));
    recent.map(|second| second.offered).sum::<u64>() as f64 / seconds as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_whole_seconds_only() {
        let mut record = Recorder::default();
        for at in [0.1, 0.2, 1.5, 2.0, 2.9] {
            record.offered(at);
        }
        assert!((rate(&record, 2.95) - 1.5).abs() < 1e-9);
        assert!(rate(&record, 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_lane_sums_up_all_its_agents() {
        let mut quick = Recorder::default();
        quick.offered(0.0);
        quick.served(1.0, 1.0, false);
        let mut slow = Recorder::default();
        slow.offered(0.0);
        slow.offered(0.0);
        slow.served(3.0, 3.0, false);
        let seen = seen(&[("a".to_owned(), quick), ("b".to_owned(), slow)].into());
        assert!((seen.mean - 2.0).abs() < 1e-9, "{seen:?}");
        assert_eq!(seen.open, 1);
    }
}
