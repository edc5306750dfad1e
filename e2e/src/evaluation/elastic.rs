//! Capacity that comes and goes: GPU-hours against the tail of latency, each rule at every setting of its own target.

mod front;
mod peak;

use super::aims::Aim;
use super::bench::{Job, Settings, all, short};
use super::pods::node;
use super::scenes::{AGENTS, EVEN, Pool, Source, Traces, always, at_rate, on_pods};
use agentpool::simulation::bounds::{Terms, clairvoyant_plan, clairvoyant_plans};
use agentpool::simulation::load::BuiltIn;
use agentpool::simulation::report::Page;
use agentpool::simulation::{Elastic, NodeGroup, Scenario};
use anyhow::Result;
use front::{OURS, Point};

/// Nodes of one GPU, at most.
const MOST: u32 = 16;
/// Mean load, in GPUs.
const LOAD: f64 = 6.0;
/// What is not counted at the start, in seconds: all nodes are there at first, whoever is in control.
const WARMUP: f64 = 3600.0;
/// From the need for a node until it is ready, and for how long one stays that no pod needs, in seconds.
const PROVISION: f64 = 120.0;
const IDLE: f64 = 300.0;
/// From a pod's binding until it serves, in seconds.
const COLD_START: f64 = 60.0;
/// The API's default headroom: what is judged beside peak provisioning.
const DEFAULT: &str = "1";
/// Seconds of work of an agent that may wait in a clairvoyant plan.
const MAY_WAIT: f64 = 60.0;
/// GPUs of an agent alone, for peak provisioning. With one its mean load of 1.5 is never served.
const ALONE: (u32, u32) = (2, 9);
/// Length of a bin of a clairvoyant plan, in milliseconds.
const BIN: u64 = 60_000;

/// One load, and what is run on it.
struct Scene {
    name: &'static str,
    /// Where the load comes from, in words.
    from: &'static str,
    source: Source,
    /// Requests a second of each agent.
    rate: f64,
    seeds: u64,
    /// Requests that a pod serves at once.
    at_once: u32,
    /// By family, each rule at the settings of its own target.
    sweeps: &'static [(&'static str, &'static [&'static str])],
    headrooms: &'static [&'static str],
}

/// Declared drains for which requests may wait, each without headroom: the economical end. Twice the lag is 6 min here.
const DRAINS: [&str; 6] = ["6m30s", "7m", "8m", "8m20s", "9m", "10m"];

const DAY: Scene = Scene {
    name: "a day",
    from: "a day of measured rates of four services.",
    source: Source::Four {
        name: "four_agent_C_rates/rates_24h.csv.gz",
        stand_in: BuiltIn::C,
        from: 0.0,
        seconds: Some(86_400.0),
    },
    rate: 3.0,
    seeds: 12,
    at_once: 1,
    sweeps: &[
        (
            "hpa",
            &[
                "hpa:0.4", "hpa:0.5", "hpa:0.6", "hpa:0.7", "hpa:0.8", "hpa:0.9",
            ],
        ),
        ("keda", &["keda:5", "keda:20", "keda:100"]),
        ("knative", &["knative:0.5", "knative:0.7", "knative:0.9"]),
        ("wva", &["wva:0.85", "wva:4"]),
        ("dynamo", &["dynamo:0.9", "dynamo:2", "dynamo:4"]),
        (
            "static",
            &["static-equal:8", "static-equal:12", "static-equal:16"],
        ),
    ],
    headrooms: &[
        "0", "0.2", "0.4", "0.5", "0.55", "0.6", "0.65", "0.7", "0.75", "0.8", "0.85", "0.9",
        "0.95", "1", "1.05", "1.1", "1.2", "1.3", "1.5", "2", "3",
    ],
};

