//! Fence, jail and RBAC on a real API server: what an operator may write, which operator, and that nobody else is hindered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "policies/fields.rs"]
mod fields;

use std::time::Duration;

use agentpool_e2e::controlplane::files::Token;
use agentpool_e2e::controlplane::{ControlPlane, Options};
use agentpool_e2e::{install, wait};
use kube::Client;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/agents/deployments/worker";
const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/agents/statefulsets/worker";
const POD: &str = "/api/v1/namespaces/agents/pods/worker";
const POOL: &str = "/apis/agentpool.dev/v1alpha1/namespaces/agents/agentpools/pool";

/// What the API server said to a request.
#[derive(Debug)]
struct Answer {
    code: u16,
    message: String,
}

impl Answer {
    fn is_ok(&self) -> bool {
        self.code == 200
    }

    fn is_refused_by(&self, what: &str) -> bool {
        self.code == 403 && self.message.contains(what)
    }
}

async fn ask(client: &Client, method: &str, path: &str, kind: &str, body: &Value) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(_) => Answer {
            code: 200,
            message: String::new(),
        },
        Err(kube::Error::Api(status)) => Answer {
            code: status.code,
            message: status.message.clone(),
        },
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

/// A merge patch that is checked and not stored.
async fn try_merge(client: &Client, path: &str, patch: &Value) -> Answer {
    let path = format!("{path}?dryRun=All");
    ask(
        client,
        "PATCH",
        &path,
        "application/merge-patch+json",
        patch,
    )
    .await
}

/// A JSON patch that is checked and not stored.
async fn try_patch(client: &Client, path: &str, patch: &Value) -> Answer {
    let path = format!("{path}?dryRun=All");
    ask(client, "PATCH", &path, "application/json-patch+json", patch).await
}

async fn create(client: &Client, object: Value) {
    install::apply(client, object).await.unwrap();
}

/// AgentPool installed, a workload of each kind, a pod and a pool in the namespace `agents`; two operators, of which `op-a` leads.
struct Scene {
    control_plane: ControlPlane,
    admin: Client,
    leader: Client,
    follower: Client,
}

impl Scene {
    async fn set(name: &str) -> Self {
        let control_plane = ControlPlane::start(Options::new(name)).await.unwrap();
        install::install(&control_plane).await.unwrap();
        let admin = control_plane.client().await.unwrap();
        create(
            &admin,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "agents"}}),
        )
        .await;
        for kind in ["Deployment", "StatefulSet"] {
            create(&admin, fields::workload(kind)).await;
        }
        create(&admin, fields::pod()).await;
        create(&admin, fields::pool()).await;
        let scene = Self {
            leader: install::client_as(&control_plane, "op-a").await.unwrap(),
            follower: install::client_as(&control_plane, "op-b").await.unwrap(),
            admin,
            control_plane,
        };
        scene.lead("op-a", &scene.leader).await;
        scene
    }

    /// Makes `pod` the holder, and waits until the API server has seen it: its own cache is a few milliseconds behind.
    async fn lead(&self, pod: &str, client: &Client) {
        install::hold_lease(&self.admin, Some(pod)).await.unwrap();
        wait::until(LIMIT, format!("{pod} may write"), async || {
            let answer = try_merge(
                client,
                &format!("{DEPLOYMENT}/scale"),
                &json!({"spec": {"replicas": 3}}),
            )
            .await;
            Ok(answer.is_ok().then_some(()))
        })
        .await
        .unwrap();
    }
}

/// One write of each kind that the operator makes.
fn writes() -> Vec<(String, Value)> {
    let replicas = json!({"spec": {"replicas": 3}});
    let own = json!({"metadata": {"annotations": {"agentpool.dev/restore": "{}"}}});
    vec![
        (format!("{DEPLOYMENT}/scale"), replicas.clone()),
        (format!("{STATEFUL_SET}/scale"), replicas),
        (DEPLOYMENT.to_owned(), own.clone()),
        (STATEFUL_SET.to_owned(), own),
        (
            POD.to_owned(),
            json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}),
        ),
        (
            format!("{POOL}/status"),
            json!({"status": {"observedGeneration": 1}}),
        ),
    ]
}

