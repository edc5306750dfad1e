//! The aims that were set before anything was measured, and what became of them.

use agentpool::simulation::report::{Page, Table};

/// One aim.
#[derive(Debug, Clone, PartialEq)]
pub struct Aim {
    /// What was to be reached, and where.
    pub what: String,
    /// What counts: the upper end of the 95 % interval, unless the text says otherwise.
    pub value: f64,
    /// The most that it may be.
    pub most: f64,
    /// A rule that never moves reaches it as well.
    pub held: bool,
}

impl Aim {
    /// An aim and what came out.
    pub fn new(what: impl Into<String>, value: f64, most: f64) -> Self {
        Self {
            what: what.into(),
            value,
            most,
            held: false,
        }
    }

    /// The same, which a rule that never moves reaches as well.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// Whether it was reached.
    pub fn is_met(&self) -> bool {
        self.value <= self.most
    }
}

/// All aims: first those that tell a rule that pays from one that does nothing.
pub(super) fn page(aims: &[Aim]) -> Page {
    let mut page = Page {
        title: "Aims".to_owned(),
        ..Page::default()
    };
    page.text(
        "They were set before the policy was written. What counts is the upper end of the 95 % interval; of starvation, the longest of all \
         runs.",
    );
    for (title, held) in [
        ("That only a rule that moves can reach", false),
        ("That a rule that never moves (Hold) reaches, too", true),
    ] {
        let mut of: Vec<&Aim> = aims.iter().filter(|aim| aim.held == held).collect();
        of.sort_by_key(|aim| aim.is_met());
        let met = of.iter().filter(|aim| aim.is_met()).count();
        page.heading(title);
        page.text(format!(
            "{met} of {} are reached; what is missed comes first.",
            of.len()
        ));
        page.table(table(&of));
    }
    page
}

fn table(aims: &[&Aim]) -> Table {
    let mut table = Table::new(["<Balanced against the equal split", "aim", "upper end", "<"]);
    for aim in aims {
        let verdict = if aim.is_met() { "reached" } else { "MISSED" };
        table.row([
            aim.what.clone(),
            format!("≤ {}", aim.most),
            if aim.value.is_finite() {
                format!("{:.3}", aim.value)
            } else {
                "not reached by what was run".to_owned()
            },
            verdict.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_that_hold_reaches_are_counted_apart_and_what_is_missed_comes_first() {
        let aims = [
            Aim::new("a", 0.5, 0.8),
            Aim::new("b", 0.9, 0.8),
            Aim::new("c", 1.0, 1.02).held(),
        ];
        let text = page(&aims).to_text();
        assert!(text.contains("1 of 2 are reached") && text.contains("1 of 1 are reached"));
        assert!(text.find("MISSED") < text.find("reached\n"), "{text}");
    }
}