/// The same day on engines that run eight requests at once, which is what rules that go by requests a replica are made for.
const BATCHED: Scene = Scene {
    name: "a day, eight at once",
    seeds: 5,
    at_once: 8,
    sweeps: &[
        ("hpa", &["hpa:0.6", "hpa:0.8"]),
        ("keda", &["keda:5", "keda:20", "keda:100"]),
        ("knative", &["knative:0.5", "knative:0.7", "knative:0.9"]),
        ("wva", &["wva:0.85", "wva:4"]),
        ("dynamo", &["dynamo:0.9", "dynamo:2", "dynamo:4"]),
        ("static", &["static-equal:12"]),
    ],
    headrooms: &["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2", "1.5", "2", "3"],
    ..DAY
};

/// A week, in seconds.
const WEEK: f64 = 604_800.0;

const FORTNIGHT: Scene = Scene {
    name: "14 days",
    from: "fourteen days of measured rates of three language services. A fourth agent gets those of the second with its weeks \
           exchanged: the same hours of the same days, another week. Knative is left out for its time: it decides every two seconds.",
    source: Source::Turned {
        name: "four_agent_C_rates/language_rates_14d.csv.gz",
        stand_in: BuiltIn::C,
        parts: [
            ("m-small", 0.0),
            ("m-mid", 0.0),
            ("m-mid", WEEK),
            ("m-large", 0.0),
        ],
        seconds: 2.0 * WEEK,
    },
    rate: 1.0,
    seeds: 3,
    at_once: 1,
    sweeps: &[
        ("hpa", &["hpa:0.6", "hpa:0.7", "hpa:0.8", "hpa:0.9"]),
        ("keda", &["keda:20", "keda:100"]),
        ("wva", &["wva:0.85", "wva:8"]),
        ("dynamo", &["dynamo:0.9"]),
        ("static", &["static-equal:12", "static-equal:16"]),
    ],
    headrooms: &[
        "0", "0.2", "0.4", "0.6", "0.7", "0.8", "0.9", "1", "1.1", "1.2", "1.3", "2",
    ],
};

impl Scene {
    /// The scenario under a policy of the pool, as YAML.
    fn scenario(&self, traces: &Traces, policy: &str) -> Result<Scenario> {
        let pool = Pool {
            gpus: MOST,
            policy: policy.to_owned(),
            ..Pool::default()
        };
        let elastic = Elastic {
            min: 4,
            max: MOST,
            provision: PROVISION,
            idle: IDLE,
        };
        let nodes = NodeGroup {
            elastic: Some(elastic),
            ..always(node(1), MOST)
        };
        let load = LOAD / f64::from(MOST);
        let loads = traces.loads(self.source)?.into_iter();
        let loads = loads.map(|(load, _)| at_rate(load, self.rate));
        let loads = loads.collect::<Result<_>>()?;
        let seconds = traces.seconds(self.source);
        let nodes = (nodes, COLD_START);
        let mut made = on_pods(&pool, loads, (load, EVEN), nodes, seconds)?;
        made.warmup = WARMUP;
        for service in &mut made.services {
            service.max_running = self.at_once;
        }
        Ok(made)
    }

