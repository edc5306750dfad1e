//! `make demo` without a terminal, to its end and interrupted.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::SystemTime;

use super::up::{processes_of, signal, wait_until_nothing_runs};
use super::*;
use agentpool_e2e::controlplane::binaries::target;

/// From the start of the control plane to the last line. It takes about half a minute.
const LONGEST: Duration = Duration::from_secs(400);

/// The demonstration as a child that writes into a pipe; ended with the test.
struct Demo(Child);

impl Demo {
    fn start(scene: &str, length: &str) -> (Self, Output) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_demo"))
            .args(["--scene", scene, "--length", length])
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        (Self(child), Output { pipe })
    }

    /// The folder of its control plane.
    fn folder(&self) -> PathBuf {
        target().join(format!("e2e/demo-{}", self.0.id()))
    }

    fn ends_well(mut self, said: &str) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}\n{said}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // What it started ends with it, and who reads its output comes to the end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Output {
    pipe: BufReader<ChildStdout>,
}

impl Output {
    /// Reads on until a line of the view: an agent's load, its target, and both latencies.
    async fn until_the_view(self) -> (Self, String) {
        in_time(move || {
            let (mut pipe, mut said) = (self.pipe, String::new());
            while pipe.read_line(&mut said).unwrap() > 0 {
                let line = said.lines().next_back().unwrap_or_default();
                if line.contains("/s target ") && line.contains(" | mean latency: pool ") {
                    return (Self { pipe }, said);
                }
            }
            panic!("it ended without a view:\n{said}");
        })
        .await
    }

    /// Everything that it still says.
    async fn until_the_end(mut self) -> String {
        in_time(move || {
            let mut said = String::new();
            self.pipe.read_to_string(&mut said).unwrap();
            said
        })
        .await
    }
}

async fn in_time<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    let read = tokio::task::spawn_blocking(read);
    let read = tokio::time::timeout(LONGEST, read).await;
    read.expect("in time").unwrap()
}

async fn nothing_is_left(folder: &Path) {
    wait_until_nothing_runs(folder).await;
    assert!(!folder.exists(), "{}", folder.display());
}

async fn plays_to_its_end(scene: &str) {
    let begun = SystemTime::now();
    let (demo, output) = Demo::start(scene, "10s");
    let folder = demo.folder();
    let (output, shown) = output.until_the_view().await;
    let rest = output.until_the_end().await;
    demo.ends_well(&rest);
    assert!(!shown.contains('\x1b') && !rest.contains('\x1b'), "{rest}");
    for words in [
        "pool mean",
        "\nresult        ",
        "\nwatched       independently",
        "\nwrites        ",
        "\nLook around:",
    ] {
        assert!(rest.contains(words), "no {words:?}:\n{rest}");
    }
    let plot = rest.lines().find_map(|line| line.strip_prefix("plot  "));
    let plot = Path::new(plot.expect("it names the plot").trim());
    let written = plot.metadata().unwrap().modified().unwrap();
    assert!(written >= begun, "the plot is of an earlier run");
    assert!(std::fs::read_to_string(plot).unwrap().contains("</svg>"));
    nothing_is_left(&folder).await;
}

#[tokio::test]
async fn the_demo_prints_lines_into_a_pipe_and_ends_with_a_summary_and_a_plot() {
    plays_to_its_end("drift").await;
}

#[tokio::test]
async fn the_papers_scene_of_the_demo_does_so_too() {
    plays_to_its_end("paper").await;
}

#[tokio::test]
async fn ctrl_c_in_the_middle_of_the_demo_leaves_nothing() {
    let (demo, output) = Demo::start("drift", "10m");
    let folder = demo.folder();
    let (output, _) = output.until_the_view().await;
    // The five of the control plane, and the operator.
    assert_eq!(processes_of(&folder).len(), 6);
    signal(&demo.0, "-INT");
    let said = output.until_the_end().await;
    assert!(
        said.contains("interrupted; ending the control plane"),
        "{said}"
    );
    demo.ends_well(&said);
    nothing_is_left(&folder).await;
}
