//! Scenario 14: one pool among many does its worst.

use crate::whole_gpus::pool;
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::BENCH_LABEL;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::engine::faults::Fault;
use agentpool_e2e::load::{AgentLoad, Arrivals, Work};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions, largest_pool};
use agentpool_e2e::wait;
use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Pools that do no harm.
const ORDINARY: usize = 49;
/// So many of them have two agents on three GPUs, of which the one with the load has two: half of them are moved before the others come.
const MOVERS: usize = 12;
/// GPUs where the ordinary pods are: those that grow find some.
const ROOM: u32 = 80;
/// Namespace of a tenant who wants everything.
const TENANT: &str = "tenant";
/// The tenant's agents that are to be brought up, by writes that a webhook keeps waiting.
const SLOW: usize = 16;
/// Pods that match the selector of the hostile pool's workload.
const PODS: usize = 1000;
/// Nodes that they are bound to.
const NODES: usize = 5;
/// Places for scrapes, and how long one may be held. Without a bound on a pool's share of the places the hostile pool would hold all of
/// them nearly all the time; with the defaults, 900 ms, the others would hardly notice.
const PLACES: [&str; 2] = ["scrape.concurrency=64", "scrape.timeout=10s"];
/// What the others' medians may grow by. The machine shares its cores with the control plane, a thousand pods and other tests, which alone
/// may double them; without a bound on the places of a pool they grow more than tenfold.
const FACTOR: u32 = 2;
/// The interval of an ordinary pool. From load to write comes on top of it: the load may be seen one decision later, by chance.
const INTERVAL: Duration = Duration::from_secs(1);
/// On top of what waits for no decision: an edit is answered, and a pod scraped, in a few milliseconds, and double that is less than what a
/// process of another test may keep a core for.
const JITTER: Duration = Duration::from_millis(250);

fn is(pool: &AgentPool, kind: &str, status: &str) -> bool {
    pool.status
        .iter()
        .flat_map(|s| &s.conditions)
        .any(|c| c.type_ == kind && c.status == status)
}

/// The largest object that is legal, on the nodes of the thousand pods: its first agent's workload has them, none of which answers in
/// time, the others' do not exist.
fn hostile() -> Value {
    let mut object = largest_pool();
    object["metadata"] = json!({ "name": "hostile", "namespace": AGENTS });
    let spec = &mut object["spec"];
    spec["devices"][0]["sharing"] = json!({ "type": "WholeGPU" });
    spec["policy"]["interval"] = json!("1s");
    // The pods are asked, each at its own address, not a Prometheus that nobody has configured.
    let metrics = spec["metrics"].as_object_mut().unwrap();
    metrics.remove("prometheus");
    metrics["source"] = json!("Pods");
    for agent in spec["agents"].as_array_mut().unwrap() {
        // Whole GPUs know no other.
        agent["model"]["speedExponent"] = json!("1.0000");
    }
    let first = &mut spec["agents"][0];
    first["workloadRef"]["name"] = json!("hostile");
    first["container"] = json!("server");
    first["metrics"]["port"] = json!(8000);
    // Where they let the caller wait; elsewhere they would answer at once that there is nothing.
    first["metrics"]["path"] = json!("/metrics");
    object
}

fn matching_pod(i: usize) -> Pod {
    let mut template = AgentWorkload::new("hostile", 1.0).object()["spec"]["template"].take();
    template["metadata"]["name"] = json!(format!("hostile-{i}"));
    template["metadata"]["annotations"]["bench.agentpool.dev/ready-delay"] = json!("0s");
    template["spec"]["nodeName"] = json!(format!("many-{}", i % NODES));
    serde_json::from_value(template).unwrap()
}

/// How long the operator takes to answer an edit of an ordinary pool: the median over every third of them.
async fn reaction(stage: &Stage, drain: &str) -> Duration {
    let patch = json!({ "spec": { "policy": { "drain": drain } } });
    let mut took = Vec::new();
    for i in (0..ORDINARY).step_by(3) {
        let name = format!("pool-{i}");
        let start = Instant::now();
        let edited = stage
            .pools()
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
        let generation = edited.metadata.generation;
        stage
            .wait_pool(&name, "the edit is seen", LIMIT, |p| {
                p.status.iter().any(|s| s.observed_generation == generation)
            })
            .await
            .unwrap();
        took.push(start.elapsed());
    }
    median(took)
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort();
    of[of.len() / 2]
}

/// The second agent of a mover.
fn second(i: usize) -> String {
    format!("second-{i}")
}

