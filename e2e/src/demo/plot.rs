//! The plot: load, replicas and latency over time, as an SVG file written by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::frame::{Frame, LANES};
use super::scene::Scene;
use crate::load::Driver;
use crate::load::recorder::Recorder;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 200.0;
const MARGIN: (f64, f64, f64, f64) = (60.0, 30.0, 150.0, 30.0);
/// Colours that people with any colour vision tell apart (Okabe and Ito).
const COLOURS: [&str; 6] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#999999",
];

/// A curve: a name, and (seconds, value).
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    /// Whether a value stays until the next.
    steps: bool,
}

/// The plot of a run.
pub fn series(scene: &Scene, frames: &[Frame], driver: &Driver) -> String {
    let load = |(index, name): (usize, &str)| Line {
        name: name.to_owned(),
        points: frames
            .iter()
            .map(|frame| (frame.at, frame.rows[index].rate))
            .collect(),
        steps: false,
    };
    let replicas = |(index, name): (usize, &str)| Line {
        name: name.to_owned(),
        points: frames
            .iter()
            .map(|frame| (frame.at, f64::from(frame.rows[index].replicas[0].0)))
            .collect(),
        steps: true,
    };
    let names = || {
        scene
            .workloads
            .iter()
            .map(|workload| workload.name.as_str())
            .enumerate()
    };
    let latency = LANES.map(|lane| Line {
        name: ["pool", "static twin"][lane].to_owned(),
        points: latency(&driver.records(lane)),
        steps: false,
    });
    document(&[
        (
            "requests/s that arrive (both lanes)",
            names().map(load).collect(),
        ),
        ("replicas asked for (pool)", names().map(replicas).collect()),
        (
            "mean latency of the requests answered in a second, s",
            latency.into(),
        ),
    ])
}

/// Mean latency by the second in which requests were answered, all agents together.
fn latency(records: &BTreeMap<String, Recorder>) -> Vec<(f64, f64)> {
    let mut sums: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for second in records
        .values()
        .flat_map(Recorder::series)
        .filter(|second| second.served > 0)
    {
        let sum = sums.entry(second.second).or_default();
        sum.0 += second.mean_latency * second.served as f64;
        sum.1 += second.served as f64;
    }
    sums.into_iter()
        .map(|(second, (sum, count))| (second as f64, sum / count))
        .collect()
}

fn document(panels: &[(&str, Vec<Line>)]) -> String {
    let (left, top, right, bottom) = MARGIN;
    let height = panels.len() as f64 * (PANEL + top + bottom);
    let end = panels
        .iter()
        .flat_map(|(_, lines)| lines)
        .flat_map(|line| &line.points)
        .fold(1.0_f64, |end, (at, _)| end.max(*at));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, (title, lines)) in panels.iter().enumerate() {
        let y = index as f64 * (PANEL + top + bottom) + top;
        let most = lines
            .iter()
            .flat_map(|line| &line.points)
            .fold(0.0_f64, |most, (_, value)| most.max(*value));
        let most = round_up(most);
        let at = |(seconds, value): (f64, f64)| {
            let x = left + seconds / end * (WIDTH - left - right);
            (x, y + PANEL - value / most * PANEL)
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}</text>",
            y - 8.0
        );
        for part in 0..=4 {
            let value = most * f64::from(part) / 4.0;
            let (x, line) = at((0.0, value));
            let _ = writeln!(
                svg,
                "<line x1=\"{x}\" x2=\"{}\" y1=\"{line:.1}\" y2=\"{line:.1}\" stroke=\"#dddddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - right,
                x - 6.0,
                line + 4.0,
                number(value)
            );
        }
        for part in 0..=6 {
            let seconds = end * f64::from(part) / 6.0;
            let (x, floor) = at((seconds, 0.0));
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{seconds:.0} s</text>",
                floor + 16.0
            );
        }
        for (number, line) in lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let path = path(line, at);
            let legend = y + 14.0 + 18.0 * number as f64;
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{legend}\" fill=\"{colour}\">{}</text>",
                WIDTH - right + 12.0,
                line.name
            );
        }
    }
    svg + "</svg>\n"
}

fn path(line: &Line, at: impl Fn((f64, f64)) -> (f64, f64)) -> String {
    let mut path = String::new();
    let mut before: Option<f64> = None;
    for point in &line.points {
        let (x, y) = at(*point);
        let _ = match before {
            None => write!(path, "M{x:.1} {y:.1}"),
            Some(level) if line.steps => write!(path, "L{x:.1} {level:.1}L{x:.1} {y:.1}"),
            Some(_) => write!(path, "L{x:.1} {y:.1}"),
        };
        before = Some(y);
    }
    path
}

/// The next of 1, 2, 4, 5, 8 times a power of ten; 1 for nothing.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps
        .iter()
        .map(|step| step * power)
        .find(|step| *step >= value * 0.999)
        .unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_path_and_a_legend_for_every_line() {
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: vec![(0.0, 1.0), (10.0, 3.0)],
            steps: true,
        };
        let svg = document(&[
            ("replicas", vec![line("a"), line("b")]),
            ("nothing", vec![]),
        ]);
        assert_eq!(svg.matches("<path").count(), 2);
        assert!(svg.contains(">b</text>") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn an_axis_ends_at_a_round_number_above_all_values() {
        for (value, end) in [
            (0.0, 1.0),
            (7.3, 8.0),
            (0.041, 0.05),
            (100.0, 100.0),
            (101.0, 200.0),
        ] {
            assert!(
                (round_up(value) - end).abs() < 1e-9,
                "{value}: {}",
                round_up(value)
            );
        }
    }
}
