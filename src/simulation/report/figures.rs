//! The plots of a comparison.

use super::page::Figure;
use super::plot::{Line, Mark, Panel, Scale, multiples};
use super::runs::{Runs, merged};
use crate::simulation::{AgentOutcome, Point, PointOfAgent, Sketch};

/// Latencies of rules and agents, their distribution, shares, replicas where there are pods, queues, and GPU-hours over time. `runs`
/// has those of each rule; what is over time is that of its first.
pub fn figures(runs: &[Runs]) -> Vec<Figure> {
    let mut figures = vec![latencies(runs), distribution(runs)];
    figures.push(over_time(
        runs,
        "shares",
        "GPU shares in force",
        "GPUs",
        &|agent| agent.share,
    ));
    let pods = |run: &Runs| {
        let mut agents = run.series.iter().flat_map(|point| &point.agents);
        agents.any(|agent| agent.replicas > 0)
    };
    if runs.iter().any(pods) {
        figures.push(over_time(
            runs,
            "replicas",
            "Replicas that serve",
            "replicas",
            &|agent| f64::from(agent.replicas),
        ));
    }
    figures.push(over_time(
        runs,
        "queues",
        "Requests in the system",
        "requests",
        &|agent| agent.requests,
    ));
    figures.push(gpu_hours(runs));
    figures
}

/// A unit in which a length of time is told, and its seconds.
fn unit(seconds: f64) -> (&'static str, f64) {
    match seconds {
        s if s > 4.0 * 86_400.0 => ("days", 86_400.0),
        s if s > 4.0 * 3600.0 => ("hours", 3600.0),
        s if s > 600.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    }
}

fn end(runs: &[Runs]) -> f64 {
    let ends = runs.iter().filter_map(|run| run.series.last());
    ends.map(|point| point.at).fold(0.0, f64::max)
}

/// A panel a rule, a line an agent.
fn over_time(
    runs: &[Runs],
    name: &str,
    what: &str,
    unit_up: &str,
    value: &dyn Fn(&PointOfAgent) -> f64,
) -> Figure {
    let (unit, seconds) = unit(end(runs));
    let across = Scale::until(end(runs) / seconds);
    let values = runs.iter().flat_map(|run| &run.series);
    let most = values
        .flat_map(|point| point.agents.iter().map(value))
        .fold(0.0, f64::max);
    let steps = name != "queues";
    let panel = |run: &Runs| {
        let line = |(i, agent): (usize, &AgentOutcome)| {
            let at = |point: &Point| {
                let agent = point.agents.get(i)?;
                Some((point.at / seconds, value(agent)))
            };
            Line {
                name: agent.name.clone(),
                ink: i,
                steps,
                points: run.series.iter().filter_map(at).collect(),
            }
        };
        Panel {
            title: run.rule.clone(),
            across: (format!("time, {unit}"), across),
            up: (unit_up.to_owned(), Scale::from_zero(most)),
            mark: Mark::Lines(run.agents.iter().enumerate().map(line).collect()),
        }
    };
    let panels: Vec<Panel> = runs.iter().map(panel).collect();
    Figure {
        name: name.to_owned(),
        caption: format!("{what}, by rule and agent, in the run of the first seed."),
        svg: multiples(
            &panels,
            2,
            &format!("{what} over time, a panel for each rule"),
        ),
    }
}

