//! `agentpool replay` on files: what it says, and what it exits with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use agentpool::allocation::Load;
use agentpool::recording::{Decision, Head, Inputs, Line, Memory, Pool, decide};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A recording of ten decisions of one agent on four GPUs.
fn lines() -> Vec<String> {
    let manifest = serde_json::from_value(json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool",
        "metadata": {"name": "team", "namespace": "agents", "uid": "u", "generation": 1},
        "spec": {
            "mode": "Observe",
            "devices": [{"name": "a", "gpus": 4, "sharing": {"type": "WholeGPU"}}],
            "agents": [{
                "name": "chat", "priority": "High", "minShare": "1", "replicas": {"min": 1, "max": 4},
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "model": {"requestsPerSecondPerGpu": "10"},
            }],
        },
    }));
    let pool = Pool::of(&manifest.unwrap(), true);
    let valid = pool.admit().unwrap();
    let head = Head::new(env!("CARGO_PKG_VERSION"), "2026-01-01T00:00:00Z".to_owned());
    let mut lines = vec![Line::Head(head), Line::Pool(Box::new(pool))];
    let mut memory = Memory::default();
    for number in 0..10 {
        let agent = json!({
            "replicas": 1, "template": {"nvidia.com/gpu": 1}, "rollout": "Rolling", "rolling": false, "pods": [],
            "restore": null, "frozen": false, "templateLocked": false,
        });
        let inputs = Inputs {
            now: Duration::from_secs(number),
            lag: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            loads: vec![Load::Measured {
                arrivals_per_second: 0.7 * number as f64,
                backlog: 1.0,
            }],
            raised: vec![false],
            observed: serde_json::from_value(json!({"nodes": [], "agents": [agent]})).unwrap(),
        };
        let (output, after) = decide(&valid, &inputs, &memory);
        let before = std::mem::replace(&mut memory, after);
        lines.push(Line::Decision(Box::new(Decision {
            pool: "agents/team".to_owned(),
            number,
            wall: format!("2026-01-01T00:00:{number:02}Z"),
            inputs,
            memory: (number == 0).then_some(before),
            output,
        })));
    }
    lines.iter().map(|line| line.write().unwrap()).collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Exit code and everything that was said.
fn replay(paths: &[&Path]) -> (i32, String) {
    said(&["replay"], paths)
}

/// The same of a recording as load of a short simulation.
fn simulate(path: &Path) -> (i32, String) {
    let short = [
        "simulate",
        "--seeds",
        "1",
        "--rules",
        "static-equal,water-filling",
        "--from",
    ];
    said(&short, &[path])
}

fn said(words: &[&str], paths: &[&Path]) -> (i32, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_agentpool"))
        .args(words)
        .args(paths)
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].concat();
    (run.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn whole(lines: &[String]) -> String {
    format!("{}\n", lines.join("\n"))
}

#[test]
fn a_recording_that_is_computed_to_the_same_exits_with_0_and_says_how_many_decisions() {
    let folder = folder("equal");
    std::fs::write(folder.join("decisions-1.jsonl"), whole(&lines())).unwrap();
    std::fs::write(folder.join("decisions-2.jsonl"), whole(&lines())).unwrap();
    let (code, said) = replay(&[&folder]);
    assert_eq!(code, 0, "{said}");
    for part in [
        "files       2",
        "1 (agents/team)",
        "recomputed  20",
        "equal       20",
        "different   0",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_last_line_that_is_cut_is_passed_over_and_said() {
    let folder = folder("cut");
    let text = whole(&lines());
    let file = folder.join("decisions-1.jsonl");
    std::fs::write(&file, &text[..text.len() - 40]).unwrap();
    let (code, said) = replay(&[&file]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("equal       9") && said.contains("1 last lines that were cut"),
        "{said}"
    );
}

#[test]
fn what_can_be_replayed_can_be_simulated_and_what_cannot_is_refused_in_the_same_words() {
    let folder = folder("simulated");
    let text = whole(&lines());
    let file = folder.join("decisions-1.jsonl");
    std::fs::write(&file, &text[..text.len() - 40]).unwrap();
    for path in [&folder, &file] {
        assert_eq!(replay(&[path]).0, 0);
        let (code, said) = simulate(path);
        assert_eq!(code, 0, "{said}");
        // Where a long path makes the line wrap is not what is said.
        let words: Vec<&str> = said.split_whitespace().collect();
        let words = words.join(" ");
        for part in ["decisions-1.jsonl is cut and passed over", "water-filling"] {
            assert!(words.contains(part), "no {part:?} in {said}");
        }
    }
    std::fs::write(&file, format!("{text}{{\"decision\":{{}}}}\n")).unwrap();
    let (code, said) = replay(&[&folder]);
    assert_eq!((code, &said), (2, &simulate(&folder).1));
    assert!(
        said.contains("decisions-1.jsonl:13: not a line of a recording"),
        "{said}"
    );
    assert_eq!(simulate(&folder.join("none")).0, 2);
}

#[test]
fn the_first_difference_is_said_with_its_place_and_both_values_and_the_exit_code_is_1() {
    let folder = folder("different");
    let mut lines = lines();
    let before = lines[7].clone();
    lines[7] = before.replace("\"target\":", "\"target\":1");
    assert_ne!(lines[7], before);
    let file = folder.join("decisions-1.jsonl");
    std::fs::write(&file, whole(&lines)).unwrap();
    let (code, said) = replay(&[&folder]);
    assert_eq!(code, 1, "{said}");
    let place = format!(
        "pool agents/team, decision 5 (2026-01-01T00:00:05Z, {}:8)",
        file.display()
    );
    for part in [
        place.as_str(),
        "agent chat, target: recorded 1",
        ", recomputed ",
        "different   1",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn a_recording_of_another_operator_is_said() {
    let folder = folder("version");
    let mut lines = lines();
    lines[0] = lines[0].replace(env!("CARGO_PKG_VERSION"), "0.0.9");
    std::fs::write(folder.join("a.jsonl"), whole(&lines)).unwrap();
    let (code, said) = replay(&[&folder]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("recorded by agentpool 0.0.9, recomputed by"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_read_names_file_and_line_and_exits_with_2() {
    let folder = folder("unreadable");
    let file = folder.join("a.jsonl");
    let mut broken = lines();
    broken[4] = "{\"decision\":{}}".to_owned();
    let mut other = lines();
    other[0] = other[0].replace("\"version\":1", "\"version\":9");
    let cases = [
        (
            whole(&broken),
            vec!["a.jsonl:5: not a line of a recording", "missing field"],
        ),
        (
            whole(&other),
            vec!["a.jsonl:1: its format has version 9", "reads version 1"],
        ),
        (whole(&lines()[..2]), vec!["no decision to compute again"]),
        (String::new(), vec!["no decision to compute again"]),
    ];
    for (text, hints) in cases {
        std::fs::write(&file, text).unwrap();
        let (code, said) = replay(&[&folder]);
        assert_eq!(code, 2, "{said}");
        for hint in hints {
            assert!(said.contains(hint), "no {hint:?} in {said}");
        }
    }
    std::fs::write(&file, [0xff, 0xfe, b'\n']).unwrap();
    let (code, said) = replay(&[&file]);
    assert!(code == 2 && said.contains("a.jsonl:1: "), "{said}");
    std::fs::remove_file(&file).unwrap();
    for path in [folder.as_path(), &folder.join("none")] {
        let (code, said) = replay(&[path]);
        assert!(code == 2 && said.contains("unreadable"), "{said}");
    }
}
