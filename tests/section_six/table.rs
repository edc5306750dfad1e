//! The table of docs/design.md, section 6: real arrivals of four agents on one GPU in hard parts, exponential work, a decision a
//! second that is in force after a lag; mean time in the system as a ratio to equal parts.

use agentpool::allocation::Policy;

/// A column: which load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Folder of the trace.
    pub trace: &'static str,
    /// Its length, in seconds.
    pub seconds: f64,
    /// GPUs that all agents need on average.
    pub load: f64,
    /// Their parts of it: coordinator, nlp, vision, reasoning.
    pub split: [f64; 4],
}

/// A row: who is in control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The rule.
    pub policy: Policy,
    /// From a decision until it is in force, in seconds.
    pub lag: f64,
    /// Averaging window and drain time, in seconds.
    pub pace: (u64, u64),
    /// The paper's own minima and priorities; else no minima (Adaptive: a quarter each) and equal priorities.
    pub own: bool,
    /// Requests are shared among, not parts: busy agents take turns on the whole GPU.
    pub turns: bool,
    /// Ratios of the design's table, by column, of three seeds; `None` where it has none, 0 where it says less than 0.005.
    pub published: [Option<f64>; 6],
    /// Ratios of an independent program, by column, of twenty seeds, in which a rule holds until half its window was seen, as the
    /// operator does.
    pub independent: Option<[f64; 6]>,
}

const EVEN: [f64; 4] = [0.25; 4];

/// The columns.
pub const COLUMNS: [Column; 6] = [
    column("four_agent_A", 2100.0, 0.5, EVEN),
    column("four_agent_A", 2100.0, 0.7, EVEN),
    column("four_agent_A", 2100.0, 0.85, EVEN),
    column("four_agent_A", 2100.0, 0.7, [0.4, 0.1, 0.3, 0.2]),
    column("four_agent_B", 10_800.0, 0.7, EVEN),
    column("four_agent_B", 10_800.0, 0.85, EVEN),
];

const fn column(trace: &'static str, seconds: f64, load: f64, split: [f64; 4]) -> Column {
    Column {
        trace,
        seconds,
        load,
        split,
    }
}

/// The rows.
pub const ROWS: [Row; 8] = [
    water(
        0.0,
        (5, 2),
        [0.23, 0.54, 0.80, 0.15, 0.0, 0.08],
        Some([0.229, 0.473, 0.588, 0.119, 0.004, 0.075]),
    ),
    water(
        30.0,
        (5, 2),
        [0.97, 1.03, 1.13, 0.25, 0.01, 0.20],
        Some([1.047, 0.979, 0.863, 0.212, 0.016, 0.233]),
    ),
    water(
        30.0,
        (120, 60),
        [0.92, 0.78, 0.65, 0.19, 0.01, 0.01],
        Some([1.124, 0.935, 0.796, 0.184, 0.008, 0.019]),
    ),
    water(
        100.0,
        (5, 2),
        [2.83, 1.70, 1.16, 0.36, 0.02, 0.24],
        Some([2.988, 1.719, 1.034, 0.291, 0.029, 0.267]),
    ),
    water(
        100.0,
        (600, 300),
        [1.46, 1.16, 0.94, 0.26, 0.03, 0.04],
        Some([1.059, 0.973, 0.948, 0.192, 0.035, 0.054]),
    ),
    paper(
        true,
        [Some(8.1), Some(9.2), Some(4.9), None, Some(1.9), Some(1.9)],
    ),
    paper(
        false,
        [
            Some(0.67),
            Some(0.94),
            Some(1.25),
            None,
            Some(1.15),
            Some(1.09),
        ],
    ),
    Row {
        policy: Policy::StaticEqual,
        turns: true,
        ..water(0.0, (5, 2), [0.10, 0.20, 0.31, 0.07, 0.0, 0.0], None)
    },
];

const fn water(
    lag: f64,
    pace: (u64, u64),
    published: [f64; 6],
    independent: Option<[f64; 6]>,
) -> Row {
    let [a, b, c, d, e, f] = published;
    Row {
        policy: Policy::WaterFilling,
        lag,
        pace,
        own: false,
        turns: false,
        published: [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)],
        independent,
    }
}

const fn paper(own: bool, published: [Option<f64>; 6]) -> Row {
    Row {
        policy: Policy::Adaptive,
        lag: 0.0,
        pace: (1, 1),
        own,
        turns: false,
        published,
        independent: None,
    }
}

impl Row {
    /// What it is, in words.
    pub fn describe(&self) -> String {
        let pace = format!("window {} s, drain {} s", self.pace.0, self.pace.1);
        if self.turns {
            "sharing per request, work-conserving".to_owned()
        } else if self.own {
            "the paper's rule, no lag, its own R and P".to_owned()
        } else if self.policy == Policy::Adaptive {
            "the paper's rule, no lag, R = 0.25, P = 1".to_owned()
        } else if self.lag > 0.0 {
            format!("lag {} s, {pace}", self.lag)
        } else {
            format!("no lag, {pace}")
        }
    }
}