/// How long it takes until the load of a mover has moved a GPU to the agent that had one, the median over these: the other agent is
/// written one replica less, and when its pod is gone this one gets one more. Then the load ends.
async fn growth(stage: &Stage, movers: Range<usize>) -> Duration {
    let mut poor = Vec::new();
    for i in movers {
        let names = [format!("agent-{i}"), second(i)];
        let found = wait::until(
            LIMIT,
            format!("mover {i} has a GPU more for one of its agents"),
            async || {
                let [first, last] = [&names[0], &names[1]];
                let replicas = (stage.replicas(first).await?, stage.replicas(last).await?);
                Ok(match replicas {
                    (2, 1) => Some(last.clone()),
                    (1, 2) => Some(first.clone()),
                    _ => None,
                })
            },
        );
        poor.push(found.await.unwrap());
    }
    let load = |agent: &String| AgentLoad {
        agent: agent.clone(),
        arrivals: Arrivals::Constant { rate: 15.0 },
        work: Work::Deterministic,
    };
    let loads: Vec<AgentLoad> = poor.iter().map(load).collect();
    let start = Instant::now();
    let driver = stage.drive(&loads, LIMIT * 2);
    let grown = async |name: &String| {
        let what = format!("{name} is written one more replica");
        wait::until(LIMIT, what, async || {
            let replicas = stage.replicas(name).await?;
            Ok((replicas == 2).then(|| start.elapsed()))
        })
        .await
        .unwrap()
    };
    let took = median(join_all(poor.iter().map(grown)).await);
    driver.stop();
    took
}

/// A tenant with two pools on all nodes. One has a Deployment of as many replicas as there are GPUs, none of which can come to any node. The
/// other has Deployments that stand at zero as if a swap had stopped them, and that a webhook, which never answers, keeps there.
async fn tenant(stage: &Stage) {
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": { "name": TENANT, "labels": { BENCH_LABEL: "true" } }
    }))
    .unwrap();
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let params = PostParams::default();
    namespaces.create(&params, &namespace).await.unwrap();
    let greedy = vec![AgentWorkload::new("greedy", 1.0).replicas(ROOM)];
    let slow = (0..SLOW).map(|i| AgentWorkload::new(format!("slow-{i}"), 1.0).replicas(0));
    let gpu = "nvidia.com/gpu";
    let note = json!({ "replicas": 1, "from": gpu, "to": gpu, "toReplicas": 1 }).to_string();
    for (name, agents) in [("greedy", greedy), ("slow", slow.collect())] {
        for agent in &agents {
            let mut object = agent.object();
            object["metadata"]["namespace"] = json!(TENANT);
            object["spec"]["template"]["spec"]["nodeSelector"] = json!({ "nowhere": "true" });
            if name == "slow" {
                object["metadata"]["annotations"] = json!({ "agentpool.dev/restore": note });
            }
            stage.apply(&object).await.unwrap();
        }
        let agent = |agent: &AgentWorkload| agent.agent("High", "1", agent.replicas.max(1));
        let agents: Vec<Value> = agents.iter().map(agent).collect();
        let mut object = pool(ROOM, &agents);
        object["metadata"] = json!({ "name": name, "namespace": TENANT });
        stage.apply(&object).await.unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), TENANT);
    let pending = async || {
        let pods = pods.list(&ListParams::default()).await?;
        Ok((pods.items.len() >= ROOM as usize).then_some(()))
    };
    wait::until(LIMIT, "the greedy pods wait for a node", pending)
        .await
        .unwrap();
    let pools: Api<AgentPool> = Api::namespaced(stage.client.clone(), TENANT);
    let unanswered = async || {
        let pool = pools.get("slow").await?;
        let conditions = pool.status.iter().flat_map(|s| &s.conditions);
        let mut failed = conditions.filter(|c| c.reason == "WriteFailed");
        Ok(failed.any(|c| c.message.contains("slow-")).then_some(()))
    };
    wait::until(LIMIT, "a write of the slow pool got no answer", unanswered)
        .await
        .unwrap();
}

/// A webhook for the tenant's Deployments at an address where somebody listens and nobody answers.
async fn webhook(stage: &Stage) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let object: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": TENANT },
        "webhooks": [{
            "name": "slow.example.com", "clientConfig": { "url": url }, "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 30,
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": TENANT } },
            "rules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"],
                "resources": ["deployments/scale"], "scope": "Namespaced"
            }]
        }]
    }))
    .unwrap();
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(stage.client.clone());
    webhooks
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    listener
}

