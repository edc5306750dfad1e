//! A real Kubernetes control plane as child processes, or a handle on a cluster that exists.
//!
//! [`ControlPlane::start`] gives each test its own etcd, API server, controller manager, scheduler and KWOK (which plays the nodes), on addresses of
//! their own, in a folder of their own. With the environment variable `KUBECONFIG` set, the same call attaches to that cluster: objects and clients
//! work alike, what needs the processes (kill, pause, audit log) returns an error that says so.

pub mod audit;
pub mod binaries;
pub mod files;
pub mod gpus;
mod launch;
pub mod network;
pub mod nodes;
mod options;
pub mod process;
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use audit::AuditLog;
use binaries::BinaryGroup;
use files::{Access, Token};
use launch::Plan;
use network::Network;
pub use options::{Component, Options};
use process::{Process, ProcessGroup, Signal};

use crate::wait;

/// Long enough for a loaded machine; a component that ends is noticed at once.
const START_LIMIT: Duration = Duration::from_secs(90);
/// After SIGTERM, before SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A control plane to test against. Dropping it ends its processes.
///
/// Unless [`ControlPlane::finish`] was called, dropping it also means that the test failed: the folder of the run is kept, with the logs, the
/// audit log and a dump of the objects, and its path is printed.
pub struct ControlPlane {
    folder: PathBuf,
    kubeconfig: PathBuf,
    finished: AtomicBool,
    backend: Backend,
    // Last: its drop kills what the others may still use.
    group: ProcessGroup,
}

