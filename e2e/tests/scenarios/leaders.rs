//! Scenario 6: three operator replicas, of which the leader is lost in the two ways that matter.

use crate::sharers;
use agentpool_e2e::controlplane::audit::Record;
use agentpool_e2e::controlplane::process::Signal;
use agentpool_e2e::operator::Instance;
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::{LIMIT, Stage};
use agentpool_e2e::wait;
use jiff::Timestamp;
use std::time::Duration;

/// The lease's duration (15 s), two looks at it (1.5 s each), and room.
const TAKE_OVER: Duration = Duration::from_secs(20);

/// Made by the replica with this pod.
fn by<'a>(instance: &'a Instance) -> impl Fn(&Record) -> bool + 'a {
    move |record| record.pod.as_deref() == Some(instance.pod())
}

/// When `next` took the lease, by the API server's clock, which is this machine's.
async fn took_over(stage: &Stage, next: &Instance, since: Timestamp) -> Timestamp {
    let what = "the audit log shows who took the lease";
    wait::until(LIMIT, what, async || {
        let leases = stage.operator_writes()?.resource("leases").succeeded();
        let first = leases.since(since).filter(by(next)).0.into_iter().next();
        Ok(first.map(|record| record.time))
    })
    .await
    .unwrap()
}

fn workload_writes_of(stage: &Stage, instance: &Instance, since: Timestamp) -> Vec<Record> {
    let writes = sharers::workload_writes(stage, since);
    writes.filter(by(instance)).0
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_killed_another_leads_within_20_seconds_and_acts_on_load() {
    let stage = sharers::stage(|o| o.operators(3), "leader-killed").await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    sharers::wait_even(&stage).await;

    let leader = sharers::leader_other_than(&stage, None).await;
    let killed = Timestamp::now();
    leader.hold_down(true).await;
    // The load changes while nobody leads.
    even.stop();
    let shifted = sharers::drive(&stage, sharers::SHIFTED);
    let next = sharers::leader_other_than(&stage, Some(leader.pod())).await;
    let after = took_over(&stage, &next, killed)
        .await
        .duration_since(killed)
        .unsigned_abs();
    assert!(after <= TAKE_OVER, "{} leads after {after:?}", next.pod());

    sharers::wait_shifted(&stage).await;
    let writes = sharers::workload_writes(&stage, killed).succeeded();
    assert!(!writes.clone().filter(by(&next)).is_empty());
    let others = writes.filter(|record| !by(&next)(record));
    assert!(others.is_empty(), "{others:?}");
    shifted.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_leader_that_slept_through_its_term_is_refused_by_the_api_server() {
    let stage = sharers::stage(|o| o.operators(3).with_proxies(), "leader-slept").await;
    let leader = sharers::leader_other_than(&stage, None).await;
    // Everybody's changes of replicas wait on their way: the deposed leader's is to arrive first, at replicas that are as it knew them, so that
    // nothing but the fence can refuse it.
    let mut held = std::collections::BTreeMap::new();
    for instance in stage.runner.instances() {
        let proxy = instance.proxy().unwrap();
        let hold = proxy.hold(Matcher::workload_writes().path("/scale"));
        held.insert(instance.pod().to_owned(), hold);
    }
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    let decided = held.remove(leader.pod()).unwrap();
    decided.arrived(LIMIT).await.unwrap();
    // Between its look at the lease and its write.
    leader.signal(Signal::STOP).unwrap();
    let stopped = Timestamp::now();

    let next = sharers::leader_other_than(&stage, Some(leader.pod())).await;
    let after = took_over(&stage, &next, stopped)
        .await
        .duration_since(stopped)
        .unsigned_abs();
    assert!(after <= TAKE_OVER, "{} leads after {after:?}", next.pod());
    held[next.pod()].arrived(LIMIT).await.unwrap();
    assert_eq!(sharers::replicas(&stage).await, (1, 1));

    decided.release();
    let refused = wait::until(LIMIT, "the deposed write is answered", async || {
        let scales = workload_writes_of(&stage, &leader, stopped);
        Ok(scales.into_iter().find(|r| r.subresource == "scale"))
    })
    .await
    .unwrap();
    assert!([403, 422].contains(&refused.code), "{refused}");
    let answer = refused.response.as_ref().unwrap()["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(answer.contains("only the replica that holds the lease"));
    assert!(answer.contains(next.pod()) && answer.contains(leader.pod()));
    assert_eq!(sharers::replicas(&stage).await, (1, 1));

    leader.signal(Signal::CONT).unwrap();
    wait::until(LIMIT, "the deposed replica follows", async || {
        let metrics = leader.http_get(8080, "/metrics").await;
        let follows = |text: &str| text.lines().any(|line| line == "agentpool_leader 0");
        Ok(metrics.is_ok_and(|(_, text)| follows(&text)).then_some(()))
    })
    .await
    .unwrap();
    drop(held);
    sharers::wait_even(&stage).await;
    even.stop();
    let shifted = sharers::drive(&stage, sharers::SHIFTED);
    sharers::wait_shifted(&stage).await;
    let done = workload_writes_of(&stage, &leader, stopped);
    assert!(done.iter().all(|r| !r.succeeded()), "{done:?}");
    shifted.stop();
    stage.finish().await.unwrap();
}
