//! A run over time in bounded memory, for plots.

use super::POINTS;
use super::engine::Engine;
use super::outcome::{Point, PointOfAgent};
use super::tally::Granted;

/// Points at even distances; when there are too many, every second one goes and the distance doubles.
#[derive(Debug, Clone)]
pub(super) struct Series {
    distance: f64,
    rows: Vec<Row>,
    /// Which multiple of the distance is next.
    next: u64,
}

/// A moment, with counts since the start: what happened in between follows from neighbours, whichever they are.
#[derive(Debug, Clone)]
struct Row {
    at: f64,
    gpus: f64,
    agents: Vec<OfAgent>,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfAgent {
    share: f64,
    replicas: u32,
    requests: f64,
    arrived: u64,
    finished: u64,
    latencies: f64,
}

impl Series {
    /// For requests that arrive for so long; until the last is served it often takes a little longer.
    pub fn new(agents: usize, seconds: f64) -> Self {
        let start = Row {
            at: 0.0,
            gpus: 0.0,
            agents: vec![OfAgent::default(); agents],
        };
        Self {
            distance: 1.25 * seconds / POINTS as f64,
            rows: vec![start],
            next: 1,
        }
    }

    /// When the next point is due.
    pub fn next(&self) -> f64 {
        self.next as f64 * self.distance
    }

    /// Takes the point that is due.
    pub fn add(
        &mut self,
        now: f64,
        engine: &Engine,
        gpus: f64,
        granted: &[Granted],
        latencies: &[f64],
    ) {
        let agent = |(agent, granted): (usize, &Granted)| {
            let counts = engine.counts(agent);
            OfAgent {
                share: granted.gpus,
                replicas: granted.replicas,
                requests: counts.present() as f64,
                arrived: counts.arrived,
                finished: counts.finished,
                latencies: latencies[agent],
            }
        };
        self.rows.push(Row {
            at: now,
            gpus,
            agents: granted.iter().enumerate().map(agent).collect(),
        });
        self.next += 1;
        if self.rows.len() > POINTS + 1 {
            // The start stays, and with it every second point.
            let mut position = 0;
            self.rows.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.distance *= 2.0;
            self.next = self.rows.len() as u64;
        }
    }

    /// The points.
    pub fn points(&self) -> Vec<Point> {
        let point = |pair: &[Row]| {
            let [before, row] = pair else {
                return None;
            };
            let seconds = row.at - before.at;
            let agent = |(now, then): (&OfAgent, &OfAgent)| {
                let finished = now.finished - then.finished;
                PointOfAgent {
                    share: now.share,
                    replicas: now.replicas,
                    requests: now.requests,
                    arrivals: (now.arrived - then.arrived) as f64 / seconds,
                    latency: (finished > 0)
                        .then(|| (now.latencies - then.latencies) / finished as f64),
                }
            };
            Some(Point {
                at: row.at,
                gpus: row.gpus,
                agents: row.agents.iter().zip(&before.agents).map(agent).collect(),
            })
        };
        self.rows.windows(2).filter_map(point).collect()
    }
}
