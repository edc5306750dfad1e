#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::files::Files;
use super::pools::Pools;
use super::*;
use crate::api::AgentPool;
use crate::recording::{Line, Replay, decide};
use crate::sharing::Observed;
use serde_json::json;
use std::path::Path;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("agentpool-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn config(&self, max_bytes: u64) -> RecordConfig {
        RecordConfig {
            folder: self.0.clone(),
            max_bytes,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pool(name: &str) -> Arc<Pool> {
    let manifest: AgentPool = serde_json::from_value(json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool",
        "metadata": {"name": name, "namespace": "agents", "uid": name, "generation": 1},
        "spec": {
            "mode": "Observe",
            "devices": [{"name": "a", "gpus": 4, "sharing": {"type": "WholeGPU"}}],
            "agents": [{
                "name": "chat", "priority": "High", "minShare": "1", "replicas": {"min": 1, "max": 4},
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "model": {"requestsPerSecondPerGpu": "10"},
            }],
        },
    }))
    .unwrap();
    Arc::new(Pool::of(&manifest, true))
}

fn observed() -> Observed {
    let agent = json!({
        "replicas": 1, "template": {"nvidia.com/gpu": 1}, "rollout": "Rolling", "rolling": false, "pods": [],
        "restore": null, "frozen": false, "templateLocked": false,
    });
    serde_json::from_value(json!({"nodes": [], "agents": [agent]})).unwrap()
}

/// Decisions of one pool, one after the other.
struct Pooled {
    pool: Arc<Pool>,
    number: u64,
    memory: Memory,
}

impl Pooled {
    fn new(name: &str) -> Self {
        Self {
            pool: pool(name),
            number: 0,
            memory: Memory::default(),
        }
    }

