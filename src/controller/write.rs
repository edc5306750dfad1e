//! The only writes. Each is bounded in time, made under a field manager of its own, counted, and made only while this process
//! leads; the API server checks the last point again.

use super::leadership::LeaderState;
use crate::telemetry::{Health, Metrics, WriteKind, WriteOutcome};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Field manager of replica counts.
pub const REPLICAS_MANAGER: &str = "agentpool/replicas";
/// Field manager of GPU requests and of our notes on workloads.
pub const GPU_MANAGER: &str = "agentpool/gpu";
/// Field manager of pod deletion costs.
pub const PODS_MANAGER: &str = "agentpool/pods";
/// Field manager of status.
pub const STATUS_MANAGER: &str = "agentpool/status";

/// Why a write was not made or not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another replica leads now, or this one cannot see the cluster.
    #[error("another replica leads, or the cluster cannot be watched")]
    NotLeading,
    /// No answer in time; it may have been carried out.
    #[error("no answer from the API server within {0:?}")]
    TimedOut(Duration),
    /// The API server refused it or could not be reached.
    #[error("{}", in_words(.0))]
    Api(#[from] kube::Error),
}

/// What the API server said, without the structure around it.
fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

impl WriteError {
    /// How the write counts.
    fn outcome(&self) -> WriteOutcome {
        match self {
            Self::NotLeading => WriteOutcome::Refused,
            Self::TimedOut(_) => WriteOutcome::TimedOut,
            Self::Api(kube::Error::Api(status)) => match status.code {
                409 => WriteOutcome::Conflict,
                422 if status
                    .message
                    .contains("the server rejected our request due to an error in our request") =>
                {
                    WriteOutcome::Conflict
                }
                400 | 403 | 404 | 422 => WriteOutcome::Refused,
                _ => WriteOutcome::Failed,
            },
            Self::Api(_) => WriteOutcome::Failed,
        }
    }

    /// Nobody knows whether it was carried out: no answer, or none that says so.
    pub fn is_unsure(&self) -> bool {
        matches!(
            self.outcome(),
            WriteOutcome::TimedOut | WriteOutcome::Failed
        )
    }

    /// A right is missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(s)) if s.code == 403)
    }

    /// The API server has said no, and would say it again.
    pub fn is_refusal(&self) -> bool {
        matches!(self.outcome(), WriteOutcome::Refused)
            && matches!(self, Self::Api(kube::Error::Api(s)) if s.code != 404)
    }

    /// Somebody wrote in between, or the object is gone: decide anew, nothing is wrong.
    pub fn is_race(&self) -> bool {
        matches!(self.outcome(), WriteOutcome::Conflict)
            || matches!(self, Self::Api(kube::Error::Api(s)) if s.code == 404)
    }
}

/// Makes writes.
#[derive(Clone)]
pub struct Writer {
    client: kube::Client,
    leader: watch::Receiver<LeaderState>,
    health: Health,
    metrics: Metrics,
    timeout: Duration,
}

impl Writer {
    /// A writer that asks `leader` before every write.
    pub fn new(
        client: kube::Client,
        leader: watch::Receiver<LeaderState>,
        health: Health,
        metrics: Metrics,
        timeout: Duration,
    ) -> Self {
        Self {
            client,
            leader,
            health,
            metrics,
            timeout,
        }
    }

    /// The API client, for reads.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Whether a write may begin in a namespace now: this process leads, and what it knows of it is no old picture.
    pub fn leads_in(&self, namespace: &str) -> bool {
        self.leader.borrow().may_write(Instant::now()) && !self.health.is_blind_in(namespace)
    }

