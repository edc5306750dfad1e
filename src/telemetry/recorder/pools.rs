use super::Taken;
use super::files::Files;
use crate::recording::{CHECKPOINT, Decision, Gap, Line, Pool};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::Arc;

/// Pools that are remembered at most; beyond, those of a file before are forgotten, and only a gap of theirs goes unsaid.
const MOST: usize = 4096;

/// What has been written of each pool, so that every file can be replayed by itself.
#[derive(Debug, Default)]
pub(super) struct Pools {
    by_key: BTreeMap<String, Written>,
}

/// What has been written of one pool.
#[derive(Debug)]
struct Written {
    uid: Option<String>,
    /// Number of its last decision, in whatever file.
    last: u64,
    /// What the file that is written says of it; `None`: nothing yet.
    pool: Option<Arc<Pool>>,
}

impl Pools {
    /// Writes a decision, and before it what a reader of its file needs.
    pub(super) fn write(&mut self, files: &mut Files, taken: Taken) -> Result<()> {
        let mut lines = self.lines(&taken)?;
        if !files.has_room(lines.len()) {
            self.forget_file();
            lines = self.lines(&taken)?;
            files.begin(taken.wall)?;
        }
        if let Err(error) = files.append(&lines) {
            // The file may end in a cut line.
            self.forget_file();
            return Err(error);
        }
        let written = Written {
            uid: taken.pool.manifest.metadata.uid.clone(),
            last: taken.number,
            pool: Some(taken.pool.clone()),
        };
        self.by_key.insert(taken.pool.key.clone(), written);
        Ok(())
    }

    fn forget_file(&mut self) {
        if self.by_key.len() > MOST {
            self.by_key.clear();
        }
        for written in self.by_key.values_mut() {
            written.pool = None;
        }
    }

    fn lines(&self, taken: &Taken) -> Result<String> {
        let Taken { pool, number, .. } = taken;
        let uid = &pool.manifest.metadata.uid;
        let before = self.by_key.get(&pool.key).filter(|w| w.uid == *uid);
        let in_file = before.and_then(|w| w.pool.as_ref());
        let follows = before.is_some_and(|w| w.last.checked_add(1) == Some(*number));
        let mut lines = String::new();
        if in_file.is_none_or(|written| written != pool) {
            push(&mut lines, &Line::Pool(Box::new(Pool::clone(pool))))?;
        }
        if let Some(before) = before.filter(|w| w.last < *number && !follows) {
            let gap = Gap {
                pool: pool.key.clone(),
                from: before.last.saturating_add(1),
                to: number.saturating_sub(1),
            };
            push(&mut lines, &Line::Gap(gap))?;
        }
        let is_known = in_file.is_some() && follows && !number.is_multiple_of(CHECKPOINT);
        let decision = Decision {
            pool: pool.key.clone(),
            number: *number,
            wall: taken.wall.to_string(),
            inputs: taken.inputs.clone(),
            memory: (!is_known).then(|| taken.memory.clone()),
            output: taken.output.clone(),
        };
        push(&mut lines, &Line::Decision(Box::new(decision)))?;
        Ok(lines)
    }
}

fn push(lines: &mut String, line: &Line) -> Result<()> {
    lines.push_str(&line.write().map_err(Error::other)?);
    lines.push('\n');
    Ok(())
}
