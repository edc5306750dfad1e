//! Pure: what runs came to, as pages for people (text, Markdown, HTML) and as data (JSON, CSV).

mod bounds;
mod comparison;
mod csv;
mod figures;
mod legend;
mod page;
mod paper;
mod plot;
mod results;
mod runs;
mod table;
#[cfg(test)]
mod tests;

pub use bounds::{BoundResult, OfSeed, bounds_of};
pub use comparison::{comparison, ratio_cell};
pub use csv::csv;
pub use figures::figures;
pub use legend::legend;
pub use page::{Block, Figure, Page};
pub use paper::paper;
pub use results::{
    AgentResult, Described, DescribedLoad, Intervals, Measures, Results, RuleResult,
};
pub use runs::Runs;
pub use table::{Align, Table};
