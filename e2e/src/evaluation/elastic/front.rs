//! Fronts of GPU-hours against the tail of latency, and what is asked of ours.

use super::super::aims::Aim;
use super::super::bench::{each, p95, short, upper};
use agentpool::simulation::Outcome;
use agentpool::simulation::report::Table;
use agentpool::simulation::statistics::paired_ratio;

/// The family of our own points.
pub(super) const OURS: &str = "balanced";

/// A rule at one setting of its target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub family: &'static str,
    pub setting: String,
    /// GPU-hours that were paid, by seed.
    pub hours: Vec<f64>,
    /// p95, in seconds, by seed.
    pub tails: Vec<f64>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Point {
    /// What a rule's runs come to.
    pub fn new(family: &'static str, setting: String, runs: &[Outcome]) -> Self {
        Self {
            family,
            setting,
            hours: each(runs, |outcome| outcome.paid / 3600.0),
            tails: each(runs, p95),
        }
    }

    /// Mean GPU-hours of the seeds.
    pub fn hours(&self) -> f64 {
        mean(&self.hours)
    }

    /// Mean p95 of the seeds, in seconds.
    pub fn tail(&self) -> f64 {
        mean(&self.tails)
    }

    /// Its GPU-hours to others, upper end of the 95 % interval.
    pub fn hours_to(&self, theirs: &[f64]) -> f64 {
        upper(paired_ratio(&self.hours, theirs))
    }
}

/// All points, and who needs no more for a shorter tail.
pub(super) fn table(points: &[Point]) -> Table {
    let mut table = Table::new(["rule and target", "GPU-hours", "p95", "dominated by"]);
    for point in points {
        let beats = |other: &&Point| {
            other.family != point.family
                && other.hours() <= point.hours()
                && other.tail() < point.tail()
        };
        let by: Vec<&str> = points
            .iter()
            .filter(beats)
            .map(|p| p.setting.as_str())
            .take(2)
            .collect();
        table.row([
            point.setting.clone(),
            short(point.hours()),
            format!("{} s", short(point.tail())),
            if by.is_empty() {
                "nobody".to_owned()
            } else {
                by.join(", ")
            },
        ]);
    }
    table
}

/// Whether ours is on or below the front of every baseline: to its GPU-hours, the fewest of ours with a p95 that is no longer.
///
/// Both are judged by the upper end of the 95 % interval of the paired ratio, that of the p95 against one.
pub(super) fn fronts(scene: &str, points: &[Point], aims: &mut Vec<Aim>) {
    let ours = || points.iter().filter(|p| p.family == OURS);
    for theirs in points.iter().filter(|p| p.family != OURS) {
        let as_fast = |p: &&Point| upper(paired_ratio(&p.tails, &theirs.tails)) <= 1.0;
        let ratios = ours().filter(as_fast).map(|p| p.hours_to(&theirs.hours));
        let what = format!(
            "elastic, {scene}: GPU-hours at a p95 no longer than that of {}",
            theirs.setting
        );
        aims.push(Aim::new(what, ratios.fold(f64::INFINITY, f64::min), 1.0));
    }
}

/// Our fewest GPU-hours to those of a plan that knows the load, of our settings whose p95 is no longer than the time for which the plan
/// lets work wait: who lets it wait longer pays less and is no nearer to the plan.
pub(super) fn frugal(
    what: String,
    points: &[Point],
    (plan, may_wait): (&[f64], f64),
    aims: &mut Vec<Aim>,
) {
    let waits = |p: &&Point| p.tails.iter().all(|tail| *tail <= may_wait);
    let ours = points.iter().filter(|p| p.family == OURS).filter(waits);
    let least = ours.map(|p| p.hours_to(plan)).fold(f64::INFINITY, f64::min);
    aims.push(Aim::new(what, least, 1.25));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A point whose two seeds agree.
    pub(in super::super) fn at(family: &'static str, hours: f64, tail: f64) -> Point {
        Point {
            family,
            setting: family.to_owned(),
            hours: vec![hours; 2],
            tails: vec![tail; 2],
        }
    }

    fn met(points: &[Point]) -> Vec<bool> {
        let mut aims = Vec::new();
        fronts("a day", points, &mut aims);
        aims.iter().map(Aim::is_met).collect()
    }

    #[test]
    fn a_front_that_needs_more_hours_for_the_same_tail_misses_the_aim() {
        let hpa = at("hpa", 100.0, 3.0);
        let keda = at("keda", 150.0, 2.0);
        assert_eq!(met(&[at(OURS, 120.0, 2.0), hpa, keda]), [false, true]);
    }

    #[test]
    fn a_tail_that_nobody_of_ours_reaches_is_no_success() {
        assert_eq!(met(&[at(OURS, 120.0, 2.0), at("hpa", 500.0, 1.0)]), [false]);
    }

    #[test]
    fn every_point_of_a_baseline_is_an_aim() {
        let one = at("hpa", 130.0, 2.0);
        let other = at("hpa", 110.0, 2.5);
        assert_eq!(met(&[at(OURS, 120.0, 2.0), one, other]), [true, false]);
    }

    #[test]
    fn a_tail_that_is_shorter_by_chance_alone_does_not_count() {
        let ours = |tails: [f64; 2]| Point {
            tails: tails.to_vec(),
            ..at(OURS, 120.0, 0.0)
        };
        let theirs = at("hpa", 130.0, 2.0);
        assert_eq!(met(&[ours([1.9, 1.9]), theirs.clone()]), [true]);
        assert_eq!(met(&[ours([1.5, 2.2]), theirs]), [false]);
    }

    #[test]
    fn a_quarter_more_than_a_plan_that_knows_the_load_is_the_most() {
        let points = [at("hpa", 10.0, 1.0), at(OURS, 120.0, 2.0)];
        let mut aims = Vec::new();
        for plan in [80.0, 97.0] {
            frugal(String::new(), &points, (&[plan; 2], 60.0), &mut aims);
        }
        let met: Vec<bool> = aims.iter().map(Aim::is_met).collect();
        assert_eq!(met, [false, true]);
    }

    #[test]
    fn who_waits_longer_than_the_plan_lets_anyone_wait_is_not_compared_with_it() {
        let points = [at(OURS, 90.0, 61.0), at(OURS, 120.0, 59.0)];
        let mut aims = Vec::new();
        frugal(String::new(), &points, (&[80.0; 2], 60.0), &mut aims);
        assert!(!aims[0].is_met());
    }
}
