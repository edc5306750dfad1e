//! The aims, when each was set, and what became of it.

use super::bench::{BALANCED, Runs, mean, ratio, short, upper};
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::Interval;

/// When an aim was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Before the policy was written, its bound included.
    Before,
    /// Before the policy was written, but for its bound: that is a constant of the evaluation.
    BoundHere,
    /// With its page, when the policy was there.
    Later,
}

impl Set {
    fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::BoundHere => "before, bound here",
            Self::Later => "later",
        }
    }
}

/// One aim.
#[derive(Debug, Clone, PartialEq)]
pub struct Aim {
    /// What was to be reached, and where.
    pub what: String,
    /// What counts: the upper end of the 95 % interval, unless the text says otherwise.
    pub value: f64,
    /// The most that it may be.
    pub most: f64,
    set: Set,
    /// What the equal split comes to, where it can be asked.
    equal: Option<f64>,
    /// What counts of the static split in proportion to the mean loads, where it was run.
    proportional: Option<f64>,
}

impl Aim {
    /// An aim that was set before the policy was written, and what came out.
    pub fn new(what: impl Into<String>, value: f64, most: f64) -> Self {
        Self {
            what: what.into(),
            value,
            most,
            set: Set::Before,
            equal: None,
            proportional: None,
        }
    }

    /// That Balanced is nowhere worse than the equal split in the mean: of pages that were written when the policy was there.
    pub(super) fn no_worse(place: &str, runs: &Runs) -> Self {
        let means = upper(ratio(runs, BALANCED, mean));
        Self::new(format!("{place}: mean nowhere above"), means, 1.02)
            .equal(1.0)
            .later()
    }

    /// The same, set with its page.
    #[must_use]
    pub fn later(mut self) -> Self {
        self.set = Set::Later;
        self
    }

    /// The same; its bound is a constant of the evaluation.
    #[must_use]
    pub fn bound_here(mut self) -> Self {
        self.set = Set::BoundHere;
        self
    }

    /// The same, of which the equal split comes to this.
    #[must_use]
    pub fn equal(mut self, value: f64) -> Self {
        self.equal = Some(value);
        self
    }

    /// The same, of which the static split in proportion to the mean loads comes to this, where it was run.
    #[must_use]
    pub fn proportional(mut self, value: Option<Interval>) -> Self {
        self.proportional = value.map(|value| upper(Some(value)));
        self
    }

    /// Whether it was reached.
    pub fn is_met(&self) -> bool {
        self.value <= self.most
    }

    /// Whether this value would reach it.
    fn allows(&self, value: Option<f64>) -> bool {
        value.is_some_and(|value| value <= self.most)
    }
}

/// All aims: first those that tell a rule that pays from one that does nothing.
pub(super) fn page(aims: &[Aim]) -> Page {
    let mut page = Page {
        title: "Aims".to_owned(),
        ..Page::default()
    };
    page.text(
        "What counts is the upper end of the 95 % interval; of starvation, the longest of all runs. \"before\": set before the policy was \
         written. \"before, bound here\": what was to be bounded was set before, the bound itself is a constant of this evaluation. \
         \"later\": set with its page, when the policy was there and other pages were known; such an aim confirms nothing, it only shows \
         a loss if there is one.",
    );
    let (of_splits, others): (Vec<&Aim>, Vec<&Aim>) =
        aims.iter().partition(|aim| aim.equal.is_some());
    let (reached, missed): (Vec<&Aim>, Vec<&Aim>) =
        of_splits.into_iter().partition(|aim| aim.allows(aim.equal));
    for (title, of) in [
        ("That the equal split misses", missed),
        ("That the equal split reaches, too", reached),
        ("Of capacity that comes and goes", others),
    ] {
        group(&mut page, title, of);
    }
    page
}

fn group(page: &mut Page, title: &str, mut of: Vec<&Aim>) {
    of.sort_by_key(|aim| aim.is_met());
    let met = of.iter().filter(|aim| aim.is_met()).count();
    let run: Vec<&&Aim> = of.iter().filter(|aim| aim.proportional.is_some()).collect();
    let still = run
        .iter()
        .filter(|aim| aim.allows(aim.proportional))
        .count();
    page.heading(title);
    let mut text = format!(
        "{met} of {} are reached; what is missed comes first.",
        of.len()
    );
    if !run.is_empty() {
        text += &format!(
            " A static split in proportion to the mean loads, for those who know them, was run beside {} of them and reaches {still}.",
            run.len()
        );
    }
    page.text(text);
    page.table(table(&of));
}

fn table(aims: &[&Aim]) -> Table {
    let mut table = Table::new([
        "<Balanced",
        "<set",
        "aim",
        "upper end",
        "static-proportional",
        "<",
    ]);
    for aim in aims {
        let verdict = if aim.is_met() { "reached" } else { "MISSED" };
        table.row([
            aim.what.clone(),
            aim.set.word().to_owned(),
            format!("≤ {}", aim.most),
            number(aim.value),
            aim.proportional.map_or_else(|| "-".to_owned(), number),
            verdict.to_owned(),
        ]);
    }
    table
}

/// Three decimals, so that a miss by little shows; more where they are all zero.
fn number(value: f64) -> String {
    if value.is_infinite() {
        "not reached by what was run".to_owned()
    } else if value < 0.1 {
        short(value)
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_that_the_equal_split_reaches_are_counted_apart_and_what_is_missed_comes_first() {
        let aims = [
            Aim::new("a", 0.5, 0.8).equal(1.0),
            Aim::new("b", 0.9, 0.8).equal(1.0),
            Aim::new("c", 1.0, 1.02).equal(1.0),
            Aim::new("d", 40.0, 48.0).equal(0.0).bound_here(),
        ];
        let text = page(&aims).to_text();
        assert!(text.contains("1 of 2 are reached") && text.contains("2 of 2 are reached"));
        assert!(text.find("MISSED") < text.find("reached\n"), "{text}");
    }

    #[test]
    fn it_says_which_aims_a_static_split_in_proportion_to_the_loads_reaches_as_well() {
        let at = |x| {
            Some(Interval {
                mean: x,
                low: x,
                high: x,
            })
        };
        let aims = [
            Aim::new("uneven", 0.1, 0.25)
                .equal(1.0)
                .proportional(at(0.2)),
            Aim::new("even", 0.1, 0.25).equal(1.0).proportional(at(1.0)),
            Aim::new("not run", 0.1, 0.25).equal(1.0).proportional(None),
        ];
        let text = page(&aims).to_text();
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        assert!(text.contains("beside 2 of them and reaches 1."), "{text}");
    }

    #[test]
    fn an_aim_says_when_it_was_set() {
        let aims = [
            Aim::new("a", 0.5, 0.8),
            Aim::new("b", 0.5, 0.8).bound_here(),
            Aim::new("c", 0.5, 0.8).later(),
        ];
        let words = aims.map(|aim| aim.set.word());
        assert_eq!(words, ["before", "before, bound here", "later"]);
    }
}
