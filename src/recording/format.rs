use crate::allocation::{self, Allotment, Load};
use crate::api::{AgentPool, Invalid, ValidPool};
use crate::sharing::{self, Observed, Plan};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Version of the format. Another one is refused, by name.
pub const VERSION: u32 = 1;

/// Every so many decisions of a pool its memory is written in full, so that replay can compare its own.
pub const CHECKPOINT: u64 = 128;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// The first line of a file.
    Head(Head),
    /// A pool, before its first decision in a file and when its spec has changed.
    Pool(Box<Pool>),
    /// A decision.
    Decision(Box<Decision>),
    /// Decisions that were not written.
    Gap(Gap),
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// Version of the operator.
    pub agentpool: String,
    /// Wall time at which the file was begun, for people.
    pub wall: String,
}

impl Head {
    /// The head of a file in today's format; `agentpool` is the version that writes it.
    pub fn new(agentpool: &str, wall: String) -> Self {
        Self {
            version: VERSION,
            agentpool: agentpool.to_owned(),
            wall,
        }
    }
}

/// What is declared of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// `namespace/name`.
    pub key: String,
    /// Its name, namespace, UID, generation and spec: what a user would apply again.
    pub manifest: AgentPool,
    /// The operator could not see nodes.
    pub nodes_hidden: bool,
}

impl Pool {
    /// What is kept of `object`: no annotations, no labels, no status.
    pub fn of(object: &AgentPool, nodes_hidden: bool) -> Self {
        let name = object.metadata.name.clone().unwrap_or_default();
        let mut manifest = AgentPool::new(&name, object.spec.clone());
        manifest.metadata.namespace = object.metadata.namespace.clone();
        manifest.metadata.uid = object.metadata.uid.clone();
        manifest.metadata.generation = object.metadata.generation;
        let namespace = manifest.metadata.namespace.as_deref().unwrap_or_default();
        Self {
            key: format!("{namespace}/{name}"),
            manifest,
            nodes_hidden,
        }
    }

    /// The pool as the operator read it.
    ///
    /// # Errors
    /// The first field that this version refuses.
    pub fn admit(&self) -> Result<ValidPool, Invalid> {
        let mut valid = ValidPool::admit(&self.manifest)?;
        valid.shape.nodes_hidden = self.nodes_hidden;
        Ok(valid)
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Which pool: `namespace/name`.
    pub pool: String,
    /// Counts the pool's decisions since the operator knows it, from 0.
    pub number: u64,
    /// Wall time (RFC 3339), for people.
    pub wall: String,
    /// What it was computed from, beside the pool and its memory.
    pub inputs: Inputs,
    /// What the pool remembered before, where it does not follow from the line before.
    pub memory: Option<Memory>,
    /// What it came to.
    pub output: Output,
}

/// What a decision is computed from, beside the pool and its memory. Agents are in the pool's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Time since the operator started.
    pub now: Duration,
    /// Actuation lag, declared or learned.
    pub lag: Duration,
    /// Time in which backlog is to be worked off.
    pub drain: Duration,
    /// What was measured of each agent's load.
    pub loads: Vec<Load>,
    /// Whether each agent has been without signals for so long that it is raised to its minimum share.
    pub raised: Vec<bool>,
    /// Nodes, workloads and pods.
    pub observed: Observed,
}

/// What a pool remembers from decision to decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// What the policy remembers, when it is one that learns.
    pub allocation: allocation::Memory,
    /// What planning remembers: stabilization windows, and the decision that is being carried out.
    pub sharing: sharing::Memory,
}

impl Memory {
    /// Another replica has decided until now. What it left in force is what there is to begin with; what was learned of the load stays.
    pub fn take_over(&mut self) {
        self.allocation.begin_anew();
        self.sharing = sharing::Memory::default();
    }
}

/// What a decision came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Target share of each agent, and why.
    pub allotments: Vec<Allotment>,
    /// The steps.
    pub plan: Plan,
}

/// Decisions that were not written: the disk did not keep up, or somebody else led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Which pool: `namespace/name`.
    pub pool: String,
    /// The first that is missing.
    pub from: u64,
    /// The last that is missing.
    pub to: u64,
}

impl Line {
    /// The line as it is written, without its end.
    ///
    /// # Errors
    /// Never in practice: everything in it has a form in JSON.
    pub fn write(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Self::Head(head)) if head.version != VERSION => Err(format!(
                "its format has version {} (agentpool {}); this one reads version {VERSION}",
                head.version, head.agentpool,
            )),
            Ok(line) => Ok(line),
            Err(error) => Err(format!("not a line of a recording: {error}")),
        }
    }
}