#[tokio::test]
async fn only_the_replica_that_holds_the_lease_may_write() {
    let scene = Scene::set("fence").await;
    for (path, patch) in writes() {
        let answer = try_merge(&scene.leader, &path, &patch).await;
        assert!(answer.is_ok(), "the leader, {path}: {answer:?}");
        let answer = try_merge(&scene.follower, &path, &patch).await;
        assert!(
            answer.is_refused_by("agentpool-fence"),
            "the follower, {path}: {answer:?}"
        );
        assert!(
            answer
                .message
                .contains("the holder is op-a, the caller is op-b"),
            "it says who: {answer:?}"
        );
    }
    scene.lead("op-b", &scene.follower).await;
    for (path, patch) in writes() {
        let answer = try_merge(&scene.leader, &path, &patch).await;
        assert!(
            answer.is_refused_by("agentpool-fence"),
            "the deposed leader, {path}: {answer:?}"
        );
    }
    install::hold_lease(&scene.admin, None).await.unwrap();
    let scale = format!("{DEPLOYMENT}/scale");
    let patch = json!({"spec": {"replicas": 3}});
    wait::until(
        LIMIT,
        "a lease that was given back lets nobody write",
        async || {
            let answer = try_merge(&scene.follower, &scale, &patch).await;
            Ok(answer.is_refused_by("the holder is nobody").then_some(()))
        },
    )
    .await
    .unwrap();
    scene.control_plane.finish();
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_pod_may_not_write() {
    let scene = Scene::set("unbound").await;
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}/token",
        install::NAMESPACE,
        install::NAME
    );
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&json!({"spec": {}})).unwrap())
        .unwrap();
    let token: Value = scene.admin.request(request).await.unwrap();
    let kubeconfig = scene.control_plane.folder().join("kubeconfig-unbound");
    let token = token["status"]["token"].as_str().unwrap();
    scene
        .control_plane
        .write_kubeconfig(&kubeconfig, Token::Inline(token), install::NAMESPACE, None)
        .await
        .unwrap();
    let unbound = agentpool_e2e::controlplane::client_of(&kubeconfig)
        .await
        .unwrap();
    for (path, patch) in writes() {
        let answer = try_merge(&unbound, &path, &patch).await;
        assert!(
            answer.is_refused_by("bound to no pod"),
            "{path}: {answer:?}"
        );
    }
    scene.control_plane.finish();
}

/// The API server looks for a policy's parameter before it looks at whose request it is: a policy that denies when the lease is missing
/// would stop the whole cluster.
#[tokio::test]
async fn a_missing_lease_hinders_nobody_else() {
    let scene = Scene::set("no-lease").await;
    let lease = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}",
        install::NAMESPACE,
        install::NAME
    );
    let answer = ask(
        &scene.admin,
        "DELETE",
        &lease,
        "application/json",
        &json!({}),
    )
    .await;
    assert!(answer.is_ok(), "{answer:?}");
    wait::until(
        LIMIT,
        "the API server has seen that the lease is gone",
        async || {
            let scale = format!("{DEPLOYMENT}/scale");
            let answer =
                try_merge(&scene.follower, &scale, &json!({"spec": {"replicas": 3}})).await;
            Ok(answer.is_ok().then_some(()))
        },
    )
    .await
    .unwrap();
    for (path, patch) in writes() {
        let answer = try_merge(&scene.admin, &path, &patch).await;
        assert!(answer.is_ok(), "{path}: {answer:?}");
    }
    scene.control_plane.finish();
}

