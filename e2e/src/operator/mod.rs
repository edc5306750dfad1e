//! Runs the operator as its pods would: for every running pod of its Deployment one real process, with the pod's arguments and environment, under
//! the pod's service account, with a token bound to the pod, on the pod's own address. A kubelet, as far as one program needs it.
//!
//! KWOK says that the pods run; this makes it true. It learns of pods from the API server alone, so that scaling, rolling and deleting the
//! Deployment do to the processes what they would do anywhere.

mod kubelet;
mod pods;
mod spec;
mod token;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use kubelet::http_get;
pub use pods::OperatorPods;

use crate::controlplane::ControlPlane;
use crate::controlplane::binaries::repository;
use crate::controlplane::process::{Process, Signal};
use crate::proxy::FaultProxy;
use crate::wait;

/// Which pods to run, and how.
#[derive(Clone)]
pub struct RunnerOptions {
    /// Namespace of the pods.
    pub namespace: String,
    /// Label selector of the pods, such as `app.kubernetes.io/name=agentpool`.
    pub selector: String,
    /// The container whose process is run; the first by default.
    pub container: Option<String>,
    /// The program; see [`operator_binary`].
    pub binary: PathBuf,
    /// Environment on top of the container's.
    pub environment: BTreeMap<String, String>,
    /// Puts a [`FaultProxy`] of its own between each pod's process and the API server.
    pub proxies: bool,
}

impl RunnerOptions {
    /// Runs `binary` for the pods that `selector` finds in `namespace`.
    pub fn new(
        namespace: impl Into<String>,
        selector: impl Into<String>,
        binary: impl Into<PathBuf>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            selector: selector.into(),
            container: None,
            binary: binary.into(),
            environment: BTreeMap::new(),
            proxies: false,
        }
    }

    /// Puts a [`FaultProxy`] of its own between each pod's process and the API server.
    #[must_use]
    pub fn with_proxies(mut self) -> Self {
        self.proxies = true;
        self
    }

    /// Sets a variable of the process.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }
}

/// The operator's program: `$AGENTPOOL_BIN`, or `agentpool` as this workspace last built it for the profile of this program.
///
/// # Errors
/// There is none; the message says how to build it.
pub fn operator_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("AGENTPOOL_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "AGENTPOOL_BIN names {}, which is not a file",
            path.display()
        );
    }
    // Tests are in target/<profile>/deps, programs in target/<profile>.
    let here = std::env::current_exe().context("where this program is")?;
    let beside = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("agentpool"))
        .find(|path| path.is_file());
    beside.ok_or_else(|| {
        anyhow!(
            "the operator is not built: run `cargo build` in {}, or set AGENTPOOL_BIN",
            repository().display()
        )
    })
}

/// Runs processes for pods until it is dropped.
pub struct OperatorRunner {
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    options: RunnerOptions,
    /// By name of the pod; a pod that is gone stays here with its process ended.
    instances: Mutex<BTreeMap<String, Instance>>,
}

/// A pod of the operator and its process.
#[derive(Clone)]
pub struct Instance {
    inner: Arc<InstanceState>,
}

struct InstanceState {
    pod: String,
    uid: String,
    address: String,
    log: PathBuf,
    proxy: Option<FaultProxy>,
    /// No process is started while this is set.
    held_down: std::sync::atomic::AtomicBool,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    process: Option<Process>,
    starts: u32,
}

impl Instance {
    /// Name of the pod.
    pub fn pod(&self) -> &str {
        &self.inner.pod
    }

    /// The pod's address, on which the process listens.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// The output of all its processes, one after the other.
    pub fn log(&self) -> &Path {
        &self.inner.log
    }

    /// The whole log as text.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.inner.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The process that runs now.
    pub fn process(&self) -> Option<Process> {
        lock(&self.inner.running)
            .process
            .clone()
            .filter(Process::is_running)
    }

