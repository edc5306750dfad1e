//! One panel: axes, lines or ranges, and a label at each.

use super::axis::{Scale, short};
use super::ink;
use crate::simulation::report::page::escape;
use std::fmt::Write as _;

/// A panel of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// What is to the right, with its unit.
    pub across: (String, Scale),
    /// What is upwards, with its unit.
    pub up: (String, Scale),
    /// What it shows.
    pub mark: Mark,
}

/// What a panel shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// Lines, each labelled at its end.
    Lines(Vec<Line>),
    /// Ranges along the horizontal axis, from top to bottom: a bar from the first to the last value, a dot at each.
    Ranges(Vec<Line>),
}

/// A line or a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its label.
    pub name: String,
    /// Which colour and dashes: the same number for the same thing everywhere.
    pub ink: usize,
    /// Whether a value holds until the next one.
    pub steps: bool,
    /// (across, up); of a range only the first counts.
    pub points: Vec<(f64, f64)>,
}

const LEFT: f64 = 56.0;
const RIGHT: f64 = 112.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Distance of lines of text, and height of a range with its space.
const LINE: f64 = 13.0;
const RANGE: f64 = 22.0;
/// Room for the names of ranges.
const NAMES: f64 = 170.0;

/// Where a panel's field of data is.
#[derive(Clone, Copy)]
struct Field {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Panel {
    /// How high it is drawn.
    pub(super) fn height(&self) -> f64 {
        match &self.mark {
            Mark::Lines(_) => super::PANEL.1,
            Mark::Ranges(ranges) => TOP + BOTTOM + RANGE * ranges.len() as f64,
        }
    }

    pub(super) fn draw(&self, width: f64, height: f64, out: &mut String) {
        let ranges = matches!(self.mark, Mark::Ranges(_));
        let (left, right) = if ranges { (NAMES, 40.0) } else { (LEFT, RIGHT) };
        let field = Field {
            left,
            top: TOP,
            width: width - left - right,
            height: height - TOP - BOTTOM,
        };
        let x = if ranges { 8.0 } else { left };
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"15\" font-weight=\"600\">{}</text>",
            escape(&self.title)
        );
        self.grid_across(field, out);
        match &self.mark {
            Mark::Lines(lines) => {
                self.grid_up(field, out);
                self.lines(field, lines, out);
            }
            Mark::Ranges(ranges) => self.ranges(field, ranges, out),
        }
    }

    fn x(&self, field: Field, value: f64) -> f64 {
        field.left + field.width * self.across.1.place(value)
    }

    fn y(&self, field: Field, value: f64) -> f64 {
        field.top + field.height * (1.0 - self.up.1.place(value))
    }

    fn grid_across(&self, field: Field, out: &mut String) {
        let bottom = field.top + field.height;
        for tick in self.across.1.ticks() {
            let x = self.x(field, tick);
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"#e4e4e4\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" \
                 fill=\"#444\" font-size=\"11\">{}</text>",
                field.top,
                bottom + 15.0,
                short(tick)
            );
        }
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {bottom:.1}h{:.1}\" stroke=\"#777\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\" \
             font-size=\"11\">{}</text>",
            field.left,
            field.width,
            field.left + field.width,
            bottom + 31.0,
            escape(&self.across.0)
        );
    }

    fn grid_up(&self, field: Field, out: &mut String) {
        for tick in self.up.1.ticks() {
            let y = self.y(field, tick);
            let _ = writeln!(
                out,
                "<path d=\"M{:.1} {y:.1}h{:.1}\" stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\" \
                 font-size=\"11\">{}</text>",
                field.left,
                field.width,
                field.left - 6.0,
                y + 4.0,
                short(tick)
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#444\" font-size=\"11\">{}</text>",
            field.left,
            field.top - 5.0,
            escape(&self.up.0)
        );
    }

    fn lines(&self, field: Field, lines: &[Line], out: &mut String) {
        let mut ends = Vec::new();
        for line in lines {
            let (colour, dash) = ink(line.ink);
            let Some(path) = self.path(field, line) else {
                continue;
            };
            let _ = writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-linejoin=\"round\" \
                 stroke-dasharray=\"{dash}\"/>"
            );
            if let Some(last) = line.points.last() {
                let (x, y) = (self.x(field, last.0), self.y(field, last.1));
                ends.push((y, x, line.name.as_str(), colour));
            }
        }
        labels(field, ends, out);
    }

    /// The line's path: what does not move a tenth of a pixel is left out.
    fn path(&self, field: Field, line: &Line) -> Option<String> {
        let mut path = String::new();
        let mut last: Option<(f64, f64)> = None;
        for point in &line.points {
            let (x, y) = (self.x(field, point.0), self.y(field, point.1));
            match last {
                None => {
                    let _ = write!(path, "M{x:.1} {y:.1}");
                }
                Some((_, before)) if line.steps => {
                    if (y - before).abs() < 0.05 {
                        continue;
                    }
                    let _ = write!(path, "H{x:.1}V{y:.1}");
                }
                Some(_) => {
                    let _ = write!(path, "L{x:.1} {y:.1}");
                }
            }
            last = Some((x, y));
        }
        let end = line.points.last()?;
        if line.steps {
            let _ = write!(path, "H{:.1}", self.x(field, end.0));
        }
        Some(path)
    }

    fn ranges(&self, field: Field, ranges: &[Line], out: &mut String) {
        for (i, range) in ranges.iter().enumerate() {
            let y = field.top + (i as f64 + 0.5) * RANGE;
            let (colour, dash) = ink(range.ink);
            let places: Vec<f64> = range.points.iter().map(|p| self.x(field, p.0)).collect();
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                field.left - 8.0,
                y + 4.0,
                escape(&range.name)
            );
            if let (Some(first), Some(last)) = (places.first(), places.last()) {
                let _ = writeln!(
                    out,
                    "<path d=\"M{first:.1} {y:.1}H{last:.1}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>"
                );
            }
            for (place, x) in places.iter().enumerate() {
                // Hollow for the first, full for the others, larger to the right.
                let (fill, radius) = match place {
                    0 => ("#fff", 3.0),
                    n => (colour, 2.5 + n as f64 * 0.7),
                };
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
                );
            }
        }
    }
}

