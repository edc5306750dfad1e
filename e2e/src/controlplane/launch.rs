//! The command lines of the control plane's processes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::binaries;
use super::files::{self, Access, Token, Tokens};
use super::network::Network;
use super::options::{Component, Options};

/// Everything that is fixed for the life of a control plane, so that a process can be started again as it was.
pub(super) struct Plan {
    pub network: Network,
    pub folder: PathBuf,
    pub tokens: Tokens,
    binaries: PathBuf,
    ports: Ports,
    fsync: bool,
    api_server_flags: Vec<String>,
}

struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controller_manager: u16,
    scheduler: u16,
    kwok: u16,
}

impl Plan {
    /// Claims addresses and writes every file that does not depend on a running process.
    pub(super) fn prepare(options: &Options, folder: &Path, binaries: PathBuf) -> Result<Self> {
        let network = Network::claim()?;
        let tokens = Tokens::random()?;
        let ports = Ports {
            etcd: network.free_port()?,
            etcd_peer: network.free_port()?,
            api_server: network.free_port()?,
            controller_manager: network.free_port()?,
            scheduler: network.free_port()?,
            kwok: network.free_port()?,
        };
        let plan = Self {
            network,
            folder: folder.to_owned(),
            tokens,
            binaries,
            ports,
            fsync: options.fsync,
            api_server_flags: options.api_server_flags.clone(),
        };
        let keys = files::signing_keys()?;
        files::write_private(&plan.path("service-account.key"), &keys.private)?;
        files::write_private(&plan.path("service-account.pub"), &keys.public)?;
        files::write_private(&plan.path("tokens.csv"), &plan.tokens.file())?;
        files::write_private(&plan.path("audit-policy.yaml"), files::AUDIT_POLICY)?;
        for (file, token) in [
            ("kubeconfig", &plan.tokens.bench),
            ("kwok.kubeconfig", &plan.tokens.kwok),
            (
                "kube-controller-manager.kubeconfig",
                &plan.tokens.controller_manager,
            ),
            ("kube-scheduler.kubeconfig", &plan.tokens.scheduler),
        ] {
            let access = Access {
                server: &plan.server(),
                certificate_authority: Some(&plan.certificate()),
                token: Token::Inline(token),
                namespace: "default",
            };
            files::write_kubeconfig(&plan.path(file), &access)?;
        }
        Ok(plan)
    }

    /// A file of this run.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The API server's address, `https://...`.
    pub(super) fn server(&self) -> String {
        format!(
            "https://{}:{}",
            self.network.control_address(),
            self.ports.api_server
        )
    }

    /// The certificate that the API server makes for itself when it starts; it contains its own authority.
    pub(super) fn certificate(&self) -> PathBuf {
        self.path("certificates/apiserver.crt")
    }

