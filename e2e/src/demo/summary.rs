//! What came of it, in words and numbers.

use super::frame::LANES;
use super::scene::Scene;
use super::view::seconds;
use crate::engine::stats::{Latencies, LatencySummary};
use crate::load::Driver;
use crate::load::recorder::Recorder;

/// Both lanes at the end.
pub struct Outcome {
    /// A name and both lanes: the agents, then all together.
    lines: Vec<(String, [Part; 2])>,
}

/// One agent, or all, in one lane.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Of the requests that were answered.
    pub latency: LatencySummary,
    /// Requests that were not answered: lost, shed, still open.
    pub unanswered: u64,
}

impl Outcome {
    /// Of a load that has ended.
    pub fn of(scene: &Scene, driver: &Driver) -> Self {
        let records = LANES.map(|lane| driver.records(lane));
        let mut lines = Vec::new();
        for workload in &scene.workloads {
            let parts = records
                .each_ref()
                .map(|lane| part(lane.get(&workload.name).into_iter()));
            lines.push((workload.name.clone(), parts));
        }
        lines.push((
            "all".to_owned(),
            records.each_ref().map(|lane| part(lane.values())),
        ));
        Self { lines }
    }

    /// All agents together: the pool, and its twin. `None` without agents.
    pub fn all(&self) -> Option<[Part; 2]> {
        self.lines.last().map(|(_, parts)| *parts)
    }

    /// The table, and one sentence.
    pub fn text(&self, scene: &Scene) -> String {
        let mut text = format!(
            "\n{:<12} {:>9} | {:>10} {:>10} {:>10} | {:>10} {:>10} {:>10}\n",
            "", "requests", "pool mean", "p95", "unanswered", "twin mean", "p95", "unanswered"
        );
        for (name, [pool, twin]) in &self.lines {
            text += &format!(
                "{name:<12} {:>9} | {:>10} {:>10} {:>10} | {:>10} {:>10} {:>10}\n",
                pool.latency.count + pool.unanswered,
                seconds(pool.latency.mean),
                seconds(pool.latency.p95),
                pool.unanswered,
                seconds(twin.latency.mean),
                seconds(twin.latency.p95),
                twin.unanswered,
            );
        }
        if let Some([pool, twin]) = self.all() {
            text += &format!(
                "\nresult        {}\n",
                sentence(pool.latency.mean, twin.latency.mean)
            );
        }
        text += &format!(
            "              one run of {} s with one seed shows how it works, not how much it gains: try other seeds (SEED=2)\n",
            scene.length.as_secs()
        );
        text
    }
}

/// What two mean latencies say; neither way of it is hidden.
fn sentence(pool: f64, twin: f64) -> String {
    if pool <= 0.0 || twin <= 0.0 {
        return "nothing was answered in one of the lanes".to_owned();
    }
    let ratio = twin / pool;
    if (0.95..=1.05).contains(&ratio) {
        format!(
            "no difference: {} and {} on average",
            seconds(pool),
            seconds(twin)
        )
    } else if ratio > 1.0 {
        format!(
            "the pool answered {ratio:.1} times as fast as its static twin: {} instead of {} on average",
            seconds(pool),
            seconds(twin)
        )
    } else {
        format!(
            "the static twin answered {:.1} times as fast as the pool this time: {} instead of {} on average",
            1.0 / ratio,
            seconds(twin),
            seconds(pool)
        )
    }
}

fn part<'a>(records: impl Iterator<Item = &'a Recorder>) -> Part {
    let mut latencies = Latencies::default();
    let mut unanswered = 0;
    for record in records {
        latencies.merge(record.latencies());
        let counts = record.counts();
        unanswered += counts.lost + counts.shed + counts.open;
    }
    Part {
        latency: latencies.summary(),
        unanswered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_who_was_faster_and_admits_when_it_was_the_twin() {
        assert!(sentence(0.2, 1.0).contains("pool answered 5.0 times as fast"));
        assert!(sentence(1.0, 0.5).contains("static twin answered 2.0 times as fast"));
        assert!(sentence(1.0, 1.01).contains("no difference"));
        assert!(sentence(0.0, 1.0).contains("nothing was answered"));
    }

    #[test]
    fn a_request_that_is_still_open_counts_as_unanswered() {
        let mut record = Recorder::default();
        record.offered(0.0);
        record.offered(0.0);
        record.served(1.0, 1.0, false);
        let part = part(std::iter::once(&record));
        assert_eq!((part.latency.count, part.unanswered), (1, 1));
    }
}