    /// How often its process was started again after it had ended.
    pub fn restarts(&self) -> u32 {
        lock(&self.inner.running).starts.saturating_sub(1)
    }

    /// The proxy between this process and the API server, if the runner was asked for one.
    pub fn proxy(&self) -> Option<&FaultProxy> {
        self.inner.proxy.as_ref()
    }

    /// Sends a signal to the process (SIGSTOP, SIGCONT, SIGTERM, ...).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process()
            .ok_or_else(|| anyhow!("the process of pod {} does not run", self.inner.pod))?
            .signal(signal)
    }

    /// SIGKILL; it is started again after a moment, as a container would be.
    pub async fn kill(&self) {
        if let Some(process) = self.process() {
            process.kill().await;
        }
    }

    /// Whether the process is to stay dead: kills it and starts none until this is taken back.
    pub async fn hold_down(&self, down: bool) {
        self.inner
            .held_down
            .store(down, std::sync::atomic::Ordering::SeqCst);
        if down {
            self.kill().await;
        }
    }

    /// The sum of all series of a counter or gauge of the process; `None` while it does not answer.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.http_get(8080, "/metrics").await.ok()?;
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until it has decided so many targets more, one an agent and decision: time enough for what would come to come.
    ///
    /// # Errors
    /// It has not within `limit`.
    pub async fn decides(&self, targets: u32, limit: Duration) -> Result<()> {
        let decided = async || Ok(self.metric("agentpool_decisions_total").await);
        let before = wait::until(limit, "the operator answers", decided).await?;
        let what = format!("the operator decides {targets} targets more");
        wait::until(limit, what, async || {
            let now = self.metric("agentpool_decisions_total").await;
            Ok(now
                .is_some_and(|n| n >= before + f64::from(targets))
                .then_some(()))
        })
        .await
    }

    /// GETs a path of the process's own HTTP endpoint, such as `/metrics`.
    pub async fn http_get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        kubelet::http_get(&format!("{}:{port}", self.inner.address), path).await
    }
}

impl OperatorRunner {
    /// Starts to run processes for the pods of `options` in `control_plane`. Logs, tokens and kubeconfigs are in the folder of the run.
    ///
    /// # Errors
    /// The cluster cannot be reached, or the program is missing.
    pub async fn start(control_plane: &ControlPlane, options: RunnerOptions) -> Result<Self> {
        if !options.binary.is_file() {
            bail!("no program at {}", options.binary.display());
        }
        let shared = Arc::new(Shared {
            options,
            instances: Mutex::default(),
        });
        let end = CancellationToken::new();
        let kubelet =
            kubelet::Kubelet::new(control_plane, Arc::clone(&shared), end.clone()).await?;
        tokio::spawn(kubelet.run());
        Ok(Self {
            shared,
            _end: end.drop_guard(),
        })
    }

    /// The pods that have a process now.
    pub fn instances(&self) -> Vec<Instance> {
        lock(&self.shared.instances)
            .values()
            .filter(|instance| instance.process().is_some())
            .cloned()
            .collect()
    }

    /// All pods that ever had one, for logs and restarts.
    pub fn all_instances(&self) -> Vec<Instance> {
        lock(&self.shared.instances).values().cloned().collect()
    }

    /// The process of one pod, running or not.
    pub fn instance(&self, pod: &str) -> Option<Instance> {
        lock(&self.shared.instances).get(pod).cloned()
    }

    /// Waits until exactly `n` pods have a running process, and returns them.
    pub async fn wait_for(&self, n: usize, limit: Duration) -> Result<Vec<Instance>> {
        wait::until(
            limit,
            format!("{n} processes of the operator run"),
            async || {
                let running = self.instances();
                Ok((running.len() == n).then_some(running))
            },
        )
        .await
    }

    /// Restarts of all processes together.
    pub fn restarts(&self) -> u32 {
        self.all_instances().iter().map(Instance::restarts).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
