//! Scenario 5: the operator dies after each of its writes, for a moment or for good, and the pool is deleted in the middle of a swap.
//!
//! The load of two agents changes sides again and again, so that one control plane serves all variants: every change of sides is the
//! same small number of writes.

use crate::pair::{HIGH, LOW, POOL, Pair, RESTORE};
use agentpool::api::AgentPool;
use agentpool_e2e::operator::Instance;
use agentpool_e2e::proxy::{Matcher, RuleGuard};
use agentpool_e2e::stage::{LIMIT, Seen, Stage, StageOptions};
use agentpool_e2e::wait;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const EXCHANGE: [(&str, u32); 2] = [("2g.20gb", 1), ("3g.40gb", 1)];
/// Writes of one exchange: remember, to zero, both templates, up again, forget.
const WRITES: usize = 6;

async fn mig(name: &str) -> (Stage, Pair) {
    let node = Pair::node(&EXCHANGE);
    let stage = Stage::start(StageOptions::new(name, vec![node]).with_proxies())
        .await
        .unwrap();
    let pair = Pair::new("2g.20gb", "3g.40gb");
    pair.deploy(&stage).await.unwrap();
    pair.pool(&stage).await.unwrap();
    (stage, pair)
}

fn operator(stage: &Stage) -> Instance {
    stage.runner.all_instances().into_iter().next().unwrap()
}

/// Counts workload writes from now on, and does something to the operator right after the `n`-th, before it hears of its success.
struct Cut {
    hits: Arc<AtomicUsize>,
    _rule: RuleGuard,
}

