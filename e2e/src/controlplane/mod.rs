//! A real Kubernetes control plane as child processes, or a handle on a cluster that exists.
//!
//! [`ControlPlane::start`] gives each test its own etcd, API server, controller manager, scheduler and KWOK (which plays the nodes), on addresses of
//! their own, in a folder of their own. With the environment variable `KUBECONFIG` set, the same call attaches to that cluster: objects and clients
//! work alike, what needs the processes (kill, pause, audit log) returns an error that says so.

mod access;
mod attached;
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
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};

pub use access::client_of;
pub(crate) use access::config_of;
use access::new_folder;
use attached::Attached;
use audit::AuditLog;
use binaries::BinaryGroup;
use files::{Access, Token};
use launch::Plan;
use network::Network;
pub use options::{Component, Options};
use process::{Process, ProcessGroup, Signal};

use crate::wait;

/// The label of namespaces that the bench made; it removes them from a cluster that is not its own.
pub const BENCH_LABEL: &str = "bench.agentpool.dev/namespace";

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
    Attached(Attached),
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready (about 6 s), or attaches to the cluster of `KUBECONFIG`.
    ///
    /// # Errors
    /// A program cannot be built or started, or ends before it is ready; the message carries the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        match foreign_cluster() {
            Some(kubeconfig) => Self::attach(&options.name, &kubeconfig).await,
            None => Self::start_own(&options).await,
        }
    }

    /// Attaches to a cluster that somebody else runs, and in which KWOK or real kubelets run the pods. Only one test at a time has such a cluster; it waits
    /// for its turn. Namespaces and nodes that the bench made there are removed before and after.
    ///
    /// # Errors
    /// The file is missing, or the cluster does not answer.
    pub async fn attach(name: &str, kubeconfig: &Path) -> Result<Self> {
        let path = kubeconfig.to_owned();
        // Another test may have its turn for minutes.
        let turn = tokio::task::spawn_blocking(move || Attached::take_turn(&path));
        let attached = turn.await.context("wait for a turn")??;
        Ok(Self {
            folder: new_folder(name)?,
            kubeconfig: kubeconfig.to_owned(),
            finished: AtomicBool::new(false),
            backend: Backend::Attached(attached),
            group: ProcessGroup::new()?,
        })
    }

    /// Starts a control plane of its own, whatever `KUBECONFIG` says.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_own(options: &Options) -> Result<Self> {
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
        this.wait_for_service_account("default").await?;
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
        matches!(self.backend, Backend::Attached(_))
    }

    /// The API server's URL, and the file of its certificate authority where it is our own.
    pub async fn server(&self) -> Result<(String, Option<PathBuf>)> {
        match &self.backend {
            Backend::Own { plan, .. } => Ok((plan.server(), Some(plan.certificate()))),
            Backend::Attached(_) => {
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

    /// The audit log: who did what. Of a cluster that is not ours it is what [`AUDIT_LOG`] names.
    ///
    /// # Errors
    /// When it names nothing there.
    pub fn audit(&self) -> Result<AuditLog> {
        match &self.backend {
            Backend::Own { plan, .. } => Ok(AuditLog::new(plan.path("audit.log"))),
            Backend::Attached(attached) => attached.audit(),
        }
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

    /// Creates a namespace that goes with this run, and waits until pods can be created in it.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace =
            serde_json::json!({"metadata": {"name": name, "labels": {BENCH_LABEL: "true"}}});
        let namespace: Namespace = serde_json::from_value(namespace).context("a namespace")?;
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        created.with_context(|| format!("create namespace {name}"))?;
        self.wait_for_service_account(name).await
    }

    /// kubectl as the bench's own user; fails in an attached cluster if no kubectl was built or is on the path.
    pub fn kubectl(&self) -> Command {
        match &self.backend {
            Backend::Own { plan, .. } => plan.tool("kubectl"),
            Backend::Attached(attached) => attached.kubectl(),
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
            Backend::Attached(_) => {
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

    /// The controller manager makes it; pods are refused before.
    async fn wait_for_service_account(&self, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let what =
            format!("the controller manager has made the service account {namespace}/default");
        wait::until(START_LIMIT, what, async || {
            Ok(accounts.get_opt("default").await?.map(|_| ()))
        })
        .await
    }
}

/// Environment variable that names the audit log of the cluster of `KUBECONFIG`.
pub const AUDIT_LOG: &str = "AGENTPOOL_AUDIT_LOG";

/// Says so, and is true, where a test that ends or reads the processes of the control plane cannot run, since they are somebody else's.
///
/// # Panics
/// With `CI=true`: there nothing is skipped.
pub fn skipped_in_a_foreign_cluster(test: &str) -> bool {
    let Some(kubeconfig) = foreign_cluster() else {
        return false;
    };
    let why = format!(
        "{test} needs a control plane of its own; unset KUBECONFIG (now {})",
        kubeconfig.display()
    );
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{why}; nothing is skipped with CI=true");
    // Past the capture of the test harness, which hides what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    true
}

/// The kubeconfig of the cluster that `KUBECONFIG` asks to test in, instead of a control plane of our own.
pub fn foreign_cluster() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let failed = !self.finished.load(Ordering::Relaxed);
        if failed {
            self.dump();
        }
        self.group.end();
        if let Backend::Attached(attached) = &self.backend
            && let Err(why) = attached.clean()
        {
            eprintln!("bench: could not remove everything of ours from the cluster: {why:#}");
        }
        if !failed {
            if std::env::var_os("AGENTPOOL_KEEP").is_none() {
                let _ = std::fs::remove_dir_all(&self.folder);
            }
            return;
        }
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