fn gpu_hours(runs: &[Runs]) -> Figure {
    let (unit, seconds) = unit(end(runs));
    let line = |(i, run): (usize, &Runs)| {
        let (mut hours, mut before) = (0.0, 0.0);
        let mut points = vec![(0.0, 0.0)];
        for point in &run.series {
            hours += point.gpus * (point.at - before) / 3600.0;
            before = point.at;
            points.push((point.at / seconds, hours));
        }
        Line {
            name: run.rule.clone(),
            ink: i,
            steps: false,
            points,
        }
    };
    let lines: Vec<Line> = runs.iter().enumerate().map(line).collect();
    let most = lines.iter().filter_map(|line| line.points.last());
    let most = most.map(|point| point.1).fold(0.0, f64::max);
    let panel = Panel {
        title: "GPU-hours paid for since the start".to_owned(),
        across: (format!("time, {unit}"), Scale::until(end(runs) / seconds)),
        up: ("GPU-hours".to_owned(), Scale::from_zero(most)),
        mark: Mark::Lines(lines),
    };
    Figure {
        name: "gpu-hours".to_owned(),
        caption: "GPU-hours that were there and paid for, warm-up included, in the run of the first seed."
            .to_owned(),
        svg: multiples(&[panel], 1, "GPU-hours over time, a line for each rule"),
    }
}

/// Median, 95th and 99th percentile of every agent under every rule.
fn latencies(runs: &[Runs]) -> Figure {
    const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
    let agents = runs.first().map_or(0, |runs| runs.agents.len());
    let mut ranges = Vec::new();
    for agent in 0..=agents {
        for (ink, runs) in runs.iter().enumerate() {
            let (of, chosen) = match agent {
                0 => ("all", &runs.agents[..]),
                agent => (
                    runs.agents[agent - 1].name.as_str(),
                    &runs.agents[agent - 1..agent],
                ),
            };
            let sketch = merged(chosen.iter().map(|agent| &agent.latency));
            let quantiles = QUANTILES.iter().filter_map(|q| sketch.quantile(*q));
            ranges.push(Line {
                name: format!("{of} · {}", runs.rule),
                ink,
                steps: false,
                points: quantiles.map(|seconds| (seconds, 0.0)).collect(),
            });
        }
    }
    let values = ranges.iter().flat_map(|range| &range.points);
    let across = Scale::powers(values.map(|point| point.0));
    let panel = Panel {
        title: "Time in the system: median (hollow), 95th and 99th percentile".to_owned(),
        across: ("seconds".to_owned(), across),
        up: (String::new(), Scale::until(1.0)),
        mark: Mark::Ranges(ranges),
    };
    Figure {
        name: "latency".to_owned(),
        caption: "Time in the system by agent and rule, over all seeds.".to_owned(),
        svg: multiples(
            &[panel],
            1,
            "Median, 95th and 99th percentile of the latency of each agent under each rule",
        ),
    }
}

/// Part of the requests that take longer, by rule.
fn distribution(runs: &[Runs]) -> Figure {
    const POINTS: usize = 160;
    let curve = |sketch: &Sketch| -> Vec<(f64, f64)> {
        // Evenly over the powers of ten of what is left, from nearly all down to one in ten thousand.
        let part = |i: usize| 0.98 * libm::pow(10.0, -4.0 * i as f64 / POINTS as f64);
        (0..=POINTS)
            .map(part)
            .filter_map(|part| Some((sketch.quantile(1.0 - part)?, part)))
            .collect()
    };
    let line = |(ink, runs): (usize, &Runs)| Line {
        name: runs.rule.clone(),
        ink,
        steps: false,
        points: curve(&merged(runs.agents.iter().map(|agent| &agent.latency))),
    };
    let lines: Vec<Line> = runs.iter().enumerate().map(line).collect();
    let values = lines.iter().flat_map(|line| &line.points);
    let panel = Panel {
        title: "Requests that take longer".to_owned(),
        across: (
            "time in the system, seconds".to_owned(),
            Scale::powers(values.map(|point| point.0)),
        ),
        up: (
            "part of all requests".to_owned(),
            Scale::Log {
                from: 1e-4,
                to: 1.0,
            },
        ),
        mark: Mark::Lines(lines),
    };
    Figure {
        name: "latency-distribution".to_owned(),
        caption: "Which part of the requests takes longer than so many seconds: all agents, all seeds, by rule."
            .to_owned(),
        svg: multiples(&[panel], 1, "Distribution of latencies, a line for each rule"),
    }
}