impl Cut {
    fn at(operator: &Instance, n: usize, for_good: bool) -> Self {
        let hits = Arc::new(AtomicUsize::new(0));
        let (seen, victim) = (Arc::clone(&hits), operator.clone());
        let rule =
            operator
                .proxy()
                .unwrap()
                .cut_after(Matcher::workload_writes().nth(n), move |_| {
                    let (seen, victim) = (Arc::clone(&seen), victim.clone());
                    async move {
                        match for_good {
                            true => victim.hold_down(true).await,
                            false => victim.kill().await,
                        }
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                    .boxed()
                });
        Self { hits, _rule: rule }
    }

    fn happened(&self) -> bool {
        self.hits.load(Ordering::SeqCst) > 0
    }

    async fn wait(&self) {
        wait::until(LIMIT, "the write came", async || {
            Ok(self.happened().then_some(()))
        })
        .await
        .unwrap();
    }
}

async fn wait_restarts(operator: &Instance, restarts: u32) {
    wait::until(LIMIT, format!("{restarts} restarts"), async || {
        Ok((operator.restarts() >= restarts && operator.process().is_some()).then_some(()))
    })
    .await
    .unwrap();
}

/// Pods created so far of both agents.
async fn created(stage: &Stage) -> (u32, u32) {
    stage.witness.catch_up().await.unwrap();
    let of = |agent| stage.witness.counts("agents", agent).created;
    (of(HIGH), of(LOW))
}

/// Sends the load to the agent on the small instance, which is to get the large one; says where both are to end.
async fn change_sides(stage: &Stage, pair: &mut Pair) -> (&'static str, &'static str) {
    let [high, _] = pair.look(stage).await.unwrap();
    if high.is_on("2g.20gb") {
        pair.busy(stage, HIGH);
        ("3g.40gb", "2g.20gb")
    } else {
        pair.busy(stage, LOW);
        ("2g.20gb", "3g.40gb")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_after_any_write_of_a_swap_ends_it_without_an_extra_pod() {
    let (stage, mut pair) = mig("crash-swap").await;
    let operator = operator(&stage);
    for n in 1..=WRITES {
        let before = created(&stage).await;
        stage.witness.mark();
        let cut = Cut::at(&operator, n, false);
        let (high, low) = change_sides(&stage, &mut pair).await;
        pair.wait_on(&stage, high, low).await.unwrap();
        assert!(cut.happened(), "the swap had fewer than {n} writes");
        wait_restarts(&operator, u32::try_from(n).unwrap()).await;
        let after = created(&stage).await;
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (1, 1),
            "killed after write {n}: one new pod for each agent, no more"
        );
        assert_eq!(
            stage.witness.counts("agents", HIGH).min_ready,
            Some(1),
            "killed after write {n}: the important agent always serves"
        );
    }
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_after_any_write_of_a_move_of_whole_gpus_ends_it_without_an_extra_pod() {
    let stage =
        Stage::start(StageOptions::new("crash-whole", vec![Pair::whole_node()]).with_proxies())
            .await
            .unwrap();
    let mut pair = Pair::whole();
    pair.deploy(&stage).await.unwrap();
    pair.pool(&stage).await.unwrap();
    pair.busy(&stage, HIGH);
    pair.wait_replicas(&stage, 3, 1).await.unwrap();
    let operator = operator(&stage);
    let mut kills = 0;
    for n in 1.. {
        let before = created(&stage).await;
        let cut = Cut::at(&operator, n, false);
        let to_low = n % 2 == 1;
        pair.busy(&stage, if to_low { LOW } else { HIGH });
        let (high, low) = if to_low { (1, 3) } else { (3, 1) };
        pair.wait_replicas(&stage, high, low).await.unwrap();
        let after = created(&stage).await;
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            if to_low { (0, 2) } else { (2, 0) },
            "killed after write {n}: two more pods for who grows, none for who shrinks"
        );
        if !cut.happened() {
            break; // All writes of a move have had their turn.
        }
        kills += 1;
        wait_restarts(&operator, kills).await;
    }
    assert!(kills >= 3, "a move is a mark, a cut and a growth at least");
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_operator_died_for_good_is_completed_or_undone_by_the_next_start() {
    let (stage, mut pair) = mig("crash-for-good").await;
    let operator = operator(&stage);
    // high: 2g -> 3g, cut when low is at zero: completed, since it still is what the load asks for.
    let cut = Cut::at(&operator, 2, true);
    let (high, low) = change_sides(&stage, &mut pair).await;
    cut.wait().await;
    stopped_in_the_middle(&stage, &pair).await;
    operator.hold_down(false).await;
    pair.wait_on(&stage, high, low).await.unwrap();
    drop(cut);

    // The other way, but the load comes back while nobody is there. What the load is, a start does not know at once: it may undo the swap,
    // or complete it and swap back later; either way it ends where the load wants it, and high always serves.
    let before = created(&stage).await;
    stage.witness.mark();
    let cut = Cut::at(&operator, 2, true);
    change_sides(&stage, &mut pair).await;
    cut.wait().await;
    stopped_in_the_middle(&stage, &pair).await;
    pair.busy(&stage, HIGH);
    operator.hold_down(false).await;
    pair.wait_on(&stage, high, low).await.unwrap();
    let after = created(&stage).await;
    let new = (after.0 - before.0, after.1 - before.1);
    assert!(
        [(0, 1), (2, 2)].contains(&new),
        "undone, or there and back: {new:?}"
    );
    assert_eq!(stage.witness.counts("agents", HIGH).min_ready, Some(1));
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_paused_or_broken_in_the_middle_of_a_swap_leaves_no_agent_without_replicas()
{
    let (stage, mut pair) = mig("crash-paused").await;
    let operator = operator(&stage);
    let patch = async |change: Value| {
        let (pools, change) = (stage.pools(), Patch::Merge(change));
        let patched = pools.patch(POOL, &PatchParams::default(), &change).await;
        patched.unwrap();
    };
    let paused =
        |value: Value| json!({ "metadata": { "annotations": { "agentpool.dev/paused": value } } });
    let ready = |p: &AgentPool| {
        let conditions = p.status.iter().flat_map(|s| &s.conditions);
        let ready = conditions.into_iter().find(|c| c.type_ == "Ready");
        ready.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
    };
    let says = |p: &AgentPool, status: &str, reason: &str| {
        ready(p).is_some_and(|(s, r, _)| s == status && r == reason)
    };

    // Paused, and what low had was taken by somebody else: status says that it waits, and for what.
    let cut = Cut::at(&operator, 2, true);
    let (high, low) = change_sides(&stage, &mut pair).await;
    cut.wait().await;
    stopped_in_the_middle(&stage, &pair).await;
    let taken = "nvidia.com/mig-3g.40gb";
    let foreign = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "notebook", "namespace": "default" },
        "spec": { "containers": [{ "name": "n", "image": "notebook", "resources": { "limits": { taken: "1" } } }] }
    });
    stage.apply(&foreign).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "default");
    wait::until(LIMIT, "somebody else has the instance", async || {
        let notebook = pods.get("notebook").await?;
        Ok(notebook.spec.and_then(|spec| spec.node_name))
    })
    .await
    .unwrap();
    patch(paused(json!("true"))).await;
    operator.hold_down(false).await;
    let waits = stage
        .wait_pool(POOL, "status says that low waits", LIMIT, |p| {
            says(p, "False", "SwapCut")
        })
        .await
        .unwrap();
    let (_, _, message) = ready(&waits).unwrap();
    assert!(
        message.contains("Deployment low") && message.contains(taken),
        "{message}"
    );
    pods.delete("notebook", &Default::default()).await.unwrap();
    serves_again(&stage, &pair, "paused").await;
    stage
        .wait_pool(POOL, "status says that it is paused", LIMIT, |p| {
            says(p, "True", "PausedByAnnotation")
        })
        .await
        .unwrap();
    patch(paused(Value::Null)).await;
    drop(cut);
    pair.wait_on(&stage, high, low).await.unwrap();

