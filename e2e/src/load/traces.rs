//! Real traces, where they are at hand.
//!
//! The folder is named by the environment variable `AGENTPOOL_TRACES`; default: `../shared/traces` beside the
//! repository. In it `NAME/trace.csv.gz` has the columns `arrival_s,input_tokens,output_tokens` and `agent` (or
//! another fourth column: then all rows are one agent's, named after the trace).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use flate2::read::GzDecoder;

/// One recorded request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recorded {
    /// Seconds since the start of the trace.
    pub at: f64,
    /// Tokens of its prompt.
    pub input_tokens: u64,
    /// Tokens of its answer.
    pub output_tokens: u64,
}

/// The requests of a trace by agent, each sorted by time.
pub type Trace = BTreeMap<String, Arc<[Recorded]>>;

/// The folder in which traces are looked for.
pub fn folder() -> PathBuf {
    std::env::var_os("AGENTPOOL_TRACES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces"),
        PathBuf::from,
    )
}

/// Reads a trace. `None` when it is not at hand; say so with [`skipped`].
///
/// # Errors
/// When it is there but cannot be read; the line is named. With `CI=true`, when it is absent: nothing may be skipped there.
pub fn read(folder: &Path, name: &str) -> anyhow::Result<Option<Trace>> {
    let path = folder.join(name).join("trace.csv.gz");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !nothing_may_be_skipped() => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    parse(BufReader::new(GzDecoder::new(file)), name)
        .with_context(|| format!("{}", path.display()))
        .map(Some)
}

/// Whether this is a run that must not leave anything out.
fn nothing_may_be_skipped() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// What to print when something was left out because a trace is not at hand.
pub fn skipped(what: &str, name: &str) -> String {
    format!(
        "skipped: {what} needs the trace {name}, which is not in {} (AGENTPOOL_TRACES names the folder; \
         docs/traces.md says where the traces are published)",
        folder().display()
    )
}

fn parse(lines: impl BufRead, name: &str) -> anyhow::Result<Trace> {
    let mut lines = lines.lines();
    let header = lines.next().context("no header")??;
    let columns: Vec<&str> = header.split(',').collect();
    if columns.get(..3) != Some(&["arrival_s", "input_tokens", "output_tokens"]) {
        bail!("columns {header:?} instead of arrival_s,input_tokens,output_tokens,...");
    }
    let agent_column = columns.iter().position(|column| *column == "agent");
    let mut agents: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for (number, line) in lines.enumerate() {
        let line = line?;
        let fields: Vec<&str> = line.split(',').collect();
        let row = || format!("line {}: {line:?}", number + 2);
        let field = |index: usize| fields.get(index).copied().with_context(row);
        let recorded = Recorded {
            at: field(0)?.parse().with_context(row)?,
            input_tokens: field(1)?.parse().with_context(row)?,
            output_tokens: field(2)?.parse().with_context(row)?,
        };
        if !recorded.at.is_finite() || recorded.at < 0.0 {
            bail!("{}: an arrival must be a time of at least 0", row());
        }
        let agent = agent_column.map_or(Ok(name), field)?;
        agents.entry(agent.to_owned()).or_default().push(recorded);
    }
    Ok(agents
        .into_iter()
        .map(|(agent, mut rows)| {
            rows.sort_by(|a, b| a.at.total_cmp(&b.at));
            (agent, rows.into())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::load::builtin::{FOUR_AGENT_A, FOUR_AGENT_B};
    use crate::load::statistics::{Burstiness, autocorrelation, counts, moments};
    use std::io::Write as _;

    fn times(rows: &[Recorded]) -> Vec<f64> {
        rows.iter().map(|row| row.at).collect()
    }

    #[test]
    fn rows_are_sorted_into_agents() {
        let text = "arrival_s,input_tokens,output_tokens,agent\n2.5,1,2,b\n1.0,3,4,a\n0.5,5,6,b\n";
        let trace = parse(text.as_bytes(), "t").unwrap();
        assert_eq!(times(&trace["b"]), [0.5, 2.5]);
        assert_eq!(
            (trace["a"][0].input_tokens, trace["a"][0].output_tokens),
            (3, 4)
        );
        let text = "arrival_s,input_tokens,output_tokens,class,images\n1.0,3,4,77,1\n";
        assert_eq!(parse(text.as_bytes(), "t").unwrap()["t"].len(), 1);
    }

    #[test]
    fn a_broken_row_is_named() {
        let error = |text: &str| format!("{:#}", parse(text.as_bytes(), "t").unwrap_err());
        let header = "arrival_s,input_tokens,output_tokens,agent\n";
        assert!(error(&format!("{header}1.0,1,2,a\nx,1,2,a\n")).contains("line 3"));
        assert!(error(&format!("{header}-1.0,1,2,a\n")).contains("at least 0"));
        assert!(error("time,agent\n").contains("arrival_s"));
    }

    #[test]
    fn an_absent_trace_is_none_and_the_message_says_how_to_get_it() {
        let absent = read(Path::new("/nowhere"), "four_agent_A");
        if nothing_may_be_skipped() {
            assert!(format!("{:#}", absent.unwrap_err()).contains("four_agent_A"));
        } else {
            assert_eq!(absent.unwrap(), None);
        }
        let message = skipped("this test", "four_agent_A");
        assert!(message.contains("AGENTPOOL_TRACES") && message.contains("docs/traces.md"));
    }

    /// Past the capture of the test harness, which hides what passing tests print.
    fn say(message: &str) {
        let _ = writeln!(std::io::stderr(), "{message}");
    }

    #[test]
    fn the_built_in_bursts_have_the_statistics_of_the_real_trace() {
        let Some(trace) = read(&folder(), "four_agent_A").unwrap() else {
            return say(&skipped(
                "comparing the built-in bursts with it",
                "four_agent_A",
            ));
        };
        for (agent, declared) in FOUR_AGENT_A {
            let real = Burstiness::of(&times(&trace[agent]), 2100.0);
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.08;
            assert!(near(real.mean, declared.mean), "{agent}: {real:?}");
            assert!(near(real.idc_60s, declared.idc_60s), "{agent}: {real:?}");
            // The reasoning trace has its arrivals on a grid of 3 s: its short window and gaps are not declared as is.
            if agent != "reasoning" {
                assert!(
                    near(real.idc_1s, declared.idc_1s) && near(real.cv, declared.cv),
                    "{agent}: {real:?}"
                );
            }
        }
    }

    #[test]
    fn the_built_in_drifts_have_the_statistics_of_the_real_trace() {
        let Some(trace) = read(&folder(), "four_agent_B").unwrap() else {
            return say(&skipped(
                "comparing the built-in drifts with it",
                "four_agent_B",
            ));
        };
        for (agent, declared) in FOUR_AGENT_B {
            let windows = counts(&times(&trace[agent]), declared.window, 10_800.0);
            let (mean, _) = moments(&windows);
            assert!(
                (mean / declared.window / declared.mean - 1.0).abs() < 0.01,
                "{agent}: {mean}"
            );
            let logs: Vec<f64> = windows.iter().map(|count| count.ln()).collect();
            let (_, variance) = moments(&logs);
            assert!(
                (variance.sqrt() - declared.sigma).abs() < 0.002,
                "{agent}: {}",
                variance.sqrt()
            );
            let correlation = autocorrelation(&logs);
            assert!(
                (correlation - declared.correlation).abs() < 0.002,
                "{agent}: {correlation}"
            );
        }
    }
}
