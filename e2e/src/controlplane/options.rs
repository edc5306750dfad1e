//! What a test may ask of its control plane.

/// How to start a control plane; [`Options::new`] is right for most tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names the folder of the run, `target/e2e/<name>-<pid>`; lower-case letters, digits and dashes.
    pub name: String,
    /// Whether etcd waits for the disk. Off by default: several times faster, and only a crash of the whole machine could lose data.
    pub fsync: bool,
    /// More flags for the API server, such as `--feature-gates=...`.
    pub api_server_flags: Vec<String>,
}

impl Options {
    /// A control plane for the test or program `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fsync: false,
            api_server_flags: Vec::new(),
        }
    }

    /// Lets etcd wait for the disk.
    #[must_use]
    pub fn with_fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// Adds a flag to the API server.
    #[must_use]
    pub fn with_api_server_flag(mut self, flag: impl Into<String>) -> Self {
        self.api_server_flags.push(flag.into());
        self
    }
}

/// A process of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of Deployments, ReplicaSets, garbage collection and so on.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// KWOK, which plays the nodes' kubelets.
    Kwok,
}

impl Component {
    /// In the order in which they start.
    pub const ALL: [Self; 5] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
    ];

    /// The name of the program, of its log file and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}
