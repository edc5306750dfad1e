//! Rules that are told wrong: what declarations may miss by.

use super::aims::Aim;
use super::bench::{BALANCED, Job, PROPORTIONAL, Settings, Told, WATER};
use super::bench::{all, average, beside, mean, p95, ratio, shown};
use super::fractions::{RULES, words};
use super::losses::{Loss, compare};
use super::scenes::{A, AGENTS, EVEN, Pool, Traces, UNEVEN, one_gpu, scenario};
use agentpool::simulation::Scenario;
use agentpool::simulation::report::{Page, Table};
use anyhow::Result;

/// The true lag, in seconds.
const LAG: f64 = 30.0;

/// What is told.
struct Case {
    words: &'static str,
    /// What is declared of each agent's throughput, in parts of the true one.
    throughput: [f64; 4],
    /// What the lag is taken for, in parts of the true one.
    lag: f64,
}

const fn case(words: &'static str, throughput: [f64; 4], lag: f64) -> Case {
    Case {
        words,
        throughput,
        lag,
    }
}

/// Every agent is what it is declared to be.
const TRUE: [f64; 4] = [1.0; 4];
const CASES: [Case; 7] = [
    case("the truth", TRUE, 1.0),
    case("throughput 30 % too low", [0.7; 4], 1.0),
    case("throughput 30 % too high", [1.3; 4], 1.0),
    case(
        "throughput of coordinator and vision 30 % too low, of nlp and reasoning 30 % too high",
        [0.7, 1.3, 0.7, 1.3],
        1.0,
    ),
    case(
        "throughput of coordinator and vision 30 % too high, of nlp and reasoning 30 % too low",
        [1.3, 0.7, 1.3, 0.7],
        1.0,
    ),
    case("half the lag", TRUE, 0.5),
    case("twice the lag", TRUE, 2.0),
];

/// A scenario as it is told.
fn declared(scenario: &Scenario, case: &Case) -> Told {
    let mut told = scenario.clone();
    for agent in &mut told.pool.agents {
        let mut all = AGENTS.iter().zip(case.throughput);
        let found = all.find(|(name, _)| **name == agent.name);
        agent.base_throughput *= found.map_or(1.0, |(_, part)| part);
    }
    Told {
        scenario: told,
        lag: case.lag,
    }
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    traces: &Traces,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let mut page = Page {
        title: "Rules that are told wrong".to_owned(),
        ..Page::default()
    };
    let name = traces.called(A, "A");
    page.text(format!(
        "{name} at a load of 0.7 on hard fractions of one GPU, lag {LAG} s: the throughput of each agent on a whole GPU, or the lag, is \
         another than the rules are told. Ratios to the equal split, which asks for neither.",
    ));
    let mut table = Table::new([
        "<load",
        "<what the rules are told",
        "static-proportional mean",
        "WaterFilling mean",
        "p95",
        "Balanced mean",
        "p95 ",
    ]);
    for split in [EVEN, UNEVEN] {
        for case in &CASES {
            let made = scenario(
                &Pool::default(),
                traces.loads(A)?,
                (0.7, split),
                one_gpu(LAG),
                traces.seconds(A),
            )?;
            let mut job = Job::new(made, &RULES)?;
            job.told = Some(declared(&job.scenario, case));
            let runs = all(settings, std::slice::from_ref(&job))?.remove(0);
            let load = format!("{name} 0.7 {}", words(split));
            if case.lag != 1.0 || case.throughput != TRUE {
                let place = format!("hard fractions, {load}, lag {LAG} s, told: {}", case.words);
                compare(losses, &place, &runs);
                aims.push(Aim::no_worse(&place, &runs));
            } else {
                page.text(format!(
                    "{load}: the equal split has a mean of {} s and a 95th percentile of {} s.",
                    average(&runs[0], mean),
                    average(&runs[0], p95)
                ));
            }
            let first = [
                load,
                case.words.to_owned(),
                shown(ratio(&runs, PROPORTIONAL, mean)),
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
    use super::super::waves::turns;
    use super::*;

    #[test]
    fn what_is_told_changes_and_what_is_true_stays() {
        let made = scenario(
            &Pool::default(),
            turns(100.0, 100.0),
            (0.7, EVEN),
            one_gpu(LAG),
            100.0,
        );
        let made = made.unwrap();
        let told = declared(&made, &case("", [0.7, 1.0, 1.0, 1.3], 2.0));
        assert_eq!(told.scenario.services, made.services);
        for (told, made) in told.scenario.pool.agents.iter().zip(&made.pool.agents) {
            let part = match told.name.as_str() {
                "coordinator" => 0.7,
                "reasoning" => 1.3,
                _ => 1.0,
            };
            assert_eq!(told.base_throughput, made.base_throughput * part);
        }
        assert_eq!(told.lag, 2.0);
    }
}
