//! Writes decisions to disk on a thread of its own. Deciding never waits: what finds the queue full is dropped and counted,
//! and the recording says which decisions are missing.

mod files;
mod pools;
#[cfg(test)]
mod tests;

use super::Metrics;
use crate::recording::{Inputs, Memory, Output, Pool};
use files::Files;
use pools::Pools;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Decisions that wait for the disk at most, of all pools.
const QUEUE: usize = 256;

/// Where decisions are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordConfig {
    /// A folder for this process alone.
    pub folder: PathBuf,
    /// All files together are never larger, in bytes; the oldest go.
    pub max_bytes: u64,
}

/// A decision on its way to disk.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What is declared of the pool.
    pub pool: Arc<Pool>,
    /// Counts the pool's decisions, recorded or not, from 0.
    pub number: u64,
    /// Wall time.
    pub wall: jiff::Timestamp,
    /// What it was computed from.
    pub inputs: Inputs,
    /// What the pool remembered before.
    pub memory: Memory,
    /// What it came to.
    pub output: Output,
}

/// Takes decisions; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: SyncSender<Box<Taken>>,
    metrics: Metrics,
}

impl Recorder {
    /// Puts a decision in the queue, or drops it when that is full. Never waits.
    pub fn record(&self, taken: Taken) {
        if self.queue.try_send(Box::new(taken)).is_err() {
            self.metrics.count_record_drop();
        }
    }
}

/// A recording that is being written; it ends when every [`Recorder`] of it is dropped.
#[derive(Debug)]
pub struct Recording {
    ended: Receiver<()>,
}

impl Recording {
    /// Begins a recording: makes the folder and the first file.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn begin(config: RecordConfig, metrics: Metrics) -> std::io::Result<(Recorder, Self)> {
        let mut files = Files::open(config)?;
        files.begin(jiff::Timestamp::now())?;
        let (queue, taken) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(1);
        let counted = metrics.clone();
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                write_all(&mut files, &taken, &counted);
                // Nobody waits for the end any more: nothing is lost by that.
                let _ = end.send(());
            })?;
        Ok((Recorder { queue, metrics }, Self { ended }))
    }

    /// Waits until everything in the queue is on disk, at most for `limit`; false: it was not in time.
    pub fn finish(self, limit: Duration) -> bool {
        self.ended.recv_timeout(limit).is_ok()
    }
}

/// Writes until every sender is gone.
fn write_all(files: &mut Files, queue: &Receiver<Box<Taken>>, metrics: &Metrics) {
    let mut pools = Pools::default();
    let mut failing = false;
    while let Ok(taken) = queue.recv() {
        match pools.write(files, *taken) {
            Ok(()) => failing = false,
            Err(error) => {
                metrics.count_record_drop();
                // Once, not for every decision while the disk is full.
                if !failing {
                    tracing::warn!(%error, "a decision was not recorded");
                }
                failing = true;
            }
        }
    }
}
