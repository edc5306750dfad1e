//! Child processes that never outlive their parent, and can be killed, paused and watched.
//!
//! Every process of a [`ProcessGroup`] joins one Unix process group led by a small shell that reads a pipe. The pipe's other end
//! is held by this process alone: whatever ends it (return, panic, Ctrl-C, SIGKILL), the shell reads the end of the file and kills the group.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::sync::watch;

/// Processes that end when the last clone of this value is dropped, or when this program ends in whatever way.
#[derive(Clone)]
pub struct ProcessGroup {
    guard: Arc<Guard>,
}

struct Guard {
    id: i32,
    leader: Mutex<Child>,
}

impl ProcessGroup {
    /// Starts an empty group.
    pub fn new() -> Result<Self> {
        let leader = Command::new("/bin/sh")
            // Ctrl-C of a terminal goes to the foreground group only; the group ends through the pipe alone.
            .args(["-c", "trap '' INT TERM HUP; read -r _; kill -KILL 0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the shell that guards the bench's processes")?;
        let id = i32::try_from(leader.id()).context("process id out of range")?;
        Ok(Self {
            guard: Arc::new(Guard {
                id,
                leader: Mutex::new(leader),
            }),
        })
    }

    /// Starts `command` in the group, its output appended to `log`.
    pub fn spawn(&self, name: &str, mut command: Command, log: &Path) -> Result<Process> {
        let output = append(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log file")?)
            .stderr(output)
            .process_group(self.guard.id)
            .spawn()
            .with_context(|| format!("start {name} ({})", command.get_program().display()))?;
        Process::watch(name, child, log)
    }

    /// Kills every process of the group, now.
    pub fn end(&self) {
        self.guard.end();
    }
}

impl Guard {
    fn end(&self) {
        let mut leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        // While the leader is not reaped, the id is still ours.
        if let (Ok(None), Some(group)) = (leader.try_wait(), Pid::from_raw(self.id)) {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = leader.wait();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end();
    }
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open the log file {}", log.display()))
}

fn pid_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// A child process; cheap to clone, the same process. Dropping it does not end it: its group does.
#[derive(Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    pid: Pid,
    log: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    fn watch(name: &str, mut child: Child, log: &Path) -> Result<Self> {
        let pid = pid_of(child.id()).ok_or_else(|| anyhow!("{name} has no process id"))?;
        let (sender, exit) = watch::channel(None);
        // A thread, not a task: a control plane shared by tests must not depend on the runtime of the first of them.
        std::thread::Builder::new()
            .name(format!("wait-{name}"))
            .spawn(move || {
                if let Ok(status) = child.wait() {
                    sender.send_replace(Some(status));
                }
            })
            .context("start the thread that waits for a process")?;
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                pid,
                log: log.to_owned(),
                exit,
            }),
        })
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.inner.pid.as_raw_nonzero().get()
    }

    /// The file that its output is appended to.
    pub fn log(&self) -> &Path {
        &self.inner.log
    }

    /// How it ended; `None` while it runs (or is paused).
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.inner.exit.borrow()
    }

    /// Whether it has not ended yet; a paused process counts as running.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Sends a signal; an error if the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.exit_status() {
            bail!("{} has already ended ({status})", self.inner.name);
        }
        kill_process(self.inner.pid, signal)
            .with_context(|| format!("signal {} ({signal:?})", self.inner.name))
    }

    /// SIGKILL, and waits until the process is gone. No error if it had ended before.
    pub async fn kill(&self) {
        if self.signal(Signal::KILL).is_ok() {
            self.exited().await;
        }
    }

    /// SIGTERM, then SIGKILL if it has not ended after `grace`.
    pub async fn terminate(&self, grace: Duration) {
        // A paused process would never see SIGTERM.
        let _ = self.signal(Signal::CONT);
        if self.signal(Signal::TERM).is_err() {
            return;
        }
        if tokio::time::timeout(grace, self.exited()).await.is_err() {
            self.kill().await;
        }
    }

    /// Waits until it has ended. `None` when the system would not say how.
    pub async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.inner.exit.clone();
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// The last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let Ok(bytes) = std::fs::read(&self.inner.log) else {
            return String::new();
        };
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.get(from..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn sleeper(group: &ProcessGroup, folder: &Path) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo started; exec sleep 600"]);
        group
            .spawn("sleeper", command, &folder.join("sleeper.log"))
            .unwrap()
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("agentpool-process-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn processes_end_with_their_group() {
        let folder = folder("group");
        let group = ProcessGroup::new().unwrap();
        let process = sleeper(&group, &folder);
        assert!(process.is_running());
        drop(group);
        let status = tokio::time::timeout(Duration::from_secs(10), process.exited())
            .await
            .unwrap();
        assert!(!status.unwrap().success());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn processes_end_when_the_pipe_of_a_dead_parent_closes() {
        let folder = folder("pipe");
        let group = ProcessGroup::new().unwrap();
        let process = sleeper(&group, &folder);
        // What the system does with the pipe of a parent that was killed.
        drop(group.guard.leader.lock().unwrap().stdin.take());
        tokio::time::timeout(Duration::from_secs(10), process.exited())
            .await
            .unwrap();
        assert!(!process.is_running());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_after_the_grace() {
        let folder = folder("grace");
        let group = ProcessGroup::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' TERM; while :; do sleep 600; done"]);
        let process = group
            .spawn("stubborn", command, &folder.join("log"))
            .unwrap();
        process.terminate(Duration::from_millis(200)).await;
        assert!(
            process
                .signal(Signal::TERM)
                .unwrap_err()
                .to_string()
                .contains("already ended")
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