    /// A program of the control plane that is no server, such as kubectl.
    pub(super) fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.env("KUBECONFIG", self.path("kubeconfig"));
        command
    }

    /// Where a component listens once it is up.
    pub(super) fn listens_at(&self, component: Component) -> SocketAddr {
        let port = match component {
            Component::Etcd => self.ports.etcd,
            Component::ApiServer => self.ports.api_server,
            Component::ControllerManager => self.ports.controller_manager,
            Component::Scheduler => self.ports.scheduler,
            Component::Kwok => self.ports.kwok,
        };
        SocketAddr::new(IpAddr::V4(self.network.control_address()), port)
    }

    /// The command that starts a component.
    pub(super) fn command(&self, component: Component) -> Command {
        let mut command = Command::new(self.binaries.join(component.name()));
        command.current_dir(&self.folder);
        // A user's own cluster must be out of reach of every process here.
        command.env_remove("KUBECONFIG");
        let arguments = match component {
            Component::Etcd => self.etcd(),
            Component::ApiServer => self.api_server(),
            Component::ControllerManager => self.controller_manager(),
            Component::Scheduler => self.scheduler(),
            Component::Kwok => self.kwok(),
        };
        command.args(arguments);
        command
    }

    fn etcd(&self) -> Vec<String> {
        let address = self.network.control_address();
        let (client, peer) = (
            format!("http://{address}:{}", self.ports.etcd),
            format!("http://{address}:{}", self.ports.etcd_peer),
        );
        let mut flags = vec![
            "--name=bench".to_owned(),
            format!("--data-dir={}", self.path("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=bench={peer}"),
            "--log-level=warn".to_owned(),
        ];
        if !self.fsync {
            flags.push("--unsafe-no-fsync".to_owned());
        }
        flags
    }

    fn api_server(&self) -> Vec<String> {
        let address = self.network.control_address();
        let mut flags = vec![
            format!("--etcd-servers=http://{address}:{}", self.ports.etcd),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--secure-port={}", self.ports.api_server),
            format!("--cert-dir={}", self.path("certificates").display()),
            // A loopback address cannot be an endpoint of the service `kubernetes`, and nothing here needs one.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!(
                "--service-account-key-file={}",
                self.path("service-account.pub").display()
            ),
            format!(
                "--service-account-signing-key-file={}",
                self.path("service-account.key").display()
            ),
            format!("--service-account-issuer={}", self.server()),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", self.path("tokens.csv").display()),
            format!(
                "--audit-policy-file={}",
                self.path("audit-policy.yaml").display()
            ),
            format!("--audit-log-path={}", self.path("audit.log").display()),
            // In megabytes: one file, never rotated, so that a reader sees all of it.
            "--audit-log-maxsize=100000".to_owned(),
            // No test may be slowed by the limits of a small machine's default.
            "--max-requests-inflight=1600".to_owned(),
            "--max-mutating-requests-inflight=800".to_owned(),
        ];
        flags.extend(self.api_server_flags.iter().cloned());
        flags
    }

    fn controller_manager(&self) -> Vec<String> {
        let kubeconfig = self.path("kube-controller-manager.kubeconfig");
        vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--authentication-kubeconfig={}", kubeconfig.display()),
            format!("--authorization-kubeconfig={}", kubeconfig.display()),
            format!("--bind-address={}", self.network.control_address()),
            format!("--secure-port={}", self.ports.controller_manager),
            format!(
                "--cert-dir={}",
                self.path("controller-manager-certificates").display()
            ),
            "--use-service-account-credentials=true".to_owned(),
            format!(
                "--service-account-private-key-file={}",
                self.path("service-account.key").display()
            ),
            format!("--root-ca-file={}", self.certificate().display()),
            "--leader-elect=false".to_owned(),
            // The default of 20 requests a second is the bottleneck of scenes with many pods.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]
    }

    fn scheduler(&self) -> Vec<String> {
        let kubeconfig = self.path("kube-scheduler.kubeconfig");
        vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--authentication-kubeconfig={}", kubeconfig.display()),
            format!("--authorization-kubeconfig={}", kubeconfig.display()),
            format!("--bind-address={}", self.network.control_address()),
            format!("--secure-port={}", self.ports.scheduler),
            format!(
                "--cert-dir={}",
                self.path("scheduler-certificates").display()
            ),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]
    }

    fn kwok(&self) -> Vec<String> {
        let stages = binaries::sources().join("stages");
        vec![
            format!("--kubeconfig={}", self.path("kwok.kubeconfig").display()),
            format!("--config={}", stages.join("node.yaml").display()),
            format!("--config={}", stages.join("pod.yaml").display()),
            "--manage-all-nodes=true".to_owned(),
            format!("--cidr={}", self.network.pod_cidr()),
            format!("--node-ip={}", self.network.control_address()),
            "--node-lease-duration-seconds=40".to_owned(),
            format!(
                "--server-address={}:{}",
                self.network.control_address(),
                self.ports.kwok
            ),
        ]
    }
}