/// The age of the ordinary pools' signals: the mean over the pools, and over ten looks a second apart.
async fn signal_age(stage: &Stage) -> Duration {
    let mut ages = Vec::new();
    let mut looks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..10 {
        looks.tick().await;
        let (_, text) = stage.runner.instances()[0]
            .http_get(8080, "/metrics")
            .await
            .unwrap();
        let lines = text
            .lines()
            .filter(|l| l.starts_with("agentpool_signal_age_seconds{"));
        let ordinary = lines.filter(|l| !l.contains("\"hostile\""));
        ages.extend(
            ordinary
                .filter_map(|l| l.rsplit_once(' '))
                .map(|(_, age)| age.parse::<f64>().unwrap()),
        );
    }
    assert!(ages.len() >= 10 * ORDINARY, "only {} ages", ages.len());
    let mean = ages.iter().sum::<f64>() / f64::from(u32::try_from(ages.len()).unwrap());
    Duration::from_secs_f64(mean)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_a_thousand_pods_that_hang_and_one_whose_pods_and_writes_do_not_get_on_do_not_slow_49_others_down()
 {
    let mut nodes = vec![NodeSpec::whole("gpu", A100_80, ROOM)];
    nodes.extend((0..NODES).map(|i| NodeSpec::whole(format!("many-{i}"), A100_80, 240)));
    // The ordinary pods are scheduled where the ordinary pools look; the hostile pool looks at all others.
    let hostile = hostile();
    let labels = hostile["spec"]["devices"][0]["nodeSelector"].as_object();
    for (i, node) in nodes.iter_mut().enumerate() {
        if i == 0 {
            *node = node.clone().label("kind", "ordinary");
            continue;
        }
        *node = node.clone().label("kind", "many").taint("kind", "many");
        for (key, value) in labels.unwrap() {
            *node = node.clone().label(key, value.as_str().unwrap());
        }
    }
    let options = PLACES
        .iter()
        .fold(StageOptions::new("hostile", nodes), |options, place| {
            options.value(*place)
        });
    let stage = Stage::start(options).await.unwrap();
    let agents: Vec<AgentWorkload> = (0..ORDINARY)
        .map(|i| {
            // Between two agents without load one GPU more stays where it is: half of one each is within the tolerance.
            let replicas = if i < MOVERS { 2 } else { 1 };
            AgentWorkload::new(format!("agent-{i}"), 10.0).replicas(replicas)
        })
        .collect();
    for agent in &agents {
        stage.apply(&agent.object()).await.unwrap();
    }
    for (i, agent) in agents.iter().enumerate() {
        let mut object = pool(1, &[agent.agent("Medium", "1", 1)]);
        if i < MOVERS {
            let other = AgentWorkload::new(second(i), 10.0);
            stage.apply(&other.object()).await.unwrap();
            let both = [agent, &other].map(|agent| agent.agent("Medium", "1", 2));
            object = pool(3, &both);
        }
        object["metadata"]["name"] = json!(format!("pool-{i}"));
        object["spec"]["devices"][0]["nodeSelector"] = json!({ "kind": "ordinary" });
        stage.apply(&object).await.unwrap();
    }
    let all_fresh = async || {
        let pools = stage.pools().list(&ListParams::default()).await?;
        let fresh = pools
            .iter()
            .filter(|p| is(p, "SignalsFresh", "True"))
            .count();
        Ok((fresh == ORDINARY).then_some(()))
    };
    wait::until(LIMIT, "every ordinary pool is fresh", all_fresh)
        .await
        .unwrap();
    let (reaction_before, age_before) = (reaction(&stage, "6s").await, signal_age(&stage).await);
    let growth_before = growth(&stage, 0..MOVERS / 2).await;

    stage
        .fleet
        .set_fault(&format!("{AGENTS}/hostile"), Fault::Slow { seconds: 30.0 });
    stage
        .apply(&AgentWorkload::new("hostile", 1.0).object())
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), AGENTS);
    let params = PostParams::default();
    stream::iter(0..PODS)
        .map(|i| {
            let (pods, params) = (&pods, &params);
            async move { pods.create(params, &matching_pod(i)).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<Pod>>()
        .await
        .unwrap();
    stage.apply(&hostile).await.unwrap();
    let serving = async || {
        let target = format!("{AGENTS}/hostile");
        Ok((stage.fleet.serving(&target).len() >= PODS).then_some(()))
    };
    wait::until(LIMIT * 2, "a thousand matching pods run", serving)
        .await
        .unwrap();
    let said = |p: &AgentPool| is(p, "Stalled", "True") && is(p, "SignalsFresh", "False");
    stage
        .wait_pool(
            "hostile",
            "the hostile pool is told what is wrong",
            LIMIT,
            said,
        )
        .await
        .unwrap();

    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    wait::until(LIMIT, "the thousand pods are asked, and hang", async || {
        let hung = operator.metric("agentpool_scrapes_total{outcome=\"TimedOut\"}");
        Ok((hung.await >= Some(PODS as f64)).then_some(()))
    })
    .await
    .unwrap();

    let _webhook = webhook(&stage).await;
    tenant(&stage).await;

    let growth_after = growth(&stage, MOVERS / 2..MOVERS).await;
    let (reaction_after, age_after) = (reaction(&stage, "7s").await, signal_age(&stage).await);
    println!("load to write: {growth_before:?}, then {growth_after:?}");
    println!("edit to status: {reaction_before:?}, then {reaction_after:?}");
    println!("age of a signal: {age_before:?}, then {age_after:?}");
    assert!(
        reaction_after <= FACTOR * reaction_before + JITTER,
        "edit to status took {reaction_before:?} before, {reaction_after:?} beside the hostile pool"
    );
    assert!(
        growth_after <= FACTOR * growth_before + INTERVAL,
        "from load to write it took {growth_before:?} before, {growth_after:?} beside the hostile pools"
    );
    // A look finds a signal between fresh and one interval old.
    assert!(
        age_after <= FACTOR * age_before + JITTER,
        "a signal was {age_before:?} old before, {age_after:?} beside the hostile pool"
    );
    wait::until(LIMIT, "the ordinary pools are fresh", all_fresh)
        .await
        .unwrap();
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(stage.client.clone());
    let gone = webhooks.delete(TENANT, &DeleteParams::default()).await;
    gone.unwrap();
    stage.finish().await.unwrap();
}
