use super::{Job, gpus, jobs_of};
use crate::sharing;
use crate::simulation::scenario::{Cluster, NodeGroup, Scenario};

/// What a plan must keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Length of a bin, in milliseconds; > 0.
    pub bin: u64,
    /// For how long a GPU that is started is paid before it serves, in milliseconds.
    pub start: u64,
    /// For how long a GPU is paid after it has served, in milliseconds.
    pub stop: u64,
    /// Most GPU-seconds of work that may wait at any time; ≥ 0.
    pub backlog: f64,
    /// Fewest GPUs.
    pub fewest: u32,
    /// Most GPUs.
    pub most: u32,
    /// GPUs that serve at the start; `None`: as many as suits the plan.
    pub first: Option<u32>,
}

/// How many GPUs serve when.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// By bin.
    pub gpus: Vec<u32>,
    /// GPU-seconds that are paid, start-ups included.
    pub paid: f64,
}

/// No plan keeps to the terms.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NoPlan {
    /// Not even all GPUs suffice.
    #[error(
        "in the bin at {at} s even {most} GPUs leave more than {backlog} GPU-seconds of work waiting"
    )]
    Overload {
        /// Start of the bin, in seconds.
        at: f64,
        /// Most GPUs.
        most: u32,
        /// Most that may wait.
        backlog: f64,
    },
    /// The terms contradict themselves.
    #[error(
        "the bin is {bin} ms and GPUs are {fewest} to {most}; expected a bin above 0 and bounds in order"
    )]
    Terms {
        /// Length of a bin.
        bin: u64,
        /// Fewest GPUs.
        fewest: u32,
        /// Most GPUs.
        most: u32,
    },
}

impl Terms {
    /// The terms of a scenario, each such that no rule has better ones: a start takes as long as the fastest of its agents and nodes, a
    /// stop as long as the first of its nodes goes, the fewest GPUs are those of the fewest nodes or replicas. What serves at the end of a
    /// warm-up is anybody's choice.
    pub fn of(scenario: &Scenario, bin: u64, backlog: f64) -> Self {
        let shortest = |times: &mut dyn Iterator<Item = f64>| {
            let shortest = times.fold(f64::INFINITY, f64::min);
            if shortest.is_finite() { shortest } else { 0.0 }
        };
        let cold = shortest(&mut scenario.services.iter().map(|s| s.cold_start));
        let mut terms = Self {
            bin,
            start: (cold * 1000.0) as u64,
            stop: 0,
            backlog,
            fewest: 0,
            most: gpus(scenario) as u32,
            first: Some(gpus(scenario) as u32),
        };
        if scenario.warmup > 0.0 {
            terms.first = None;
        }
        let Cluster::Nodes(nodes) = &scenario.cluster else {
            return terms;
        };
        let groups = &nodes.groups;
        let at_least = |g: &NodeGroup| g.elastic.map_or(g.count, |e| e.min.min(g.count));
        let elastic = || groups.iter().filter_map(|g| g.elastic);
        let provision = shortest(&mut elastic().map(|e| e.provision));
        terms.start += (provision * 1000.0) as u64;
        terms.stop = (shortest(&mut elastic().map(|e| e.idle)) * 1000.0) as u64;
        terms.fewest = groups.iter().map(|g| at_least(g) * g.node.gpus).sum();
        if scenario.pool.shape.strategy == sharing::Strategy::WholeGpu {
            let agents = scenario.pool.shape.agents.iter();
            let replicas = agents.map(|a| a.min_replicas * a.gpus_per_replica).sum();
            terms.fewest = terms.fewest.max(replicas);
        }
        terms.fewest = terms.fewest.min(terms.most);
        let first: u32 = groups.iter().map(|g| g.count * g.node.gpus).sum();
        terms.first = terms.first.map(|_| first.min(terms.most));
        terms
    }
}

/// The cheapest plan for the very requests of a run. See [`cheapest_plan`].
///
/// # Errors
/// When no plan keeps to the terms.
pub fn clairvoyant_plan(scenario: &Scenario, seed: u64, terms: Terms) -> Result<Plan, NoPlan> {
    let agents = 0..scenario.loads.len();
    let jobs = agents.flat_map(|agent| jobs_of(scenario, seed, agent));
    cheapest_plan(&work(scenario, terms.bin, jobs), terms)
}