    fn next(&mut self) -> Taken {
        let number = self.number;
        let inputs = Inputs {
            now: Duration::from_secs(number),
            lag: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            loads: vec![crate::allocation::Load::Measured {
                arrivals_per_second: 0.1 * (number % 300) as f64,
                backlog: 1.0,
            }],
            raised: vec![false],
            observed: observed(),
        };
        let (output, after) = decide(&self.pool.admit().unwrap(), &inputs, &self.memory);
        self.number += 1;
        Taken {
            pool: self.pool.clone(),
            number,
            wall: jiff::Timestamp::from_second(1_767_225_600 + number as i64).unwrap(),
            inputs,
            memory: std::mem::replace(&mut self.memory, after),
            output,
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn size(folder: &Path) -> u64 {
    files(folder)
        .iter()
        .map(|f| f.metadata().unwrap().len())
        .sum()
}

fn dropped(metrics: &Metrics) -> u64 {
    let text = metrics.encode().unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("agentpool_record_drops_total "));
    line.unwrap().parse().unwrap()
}

/// Every file by itself: decisions computed to the same, and decisions said to be missing.
fn replay(files: &[PathBuf]) -> (u64, u64) {
    let (mut equal, mut missing) = (0, 0);
    for file in files {
        let mut replay = Replay::default();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            assert_eq!(replay.line(line), Ok(None));
        }
        assert_eq!(replay.different, 0);
        equal += replay.equal;
        missing += replay.missing;
    }
    (equal, missing)
}

#[test]
fn what_is_recorded_replays_to_the_last_decision() {
    let folder = Folder::new("whole");
    let metrics = Metrics::new();
    let (recorder, recording) = Recording::begin(folder.config(16 << 20), metrics.clone()).unwrap();
    let (mut a, mut b) = (Pooled::new("a"), Pooled::new("b"));
    for _ in 0..100 {
        recorder.record(a.next());
        recorder.record(b.next());
    }
    drop(recorder);
    assert!(recording.finish(Duration::from_secs(60)));
    assert_eq!(dropped(&metrics), 0);
    assert_eq!(replay(&files(&folder.0)), (200, 0));
}

#[test]
fn the_recording_stays_within_its_bound_and_every_file_replays_by_itself() {
    let folder = Folder::new("bound");
    let bound = 256 << 10;
    let mut files_ = Files::open(folder.config(bound)).unwrap();
    std::fs::write(folder.0.join("notes.txt"), "not ours").unwrap();
    let (mut pools, mut a, mut b) = (Pools::default(), Pooled::new("a"), Pooled::new("b"));
    for _ in 0..500 {
        for taken in [a.next(), b.next()] {
            pools.write(&mut files_, taken).unwrap();
        }
        assert!(size(&folder.0) <= bound + 8);
    }
    let mut kept = files(&folder.0);
    assert_eq!(kept.pop().unwrap().file_name().unwrap(), "notes.txt");
    assert!((4..=8).contains(&kept.len()), "{kept:?}");
    // The oldest went; what is left ends with the last decision.
    let (equal, missing) = replay(&kept);
    assert!(equal > 100 && equal < 1000 && missing == 0, "{equal}");
    let last = std::fs::read_to_string(kept.last().unwrap()).unwrap();
    let Ok(Line::Decision(decision)) = Line::read(last.lines().last().unwrap()) else {
        panic!()
    };
    assert_eq!(decision.number, 499);
}

#[test]
fn a_full_queue_drops_and_counts_and_never_waits() {
    let metrics = Metrics::new();
    let (queue, taken) = sync_channel(2);
    let recorder = Recorder {
        queue,
        metrics: metrics.clone(),
    };
    let mut a = Pooled::new("a");
    // Nobody takes anything out: were it to wait, the test would not end.
    (0..10).for_each(|_| recorder.record(a.next()));
    assert_eq!(dropped(&metrics), 8);
    let folder = Folder::new("full");
    let mut files_ = Files::open(folder.config(16 << 20)).unwrap();
    let mut pools = Pools::default();
    for taken in taken.try_iter() {
        pools.write(&mut files_, *taken).unwrap();
    }
    pools.write(&mut files_, a.next()).unwrap();
    assert_eq!(replay(&files(&folder.0)), (3, 8));
}

#[test]
fn a_disk_that_refuses_is_counted_and_the_recording_goes_on_after_it() {
    let folder = Folder::new("refuses");
    let metrics = Metrics::new();
    let mut files_ = Files::open(folder.config(16 << 20)).unwrap();
    let (queue, taken) = sync_channel(16);
    let mut a = Pooled::new("a");
    let recorder = Recorder {
        queue,
        metrics: metrics.clone(),
    };
    std::fs::remove_dir_all(&folder.0).unwrap();
    (0..3).for_each(|_| recorder.record(a.next()));
    drop(recorder);
    write_all(&mut files_, &taken, &metrics);
    assert_eq!(dropped(&metrics), 3);
    std::fs::create_dir_all(&folder.0).unwrap();
    Pools::default().write(&mut files_, a.next()).unwrap();
    assert_eq!(replay(&files(&folder.0)), (1, 0));
}

#[test]
fn a_changed_spec_is_written_before_the_decision_that_follows_it() {
    let folder = Folder::new("changed");
    let mut files_ = Files::open(folder.config(16 << 20)).unwrap();
    let (mut pools, mut a) = (Pools::default(), Pooled::new("a"));
    pools.write(&mut files_, a.next()).unwrap();
    let mut changed = Pool::clone(&a.pool);
    changed.manifest.spec.agents[0].replicas.max = 2;
    changed.manifest.metadata.generation = Some(2);
    a.pool = Arc::new(changed);
    pools.write(&mut files_, a.next()).unwrap();
    pools.write(&mut files_, a.next()).unwrap();
    assert_eq!(replay(&files(&folder.0)), (3, 0));
    let text = std::fs::read_to_string(&files(&folder.0)[0]).unwrap();
    assert_eq!(
        text.lines().filter(|l| l.starts_with("{\"pool\":")).count(),
        2
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_said_at_once() {
    let folder = Folder::new("file");
    std::fs::write(&folder.0, "").unwrap();
    assert!(Recording::begin(folder.config(16 << 20), Metrics::new()).is_err());
    std::fs::remove_file(&folder.0).unwrap();
}
