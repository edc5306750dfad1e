//! The fault proxy, with a mock in the operator's place.

use super::operator::MOCK;
use super::*;
use agentpool_e2e::operator::{Instance, OperatorPods, OperatorRunner, RunnerOptions};
use agentpool_e2e::proxy::{FaultProxy, Matcher};
use futures::FutureExt as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Config;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;

/// A control plane and one mock operator behind a proxy, allowed to do everything in its namespace.
async fn behind_a_proxy(name: &str) -> (ControlPlane, Client, OperatorRunner, Instance) {
    let (control_plane, client) = with_gpus(name, 1).await;
    let pods = OperatorPods::new("agentpool", "agentpool");
    pods.create(&client, 1).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "mock"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "agentpool", "name": "agentpool"}],
    }))
    .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), "agentpool");
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let options = RunnerOptions::new("agentpool", pods.selector(), MOCK).with_proxies();
    let runner = OperatorRunner::start(&control_plane, options)
        .await
        .unwrap();
    let instance = runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    wait::until(LIMIT, "the mock answers", async || {
        Ok(instance.http_get(8080, "/whoami").await.ok())
    })
    .await
    .unwrap();
    (control_plane, client, runner, instance)
}

async fn exists(client: &Client, name: &str) -> bool {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "agentpool");
    maps.get_opt(name).await.unwrap().is_some()
}

#[tokio::test]
async fn the_operator_can_be_killed_just_before_and_just_after_its_nth_write() {
    let (control_plane, client, _runner, instance) = behind_a_proxy("cuts").await;
    let proxy = instance.proxy().unwrap();
    let kill = |instance: &Instance| {
        let instance = instance.clone();
        move |_| {
            let instance = instance.clone();
            async move { instance.kill().await }.boxed()
        }
    };

    let before = proxy.cut_before(Matcher::writes().nth(2), kill(&instance));
    assert_eq!(instance.http_get(8080, "/write/one").await.unwrap().0, 200);
    assert!(
        instance.http_get(8080, "/write/two").await.is_err(),
        "it was killed"
    );
    assert!(exists(&client, "one").await && !exists(&client, "two").await);
    drop(before);
    wait::until(LIMIT, "it is back", async || {
        Ok(instance.http_get(8080, "/whoami").await.ok())
    })
    .await
    .unwrap();

    let after = proxy.cut_after(Matcher::writes().nth(1), kill(&instance));
    assert!(
        instance.http_get(8080, "/write/three").await.is_err(),
        "it was killed"
    );
    assert!(exists(&client, "three").await, "the write was done");
    drop(after);
    let answered: Vec<Option<u16>> = proxy.writes().iter().map(|write| write.status).collect();
    assert_eq!(answered, [Some(201), None, Some(201)]);
    control_plane.finish();
}

#[tokio::test]
async fn a_write_can_be_held_on_its_way_and_arrives_when_it_is_released() {
    let (control_plane, client, _runner, instance) = behind_a_proxy("hold").await;
    let held = instance
        .proxy()
        .unwrap()
        .hold(Matcher::writes().path("/configmaps"));
    let writing = tokio::spawn({
        let instance = instance.clone();
        async move { instance.http_get(8080, "/write/late").await }
    });
    held.arrived(LIMIT).await.unwrap();
    assert!(!exists(&client, "late").await);
    held.release();
    assert_eq!(writing.await.unwrap().unwrap().0, 200);
    assert!(exists(&client, "late").await);
    control_plane.finish();
}

#[tokio::test]
async fn errors_resets_and_silence_reach_the_client_and_end_with_their_guard() {
    let (control_plane, client) = with_gpus("faults", 1).await;
    let proxy = FaultProxy::start(&control_plane).await.unwrap();
    let through = client_through(&control_plane, &proxy).await;
    let maps: Api<ConfigMap> = Api::namespaced(through.clone(), NAMESPACE);
    maps.list(&ListParams::default()).await.unwrap();

    let fault = proxy.answer(Matcher::all().path("/configmaps"), 500);
    let error = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 500),
        "{error}"
    );
    drop(fault);
    let fault = proxy.reset(Matcher::all().path("/configmaps"));
    assert!(maps.list(&ListParams::default()).await.is_err());
    drop(fault);
    let fault = proxy.blackhole(Matcher::all());
    assert!(
        tokio::time::timeout(Duration::from_secs(1), maps.list(&ListParams::default()))
            .await
            .is_err()
    );
    drop(fault);
    let fault = proxy.delay(
        Matcher::all().path("/configmaps").times(1),
        Duration::from_secs(1),
    );
    let start = Instant::now();
    maps.list(&ListParams::default()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    drop(fault);

    // A watch streams through, is told 410, and lists anew.
    let mut events = watcher(maps.clone(), watcher::Config::default()).boxed();
    let mut initial = 0;
    while !matches!(next(&mut events).await, Ok(watcher::Event::InitDone)) {
        initial += 1;
    }
    assert!(initial > 0);
    let direct: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let note = |text: &str| {
        Patch::Apply(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}, "data": {"note": text}}),
        )
    };
    direct
        .patch("watched", &PatchParams::apply("test"), &note("1"))
        .await
        .unwrap();
    let applied = next(&mut events).await.unwrap();
    assert!(
        matches!(&applied, watcher::Event::Apply(map) if map.data.as_ref().unwrap()["note"] == "1"),
        "{applied:?}"
    );
    let fault = proxy.expire_watches(1);
    wait::until(LIMIT, "the watcher lists anew", async || {
        Ok(matches!(next(&mut events).await, Ok(watcher::Event::Init)).then_some(()))
    })
    .await
    .unwrap();
    drop(fault);
    control_plane.finish();
}

async fn next<K>(
    events: &mut (impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Unpin),
) -> watcher::Result<watcher::Event<K>> {
    tokio::time::timeout(LIMIT, events.next())
        .await
        .expect("an event in time")
        .expect("the stream goes on")
}

async fn client_through(control_plane: &ControlPlane, proxy: &FaultProxy) -> Client {
    let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig_path()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.cluster_url = proxy.url().parse().unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}
