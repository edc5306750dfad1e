//! The loop that keeps one process a pod.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::spec::{Launch, pod_address};
use super::{Instance, InstanceState, Running, Shared, lock, token};
use crate::controlplane::files::{Access, Token, write_kubeconfig};
use crate::controlplane::process::ProcessGroup;
use crate::controlplane::{ControlPlane, config_of};
use crate::proxy::FaultProxy;

/// How often the pods are looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// Before the first restart of a process; doubled up to [`BACKOFF_LIMIT`] while it does not live for [`HEALTHY_AFTER`].
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_LIMIT: Duration = Duration::from_secs(5);
const HEALTHY_AFTER: Duration = Duration::from_secs(3);

pub(super) struct Kubelet {
    client: Client,
    shared: Arc<Shared>,
    group: ProcessGroup,
    folder: PathBuf,
    server: String,
    authority: Option<PathBuf>,
    kubeconfig: PathBuf,
    end: CancellationToken,
}

impl Kubelet {
    pub(super) async fn new(
        control_plane: &ControlPlane,
        shared: Arc<Shared>,
        end: CancellationToken,
    ) -> Result<Self> {
        let folder = control_plane
            .folder()
            .join(format!("operator-{}", shared.options.namespace));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let (server, authority) = control_plane.server().await?;
        let kubeconfig = control_plane.kubeconfig_path().to_owned();
        let mut config = config_of(&kubeconfig).await?;
        // An API server that is stopped must not stop this loop for minutes.
        config.read_timeout = Some(Duration::from_secs(5));
        let client = Client::try_from(config).context("a client for the operator's kubelet")?;
        Ok(Self {
            client,
            shared,
            group: control_plane.processes().clone(),
            folder,
            server,
            authority,
            kubeconfig,
            end,
        })
    }

