//! Plots as SVG: no script and no font of their own, directly labelled, in colours that most kinds of colour blindness tell apart.

mod axis;
mod panel;

pub use axis::Scale;
pub use panel::{Line, Mark, Panel};

use super::page::escape;
use std::fmt::Write as _;

/// Colours of Okabe and Ito (Color Universal Design, 2008), those with contrast enough on white first, black last.
pub(super) const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#b5588c", "#a97a00", "#2f9bd6", "#000000",
];

/// Dashes for when colours repeat.
pub(super) const DASHES: [&str; 3] = ["", "7 3", "2 2.5"];

/// The colour and the dashes of the n-th line.
pub(super) fn ink(n: usize) -> (&'static str, &'static str) {
    let dash = DASHES[(n / COLOURS.len()) % DASHES.len()];
    (COLOURS[n % COLOURS.len()], dash)
}

/// Size of a panel with its labels, in pixels of the drawing.
const PANEL: (f64, f64) = (520.0, 240.0);

/// Panels side by side, all with the same scales, as one picture; `alt` says what it shows to who cannot see it.
pub fn multiples(panels: &[Panel], columns: usize, alt: &str) -> String {
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let wide = if columns == 1 { 1.6 } else { 1.0 };
    let (width, height) = (
        PANEL.0 * wide,
        panels.first().map_or(PANEL.1, Panel::height),
    );
    let mut out = format!(
        "<svg xmlns=\"{NAMESPACE}\" viewBox=\"0 0 {:.0} {:.0}\" role=\"img\" aria-label=\"{alt}\" font-family=\"system-ui, \
         'Helvetica Neue', Arial, sans-serif\" font-size=\"12\" fill=\"#1a1a1a\">\n<title>{alt}</title>\n",
        width * columns as f64,
        height * rows as f64,
        alt = escape(alt)
    );
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = ((i % columns) as f64 * width, (i / columns) as f64 * height);
        let _ = writeln!(out, "<g transform=\"translate({x:.0} {y:.0})\">");
        panel.draw(width, height, &mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>");
    out
}

/// What marks an SVG; a name, not an address that anything loads.
const NAMESPACE: &str = concat!("http", "://www.w3.org/2000/svg");
