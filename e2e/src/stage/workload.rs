use serde_json::{Value, json};

/// An agent's Deployment or StatefulSet, whose pods the engine stand-in plays.
#[derive(Debug, Clone)]
pub struct AgentWorkload {
    /// Name of the workload, of the label `app` and of the agent that requests are counted for.
    pub name: String,
    /// `Deployment` or `StatefulSet`.
    pub kind: &'static str,
    /// Replicas at first.
    pub replicas: u32,
    /// GPU resource of the container.
    pub resource: String,
    /// How many of it.
    pub count: u32,
    /// Requests a second on one whole GPU.
    pub requests_per_second: f64,
    /// GPU memory, such as `3Gi`.
    pub memory: String,
    /// Time from binding to Ready.
    pub ready_delay: String,
    /// Time from deletion until the pod is gone.
    pub drain_delay: String,
    /// Seconds within which a deleted pod is to end; `None`: Kubernetes' default.
    pub grace_period: Option<u32>,
    /// The workload's strategy, as in its spec; `null`: the default.
    pub strategy: Value,
    /// `podManagementPolicy` of a StatefulSet: `Parallel`, unlike Kubernetes' default `OrderedReady`.
    pub pod_management: &'static str,
    /// b in speed = share^b on a partition.
    pub speed_exponent: f64,
}

impl AgentWorkload {
    /// A Deployment of one replica on one whole GPU, with the default strategy, ready after 2 s and gone after 1 s.
    pub fn new(name: impl Into<String>, requests_per_second: f64) -> Self {
        Self {
            name: name.into(),
            kind: "Deployment",
            replicas: 1,
            resource: "nvidia.com/gpu".to_owned(),
            count: 1,
            requests_per_second,
            memory: "1Gi".to_owned(),
            ready_delay: "2s".to_owned(),
            drain_delay: "1s".to_owned(),
            grace_period: None,
            strategy: Value::Null,
            pod_management: "Parallel",
            speed_exponent: 1.0,
        }
    }

    /// So many replicas at first.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Asks for so many of a GPU resource.
    #[must_use]
    pub fn gpus(mut self, resource: &str, count: u32) -> Self {
        resource.clone_into(&mut self.resource);
        self.count = count;
        self
    }

    /// GPU memory of a replica.
    #[must_use]
    pub fn memory(mut self, memory: &str) -> Self {
        memory.clone_into(&mut self.memory);
        self
    }

    /// The object.
    pub fn object(&self) -> Value {
        let labels = json!({ "app": self.name });
        let limits = json!({ &self.resource: self.count.to_string() });
        let mut spec = json!({
            "replicas": self.replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        "bench.agentpool.dev/engine": "vllm",
                        "bench.agentpool.dev/requests-per-second-per-gpu": self.requests_per_second.to_string(),
                        "bench.agentpool.dev/memory": self.memory,
                        "bench.agentpool.dev/gpu-memory-mib": (crate::engine::profile::parse_bytes(&self.memory).unwrap_or(0) >> 20).to_string(),
                        "bench.agentpool.dev/speed-exponent": self.speed_exponent.to_string(),
                        "bench.agentpool.dev/ready-delay": self.ready_delay,
                        "bench.agentpool.dev/drain-delay": self.drain_delay,
                    }
                },
                "spec": { "containers": [{ "name": "server", "image": "vllm/vllm-openai", "resources": { "limits": limits } }] }
            }
        });
        if let Some(seconds) = self.grace_period {
            spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(seconds);
        }
        if self.kind == "StatefulSet" {
            spec["serviceName"] = json!(self.name);
            spec["podManagementPolicy"] = json!(self.pod_management);
        }
        if !self.strategy.is_null() {
            let key = if self.kind == "StatefulSet" {
                "updateStrategy"
            } else {
                "strategy"
            };
            spec[key] = self.strategy.clone();
        }
        json!({ "apiVersion": "apps/v1", "kind": self.kind, "metadata": { "name": self.name, "namespace": super::AGENTS }, "spec": spec })
    }

    /// This agent in a pool, with so many replicas at most and this minimum share.
    pub fn agent(&self, priority: &str, min_share: &str, max: u32) -> Value {
        json!({
            "name": self.name,
            "workloadRef": { "apiVersion": "apps/v1", "kind": self.kind, "name": self.name },
            "priority": priority,
            "minShare": min_share,
            "replicas": { "min": 1, "max": max },
            "model": {
                "requestsPerSecondPerGpu": self.requests_per_second.to_string(),
                "memoryPerReplica": self.memory,
                "gpusPerReplica": if self.resource == "nvidia.com/gpu" { self.count } else { 1 },
                "speedExponent": self.speed_exponent.to_string(),
            }
        })
    }
}