#[tokio::test]
async fn the_jail_lets_the_operator_change_gpus_and_refuses_each_other_field() {
    let scene = Scene::set("jail").await;
    let mut failures = Vec::new();
    for (path, kind) in [(DEPLOYMENT, "Deployment"), (STATEFUL_SET, "StatefulSet")] {
        for (what, patch) in fields::permitted() {
            let answer = try_patch(&scene.leader, path, &patch).await;
            if !answer.is_ok() {
                failures.push(format!("{kind}: {what} is needed: {answer:?}"));
            }
        }
        for (what, patch) in fields::forbidden(kind) {
            let answer = try_patch(&scene.leader, path, &patch).await;
            if !answer.is_refused_by("agentpool-jail") {
                failures.push(format!(
                    "{kind}: the operator may change {what}: {answer:?}"
                ));
            }
            // Somebody else may make the same change: it is the jail that refuses, and the operator alone.
            let answer = try_patch(&scene.admin, path, &patch).await;
            if !answer.is_ok() {
                failures.push(format!("{kind}: {what} is no legal change: {answer:?}"));
            }
        }
    }
    for (what, patch) in fields::forbidden_for_pods() {
        let answer = try_patch(&scene.leader, POD, &patch).await;
        if !answer.is_refused_by("agentpool-jail") {
            failures.push(format!("Pod: the operator may change {what}: {answer:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    scene.control_plane.finish();
}

#[tokio::test]
async fn the_operator_never_writes_to_workloads_of_the_system() {
    let scene = Scene::set("system").await;
    let mut workload = fields::workload("Deployment");
    workload["metadata"]["namespace"] = json!("kube-system");
    create(&scene.admin, workload).await;
    let path = DEPLOYMENT.replace("/agents/", "/kube-system/");
    for (path, patch) in [
        (format!("{path}/scale"), json!({"spec": {"replicas": 3}})),
        (
            path,
            json!({"metadata": {"annotations": {"agentpool.dev/restore": "{}"}}}),
        ),
    ] {
        let answer = try_merge(&scene.leader, &path, &patch).await;
        assert!(
            answer.is_refused_by("of this namespace"),
            "{path}: {answer:?}"
        );
    }
    scene.control_plane.finish();
}

#[tokio::test]
async fn rbac_refuses_the_operator_everything_that_it_does_not_need() {
    let scene = Scene::set("rbac").await;
    let own = install::NAMESPACE;
    for (method, path) in [
        ("GET", "/api/v1/secrets".to_owned()),
        ("GET", "/api/v1/namespaces/agents/configmaps".to_owned()),
        ("GET", "/api/v1/namespaces".to_owned()),
        ("POST", "/api/v1/namespaces/agents/pods".to_owned()),
        ("GET", POD.to_owned()),
        ("GET", "/api/v1/nodes/any".to_owned()),
        (
            "GET",
            "/apis/apps/v1/namespaces/agents/replicasets".to_owned(),
        ),
        ("PUT", format!("{DEPLOYMENT}/scale")),
        ("PUT", format!("{POOL}/status")),
        ("DELETE", POD.to_owned()),
        ("PATCH", format!("{POD}/status")),
        ("PATCH", format!("{POD}/resize")),
        ("POST", format!("{POD}/eviction")),
        ("POST", format!("{POD}/exec?command=x")),
        (
            "POST",
            "/apis/apps/v1/namespaces/agents/deployments".to_owned(),
        ),
        ("DELETE", DEPLOYMENT.to_owned()),
        ("PUT", DEPLOYMENT.to_owned()),
        ("PATCH", format!("{DEPLOYMENT}/status")),
        ("PATCH", "/api/v1/nodes/any".to_owned()),
        ("PATCH", POOL.to_owned()),
        ("DELETE", POOL.to_owned()),
        (
            "POST",
            format!(
                "/api/v1/namespaces/{own}/serviceaccounts/{}/token",
                install::NAME
            ),
        ),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/any".to_owned(),
        ),
        (
            "DELETE",
            format!(
                "/apis/coordination.k8s.io/v1/namespaces/{own}/leases/{}",
                install::NAME
            ),
        ),
        (
            "PATCH",
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/agentpool-jail"
                .to_owned(),
        ),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        ),
    ] {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let answer = ask(&scene.leader, method, &path, kind, &json!({})).await;
        assert!(
            answer.is_refused_by("cannot"),
            "{method} {path}: {answer:?}"
        );
    }
    scene.control_plane.finish();
}
