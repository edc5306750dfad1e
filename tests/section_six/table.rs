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
    /// Mean time in the system under equal parts, where it was published, in seconds.
    pub equal: Option<f64>,
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
    /// The published ratios, by column, of three seeds; `None` where there is none, 0 where it says less than 0.005.
    pub published: [Option<f64>; 6],
}

const EVEN: [f64; 4] = [0.25; 4];

/// The columns.
pub const COLUMNS: [Column; 6] = [
    column("four_agent_A", 2100.0, 0.5, EVEN, Some(3.23)),
    column("four_agent_A", 2100.0, 0.7, EVEN, Some(7.32)),
    column("four_agent_A", 2100.0, 0.85, EVEN, Some(18.1)),
    column("four_agent_A", 2100.0, 0.7, [0.4, 0.1, 0.3, 0.2], None),
    column("four_agent_B", 10_800.0, 0.7, EVEN, None),
    column("four_agent_B", 10_800.0, 0.85, EVEN, None),
];

const fn column(
    trace: &'static str,
    seconds: f64,
    load: f64,
    split: [f64; 4],
    equal: Option<f64>,
) -> Column {
    Column {
        trace,
        seconds,
        load,
        split,
        equal,
    }
}

/// The last row, "sharing per request, work-conserving", by column.
pub const PER_REQUEST: [f64; 6] = [0.10, 0.20, 0.31, 0.07, 0.0, 0.0];

/// The rows but the last.
pub const ROWS: [Row; 7] = [
    water(0.0, (5, 2), [0.23, 0.54, 0.80, 0.15, 0.0, 0.08]),
    water(30.0, (5, 2), [0.97, 1.03, 1.13, 0.25, 0.01, 0.20]),
    water(30.0, (120, 60), [0.92, 0.78, 0.65, 0.19, 0.01, 0.01]),
    water(100.0, (5, 2), [2.83, 1.70, 1.16, 0.36, 0.02, 0.24]),
    water(100.0, (600, 300), [1.46, 1.16, 0.94, 0.26, 0.03, 0.04]),
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
];

const fn water(lag: f64, pace: (u64, u64), published: [f64; 6]) -> Row {
    let [a, b, c, d, e, f] = published;
    Row {
        policy: Policy::WaterFilling,
        lag,
        pace,
        own: false,
        published: [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)],
    }
}

const fn paper(own: bool, published: [Option<f64>; 6]) -> Row {
    Row {
        policy: Policy::Adaptive,
        lag: 0.0,
        pace: (1, 1),
        own,
        published,
    }
}

impl Column {
    /// What it is, in words.
    pub fn words(&self) -> String {
        let (name, load) = (self.trace.trim_start_matches("four_agent_"), self.load);
        match self.split {
            EVEN => format!("{name} {load}"),
            split => format!(
                "{name} {load}, {}",
                split.map(|part| part.to_string()).join("/")
            ),
        }
    }
}

impl Row {
    /// What it is, in words.
    pub fn describe(&self) -> String {
        let pace = format!("window {} s, drain {} s", self.pace.0, self.pace.1);
        if self.own {
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
