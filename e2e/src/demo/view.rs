//! The live view: written over itself on a terminal, else printed now and then.

use std::io::Write as _;

use super::frame::{Frame, Row};
use super::scene::Scene;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";
/// Lines longer than the terminal would break the view; they are cut at its edge while it lasts.
const CUT_LINES: (&str, &str) = ("\x1b[?7l\x1b[?25l", "\x1b[?7h\x1b[?25h");

/// Writes frames.
pub struct View {
    terminal: bool,
    /// Lines of the last frame, to be written over.
    height: usize,
}

impl View {
    /// A view for a terminal, or for a file or pipe.
    pub fn new(terminal: bool) -> Self {
        if terminal {
            print!("{}", CUT_LINES.0);
        }
        Self {
            terminal,
            height: 0,
        }
    }

    /// Shows a frame.
    pub fn show(&mut self, scene: &Scene, frame: &Frame) {
        if !self.terminal {
            println!("{}", line(frame));
            return;
        }
        let lines = table(scene, frame);
        let mut text = String::new();
        if self.height > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.height));
        }
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        self.height = lines.len();
        print!("{text}");
        // A terminal that is gone is noticed by what waits for the end.
        let _ = std::io::stdout().flush();
    }

    /// Leaves the last frame where it is.
    pub fn end(&mut self) {
        if self.terminal {
            print!("{}", CUT_LINES.1);
            let _ = std::io::stdout().flush();
            self.terminal = false;
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.end();
    }
}

/// A frame as one line.
fn line(frame: &Frame) -> String {
    let agents: Vec<String> = frame
        .rows
        .iter()
        .map(|row| {
            let (replicas, ready) = row.replicas[0];
            let loading = if ready < replicas {
                format!(" ({ready} ready)")
            } else {
                String::new()
            };
            format!(
                "{} {:.0}/s target {} -> {replicas}{loading}",
                row.name, row.rate, row.target
            )
        })
        .collect();
    let [pool, twin] = frame.lanes;
    format!(
        "{:3.0} s  {} | open: pool {}, twin {} | mean latency: pool {}, twin {}",
        frame.at,
        agents.join("; "),
        pool.open,
        twin.open,
        seconds(pool.mean),
        seconds(twin.mean),
    )
}

/// A frame as a table.
fn table(scene: &Scene, frame: &Frame) -> Vec<String> {
    let length = scene.length.as_secs_f64();
    let done = ((frame.at / length).clamp(0.0, 1.0) * 40.0).round() as usize;
    let mut lines = vec![
        String::new(),
        format!(
            "{BOLD}{:3.0} s{PLAIN} of {length:.0} s  [{}{}]",
            frame.at.min(length),
            "#".repeat(done),
            ".".repeat(40 - done)
        ),
        String::new(),
        format!(
            "{DIM}{:<12} {:>7} | {:^39} | {:^17}{PLAIN}",
            "", "load", "pool", "static twin"
        ),
        format!(
            "{DIM}{:<12} {:>7} | {:>7} {:>8} {:<12} {:>9} | {:<9} {:>7}{PLAIN}",
            "agent", "req/s", "target", "in force", "  pods", "open", "pods", "open"
        ),
    ];
    lines.extend(frame.rows.iter().map(row));
    let [pool, twin] = frame.lanes;
    lines.push(String::new());
    lines.push(format!(
        "{:<12} {:>10} {:>10} {:>12}",
        "since start", "mean", "p95", "open now"
    ));
    for (name, seen, colour) in [("pool", pool, GREEN), ("static twin", twin, "")] {
        lines.push(format!(
            "{colour}{name:<12} {:>10} {:>10} {:>12}{PLAIN}",
            seconds(seen.mean),
            seconds(seen.p95),
            seen.open
        ));
    }
    lines.push(String::new());
    lines.push(format!("{DIM}why, as the pool's status says it{PLAIN}"));
    lines.extend(
        frame
            .rows
            .iter()
            .map(|row| format!("{:<12} {}", row.name, row.why)),
    );
    lines
}

fn row(row: &Row) -> String {
    let [(replicas, ready), (twins, _)] = row.replicas;
    let pods = "■".repeat(ready.clamp(0, 9) as usize)
        + &"□".repeat((replicas - ready).clamp(0, 9) as usize);
    let twin_pods = "■".repeat(twins.clamp(0, 9) as usize);
    let [open, twin_open] = row.open.map(|open| {
        let colour = if open > 50 { RED } else { "" };
        (colour, open)
    });
    format!(
        "{:<12} {:>7.1} | {:>7} {:>8}   {pods:<10} {}{:>9}{PLAIN} | {twin_pods:<9} {}{:>7}{PLAIN}",
        row.name, row.rate, row.target, row.in_force, open.0, open.1, twin_open.0, twin_open.1
    )
}

/// A time for people: `85 ms`, `2.41 s`.
pub fn seconds(value: f64) -> String {
    if value < 1.0 {
        format!("{:.0} ms", value * 1000.0)
    } else {
        format!("{value:.2} s")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::frame::Seen;
    use crate::demo::scene::Choice;

    fn frame() -> Frame {
        let row = |name: &str, replicas| Row {
            name: name.to_owned(),
            rate: 12.3,
            target: "2500m".to_owned(),
            in_force: "3".to_owned(),
            replicas: [replicas, (2, 2)],
            open: [3, 80],
            why: "Demand. 12.3 requests/s".to_owned(),
        };
        let seen = |mean| Seen {
            mean,
            p95: 3.0 * mean,
            open: 7,
        };
        Frame {
            at: 30.0,
            rows: vec![row("nlp", (3, 2)), row("vision", (2, 2))],
            lanes: [seen(0.085), seen(2.414)],
        }
    }

    fn scene() -> Scene {
        Scene::of(&Choice::read("drift", "60s", "2s", "1", "Balanced").unwrap())
    }

    #[test]
    fn a_line_says_both_latencies_and_which_pods_still_load() {
        let line = line(&frame());
        assert!(
            line.contains("nlp 12/s target 2500m -> 3 (2 ready)"),
            "{line}"
        );
        assert!(line.contains("pool 85 ms, twin 2.41 s"), "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }

    #[test]
    fn a_table_shows_a_loading_pod_as_an_empty_box_and_the_reasons_below() {
        let text = table(&scene(), &frame()).join("\n");
        assert!(text.contains("■■□"), "{text}");
        assert!(text.contains("Demand. 12.3 requests/s"), "{text}");
    }
}
