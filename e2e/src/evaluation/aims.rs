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
}

impl Aim {
    /// An aim and what came out.
    pub fn new(what: impl Into<String>, value: f64, most: f64) -> Self {
        Self {
            what: what.into(),
            value,
            most,
        }
    }

    /// Whether it was reached.
    pub fn is_met(&self) -> bool {
        self.value <= self.most
    }
}

/// All aims.
pub(super) fn page(aims: &[Aim]) -> Page {
    let mut page = Page {
        title: "Aims".to_owned(),
        ..Page::default()
    };
    let met = aims.iter().filter(|aim| aim.is_met()).count();
    page.text(format!(
        "{met} of {} aims are reached. They were set before the policy was written; what counts is the upper end of the 95 % interval. \
         A rule that never moves (Hold) reaches every \"nowhere above\" and no other aim, so both kinds stand side by side.",
        aims.len()
    ));
    let mut table = Table::new(["Balanced against the equal split", "aim", "upper end", ""]);
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
    page.table(table);
    page
}