/// The same where a GPU serves one agent as long as it is that agent's, as a pod's GPUs do: GPU-seconds of the cheapest plans of all
/// agents, each alone on these terms, but for the fewest GPUs, which are its own.
///
/// A bound for such rules where `terms` leave out what nodes cost: a GPU that one agent gives up may serve another after a cold start.
/// With what nodes cost it is what agents pay that know their loads and do not know of each other.
///
/// # Errors
/// When no plan keeps to the terms.
pub fn clairvoyant_plans(scenario: &Scenario, seed: u64, terms: Terms) -> Result<f64, NoPlan> {
    let each = |agent: usize| {
        let shape = &scenario.pool.shape.agents[agent];
        let fewest = (shape.min_replicas * shape.gpus_per_replica).min(terms.most);
        let jobs = jobs_of(scenario, seed, agent);
        let plan = cheapest_plan(&work(scenario, terms.bin, jobs), Terms { fewest, ..terms });
        plan.map(|plan| plan.paid)
    };
    (0..scenario.loads.len()).map(each).sum()
}

/// GPU-seconds that arrive after the warm-up, by bin.
fn work(scenario: &Scenario, bin: u64, jobs: impl Iterator<Item = Job>) -> Vec<f64> {
    let seconds = bin.max(1) as f64 / 1000.0;
    let counted = scenario.seconds - scenario.warmup;
    let mut work = vec![0.0; (counted / seconds).ceil() as usize];
    for job in jobs.filter(|job| job.at >= scenario.warmup) {
        if let Some(work) = work.get_mut(((job.at - scenario.warmup) / seconds) as usize) {
            *work += job.size;
        }
    }
    work
}

/// The cheapest number of GPUs over time that never lets more than `terms.backlog` wait, for somebody who knows the load: `work` are the
/// GPU-seconds that arrive in each bin.
///
/// A lower bound on the GPU-seconds of every plan that changes the number of GPUs at bin edges only, serves linearly and keeps the
/// backlog: work flows evenly within a bin, any GPU serves any agent, a start costs `terms.start` on one GPU (who knows the load starts
/// early, so that it costs money and no time), a stop `terms.stop`. What is left at the end within the backlog need not be paid for.
///
/// Exact, by dynamic programming over (bin, GPUs): of all ways to have n GPUs at the end of a bin it keeps those for which no other
/// costs as little and leaves as little waiting.
///
/// # Errors
/// When no plan keeps to the terms.
pub fn cheapest_plan(work: &[f64], terms: Terms) -> Result<Plan, NoPlan> {
    let Terms {
        bin, fewest, most, ..
    } = terms;
    if bin == 0 || fewest > most {
        return Err(NoPlan::Terms { bin, fewest, most });
    }
    let mut search = Search {
        terms,
        history: Vec::new(),
    };
    let counts = (most - fewest + 1) as usize;
    let mut fronts = vec![Vec::new(); counts];
    let way = |cost: u64| Way {
        cost,
        waiting: 0.0,
        last: usize::MAX,
    };
    match terms.first {
        None => fronts.iter_mut().for_each(|front| front.push(way(0))),
        // Before the first bin there are so many, even if that is out of bounds: then it begins with starts or stops.
        Some(there) => {
            let first = there.clamp(fewest, most);
            let starts = u64::from(first.saturating_sub(there)) * terms.start;
            let stops = u64::from(there.saturating_sub(first)) * terms.stop;
            fronts[(first - fewest) as usize].push(way(starts + stops));
        }
    }
    for (i, work) in work.iter().enumerate() {
        fronts = search.step(&fronts, *work);
        if fronts.iter().all(Vec::is_empty) {
            return Err(NoPlan::Overload {
                at: i as f64 * bin as f64 / 1000.0,
                most,
                backlog: terms.backlog,
            });
        }
    }
    let best = fronts.iter().flatten().min_by_key(|way| way.cost);
    Ok(Plan {
        gpus: search.path(best.map_or(usize::MAX, |way| way.last), work.len()),
        paid: best.map_or(0.0, |way| way.cost as f64 / 1000.0),
    })
}

