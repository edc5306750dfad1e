//! The API server's audit log as typed records: the observer for "no change, no write", for what the operator may and does use, and for who wrote what.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// The audit log of a control plane. Reading it again sees what was added.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    /// Where it begins in the file, in bytes.
    from: usize,
}

impl AuditLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, from: 0 }
    }

    /// The log of a cluster that others have used before, from now on.
    pub(super) fn from_now(path: PathBuf) -> Result<Self> {
        let meta = std::fs::metadata(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self {
            from: usize::try_from(meta.len())?,
            path,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All requests so far, in the order in which they ended. The API server writes a record before its answer leaves, so what a client
    /// has seen answered is here.
    ///
    /// # Errors
    /// The file cannot be read, or a line in it is no audit event.
    pub fn records(&self) -> Result<Records> {
        let text = match std::fs::read(&self.path) {
            Ok(bytes) => {
                String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
            }
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("read {}", self.path.display()));
            }
        };
        // The last line may be half written.
        let whole = text
            .rfind('\n')
            .map_or("", |end| text.get(..end).unwrap_or_default());
        let records = whole
            .lines()
            .filter(|line| !line.is_empty())
            .map(parse)
            .collect::<Result<Vec<Record>>>()?;
        Ok(Records(records))
    }
}

/// One request to the API server and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When the API server received it.
    pub time: Timestamp,
    /// The user, such as `system:serviceaccount:agentpool:agentpool`.
    pub user: String,
    /// The pod that the user's token is bound to.
    pub pod: Option<String>,
    /// What the client calls itself.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// `deployments`; empty for a URL that is no resource.
    pub resource: String,
    /// `scale`, `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for what is cluster-scoped.
    pub namespace: String,
    /// Empty for a list, or where the server chose the name.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// The body that was sent, where the audit policy keeps it: for a patch, the patch.
    pub request: Option<Value>,
    /// The body of the answer, where the audit policy keeps it.
    pub response: Option<Value>,
}

impl Record {
    /// Whether it asks for a change (also when it was refused or changed nothing).
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether it was done.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// `deployments`, `deployments/scale`.
    pub fn path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// The field manager that the request names.
    pub fn field_manager(&self) -> Option<&str> {
        let (_, query) = self.uri.split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("fieldManager="))
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} {} {} {}/{} -> {}",
            self.time,
            self.user,
            self.verb,
            self.path(),
            self.namespace,
            self.name,
            self.code
        )?;
        match &self.request {
            Some(body) if self.is_write() => write!(f, " {body}"),
            _ => Ok(()),
        }
    }
}

/// Records, to be narrowed step by step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records(pub Vec<Record>);

impl Records {
    /// Those that `keep` accepts.
    #[must_use]
    pub fn filter(mut self, keep: impl FnMut(&Record) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// Of one user.
    #[must_use]
    pub fn by_user(self, user: &str) -> Self {
        self.filter(|record| record.user == user)
    }

    /// Of clients whose user agent contains this.
    #[must_use]
    pub fn by_user_agent(self, part: &str) -> Self {
        self.filter(|record| record.user_agent.contains(part))
    }

    /// Of the service account `name` in `namespace`.
    #[must_use]
    pub fn by_service_account(self, namespace: &str, name: &str) -> Self {
        self.by_user(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// Changes only.
    #[must_use]
    pub fn writes(self) -> Self {
        self.filter(Record::is_write)
    }

    /// What was done, not what was refused.
    #[must_use]
    pub fn succeeded(self) -> Self {
        self.filter(Record::succeeded)
    }

    /// Received at or after a moment.
    #[must_use]
    pub fn since(self, start: Timestamp) -> Self {
        self.filter(|record| record.time >= start)
    }

    /// Received before a moment.
    #[must_use]
    pub fn before(self, end: Timestamp) -> Self {
        self.filter(|record| record.time < end)
    }

    /// Of one resource and all its subresources: `deployments`.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        self.filter(|record| record.resource == resource)
    }

    /// Of one subresource exactly: `deployments`, `deployments/scale`, `agentpools/status`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.filter(|record| record.path() == path)
    }

    /// In one namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.filter(|record| record.namespace == namespace)
    }