/// Labels at the ends of lines, pushed apart where they would overlap.
fn labels(field: Field, mut ends: Vec<(f64, f64, &str, &str)>, out: &mut String) {
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut places: Vec<f64> = Vec::new();
    for (y, ..) in &ends {
        let least = places.last().map_or(field.top, |last| last + LINE);
        places.push(y.max(least));
    }
    // What was pushed over the lower edge pushes back.
    let mut most = field.top + field.height + 4.0;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LINE;
    }
    let x = field.left + field.width + 6.0;
    for ((end, at, name, colour), place) in ends.into_iter().zip(places) {
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {end:.1}L{:.1} {place:.1}\" stroke=\"{colour}\" stroke-width=\"0.6\" opacity=\"0.6\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            x - 2.0,
            place + 4.0,
            escape(name)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::multiples;
    use super::*;

    fn panel(lines: Vec<Line>) -> Panel {
        Panel {
            title: "A <b>".to_owned(),
            across: ("time, s".to_owned(), Scale::until(10.0)),
            up: ("GPUs".to_owned(), Scale::from_zero(1.0)),
            mark: Mark::Lines(lines),
        }
    }

    fn line(name: &str, points: &[(f64, f64)], steps: bool) -> Line {
        Line {
            name: name.to_owned(),
            ink: 0,
            steps,
            points: points.to_vec(),
        }
    }

    #[test]
    fn a_step_holds_until_the_next_value() {
        let panel = panel(Vec::new());
        let field = Field {
            left: 0.0,
            top: 0.0,
            width: 100.0,
            height: 100.0,
        };
        let steps = line("a", &[(0.0, 0.0), (5.0, 1.0), (10.0, 1.0)], true);
        assert_eq!(
            panel.path(field, &steps).as_deref(),
            Some("M0.0 100.0H50.0V0.0H100.0")
        );
        let slope = line("a", &[(0.0, 0.0), (10.0, 1.0)], false);
        assert_eq!(
            panel.path(field, &slope).as_deref(),
            Some("M0.0 100.0L100.0 0.0")
        );
        assert_eq!(panel.path(field, &line("a", &[], false)), None);
    }

    #[test]
    fn labels_of_lines_that_end_together_do_not_overlap() {
        let same: Vec<Line> = ["a", "b", "c"]
            .map(|name| line(name, &[(0.0, 0.5), (10.0, 0.0)], false))
            .to_vec();
        let svg = multiples(&[panel(same)], 1, "three lines");
        let place = |name: &str| {
            let before = svg.split(&format!(">{name}</text>")).next().unwrap_or("");
            let y = before
                .rsplit("y=\"")
                .next()
                .and_then(|y| y.split('"').next());
            y.and_then(|y| y.parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        assert!(place("b") - place("a") >= LINE && place("c") - place("b") >= LINE);
        assert!(place("c") <= super::super::PANEL.1);
        assert!(svg.contains("A &lt;b&gt;") && svg.contains("aria-label=\"three lines\""));
    }
}