    /// Until the runner is dropped; then all processes are ended.
    pub(super) async fn run(self) {
        let this = Arc::new(self);
        let pods: Api<Pod> = Api::namespaced(this.client.clone(), &this.shared.options.namespace);
        let wanted = ListParams::default().labels(&this.shared.options.selector);
        loop {
            // A kubelet that cannot reach the API server leaves everything as it is.
            if let Ok(Ok(found)) =
                tokio::time::timeout(Duration::from_secs(10), pods.list(&wanted)).await
            {
                for pod in &found.items {
                    if let Err(why) = this.start_if_new(pod).await {
                        eprintln!("bench: pod {} of the operator: {why:#}", pod.name_any());
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = this.end.cancelled() => return,
            }
        }
    }

    async fn start_if_new(self: &Arc<Self>, pod: &Pod) -> Result<()> {
        let running = pod
            .status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running"));
        let name = pod.name_any();
        let uid = pod.uid().unwrap_or_default();
        let known = lock(&self.shared.instances)
            .get(&name)
            .is_some_and(|instance| instance.inner.uid == uid);
        if known || !running || pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let launch = Launch::of(pod, self.shared.options.container.as_deref())?;
        let proxy = match self.shared.options.proxies {
            true => Some(FaultProxy::before(&self.kubeconfig).await?),
            false => None,
        };
        let server = proxy
            .as_ref()
            .map_or_else(|| self.server.clone(), FaultProxy::url);
        let instance = Instance {
            inner: Arc::new(InstanceState {
                address: pod_address(pod).unwrap_or_default(),
                log: self.folder.join(format!("{name}.log")),
                pod: name.clone(),
                uid,
                proxy,
                held_down: AtomicBool::new(false),
                running: Mutex::new(Running::default()),
            }),
        };
        let (token_file, kubeconfig) = (
            self.folder.join(format!("{name}.token")),
            self.folder.join(format!("{name}.kubeconfig")),
        );
        let renew = token::write(&self.client, pod, &token_file).await?;
        let access = Access {
            server: &server,
            certificate_authority: self
                .authority
                .as_deref()
                .filter(|_| instance.inner.proxy.is_none()),
            token: Token::File(&token_file),
            namespace: &self.shared.options.namespace,
        };
        write_kubeconfig(&kubeconfig, &access)?;
        lock(&self.shared.instances).insert(name, instance.clone());
        let keeper = Keeper {
            kubelet: Arc::clone(self),
            pod: pod.clone(),
            instance,
            launch,
            kubeconfig,
            token_file,
        };
        tokio::spawn(keeper.run(renew));
        Ok(())
    }
}

/// Keeps the process of one pod running until the pod goes.
struct Keeper {
    kubelet: Arc<Kubelet>,
    pod: Pod,
    instance: Instance,
    launch: Launch,
    kubeconfig: PathBuf,
    token_file: PathBuf,
}

impl Keeper {
    async fn run(self, renew: Duration) {
        tokio::select! {
            () = self.keep_running() => {}
            () = self.keep_token(renew) => {}
            grace = self.until_deleted() => self.stop(grace).await,
            () = self.kubelet.end.cancelled() => self.stop(Duration::from_secs(2)).await,
        }
    }

    async fn stop(&self, grace: Duration) {
        let process = lock(&self.instance.inner.running).process.clone();
        if let Some(process) = process {
            process.terminate(grace).await;
        }
    }

    async fn keep_running(&self) {
        let mut backoff = BACKOFF;
        loop {
            if self.instance.inner.held_down.load(Ordering::SeqCst) {
                tokio::time::sleep(PERIOD).await;
                continue;
            }
            let started = Instant::now();
            let options = &self.kubelet.shared.options;
            let mut command = self.launch.command(&options.binary, &self.kubeconfig);
            command.envs(&options.environment);
            match self.kubelet.group.spawn(
                &self.instance.inner.pod,
                command,
                &self.instance.inner.log,
            ) {
                Ok(process) => {
                    {
                        let mut running = lock(&self.instance.inner.running);
                        running.process = Some(process.clone());
                        running.starts += 1;
                    }
                    process.exited().await;
                }
                Err(why) => eprintln!(
                    "bench: pod {} of the operator: {why:#}",
                    self.instance.inner.pod
                ),
            }
            if started.elapsed() > HEALTHY_AFTER {
                backoff = BACKOFF;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_LIMIT);
        }
    }

    async fn keep_token(&self, mut renew: Duration) {
        loop {
            tokio::time::sleep(renew).await;
            // On failure the old token is good for as long again; a moment later is soon enough.
            renew = token::write(&self.kubelet.client, &self.pod, &self.token_file)
                .await
                .unwrap_or(Duration::from_secs(10));
        }
    }

    /// Returns the grace that is left when the pod is being deleted or is gone.
    async fn until_deleted(&self) -> Duration {
        let pods: Api<Pod> = Api::namespaced(
            self.kubelet.client.clone(),
            &self.kubelet.shared.options.namespace,
        );
        let name = &self.instance.inner.pod;
        loop {
            tokio::time::sleep(PERIOD).await;
            match pods.get_opt(name).await {
                Ok(Some(pod)) if pod.uid().as_deref() == Some(self.instance.inner.uid.as_str()) => {
                    if pod.metadata.deletion_timestamp.is_some() {
                        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
                        return Duration::from_secs(u64::try_from(grace).unwrap_or(0));
                    }
                }
                Ok(_) => return Duration::ZERO,
                // The API server is away: nothing changes.
                Err(_) => {}
            }
        }
    }
}

/// GETs `http://address/path`: status and body, within 5 s.
pub async fn http_get(address: &str, path: &str) -> Result<(u16, String)> {
    let client: HttpClient<_, Empty<Bytes>> =
        HttpClient::builder(TokioExecutor::new()).build_http();
    let uri: http::Uri = format!("http://{address}{path}").parse().context("a URL")?;
    let answer = tokio::time::timeout(Duration::from_secs(5), client.get(uri))
        .await
        .with_context(|| format!("no answer from {address}"))?;
    let answer = answer.with_context(|| format!("GET http://{address}{path}"))?;
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .context("read the answer")?
        .to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