    /// All rules at all settings.
    fn points(&self, traces: &Traces, settings: &Settings) -> Result<Vec<Point>> {
        let settings_of = |(family, rules): &(&'static str, &'static [&'static str])| {
            let family = *family;
            rules.iter().map(move |rule| (family, *rule))
        };
        let baselines: Vec<(&str, &str)> = self.sweeps.iter().flat_map(settings_of).collect();
        let rules: Vec<&str> = baselines.iter().map(|(_, rule)| *rule).collect();
        let mut jobs = vec![Job::new(self.scenario(traces, "{interval: 15s}")?, &rules)?];
        let ours: Vec<Ours> = self.ours().collect();
        for ours in &ours {
            jobs.push(Job::new(
                self.scenario(traces, &ours.policy())?,
                &["balanced"],
            )?);
        }
        let runs = all(settings, &jobs)?;
        let theirs = baselines.iter().zip(&runs[0]);
        let theirs =
            theirs.map(|((family, rule), runs)| Point::new(family, (*rule).to_owned(), runs));
        let ours = ours.iter().zip(&runs[1..]);
        let ours = ours.map(|(ours, runs)| Point::new(OURS, ours.name(), &runs[0]));
        Ok(theirs.chain(ours).collect())
    }

    fn ours(&self) -> impl Iterator<Item = Ours> {
        let spends = self.headrooms.iter().map(|headroom| Ours {
            headroom,
            drain: None,
        });
        let waits = DRAINS.iter().map(|drain| Ours {
            headroom: "0",
            drain: Some(drain),
        });
        spends.chain(waits)
    }

    /// What is written about it.
    fn write(
        &self,
        page: &mut Page,
        traces: &Traces,
        settings: &Settings,
        aims: &mut Vec<Aim>,
    ) -> Result<()> {
        let settings = Settings {
            seeds: settings.seeds.min(self.seeds),
        };
        page.heading(self.name);
        page.text(format!(
            "The load: {} Each agent gets {} requests a second on average, of {} s of a GPU. {} seeds.",
            traces.called(self.source, self.from),
            self.rate,
            LOAD / AGENTS.len() as f64 / self.rate,
            settings.seeds
        ));
        let points = self.points(traces, &settings)?;
        page.table(front::table(&points));
        page.text(
            "Beside each of their settings that of ours with the fewest GPU-hours whose p95 is no longer; both are judged by the upper end of \
             the 95 % interval, so that a tail that differs much from seed to seed may not be reached by chance. Ours were run at more \
             settings than theirs, and some were added when theirs were known (the day's headrooms between 0.5 and 1.1, the drain of \
             8m20s): that is luck on our side, and the more so the nearer a ratio is to 1.",
        );
        page.table(front::fronts(self.name, &points, aims));

        let base = self.scenario(traces, "{interval: 15s}")?;
        let plans = Plans::of(&base, settings.seeds)?;
        page.text(plans.describe());
        let usual = Ours {
            headroom: DEFAULT,
            drain: None,
        };
        let usual = usual.name();
        let aim = |what: &str, plan: &[f64]| {
            let what = format!(
                "elastic, {}: fewest GPU-hours to the clairvoyant plan's, {what}",
                self.name
            );
            front::frugal(what, &points, (plan, MAY_WAIT), &usual)
        };
        aims.push(aim(
            "any GPU serves any agent and goes at once",
            &plans.ideal,
        ));
        aims.push(aim("a GPU serves one agent", &plans.pods).later());

        page.text(format!(
            "Peak provisioning: each agent has {} to {} GPUs of its own for the whole time. Of all such splits the smallest whose p95 is no \
             longer than ours, beside each of our settings; the default headroom is {DEFAULT}.",
            ALONE.0, ALONE.1
        ));
        let splits = peak::Alone::measure(&base, ALONE, &settings)?.splits();
        let hours = (base.seconds - base.warmup) / 3600.0;
        let table = peak::compare(self.name, &usual, &points, (&splits, hours), aims);
        page.table(table);
        Ok(())
    }
}

/// A setting of ours.
#[derive(Debug, Clone, Copy)]
struct Ours {
    headroom: &'static str,
    /// `None`: not declared.
    drain: Option<&'static str>,
}

impl Ours {
    fn name(self) -> String {
        let drain = self.drain.map(|drain| format!(", drain {drain}"));
        format!(
            "balanced, headroom {}{}",
            self.headroom,
            drain.unwrap_or_default()
        )
    }

