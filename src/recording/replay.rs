use super::decide::decide;
use super::differences;
use super::format::{Decision, Line, Memory, Pool};
use crate::api::ValidPool;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Computes a recording again, line by line, and compares.
#[derive(Debug, Default)]
pub struct Replay {
    /// Pools of the file that is being read, by key.
    pools: BTreeMap<String, Known>,
    is_begun: bool,
    /// Keys of all pools seen.
    pub keys: BTreeSet<String>,
    /// Versions of the operators that wrote the files.
    pub writers: BTreeSet<String>,
    /// Decisions that came to the same, byte for byte.
    pub equal: u64,
    /// Decisions that did not.
    pub different: u64,
    /// Decisions that the recording says are missing.
    pub missing: u64,
    /// How often some are missing.
    pub gaps: u64,
}

#[derive(Debug)]
struct Known {
    pool: ValidPool,
    /// The decision that follows, and what the pool remembers before it.
    next: Option<(u64, Memory)>,
}

/// A decision that is computed to something else than what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The pool, `namespace/name`.
    pub pool: String,
    /// The decision's number.
    pub number: u64,
    /// Wall time of the decision.
    pub wall: String,
    /// The first field that differs, with both values.
    pub what: String,
}

impl Replay {
    /// A file begins: what was known from the one before is forgotten.
    pub fn begin_file(&mut self) {
        self.pools.clear();
        self.is_begun = false;
    }

    /// Takes a line of a file. Returns how its decision differs, if it does.
    ///
    /// # Errors
    /// Why the line cannot be read or computed.
    pub fn line(&mut self, text: &str) -> Result<Option<Difference>, String> {
        let line = Line::read(text)?;
        if !self.is_begun && !matches!(line, Line::Head(_)) {
            return Err("the first line of a file must be its head: {\"head\": ...}".to_owned());
        }
        match line {
            Line::Head(head) => {
                self.begin_file();
                self.is_begun = true;
                self.writers.insert(head.agentpool);
            }
            Line::Pool(pool) => self.pool(&pool)?,
            Line::Gap(gap) => {
                let missing = gap.to.checked_sub(gap.from).and_then(|n| n.checked_add(1));
                let missing = missing
                    .ok_or_else(|| format!("a gap from {} to {}: must rise", gap.from, gap.to))?;
                self.missing = self.missing.saturating_add(missing);
                self.gaps += 1;
            }
            Line::Decision(decision) => return self.decision(*decision, text),
        }
        Ok(None)
    }

    fn pool(&mut self, line: &Pool) -> Result<(), String> {
        let pool = line.admit().map_err(|invalid| invalid.to_string())?;
        if pool.key() != line.key {
            let (key, named) = (&line.key, pool.key());
            return Err(format!("pool {key:?} has the manifest of {named:?}"));
        }
        // A pool that was deleted and made again remembers nothing; a changed spec leaves the memory as it is.
        let known = self.pools.remove(&line.key);
        let next = known
            .filter(|k| k.pool.uid == pool.uid)
            .and_then(|k| k.next);
        self.keys.insert(line.key.clone());
        self.pools.insert(line.key.clone(), Known { pool, next });
        Ok(())
    }

    fn decision(&mut self, mut line: Decision, text: &str) -> Result<Option<Difference>, String> {
        let (key, number) = (line.pool.clone(), line.number);
        let Some(known) = self.pools.get_mut(&key) else {
            return Err(format!(
                "decision {number} of pool {key:?} stands before that pool's line"
            ));
        };
        check(&known.pool, &line)?;
        let carried = known.next.take().filter(|(next, _)| *next == number);
        let carried = carried.map(|(_, memory)| memory);
        let mut what = None;
        let memory = match (&line.memory, carried) {
            (Some(recorded), carried) => {
                what = match carried {
                    Some(ours) => differ("memory", recorded, &ours, &[])?,
                    None => None,
                };
                recorded.clone()
            }
            (None, Some(ours)) => ours,
            (None, None) => {
                return Err(format!(
                    "decision {number} of pool {key:?} follows upon one that is missing, and says not what the pool remembered"
                ));
            }
        };
        let (output, after) = decide(&known.pool, &line.inputs, &memory);
        known.next = number.checked_add(1).map(|next| (next, after));
        let recorded = std::mem::replace(&mut line.output, output);
        if what.is_none() {
            let agents: Vec<&str> = known.pool.agents.iter().map(|a| a.name.as_str()).collect();
            what = differ("output", &recorded, &line.output, &agents)?;
        }
        let wall = line.wall.clone();
        if what.is_none() && Line::Decision(Box::new(line)).write()? != text {
            what =
                Some("the line says the same in other bytes than this version writes".to_owned());
        }
        match what {
            None => self.equal += 1,
            Some(_) => self.different += 1,
        }
        Ok(what.map(|what| Difference {
            pool: key,
            number,
            wall,
            what,
        }))
    }
}

/// One of everything for every agent.
fn check(pool: &ValidPool, line: &Decision) -> Result<(), String> {
    let agents = pool.agents.len();
    for (field, found) in [
        ("inputs.loads", line.inputs.loads.len()),
        ("inputs.raised", line.inputs.raised.len()),
        ("inputs.observed.agents", line.inputs.observed.agents.len()),
    ] {
        if found != agents {
            return Err(format!(
                "{field} is for {found} agents; the pool has {agents}"
            ));
        }
    }
    Ok(())
}

fn differ<T: Serialize>(
    name: &str,
    recorded: &T,
    ours: &T,
    agents: &[&str],
) -> Result<Option<String>, String> {
    let value = |x: &T| serde_json::to_value(x).map_err(|error| error.to_string());
    let (recorded, ours): (Value, Value) = (value(recorded)?, value(ours)?);
    Ok(differences::first(&recorded, &ours, agents).map(|what| format!("{name}, {what}")))
}