enum Backend {
    Own {
        plan: Box<Plan>,
        processes: Mutex<BTreeMap<Component, Process>>,
    },
    Attached,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready (about 6 s), or attaches to the cluster of `KUBECONFIG`.
    ///
    /// # Errors
    /// A program cannot be built or started, or ends before it is ready; the message carries the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        match std::env::var_os("KUBECONFIG") {
            Some(path) if !path.is_empty() => Self::attach(&options, PathBuf::from(path)),
            _ => Self::start_own(&options).await,
        }
    }

    fn attach(options: &Options, kubeconfig: PathBuf) -> Result<Self> {
        if !kubeconfig.is_file() {
            bail!(
                "KUBECONFIG names {}, which is not a file; unset it to start a control plane of our own",
                kubeconfig.display()
            );
        }
        let folder = new_folder(&options.name)?;
        Ok(Self {
            folder,
            kubeconfig,
            finished: AtomicBool::new(false),
            backend: Backend::Attached,
            group: ProcessGroup::new()?,
        })
    }

    async fn start_own(options: &Options) -> Result<Self> {
        // Building may take minutes of blocking work at first.
        let binaries = tokio::task::spawn_blocking(|| binaries::ensure(BinaryGroup::Core))
            .await
            .context("build the control plane")??;
        let folder = new_folder(&options.name)?;
        let plan = Box::new(Plan::prepare(options, &folder, binaries)?);
        let this = Self {
            kubeconfig: plan.path("kubeconfig"),
            folder,
            finished: AtomicBool::new(false),
            backend: Backend::Own {
                plan,
                processes: Mutex::default(),
            },
            group: ProcessGroup::new()?,
        };
        for component in Component::ALL {
            this.start_component(component).await?;
        }
        this.wait_for_controllers().await?;
        Ok(this)
    }

    /// A client as the bench's own user, a cluster administrator. Each belongs to the runtime that it was made in.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.kubeconfig).await
    }

    /// The kubeconfig of the bench's own user.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of this run; a test may put its own files there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The processes of this run; what a test adds ends with the control plane.
    pub fn processes(&self) -> &ProcessGroup {
        &self.group
    }

    /// Whether this is a cluster that somebody else runs.
    pub fn is_attached(&self) -> bool {
        matches!(self.backend, Backend::Attached)
    }

    /// The API server's URL, and the file of its certificate authority where it is our own.
    pub async fn server(&self) -> Result<(String, Option<PathBuf>)> {
        match &self.backend {
            Backend::Own { plan, .. } => Ok((plan.server(), Some(plan.certificate()))),
            Backend::Attached => {
                let config = config_of(&self.kubeconfig).await?;
                let authority = match config.root_cert {
                    Some(certificates) => {
                        let path = self.folder.join("certificate-authority.crt");
                        let blocks: Vec<pem::Pem> = certificates
                            .into_iter()
                            .map(|der| pem::Pem::new("CERTIFICATE", der))
                            .collect();
                        std::fs::write(&path, pem::encode_many(&blocks))
                            .context("write the cluster's certificate authority")?;
                        Some(path)
                    }
                    None => None,
                };
                Ok((
                    config
                        .cluster_url
                        .to_string()
                        .trim_end_matches('/')
                        .to_owned(),
                    authority,
                ))
            }
        }
    }

    /// Writes a kubeconfig that authenticates with `token`; through `proxy` (`http://...`) if one is given.
    pub async fn write_kubeconfig(
        &self,
        path: &Path,
        token: Token<'_>,
        namespace: &str,
        proxy: Option<&str>,
    ) -> Result<()> {
        let (server, authority) = self.server().await?;
        files::write_kubeconfig(
            path,
            &Access {
                server: proxy.unwrap_or(&server),
                certificate_authority: authority.as_deref().filter(|_| proxy.is_none()),
                token,
                namespace,
            },
        )
    }

    /// Addresses of this control plane and its pods.
    pub fn network(&self) -> Result<&Network> {
        Ok(&self.own("addresses")?.0.network)
    }

    /// The audit log: who did what.
    pub fn audit(&self) -> Result<AuditLog> {
        Ok(AuditLog::new(
            self.own("the audit log")?.0.path("audit.log"),
        ))
    }

    /// The process of a component, for signals and its log.
    pub fn process(&self, component: Component) -> Result<Process> {
        let (_, processes) = self.own(component.name())?;
        lock(processes)
            .get(&component)
            .cloned()
            .ok_or_else(|| anyhow!("{} was never started", component.name()))
    }

    /// SIGKILL. The component stays dead until [`ControlPlane::restart`].
    pub async fn kill(&self, component: Component) -> Result<()> {
        self.process(component)?.kill().await;
        Ok(())
    }

    /// SIGSTOP: the process keeps its connections and answers nothing.
    pub fn stop(&self, component: Component) -> Result<()> {
        self.process(component)?.signal(Signal::STOP)
    }

    /// SIGCONT after [`ControlPlane::stop`].
    pub fn resume(&self, component: Component) -> Result<()> {
        self.process(component)?.signal(Signal::CONT)
    }

    /// Ends a component (SIGTERM, then SIGKILL; nothing if it is dead) and starts it as it was: same addresses, same data. Waits until it is ready.
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.process(component)?.terminate(STOP_GRACE).await;
        self.start_component(component).await?;
        if component == Component::Etcd {
            self.wait_ready(Component::ApiServer).await?;
        }
        Ok(())
    }

    /// kubectl as the bench's own user; fails in an attached cluster if no kubectl was built or is on the path.
    pub fn kubectl(&self) -> Command {
        match &self.backend {
            Backend::Own { plan, .. } => plan.tool("kubectl"),
            Backend::Attached => {
                let built = binaries::folder().join("kubectl");
                let mut command = Command::new(if built.is_file() {
                    built
                } else {
                    PathBuf::from("kubectl")
                });
                command.env("KUBECONFIG", &self.kubeconfig);
                command
            }
        }
    }

    /// Helm as the bench's own user, with its caches in the folder of the run; built first if that was not done yet (minutes).
    pub async fn helm(&self) -> Result<Command> {
        let binaries = tokio::task::spawn_blocking(|| binaries::ensure(BinaryGroup::Helm))
            .await
            .context("build Helm")??;
        let mut command = Command::new(binaries.join("helm"));
        command.env("KUBECONFIG", &self.kubeconfig);
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.folder.join("helm").join(folder));
        }
        Ok(command)
    }

    /// Ends the run as a success: processes are ended, and the folder is removed unless `AGENTPOOL_KEEP` is set.
    pub fn finish(self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// Writes the objects of interest into `objects/` of the folder, one file a resource.
    pub fn dump(&self) {
        record::dump(
            self.kubectl(),
            || self.kubectl(),
            &self.folder.join("objects"),
        );
    }

    fn own(&self, what: &str) -> Result<(&Plan, &Mutex<BTreeMap<Component, Process>>)> {
        match &self.backend {
            Backend::Own { plan, processes } => Ok((plan, processes)),
            Backend::Attached => {
                bail!(
                    "{what}: this is the cluster of KUBECONFIG, whose processes are not ours; unset KUBECONFIG to test with a control plane of our own"
                )
            }
        }
    }

    async fn start_component(&self, component: Component) -> Result<()> {
        let (plan, processes) = self.own(component.name())?;
        let log = plan.path(&format!("{}.log", component.name()));
        let process = self
            .group
            .spawn(component.name(), plan.command(component), &log)?;
        lock(processes).insert(component, process);
        self.wait_ready(component).await
    }

    async fn wait_ready(&self, component: Component) -> Result<()> {
        let (plan, _) = self.own(component.name())?;
        let (address, process) = (plan.listens_at(component), self.process(component)?);
        let ready = wait::until(
            START_LIMIT,
            format!("{} is ready", component.name()),
            async || {
                if let Some(status) = process.exit_status() {
                    return Err(anyhow!(
                        "{} ended ({status}) instead of starting",
                        component.name()
                    ));
                }
                if tokio::net::TcpStream::connect(address).await.is_err() {
                    return Ok(None);
                }
                if component != Component::ApiServer {
                    return Ok(Some(()));
                }
                Ok(self
                    .api_server_is_ready()
                    .await
                    .ok()
                    .filter(|ready| *ready)
                    .map(|_| ()))
            },
        );
        ready.await.with_context(|| {
            format!(
                "the end of {}:\n{}",
                process.log().display(),
                process.log_tail(15)
            )
        })
    }

    async fn api_server_is_ready(&self) -> Result<bool> {
        let mut config = config_of(&self.kubeconfig).await?;
        config.connect_timeout = Some(Duration::from_secs(2));
        config.read_timeout = Some(Duration::from_secs(5));
        config.default_namespace = "default".to_owned();
        let client = Client::try_from(config)?;
        let request = http::Request::get("/readyz").body(Vec::new())?;
        let answer =
            tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await??;
        Ok(answer == "ok")
    }

    /// The first things that controllers make; pods are refused before.
    async fn wait_for_controllers(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        wait::until(
            START_LIMIT,
            "the controller manager has made the service account default/default",
            async || Ok(accounts.get_opt("default").await?.map(|_| ())),
        )
        .await
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.finished.load(Ordering::Relaxed) {
            self.group.end();
            if std::env::var_os("AGENTPOOL_KEEP").is_none() {
                let _ = std::fs::remove_dir_all(&self.folder);
            }
            return;
        }
        self.dump();
        self.group.end();
        // What a failure needs is in the dump; the store is only large.
        let _ = std::fs::remove_dir_all(self.folder.join("etcd"));
        eprintln!(
            "bench: logs, audit log and objects of this run are kept in {}",
            self.folder.display()
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client for a kubeconfig file.
pub async fn client_of(kubeconfig: &Path) -> Result<Client> {
    Client::try_from(config_of(kubeconfig).await?)
        .with_context(|| format!("a client for {}", kubeconfig.display()))
}

pub(crate) async fn config_of(path: &Path) -> Result<Config> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", path.display()))
}

/// `target/e2e/<name>-<pid>`, or with a number behind it when this process makes several.
fn new_folder(name: &str) -> Result<PathBuf> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| binaries::repository().join("target"), PathBuf::from);
    let folder = match RUNS.fetch_add(1, Ordering::Relaxed) {
        0 => target.join(format!("e2e/{name}-{}", std::process::id())),
        run => target.join(format!("e2e/{name}-{}-{run}", std::process::id())),
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("make the folder of this run, {}", folder.display()))?;
    // Components are started in it.
    folder.canonicalize().context("find the folder of this run")
}