    /// The policy of the pool, as YAML in braces.
    fn policy(self) -> String {
        let drain = self.drain.map(|drain| format!(", drain: {drain}"));
        format!(
            "{{type: Balanced, spare: Save, interval: 15s, headroom: \"{}\"{}}}",
            self.headroom,
            drain.unwrap_or_default()
        )
    }
}

/// GPU-hours of those who know the load and never let an agent wait for more than [`MAY_WAIT`], by seed.
struct Plans {
    /// Any GPU serves any agent, and a node that nobody needs costs nothing more.
    ideal: Vec<f64>,
    /// Any GPU serves any agent.
    together: Vec<f64>,
    /// A GPU serves one agent; nodes come and go for nothing.
    pods: Vec<f64>,
    /// A GPU serves one agent and no other afterwards.
    apart: Vec<f64>,
}

impl Plans {
    fn of(scenario: &Scenario, seeds: u64) -> Result<Self> {
        let together = Terms::of(scenario, BIN, MAY_WAIT * AGENTS.len() as f64);
        let apart = Terms::of(scenario, BIN, MAY_WAIT);
        let ideal = Terms {
            stop: 0,
            ..together
        };
        let pods = Terms {
            start: COLD_START as u64 * 1000,
            stop: 0,
            ..apart
        };
        let all = |terms: Terms| -> Result<Vec<f64>> {
            let paid = |seed| Ok(clairvoyant_plan(scenario, seed, terms)?.paid / 3600.0);
            (1..=seeds).map(paid).collect()
        };
        let each = |terms: Terms| -> Result<Vec<f64>> {
            let paid = |seed| Ok(clairvoyant_plans(scenario, seed, terms)? / 3600.0);
            (1..=seeds).map(paid).collect()
        };
        Ok(Self {
            ideal: all(ideal)?,
            together: all(together)?,
            pods: each(pods)?,
            apart: each(apart)?,
        })
    }

    fn describe(&self) -> String {
        let hours = |plans: &[f64]| short(plans.iter().sum::<f64>() / plans.len() as f64);
        format!(
            "Who knows the load and never lets more than {MAY_WAIT} s of work an agent wait pays at least {} GPU-hours where any GPU serves \
             any agent and a node goes at once; at least {} where it goes after {IDLE} s, as here; at least {} where a GPU serves one agent, \
             as a pod's does, and nodes cost nothing but their time in use; and {} where agents that know their own loads do not take over \
             each other's nodes. The last is a plan; the others bound every plan that serves work as a fluid and changes every {} s at most, none of \
             which is known to reach them. That more work than that never waits is not asked of the rules, only that the p95 is no longer. \
             A GPU that serves one agent costs at least {:.1} times what one costs that serves any, whoever decides.",
            hours(&self.ideal),
            hours(&self.together),
            hours(&self.pods),
            hours(&self.apart),
            BIN / 1000,
            self.pods.iter().sum::<f64>() / self.ideal.iter().sum::<f64>()
        )
    }
}

/// The page.
pub(super) fn page(settings: &Settings, traces: &Traces, aims: &mut Vec<Aim>) -> Result<Page> {
    let mut page = Page {
        title: "Capacity that comes and goes".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "Rates, scaled to a mean load of {LOAD} GPUs, an even part for each of four agents, Poisson within the ten minutes of a rate; \
         nodes of one GPU, 4 to {MOST} of them: a budget, at which autoscalers stand that ask for more, so that {MOST} GPUs for the whole time \
         are the most that anybody pays, and who comes late finds none left; a node comes {PROVISION} s after it is needed and goes {IDLE} s after its last pod; cold start {COLD_START} s. \
         Engines serve one request at a time where nothing else is said; requests wait in one queue an agent, as in a gateway, under every rule. The first hour is not counted. Balanced saves what nobody needs (spare: \
         Save), its headroom is swept; it decides every 15 s as an HPA does. Its economical end is a declared drain that is longer than \
         twice the lag: by as much requests may wait. \
         The targets of an HPA end at 0.9: no GPU is busier than always, so that with 1 it never scales up.",
    ));
    for scene in [DAY, BATCHED, FORTNIGHT] {
        scene.write(&mut page, traces, settings, aims)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentpool::api::PolicySpec;

    #[test]
    fn what_is_judged_is_the_default_of_the_api() {
        assert_eq!(PolicySpec::default().headroom, DEFAULT.into());
        for scene in [DAY, BATCHED, FORTNIGHT] {
            assert!(scene.headrooms.contains(&DEFAULT), "{}", scene.name);
        }
    }
}
