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
    let mut table = Table::new(["<rule and target", "GPU-hours", "p95", "<dominated by"]);
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

/// Ours beside one point of a baseline.
struct Beside<'a> {
    theirs: &'a Point,
    /// The setting of ours with the fewest GPU-hours of those with a p95 that is no longer, and the upper end of the 95 % interval of its
    /// GPU-hours to theirs.
    ours: Option<(&'a str, f64)>,
}

impl<'a> Beside<'a> {
    /// The p95 is judged by the upper end of its interval, too.
    fn of(theirs: &'a Point, points: &'a [Point]) -> Self {
        let ours = points.iter().filter(|p| p.family == OURS);
        let as_fast = ours.filter(|p| upper(paired_ratio(&p.tails, &theirs.tails)) <= 1.0);
        let ratios = as_fast.map(|p| (p.setting.as_str(), p.hours_to(&theirs.hours)));
        Self {
            theirs,
            ours: ratios.reduce(|least, next| if next.1 < least.1 { next } else { least }),
        }
    }

    fn ratio(&self) -> f64 {
        self.ours.map_or(f64::INFINITY, |(_, ratio)| ratio)
    }
}

/// Every point of every baseline, and what of ours needs the fewest GPU-hours for a p95 that is no longer. Each family is one aim: the point
/// at which ours is worst.
pub(super) fn fronts(scene: &str, points: &[Point], aims: &mut Vec<Aim>) -> Table {
    let mut table = Table::new(["<rule and target", "GPU-hours, ours to it", "<ours"]);
    let theirs = points.iter().filter(|p| p.family != OURS);
    let beside: Vec<Beside<'_>> = theirs.map(|theirs| Beside::of(theirs, points)).collect();
    for one in &beside {
        let (setting, ratio) = match one.ours {
            Some((setting, ratio)) => (setting, short(ratio)),
            None => ("none of the settings that were run", "-".to_owned()),
        };
        table.row([one.theirs.setting.clone(), ratio, setting.to_owned()]);
    }
    let mut families: Vec<&str> = beside.iter().map(|one| one.theirs.family).collect();
    families.dedup();
    for family in families {
        let of = beside.iter().filter(|one| one.theirs.family == family);
        let (points, met, worst) = of.fold((0, 0, 0.0_f64), |(points, met, worst), one| {
            let ratio = one.ratio();
            (points + 1, met + u32::from(ratio <= 1.0), worst.max(ratio))
        });
        let what = format!(
            "elastic, {scene}: GPU-hours at a p95 no longer than that of {family}, at the worst of its settings ({met} of {points} reached)"
        );
        aims.push(Aim::new(what, worst, 1.0));
    }
    table
}

/// Our fewest GPU-hours to those of a plan that knows the load, of our settings whose p95 is no longer than the time for which the plan
/// lets work wait: who lets it wait longer pays less and is no nearer to the plan. Beside it the setting `usual`.
pub(super) fn frugal(
    what: String,
    points: &[Point],
    (plan, may_wait): (&[f64], f64),
    usual: &str,
) -> Aim {
    let waits = |p: &&Point| p.tails.iter().all(|tail| *tail <= may_wait);
    let ours = points.iter().filter(|p| p.family == OURS);
    let least = ours
        .clone()
        .filter(waits)
        .map(|p| (p.setting.as_str(), p.hours_to(plan)))
        .reduce(|least, next| if next.1 < least.1 { next } else { least });
    let mut what = what;
    if let Some((setting, _)) = least {
        what += &format!(" ({setting}");
        if let Some(usual) = ours.clone().find(|p| p.setting == usual) {
            what += &format!("; {}: {}", usual.setting, short(usual.hours_to(plan)));
        }
        what += ")";
    }
    Aim::new(what, least.map_or(f64::INFINITY, |(_, ratio)| ratio), 1.25)
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
        let _ = fronts("a day", points, &mut aims);
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
    fn a_front_is_one_aim_and_its_worst_point_counts() {
        let points = [
            at(OURS, 120.0, 2.0),
            at("hpa", 130.0, 2.0),
            at("hpa", 110.0, 2.5),
        ];
        let mut aims = Vec::new();
        let _ = fronts("a day", &points, &mut aims);
        assert_eq!(aims.len(), 1);
        assert!(!aims[0].is_met());
        assert!(
            aims[0].what.ends_with("(1 of 2 reached)"),
            "{}",
            aims[0].what
        );
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
        let aim = |plan| frugal(String::new(), &points, (&[plan; 2], 60.0), OURS);
        assert_eq!(
            [aim(80.0), aim(97.0)].map(|aim| aim.is_met()),
            [false, true]
        );
    }

    #[test]
    fn who_waits_longer_than_the_plan_lets_anyone_wait_is_not_compared_with_it() {
        let points = [at(OURS, 90.0, 61.0), at(OURS, 120.0, 59.0)];
        let aim = frugal("paid".to_owned(), &points, (&[80.0; 2], 60.0), "none");
        assert!(!aim.is_met());
        assert_eq!(aim.what, format!("paid ({OURS})"));
    }
}