    /// Writes to workloads: Deployments, StatefulSets, ReplicaSets, pods, autoscalers, with their subresources.
    #[must_use]
    pub fn workload_writes(self) -> Self {
        self.writes().filter(|record| {
            matches!(
                record.resource.as_str(),
                "deployments"
                    | "statefulsets"
                    | "replicasets"
                    | "pods"
                    | "horizontalpodautoscalers"
            )
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Record> {
        self.0.iter()
    }
}

impl std::fmt::Display for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

/// The fields that we read of `audit.k8s.io/v1` Event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default)]
    verb: String,
    #[serde(default, rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_object: Option<Value>,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize, Default)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: std::collections::BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

fn parse(line: &str) -> Result<Record> {
    let event: Event =
        serde_json::from_str(line).with_context(|| format!("not an audit event: {line}"))?;
    let pod = event
        .user
        .extra
        .get("authentication.kubernetes.io/pod-name")
        .and_then(|names| names.first())
        .cloned();
    Ok(Record {
        time: event.request_received_timestamp,
        user: event.user.username,
        pod,
        user_agent: event.user_agent,
        verb: event.verb,
        group: event.object_ref.api_group,
        resource: event.object_ref.resource,
        subresource: event.object_ref.subresource,
        namespace: event.object_ref.namespace,
        name: event.object_ref.name,
        uri: event.request_uri,
        code: event.response_status.code,
        request: event.request_object,
        response: event.response_object,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/agents/deployments/a/scale?fieldManager=agentpool&force=true","verb":"patch","user":{"username":"system:serviceaccount:agentpool:agentpool","extra":{"authentication.kubernetes.io/pod-name":["agentpool-0"]}},"userAgent":"agentpool/0.1.0","objectRef":{"resource":"deployments","namespace":"agents","name":"a","apiGroup":"apps","apiVersion":"v1","subresource":"scale"},"responseStatus":{"metadata":{},"code":200},"requestObject":{"spec":{"replicas":3}},"requestReceivedTimestamp":"2026-11-20T11:00:00.123456Z","stageTimestamp":"2026-11-20T11:00:00.130000Z"}"#;

    #[test]
    fn a_record_says_who_did_what_to_which_object_and_with_what_body() {
        let record = parse(LINE).unwrap();
        assert_eq!(record.path(), "deployments/scale");
        assert_eq!(record.pod.as_deref(), Some("agentpool-0"));
        assert_eq!(record.field_manager(), Some("agentpool"));
        assert_eq!(record.request.as_ref().unwrap()["spec"]["replicas"], 3);
        assert!(record.is_write() && record.succeeded());
        let records = Records(vec![record]);
        assert_eq!(
            records
                .clone()
                .by_service_account("agentpool", "agentpool")
                .workload_writes()
                .len(),
            1
        );
        assert!(records.clone().by_user("bench").is_empty());
        assert!(
            records.path("deployments").is_empty(),
            "a write to a subresource is not a write to the object"
        );
    }

    #[test]
    fn a_half_written_last_line_is_left_for_the_next_read() {
        let path = std::env::temp_dir().join(format!("agentpool-audit-{}.log", std::process::id()));
        std::fs::write(&path, format!("{LINE}\n{}", &LINE[..50])).unwrap();
        assert_eq!(AuditLog::new(path.clone()).records().unwrap().len(), 1);
        std::fs::write(&path, format!("{LINE}\nnonsense\n")).unwrap();
        assert!(
            AuditLog::new(path.clone())
                .records()
                .unwrap_err()
                .to_string()
                .contains("nonsense")
        );
        std::fs::remove_file(path).unwrap();
    }
}