/// One way to get to a number of GPUs.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// GPU-milliseconds paid.
    cost: u64,
    /// GPU-seconds that wait.
    waiting: f64,
    /// Its last bin, in the history.
    last: usize,
}

struct Search {
    terms: Terms,
    /// By way and bin: GPUs in it, and the bin before.
    history: Vec<(u32, usize)>,
}

impl Search {
    /// One bin: from the ways by number of GPUs before it to those after it.
    fn step(&mut self, fronts: &[Vec<Way>], work: f64) -> Vec<Vec<Way>> {
        // The cheapest ways to enter the bin with n GPUs: from below with starts, from above with stops.
        let mut entries: Vec<Vec<Way>> = fronts.to_vec();
        let mut enter = |n: usize, moving: &mut Vec<Way>, price: u64| {
            moving.iter_mut().for_each(|way| way.cost += price);
            entries[n] = cheapest(&entries[n], moving);
            *moving = cheapest(moving, &fronts[n]);
        };
        let (mut falling, mut rising) = (Vec::new(), Vec::new());
        for n in (0..fronts.len()).rev() {
            enter(n, &mut falling, self.terms.stop);
        }
        for n in 0..fronts.len() {
            enter(n, &mut rising, self.terms.start);
        }
        let serve = |(n, ways): (usize, Vec<Way>)| self.serve(n as u32, &ways, work);
        entries.into_iter().enumerate().map(serve).collect()
    }

    /// What becomes of the ways that have `fewest + n` GPUs in a bin.
    fn serve(&mut self, n: u32, ways: &[Way], work: f64) -> Vec<Way> {
        let gpus = self.terms.fewest + n;
        let served = f64::from(gpus) * self.terms.bin as f64 / 1000.0;
        let mut after: Vec<Way> = Vec::with_capacity(ways.len());
        for way in ways {
            let waiting = (way.waiting + work - served).max(0.0);
            let better = after.last().is_none_or(|last| waiting < last.waiting);
            if waiting > self.terms.backlog || !better {
                continue;
            }
            self.history.push((gpus, way.last));
            after.push(Way {
                cost: way.cost + u64::from(gpus) * self.terms.bin,
                waiting,
                last: self.history.len() - 1,
            });
        }
        after
    }

    fn path(&self, mut last: usize, bins: usize) -> Vec<u32> {
        let mut path = Vec::with_capacity(bins);
        while let Some((gpus, before)) = self.history.get(last) {
            path.push(*gpus);
            last = *before;
        }
        path.reverse();
        path
    }
}