    /// A read, bounded as a write is.
    ///
    /// # Errors
    /// When it failed or got no answer.
    pub async fn read<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        timeout(self.timeout, call)
            .await
            .map_err(|_| WriteError::TimedOut(self.timeout))?
            .map_err(WriteError::from)
    }

    async fn bounded<T>(
        &self,
        kind: WriteKind,
        namespace: Option<&str>,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let result = if self.leads_in(namespace.unwrap_or_default()) {
            match timeout(self.timeout, call).await {
                Ok(answer) => answer.map_err(WriteError::from),
                Err(_) => Err(WriteError::TimedOut(self.timeout)),
            }
        } else {
            Err(WriteError::NotLeading)
        };
        let outcome = result
            .as_ref()
            .map_or_else(WriteError::outcome, |_| WriteOutcome::Applied);
        self.metrics.count_write(kind, outcome);
        result
    }

    /// One JSON patch; its `test` operations make it a compare-and-set.
    pub async fn json_patch<K>(
        &self,
        kind: WriteKind,
        manager: &str,
        api: &Api<K>,
        name: &str,
        operations: Vec<Value>,
    ) -> Result<K, WriteError>
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + Debug,
    {
        let patch = json_patch(operations)?;
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        self.bounded(kind, api.namespace(), api.patch(name, &params, &patch))
            .await
    }

    /// Replicas through the scale subresource, if they still are `from`. Returns the version that the write made.
    pub async fn scale<K>(
        &self,
        api: &Api<K>,
        name: &str,
        from: u32,
        to: u32,
    ) -> Result<u64, WriteError>
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned,
    {
        let patch = json_patch(rescale(from, to))?;
        let params = PatchParams {
            field_manager: Some(REPLICAS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let scale = self
            .bounded(
                WriteKind::Replicas,
                api.namespace(),
                api.patch_scale(name, &params, &patch),
            )
            .await?;
        Ok(scale
            .metadata
            .resource_version
            .and_then(|v| v.parse().ok())
            .unwrap_or(0))
    }

    /// A merge patch of an object.
    pub async fn merge<K>(
        &self,
        kind: WriteKind,
        manager: &str,
        api: &Api<K>,
        name: &str,
        body: Value,
    ) -> Result<K, WriteError>
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + Debug,
    {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(body);
        self.bounded(kind, api.namespace(), api.patch(name, &params, &patch))
            .await
    }

    /// A merge patch of an object's status.
    pub async fn status<K>(&self, api: &Api<K>, name: &str, body: Value) -> Result<K, WriteError>
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + Debug,
    {
        let params = PatchParams {
            field_manager: Some(STATUS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.bounded(
            WriteKind::Status,
            api.namespace(),
            api.patch_status(name, &params, &Patch::Merge(body)),
        )
        .await
    }
}

/// From exactly `from` replicas to `to`. A Scale of no replicas says nothing of them: its spec is empty then (seen on Kubernetes 1.36).
fn rescale(from: u32, to: u32) -> Vec<Value> {
    let expected = match from {
        0 => json!({"op": "test", "path": "/spec", "value": {}}),
        _ => json!({"op": "test", "path": "/spec/replicas", "value": from}),
    };
    vec![
        expected,
        json!({"op": "add", "path": "/spec/replicas", "value": to}),
    ]
}

/// A JSON patch from operations; what is not well-formed surfaces as an error of the call.
fn json_patch(operations: Vec<Value>) -> Result<Patch<()>, WriteError> {
    Ok(Patch::Json(
        serde_json::from_value(Value::Array(operations)).map_err(kube::Error::SerdeError)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Watched;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn answered(code: u16) -> WriteError {
        let status = kube::core::Status {
            code,
            ..kube::core::Status::default()
        };
        WriteError::Api(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_write_without_an_answer_that_refuses_it_may_have_been_carried_out() {
        assert!(WriteError::TimedOut(Duration::from_secs(5)).is_unsure());
        for code in [500, 503, 504] {
            assert!(answered(code).is_unsure(), "{code}");
        }
        for code in [400, 403, 404, 409, 422] {
            assert!(!answered(code).is_unsure(), "{code}");
        }
        assert!(!WriteError::NotLeading.is_unsure());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_writes_where_it_sees_and_nowhere_else() -> Result<(), kube::Error> {
        let nowhere = http::Uri::from_static("http://127.0.0.1:1");
        let client = kube::Client::try_from(kube::Config::new(nowhere))?;
        let leader = watch::channel(LeaderState::Unopposed).1;
        let health = Health::new();
        let timeout = Duration::from_secs(1);
        let writer = Writer::new(client, leader, health.clone(), Metrics::new(), timeout);
        let pods = |namespace| Watched::new("pods", Some(namespace));
        health.watches(&pods("b"), Ok(()));
        assert!(writer.leads_in("a") && writer.leads_in("b"));
        tokio::time::advance(Duration::from_secs(100)).await;
        health.watches(&pods("a"), Ok(()));
        assert!(writer.leads_in("a") && !writer.leads_in("b"));
        let maps: Api<ConfigMap> = Api::namespaced(writer.client().clone(), "b");
        let kind = WriteKind::Annotation;
        let refused = writer.merge(kind, GPU_MANAGER, &maps, "x", json!({})).await;
        assert!(matches!(refused, Err(WriteError::NotLeading)));
        Ok(())
    }

    #[test]
    fn a_scale_of_no_replicas_is_told_by_its_empty_spec() {
        assert_eq!(
            rescale(0, 2),
            [
                json!({"op": "test", "path": "/spec", "value": {}}),
                json!({"op": "add", "path": "/spec/replicas", "value": 2}),
            ]
        );
        assert_eq!(
            rescale(3, 0)[0],
            json!({"op": "test", "path": "/spec/replicas", "value": 3})
        );
    }
}
