//! What the operator decided and when, from its recording.

use agentpool::allocation::Load;
use agentpool::recording::{Decision, Line};
use agentpool_e2e::stage::{LIMIT, StageOptions};
use agentpool_e2e::wait;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How far from a tick's distance two ticks may be.
const LATE: f64 = 0.3;

/// A recording that is being written.
pub struct Decisions {
    folder: PathBuf,
}

impl Decisions {
    /// Into a folder of this name, which is emptied.
    pub fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        Self { folder }
    }

    /// A stage whose operator writes it.
    pub fn record(&self, options: StageOptions) -> StageOptions {
        options
            .value("record.enabled=true")
            .value(format!("record.folder={}", self.folder.display()))
    }

    /// What is written so far.
    fn read(&self) -> Vec<(Timestamp, Decision)> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        let text: String = files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        // The last line may be half written.
        let decision = |line: &str| match Line::read(line) {
            Ok(Line::Decision(decision)) => Some((decision.wall.parse().unwrap(), *decision)),
            _ => None,
        };
        text.lines().filter_map(decision).collect()
    }

    /// Waits until the pool has come to rest, which shows in decisions a tick apart, and returns a tick later.
    pub async fn wait_for_a_tick(&self, tick: f64) {
        let last = wait::until(LIMIT, "nothing but ticks", async || {
            let decisions = self.read();
            let last: Vec<Timestamp> = decisions.iter().rev().map(|d| d.0).take(3).collect();
            let apart = |pair: &[Timestamp]| pair[0].duration_since(pair[1]).as_secs_f64();
            let regular = last
                .windows(2)
                .all(|pair| (apart(pair) - tick).abs() < LATE);
            Ok((last.len() == 3 && regular).then(|| last[0]))
        })
        .await
        .unwrap();
        let since = Timestamp::now().duration_since(last).as_secs_f64();
        tokio::time::sleep(Duration::from_secs_f64((tick - since).max(0.0))).await;
    }

    /// Prints every decision since `begun`: what was measured and aimed at, and beside it the replicas that were seen and simulated.
    pub fn print(&self, begun: Timestamp, replicas: impl Fn(f64) -> ([u32; 2], [u32; 2])) {
        println!("second: measured a second (backlog) -> share aimed at; ready: seen, simulated");
        for (wall, decision) in self.read() {
            let at = wall.duration_since(begun).as_secs_f64();
            if at < 0.0 {
                continue;
            }
            let load = |load: &Load| match load {
                Load::Measured {
                    arrivals_per_second,
                    backlog,
                } => format!("{arrivals_per_second:.1} ({backlog:.0})"),
                Load::Unknown => "unknown".to_owned(),
            };
            let loads: Vec<String> = decision.inputs.loads.iter().map(load).collect();
            let shares = decision
                .output
                .allotments
                .iter()
                .map(|a| a.target.as_gpus());
            let shares: Vec<String> = shares.map(|share| format!("{share:.2}")).collect();
            let (seen, simulated) = replicas(at);
            println!(
                "{at:6.1}: {} -> {}; {seen:?} {simulated:?}{}",
                loads.join(", "),
                shares.join(", "),
                if decision.output.plan.steps.is_empty() {
                    ""
                } else {
                    " moves"
                }
            );
        }
    }
}
