//! Hard fractions of a GPU that are worth more than their size.

use super::bench::{BALANCED, Job, PROPORTIONAL, Settings, Told, WATER};
use super::bench::{all, average, beside, each, mean, ratio, shown};
use super::bounds::Bounds;
use super::fractions::{RULES, words};
use super::losses::{Loss, compare};
use super::scenes::{A, B, EVEN, Pool, Source, Traces, UNEVEN, one_gpu, scenario};
use agentpool::simulation::Scenario;
use agentpool::simulation::report::{Page, Table};
use anyhow::Result;

/// b in speed = throughput · share^b. Measured under MPS: 0.3 (long decodes) to 0.7 (long prompts).
const EXPONENT: f64 = 0.5;
/// The same, as a model declares it.
const DECLARED: &str = ", memoryPerReplica: 8Gi, speedExponent: \"0.5\"";
/// What the equal split is busy for, of its time.
const LOAD: f64 = 0.7;
/// Of a move, in seconds.
const LAG: f64 = 30.0;

const CASES: [(Source, &str, [f64; 4]); 4] = [
    (A, "A", EVEN),
    (A, "A", UNEVEN),
    (B, "B", EVEN),
    (B, "B", UNEVEN),
];

/// A pool whose agents declare the exponent. Only parts of a GPU may have one, so that it is a pool of MIG instances; of fractions nothing
/// else of that matters.
pub(super) fn pool() -> Pool {
    Pool {
        sharing: "{type: MIG}",
        model: DECLARED,
        ..Pool::default()
    }
}

fn made(traces: &Traces, source: Source, split: [f64; 4]) -> Result<Scenario> {
    scenario(
        &pool(),
        traces.loads(source)?,
        (LOAD * quarters(EXPONENT), split),
        one_gpu(LAG),
        traces.seconds(source),
    )
}

/// What four quarters of a GPU serve together, in GPUs.
fn quarters(exponent: f64) -> f64 {
    4.0 * 0.25_f64.powf(exponent)
}

/// The rules take a part for worth its size.
fn undeclared(scenario: &Scenario) -> Told {
    let mut told = scenario.clone();
    for agent in &mut told.pool.agents {
        agent.speed_exponent = 1.0;
    }
    Told {
        scenario: told,
        lag: 1.0,
    }
}

/// The page.
pub(super) fn page(settings: &Settings, traces: &Traces, losses: &mut Vec<Loss>) -> Result<Page> {
    let mut page = Page {
        title: "Parts of a GPU that are worth more than their size".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "A part of a GPU serves with throughput times share to the power of {EXPONENT}, as language models do that leave a large part \
         idle (docs/design.md, section 6). Hard fractions, lag {LAG} s. A load of {LOAD} is what the equal split is busy for, so that its \
         times are those of linear speed; twice the share is 1.4 times the speed, so that there is less to be won. Once the manifest \
         declares the exponent, once it leaves the API's default of 1. The best static split is found in hindsight.",
    ));
    let mut table = Table::new([
        "<load",
        "<exponent declared",
        "equal mean",
        "static-proportional mean",
        "best static split",
        "WaterFilling mean",
        "p95",
        "Balanced mean",
        "p95 ",
    ]);
    for (source, name, split) in CASES {
        let load = format!("{} {LOAD} {}", traces.called(source, name), words(split));
        for is_declared in [true, false] {
            let mut job = Job::new(made(traces, source, split)?, &RULES)?;
            if !is_declared {
                job.told = Some(undeclared(&job.scenario));
            }
            let runs = all(settings, std::slice::from_ref(&job))?.remove(0);
            let bounds = Bounds::of(settings, &job.scenario, &each(&runs[0], mean))?;
            let told = if is_declared { "yes" } else { "no" };
            let place = format!("speed exponent {EXPONENT}, declared: {told}, {load}, lag {LAG} s");
            compare(losses, &place, &runs);
            let first = [
                load.clone(),
                told.to_owned(),
                format!("{} s", average(&runs[0], mean)),
                shown(ratio(&runs, PROPORTIONAL, mean)),
                shown(bounds.split),
            ];
            let rest = [WATER, BALANCED].map(|rule| beside(&runs, rule));
            table.row(first.into_iter().chain(rest.into_iter().flatten()));
        }
    }
    page.table(table);
    Ok(page)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::bench::HOLD;
    use super::super::waves::turns;
    use super::*;

    #[test]
    fn the_equal_split_is_as_busy_as_with_linear_speed() {
        let mean_of = |pool: &Pool, exponent: f64| {
            let load = (LOAD * quarters(exponent), EVEN);
            let made = scenario(pool, turns(1e6, 500.0), load, one_gpu(0.0), 500.0);
            let job = Job::new(made.unwrap(), &[HOLD]).unwrap();
            let runs = all(&Settings { seeds: 2 }, &[job]).unwrap();
            mean(&runs[0][0][0])
        };
        let linear = mean_of(&Pool::default(), 1.0);
        let part = mean_of(&pool(), EXPONENT);
        assert!((part / linear - 1.0).abs() < 1e-3, "{part} {linear}");
        assert!(DECLARED.contains(&EXPONENT.to_string()));
    }
}