    // The other way, and the spec names a metrics server that nobody configured.
    let cut = Cut::at(&operator, 2, true);
    let (high, low) = change_sides(&stage, &mut pair).await;
    cut.wait().await;
    stopped_in_the_middle(&stage, &pair).await;
    let nowhere = json!({ "source": "Prometheus", "prometheus": { "name": "nowhere" } });
    patch(json!({ "spec": { "metrics": nowhere } })).await;
    operator.hold_down(false).await;
    serves_again(&stage, &pair, "a broken spec").await;
    let broken = stage.pools().get(POOL).await.unwrap();
    assert!(
        says(&broken, "False", "InvalidSpec"),
        "{:?}",
        ready(&broken)
    );
    patch(json!({ "spec": { "metrics": null } })).await;
    drop(cut);
    pair.wait_on(&stage, high, low).await.unwrap();
    pair.quiet();
    stage.finish().await.unwrap();
}

/// Low is up again and nothing is left of the swap; high was not touched.
async fn serves_again(stage: &Stage, pair: &Pair, when: &str) {
    let before = pair.look(stage).await.unwrap();
    pair.wait(stage, &format!("low serves again: {when}"), |[_, low]| {
        low.replicas == 1 && low.settled && !low.notes.contains_key(RESTORE)
    })
    .await
    .unwrap();
    let after = pair.look(stage).await.unwrap();
    assert_eq!(after[0], before[0], "high was touched: {when}");
}

/// Nobody is there to end the swap: low is at zero, its pods are gone, and what to put back stands on it.
async fn stopped_in_the_middle(stage: &Stage, pair: &Pair) {
    stage.wait_gone(LOW, 0).await.unwrap();
    let [high, low] = pair.look(stage).await.unwrap();
    assert!(low.replicas == 0 && low.notes.contains_key(RESTORE));
    assert_eq!(high.replicas, 1);
    assert_eq!(operator(stage).process().map(|_| ()), None, "it stays dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_deleted_in_the_middle_of_a_swap_leaves_both_agents_running_and_nothing_of_ours() {
    let (stage, mut pair) = mig("crash-deleted").await;
    let operator = operator(&stage);
    for n in 1..WRITES {
        // Every other time the operator is there to see the deletion; else it finds orphans when it starts.
        let (sees_it, before) = (n % 2 == 0, operator.restarts());
        let cut = Cut::at(&operator, n, !sees_it);
        change_sides(&stage, &mut pair).await;
        cut.wait().await;
        stage
            .pools()
            .delete(POOL, &Default::default())
            .await
            .unwrap();
        if sees_it {
            wait_restarts(&operator, before + 1).await;
        } else {
            operator.hold_down(false).await;
        }
        pair.wait(
            &stage,
            &format!("handed back after write {n}"),
            |both: &[Seen; 2]| {
                both.iter().all(|seen| {
                    let clean = seen.notes.is_empty() && seen.managers.is_empty();
                    clean && seen.replicas == 1 && seen.settled
                })
            },
        )
        .await
        .unwrap();
        stage.wait_gone(HIGH, 1).await.unwrap();
        stage.wait_gone(LOW, 1).await.unwrap();
        pair.quiet();
        pair.pool(&stage).await.unwrap();
    }
    stage.finish().await.unwrap();
}