/// Of two lists of ways, by rising cost and falling backlog, those that no other beats, likewise.
fn cheapest(a: &[Way], b: &[Way]) -> Vec<Way> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut kept: Vec<Way> = Vec::with_capacity(a.len() + b.len());
    loop {
        let key = |way: &&Way| (way.cost, way.waiting.to_bits());
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if key(x) <= key(y) => a.next(),
            (_, Some(_)) => b.next(),
            _ => a.next(),
        };
        let Some(next) = next else { return kept };
        if kept.last().is_none_or(|last| next.waiting < last.waiting) {
            kept.push(*next);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::simulation::Elastic;
    use crate::simulation::control::rule_tests::{nodes, scenario};
    use proptest::prelude::*;

    fn terms(start: u64, backlog: f64, most: u32) -> Terms {
        Terms {
            bin: 1000,
            start,
            stop: 0,
            backlog,
            fewest: 0,
            most,
            first: Some(0),
        }
    }

    /// Every plan there is.
    fn by_brute_force(work: &[f64], terms: Terms) -> Option<u64> {
        let each = terms.most - terms.fewest + 1;
        let all = (each as usize).pow(work.len() as u32);
        let cost = |mut number: usize| {
            let (mut cost, mut waiting, mut before) = (0, 0.0, terms.first);
            for work in work {
                let gpus = terms.fewest + (number % each as usize) as u32;
                number /= each as usize;
                let last = before.unwrap_or(gpus);
                cost += u64::from(gpus) * terms.bin
                    + u64::from(gpus.saturating_sub(last)) * terms.start
                    + u64::from(last.saturating_sub(gpus)) * terms.stop;
                waiting = f64::max(
                    waiting + work - f64::from(gpus) * terms.bin as f64 / 1000.0,
                    0.0,
                );
                before = Some(gpus);
                if waiting > terms.backlog {
                    return None;
                }
            }
            Some(cost)
        };
        (0..all).filter_map(cost).min()
    }

    #[test]
    fn without_a_price_of_starts_it_follows_the_load() {
        let plan = cheapest_plan(&[1.0, 3.0, 0.5, 0.0], terms(0, 0.0, 4));
        let expected = Plan {
            gpus: vec![1, 3, 1, 0],
            paid: 5.0,
        };
        assert_eq!(plan, Ok(expected));
    }

    #[test]
    fn a_gpu_stays_through_a_gap_that_costs_less_than_a_start() {
        let work = [1.0, 0.0, 0.0, 1.0];
        let paid =
            |start| cheapest_plan(&work, terms(start, 0.0, 4)).map(|plan| (plan.gpus, plan.paid));
        assert_eq!(paid(1500), Ok((vec![1, 0, 0, 1], 5.0)));
        assert_eq!(paid(2500), Ok((vec![1, 1, 1, 1], 6.5)));
    }

    #[test]
    fn a_permitted_backlog_flattens_a_peak() {
        let plan = cheapest_plan(&[0.0, 4.0, 0.0, 0.0], terms(1000, 3.0, 4));
        assert_eq!(
            plan.map(|plan| plan.paid),
            Ok(2.0),
            "one GPU for one second, the rest may wait"
        );
        let plan = cheapest_plan(&[0.0, 4.0, 0.0, 0.0, 3.0], terms(1000, 3.0, 4));
        assert_eq!(plan.map(|plan| plan.paid), Ok(5.0));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let overload = cheapest_plan(&[1.0, 9.0], terms(0, 2.0, 4));
        assert_eq!(
            overload.map_err(|e| e.to_string()),
            Err(
                "in the bin at 1 s even 4 GPUs leave more than 2 GPU-seconds of work waiting"
                    .into()
            )
        );
        let mut backwards = terms(0, 0.0, 1);
        backwards.fewest = 2;
        assert!(matches!(
            cheapest_plan(&[], backwards),
            Err(NoPlan::Terms { .. })
        ));
    }

    /// Two agents of 10 requests a second each on a GPU, 30 requests a second each: six GPUs on average, of eight.
    #[test]
    fn the_plan_of_a_run_pays_for_its_work_and_little_more() {
        let mut scenario = scenario("{type: WholeGPU}", &[30.0, 30.0], nodes());
        let facts = |scenario: &Scenario| {
            let terms = Terms::of(scenario, 10_000, 20.0);
            let Terms { start, stop, .. } = terms;
            (terms.fewest, terms.most, terms.first, start, stop)
        };
        assert_eq!(facts(&scenario), (8, 8, Some(8), 30_000, 0));
        if let Cluster::Nodes(nodes) = &mut scenario.cluster {
            nodes.groups[0].node.gpus = 1;
            nodes.groups[0].count = 8;
            nodes.groups[0].elastic = Some(Elastic {
                min: 0,
                max: 12,
                provision: 60.0,
                idle: 50.0,
            });
        }
        assert_eq!(facts(&scenario), (2, 12, Some(8), 90_000, 50_000));
        let plan = clairvoyant_plan(&scenario, 1, Terms::of(&scenario, 10_000, 20.0)).unwrap();
        assert_eq!(plan.gpus.len(), 100);
        assert!(plan.paid > 5800.0 && plan.paid < 6700.0, "{}", plan.paid);
        let at_once = Terms {
            stop: 0,
            ..Terms::of(&scenario, 10_000, 20.0)
        };
        let at_once = clairvoyant_plan(&scenario, 1, at_once).unwrap();
        assert!(at_once.paid < plan.paid.min(6400.0), "{}", at_once.paid);
        let none = clairvoyant_plan(&scenario, 1, Terms::of(&scenario, 10_000, 0.0)).unwrap();
        assert!(none.paid > plan.paid);
        let apart = clairvoyant_plans(&scenario, 1, Terms::of(&scenario, 10_000, 10.0)).unwrap();
        assert!(apart > 5800.0 && apart < 7600.0, "{apart}");
        // Of a run with a warm-up only what follows is counted.
        scenario.warmup = 500.0;
        assert_eq!(facts(&scenario).2, None);
        let rest = clairvoyant_plan(&scenario, 1, Terms::of(&scenario, 10_000, 20.0)).unwrap();
        assert_eq!(rest.gpus.len(), 50);
        assert!(rest.paid > 2800.0 && rest.paid < 3500.0, "{}", rest.paid);
    }

    #[test]
    fn agents_apart_pay_for_a_gpu_each_where_together_they_share_one() {
        // A tenth of a GPU each, and at least one replica each.
        let scenario = scenario("{type: WholeGPU}", &[1.0, 1.0], nodes());
        let apart = clairvoyant_plans(&scenario, 1, Terms::of(&scenario, 10_000, 10.0)).unwrap();
        assert_eq!(apart, 2.0 * scenario.seconds);
    }

    #[test]
    fn a_gpu_that_is_paid_after_it_has_served_goes_later() {
        let work = [1.0, 0.0, 0.0, 1.0, 0.0];
        let paid = |stop| {
            let terms = Terms {
                stop,
                ..terms(500, 0.0, 4)
            };
            cheapest_plan(&work, terms).map(|plan| (plan.gpus, plan.paid))
        };
        assert_eq!(paid(0), Ok((vec![1, 0, 0, 1, 0], 3.0)));
        assert_eq!(paid(1100), Ok((vec![1, 0, 0, 1, 1], 5.1)));
        assert_eq!(paid(1600), Ok((vec![1, 1, 1, 1, 1], 5.5)));
    }

    /// Fourteen days of a daily swing in bins of five minutes.
    #[test]
    fn two_weeks_are_planned_in_seconds() {
        let rate = |bin: u32| 8.0 + 6.0 * libm::sin(f64::from(bin) / 288.0 * std::f64::consts::TAU);
        let work: Vec<f64> = (0..4032).map(|bin| 300.0 * rate(bin)).collect();
        let terms = Terms {
            bin: 300_000,
            start: 90_000,
            stop: 300_000,
            backlog: 240.0,
            fewest: 1,
            most: 16,
            first: Some(8),
        };
        let plan = cheapest_plan(&work, terms).unwrap();
        let load: f64 = work.iter().sum();
        assert!(
            plan.paid > load && plan.paid < 1.1 * load,
            "{} {load}",
            plan.paid
        );
    }

    proptest! {
        #[test]
        fn it_is_the_cheapest_of_all_plans(
            work in proptest::collection::vec((0u32..14).prop_map(|w| f64::from(w) / 4.0), 1..7),
            (start, stop) in (0u64..3500, 0u64..3500),
            backlog in (0u32..9).prop_map(|b| f64::from(b) / 4.0),
            fewest in 0u32..2,
            first in proptest::option::of(0u32..4),
        ) {
            let terms = Terms { bin: 1000, start, stop, backlog, fewest, most: 3, first };
            let plan = cheapest_plan(&work, terms);
            let brute = by_brute_force(&work, terms);
            prop_assert_eq!(plan.as_ref().ok().map(|plan| (plan.paid * 1000.0).round() as u64), brute);
            if let Ok(plan) = plan {
                // What it says it pays is what its counts cost.
                let before = || first.or(plan.gpus.first().copied()).into_iter().chain(plan.gpus.iter().copied());
                let starts: u32 = before().zip(&plan.gpus).map(|(a, b)| b.saturating_sub(a)).sum();
                let stops: u32 = before().zip(&plan.gpus).map(|(a, b)| a.saturating_sub(*b)).sum();
                let seconds: u32 = plan.gpus.iter().sum();
                let moves = u64::from(starts) * start + u64::from(stops) * stop;
                prop_assert_eq!((plan.paid * 1000.0).round() as u64, u64::from(seconds) * 1000 + moves);
            }
        }
    }
}
