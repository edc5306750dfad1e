use std::collections::BTreeMap;
use std::io::BufRead;

use super::lines::Lines;
use super::{Limits, TraceError};

/// The rows of each agent while a trace is read, within the limits.
pub(super) struct Collected<T> {
    limits: Limits,
    what: &'static str,
    count: usize,
    names: BTreeMap<String, usize>,
    rows: Vec<Vec<T>>,
}

impl<T> Collected<T> {
    /// Nothing yet; `what` is what errors call the rows.
    pub fn new(limits: Limits, what: &'static str) -> Self {
        Self {
            limits,
            what,
            count: 0,
            names: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// The rows of an agent, to which the caller adds one.
    pub fn of<R: BufRead>(
        &mut self,
        lines: &Lines<'_, R>,
        agent: &str,
    ) -> Result<&mut Vec<T>, TraceError> {
        if self.count == self.limits.rows {
            return Err(lines.too_many(self.what, self.limits.rows));
        }
        self.count += 1;
        let index = match self.names.get(agent) {
            Some(index) => *index,
            None if self.rows.len() == self.limits.agents => {
                return Err(lines.too_many("agents", self.limits.agents));
            }
            None => {
                self.names.insert(agent.to_owned(), self.rows.len());
                self.rows.push(Vec::new());
                self.rows.len() - 1
            }
        };
        Ok(&mut self.rows[index])
    }

    /// Every agent with its rows.
    pub fn finish(mut self) -> impl Iterator<Item = (String, Vec<T>)> {
        let names = self.names.into_iter();
        names.map(move |(name, index)| (name, std::mem::take(&mut self.rows[index])))
    }
}
