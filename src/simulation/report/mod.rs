//! Pure: what runs came to, as pages for people (text, Markdown, HTML) and as data (JSON, CSV).

mod page;
mod paper;
mod table;

pub use page::{Block, Figure, Page};
pub use paper::paper;
pub use table::{Align, Table};
