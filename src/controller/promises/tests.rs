#![allow(clippy::unwrap_used)]

use super::super::cache::{NodeRecord, PodRecord};
use super::super::fixtures::{NAMESPACE, caches, deployment, node, object, pod, pool};
use super::super::observe::view;
use super::promised::Sizes;
use super::*;
use crate::api::{AgentPool, WorkloadKind, annotations};
use crate::sharing::{Hold, HoldReason, Plan};
use jiff::Timestamp;
use serde_json::json;

const SMALL: &str = "nvidia.com/mig-2g.20gb";
const SHARED: &str = "nvidia.com/gpu.shared";
const LARGE: &str = "nvidia.com/mig-3g.40gb";

/// A Deployment whose replicas the operator has set.
fn written(name: &str, replicas: u32) -> WorkloadRecord {
    deployment(name, 1, json!([])).scaled(replicas)
}

/// A node with eight GPUs, and so many instances of two sizes.
fn eight() -> NodeRecord {
    let gpus = json!({ "nvidia.com/gpu": "8", SMALL: "4", LARGE: "4" });
    node(json!({}), gpus, json!([]))
}

/// A cluster as the pool `ours`, with the agent `a`, finds it.
struct World {
    ours: ValidPool,
    caches: Caches,
    claims: Claims,
    promises: Promises,
}

impl World {
    /// One node with eight GPUs; the pools may write.
    fn new(
        pools: &[&AgentPool],
        workloads: &[(&str, WorkloadRecord)],
        pods: &[(&str, &str)],
    ) -> Self {
        let own = object("ours", "WholeGPU", &["a"]);
        let world = Self {
            ours: pool("ours", "WholeGPU", &["a"]),
            caches: caches(&[("gpu", eight())], workloads, pods),
            claims: Claims::default(),
            promises: Promises::default(),
        };
        let all = pools.iter().copied().chain([&own]);
        world.claims.replace(all, &BTreeSet::new());
        for pool in pools {
            let uid = pool.metadata.uid.as_ref().unwrap();
            world.claims.note(uid, true);
        }
        world
    }

    fn promised(&self, seconds: u64) -> Promised {
        let view = view(&self.ours, &self.caches, &self.claims);
        let (promises, now) = (&self.promises, Duration::from_secs(seconds));
        let owed = promises.to_others(&self.ours, &view, &self.caches, &self.claims, now);
        let seen = view.observed(&self.ours, &self.caches, |_| None);
        owed.on(&view, &seen.nodes)
    }

    /// Whole GPUs that are promised to others.
    fn gpus(&self, seconds: u64) -> u64 {
        let sizes = self.promised(seconds).sizes;
        let of = sizes.get(&GpuResource::whole()).into_iter().flatten();
        of.map(|(size, n)| u64::from(*size) * n).sum()
    }

    fn put(&self, name: &str, version: u64, record: WorkloadRecord) {
        let key = (NAMESPACE.to_owned(), name.to_owned());
        self.caches.deployments.put(key, version, record);
    }

    fn pod(&self, name: &str, record: PodRecord) {
        let key = (NAMESPACE.to_owned(), name.to_owned());
        let version = self.caches.pods.changes() + 10;
        self.caches.pods.put(key, version, record);
    }

    fn gone(&self, pod: &str) {
        let key = (NAMESPACE.to_owned(), pod.to_owned());
        self.caches.pods.remove(&key);
    }

    fn node(&self, name: &str, record: NodeRecord) {
        let key = (String::new(), name.to_owned());
        self.caches.nodes.put(key, 1, record);
    }
}

fn theirs() -> AgentPool {
    object("theirs", "WholeGPU", &["b"])
}

#[test]
fn replicas_of_a_pool_on_the_same_nodes_count_until_they_are_bound_and_others_never() {
    let mut elsewhere = object("elsewhere", "WholeGPU", &["c"]);
    let label = ("zone".to_owned(), "b".to_owned());
    elsewhere.spec.devices[0].node_selector = [label].into();
    let workloads = ["a", "b", "c"].map(|name| (name, written(name, 3)));
    let world = |pools: &[&AgentPool]| World::new(pools, &workloads, &[("b", "gpu")]);
    let own_and_elsewhere = world(&[&elsewhere, &object("x", "WholeGPU", &["b"])]);
    own_and_elsewhere.claims.note("x", false);
    assert_eq!(own_and_elsewhere.gpus(0), 0);
    let with_neighbour = world(&[&elsewhere, &theirs()]);
    let two_of_three = [(GpuResource::whole(), [(1, 2)].into())];
    assert_eq!(with_neighbour.promised(0).sizes, two_of_three.into());
}

#[test]
fn what_the_operator_did_not_ask_for_or_an_agent_may_not_have_is_promised_to_nobody() {
    let of = |record: WorkloadRecord, may_write: bool| {
        let world = World::new(&[&theirs()], &[("b", record)], &[]);
        world.claims.note("theirs", may_write);
        world.gpus(0)
    };
    let users = deployment("b", 1000, json!([]));
    assert_eq!(of(users, true), 0, "its owner wrote it");
    assert_eq!(of(written("b", 1000), false), 0, "Observe, paused, invalid");
    assert_eq!(of(written("b", 1000), true), 8, "the agent's maximum");
    let mut refused = written("b", 3);
    refused.failure = Some("exceeded quota".to_owned());
    assert_eq!(of(refused, true), 0, "a quota");
}

#[test]
fn a_promise_that_is_not_kept_although_it_could_be_ends_after_a_minute_until_a_pod_is_bound() {
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    for seconds in 0..60 {
        assert_eq!(world.gpus(seconds), 2, "after {seconds} s");
    }
    assert_eq!(world.gpus(60), 0);
    world.put("b", 2, written("b", 0));
    assert_eq!(world.gpus(61), 0);
    world.put("b", 3, written("b", 3));
    assert_eq!(world.gpus(62), 0, "a new write is no reason to believe it");
    world.pod("b-0", pod("b", "gpu"));
    assert_eq!(world.gpus(63), 2, "one was bound: it can be kept");
}

#[test]
fn a_time_in_which_nobody_looks_uses_up_a_few_seconds_of_patience_and_no_more() {
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    assert_eq!(world.gpus(0), 2);
    // Others take everything, and give it back ten minutes later: nobody wanted any of it meanwhile.
    assert_eq!(world.gpus(600), 2);
    for seconds in 601..655 {
        assert_eq!(world.gpus(seconds), 2, "after {seconds} s");
    }
    assert_eq!(world.gpus(655), 0);
}

#[test]
fn a_promise_for_which_nothing_is_free_waits_for_as_long_as_it_takes() {
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    let full = ["x"; 8].map(|app| pod(app, "gpu"));
    for (i, pod) in full.into_iter().enumerate() {
        world.pod(&format!("x-{i}"), pod);
    }
    for seconds in [0, 100, 1000] {
        assert_eq!(world.gpus(seconds), 0, "there is nothing to leave alone");
    }
    world.gone("x-0");
    assert_eq!(world.gpus(1001), 1, "the first that becomes free is its");
    world.gone("x-1");
    world.gone("x-2");
    assert_eq!(world.gpus(1002), 2);
}

#[test]
fn what_can_only_be_kept_on_full_nodes_keeps_nobody_from_what_is_free_elsewhere() {
    let mut zoned = theirs();
    let label = ("zone".to_owned(), "b".to_owned());
    zoned.spec.devices[0].node_selector = [label].into();
    let world = World::new(&[&zoned], &[("b", written("b", 3))], &[]);
    let labels = json!({ "zone": "b" });
    world.node(
        "full",
        node(labels, json!({ "nvidia.com/gpu": "3" }), json!([])),
    );
    for i in 0..3 {
        world.pod(&format!("x-{i}"), pod("x", "full"));
    }
    for seconds in [0, 100, 100_000] {
        assert_eq!(world.gpus(seconds), 0, "after {seconds} s");
    }
    world.gone("x-0");
    assert_eq!(world.gpus(100_001), 1, "that one is promised");
}

#[test]
fn nodes_where_the_pods_of_a_workload_may_not_come_are_not_promised_to_it() {
    let promised = |zone: &str| {
        let mut record = written("b", 3);
        record.node_selector = [("zone".to_owned(), zone.to_owned())].into();
        let world = World::new(&[&theirs()], &[("b", record)], &[]);
        let taint = json!([{ "key": "team", "value": "x", "effect": "NoSchedule" }]);
        let gpus = |n: u32| json!({ "nvidia.com/gpu": n.to_string() });
        let labels = json!({ "zone": "b" });
        world.node("tainted", node(labels.clone(), gpus(2), taint));
        world.node("b", node(labels, gpus(1), json!([])));
        world.gpus(0)
    };
    assert_eq!((promised("b"), promised("c")), (1, 0));
}

/// A StatefulSet that creates a pod when those before it are ready, in a pool, with its first pod on a node.
fn ordered(replicas: u32) -> World {
    let mut pool = theirs();
    pool.spec.agents[0].workload_ref.kind = WorkloadKind::StatefulSet;
    let world = World::new(&[&pool], &[], &[("b", "gpu")]);
    let record = WorkloadRecord {
        kind: WorkloadKind::StatefulSet,
        update_revision: Some("b-1".to_owned()),
        ..written("b", replicas)
    };
    let key = (NAMESPACE.to_owned(), "b".to_owned());
    world.caches.stateful_sets.put(key, 1, record);
    world
}

#[test]
fn while_a_stateful_set_waits_for_a_pod_that_loads_the_next_ones_place_is_kept() {
    let world = ordered(2);
    for seconds in (0..480).step_by(10) {
        assert_eq!(world.gpus(seconds), 1, "after {seconds} s");
    }
    let ready = PodRecord {
        ready: true,
        ..pod("b", "gpu")
    };
    world.pod("b-0", ready);
    for seconds in 490..550 {
        assert_eq!(world.gpus(seconds), 1, "its controller may create it now");
    }
    assert_eq!(world.gpus(550), 0, "and does not");
}

#[test]
fn a_pod_that_never_gets_ready_keeps_no_place_for_the_next_one_for_ever() {
    let world = ordered(2);
    for seconds in (0..=600).step_by(10) {
        assert_eq!(world.gpus(seconds), 1, "after {seconds} s");
    }
    for seconds in 601..660 {
        assert_eq!(world.gpus(seconds), 1, "after {seconds} s");
    }
    assert_eq!(world.gpus(661), 0);
    world.pod("b-1", pod("b", "gpu"));
    assert_eq!(world.gpus(662), 0, "all are bound");
}

#[test]
fn a_pod_that_the_scheduler_refuses_is_not_one_that_its_stateful_set_waits_to_create() {
    let world = ordered(2);
    let mut stuck = pod("b", "gpu");
    stuck.node = None;
    stuck.unschedulable_since = Some(Timestamp::UNIX_EPOCH);
    world.pod("b-1", stuck);
    for seconds in 0..15 {
        assert_eq!(world.gpus(seconds), 1, "after {seconds} s");
    }
    assert_eq!(world.gpus(15), 0);
}

#[test]
fn promises_that_are_kept_one_after_the_other_use_up_no_patience() {
    let world = World::new(&[&theirs()], &[("b", written("b", 1))], &[]);
    world.pod("b-0", pod("b", "gpu"));
    for round in 0..10 {
        let (start, version) = (round * 100, 2 * round + 2);
        world.put("b", version, written("b", 2));
        for seconds in start..=start + 20 {
            assert_eq!(world.gpus(seconds), 1, "round {round}");
        }
        world.pod("b-1", pod("b", "gpu"));
        assert_eq!(world.gpus(start + 21), 0, "it was kept");
        world.put("b", version + 1, written("b", 1));
        world.gone("b-1");
        assert_eq!(world.gpus(start + 50), 0);
    }
}

#[test]
fn a_replacement_for_a_pod_that_is_lost_is_promised_beyond_the_agents_maximum() {
    let promised = |there: u32| {
        let world = World::new(&[&theirs()], &[("b", written("b", 9))], &[("b", "gpu"); 7]);
        let labels = json!({ "nvidia.com/gpu.present": "true" });
        let gpus = json!({ "nvidia.com/gpu": there.to_string() });
        world.node("other", node(labels, gpus, json!([])));
        world.pod("b-7", pod("b", "other"));
        world.gpus(0)
    };
    assert_eq!(promised(0), 1, "its GPU is gone");
    assert_eq!(promised(1), 0, "it has what it asks for");
}

#[test]
fn what_was_never_a_pools_is_promised_nothing_whoevers_name_it_bears() {
    let world = World::new(&[], &[], &[]);
    assert!(world.promised(0).sizes.is_empty());
    let mut forged = cut("x");
    let note = json!({ "replicas": 1_000_000, "from": LARGE, "to": SMALL, "toReplicas": 1 });
    forged
        .notes
        .insert(annotations::RESTORE.to_owned(), note.to_string());
    world.put("x", 1, forged);
    world.put("y", 1, written("y", 1000));
    assert!(
        world.promised(1).sizes.is_empty(),
        "{:?}",
        world.promised(1)
    );
}

#[test]
fn what_a_pool_has_left_is_promised_no_more_than_it_could_have() {
    let mut small = theirs();
    small.spec.agents[0].replicas.max = 3;
    let world = World::new(&[&small], &[], &[]);
    assert!(world.promised(0).sizes.is_empty());
    world.put("b", 1, written("b", 1000));
    assert_eq!(world.gpus(1), 3);
    let own = object("ours", "WholeGPU", &["a"]);
    world.claims.replace([&own].into_iter(), &BTreeSet::new());
    assert_eq!(world.gpus(2), 3);
}

#[test]
fn pods_that_the_scheduler_finds_no_node_for_hold_nobody_off_for_longer_than_it_takes_to_try_again()
{
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    let mut stuck = pod("b", "gpu");
    stuck.node = None;
    stuck.unschedulable_since = Some(Timestamp::UNIX_EPOCH);
    world.pod("b-0", stuck);
    for seconds in 0..15 {
        assert_eq!(world.gpus(seconds), 2, "after {seconds} s");
    }
    assert_eq!(world.gpus(15), 1, "the other pod may have a node yet");
}

#[test]
fn a_pool_that_is_paused_keeps_what_it_was_promised_before_and_gets_no_more() {
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    assert_eq!(world.gpus(0), 2);
    world.claims.note("theirs", false);
    world.put("b", 2, written("b", 5));
    for seconds in 1..60 {
        assert_eq!(world.gpus(seconds), 2, "after {seconds} s");
    }
    assert_eq!(world.gpus(60), 0);
}

/// A Deployment that a swap has stopped between the large and the small instance. Nobody owns the replicas of one at zero.
fn cut(name: &str) -> WorkloadRecord {
    let mut record = written(name, 0);
    record.owners.clear();
    record.marked = true;
    let note = json!({ "replicas": 1, "from": LARGE, "to": SMALL, "toReplicas": 2 });
    let note = (annotations::RESTORE.to_owned(), note.to_string());
    record.notes.extend([note]);
    let limit = (GpuResource::parse(LARGE).unwrap(), 1);
    record.containers[0].limits = [limit].into();
    record
}

#[test]
fn both_sides_of_a_swap_that_was_cut_are_promised_whatever_the_mode_of_its_pool() {
    let both: Sizes = [(SMALL, 2), (LARGE, 1)]
        .map(|(name, n)| (GpuResource::parse(name).unwrap(), [(1, n)].into()))
        .into();
    let world = World::new(&[&theirs()], &[("b", cut("b"))], &[]);
    world.claims.note("theirs", false);
    assert_eq!(world.promised(0).sizes, both);
    let mut forged = cut("b");
    forged.marked = false;
    let forged = World::new(&[&theirs()], &[("b", forged)], &[]);
    assert!(
        forged.promised(0).sizes.is_empty(),
        "anybody may write a note"
    );
    // While a pod of it holds the large instance still, that is not free anyhow.
    let mut leaving = pod("b", "gpu");
    leaving.deleting = true;
    leaving.requests = [(GpuResource::parse(LARGE).unwrap(), 1)].into();
    world.pod("b-0", leaving);
    let sizes = world.promised(1).sizes;
    assert_eq!(
        sizes.keys().map(GpuResource::as_str).collect::<Vec<_>>(),
        [SMALL]
    );
}

#[test]
fn a_pod_of_its_own_that_hangs_does_not_take_from_a_stopped_workload_what_it_is_promised() {
    let world = World::new(&[&theirs()], &[("b", cut("b"))], &[]);
    let large = GpuResource::parse(LARGE).unwrap();
    let promised = |minutes: u64| {
        let mut leaving = pod("b", "gpu");
        leaving.deleting = true;
        leaving.gone_by = Some(Timestamp::now() - Duration::from_secs(60 * minutes));
        leaving.requests = [(large.clone(), 1)].into();
        world.pod("b-0", leaving);
        world.promised(0).sizes.contains_key(&large)
    };
    assert_eq!((promised(9), promised(11)), (false, true));
}

#[test]
fn that_a_pod_hangs_by_now_is_noticed_although_nothing_changes() {
    let world = World::new(&[&theirs()], &[("b", cut("b"))], &[]);
    let counted = |seconds: u64| {
        world.promised(seconds);
        let known = world.promises.lock();
        known.counted.clone().unwrap().1
    };
    let first = counted(0);
    assert!(Arc::ptr_eq(&first, &counted(59)));
    assert!(!Arc::ptr_eq(&first, &counted(60)));
}

#[test]
fn of_pools_whose_agents_a_swap_has_stopped_the_oldest_is_not_held_off_by_the_others() {
    let world = |theirs: &str| {
        let pool = object(theirs, "WholeGPU", &["b"]);
        let workloads = [("a", cut("a")), ("b", cut("b"))];
        World::new(&[&pool], &workloads, &[])
    };
    assert!(world("younger").promised(0).sizes.is_empty());
    assert!(!world("elder").promised(0).sizes.is_empty());
}

#[test]
fn the_oldest_leaves_alone_what_its_own_stopped_agents_cannot_come_up_on() {
    let pool = object("younger", "WholeGPU", &["b"]);
    let mut other = cut("b");
    let note = json!({ "replicas": 2, "from": "nvidia.com/gpu", "to": SMALL, "toReplicas": 2 });
    other
        .notes
        .insert(annotations::RESTORE.to_owned(), note.to_string());
    let world = World::new(&[&pool], &[("a", cut("a")), ("b", other)], &[]);
    let whole = [(GpuResource::whole(), [(1, 2)].into())];
    assert_eq!(world.promised(0).sizes, whole.into());
}

#[test]
fn a_workload_that_no_pool_names_any_more_counts_for_as_long_as_it_bears_our_marks() {
    let ours = World::new(
        &[],
        &[("left", written("left", 2)), ("cut", cut("cut"))],
        &[],
    );
    let promised = ours.promised(0);
    assert_eq!(promised.sizes.len(), 3, "{promised:?}");
    let said = promised.named(&GpuResource::whole()).unwrap();
    assert_eq!(
        said,
        "2 nvidia.com/gpu to Deployment n/left, which no pool names any more"
    );
    let mut forged = cut("x");
    forged.marked = false;
    let unmarked = deployment("y", 1000, json!([]));
    let others = World::new(&[], &[("x", forged), ("y", unmarked)], &[]);
    assert!(others.promised(0).sizes.is_empty());
}

#[test]
fn what_a_pool_takes_in_its_turn_is_promised_until_its_write_is_answered_or_for_a_moment_after_none()
 {
    let pools = [&theirs()];
    let world = World::new(&pools, &[("b", deployment("b", 1, json!([])))], &[]);
    let valid = ValidPool::admit(pools[0]).unwrap();
    let steps = [Step::Scale {
        agent: 0,
        from: 1,
        to: 4,
        victims: Vec::new(),
    }];
    let seen = view(&valid, &world.caches, &world.claims);
    let workload = (
        NAMESPACE.to_owned(),
        WorkloadKind::Deployment,
        "b".to_owned(),
    );
    assert_eq!(world.gpus(0), 0);
    let reserved = world.promises.reserve(&valid, &seen, steps.iter());
    assert_eq!(world.gpus(0), 4);
    world.put("b", 2, written("b", 4));
    assert_eq!(world.gpus(1), 4, "not twice");
    reserved.end();
    assert_eq!(world.gpus(1), 4, "the workload says it now");
    world.put("b", 3, deployment("b", 0, json!([])));
    let reserved = world.promises.reserve(&valid, &seen, steps.iter());
    reserved.unsure(&workload, Duration::from_secs(2));
    reserved.end();
    assert_eq!((world.gpus(11), world.gpus(12)), (4, 0));
}

#[test]
fn what_a_write_without_an_answer_may_have_taken_is_kept_from_the_pools_own_agents_until_it_is_seen()
 {
    let own = deployment("a", 1, json!([]));
    let world = World::new(&[], &[("a", own.clone())], &[("a", "gpu")]);
    let workload = (
        NAMESPACE.to_owned(),
        WorkloadKind::Deployment,
        "a".to_owned(),
    );
    let reserved = world.promises.reserve_for(workload.clone(), &own, 3);
    assert_eq!(world.gpus(0), 0, "what is about to be written is planned");
    reserved.unsure(&workload, Duration::ZERO);
    reserved.end();
    assert_eq!(world.gpus(1), 2);
    world.put("a", 2, written("a", 2));
    assert_eq!(world.gpus(2), 1);
    world.put("a", 3, written("a", 3));
    assert_eq!(world.gpus(3), 0, "it was carried out");
    world.put("a", 4, own);
    assert_eq!((world.gpus(9), world.gpus(10)), (2, 0));
}

#[test]
fn what_a_pool_was_about_to_take_when_its_task_was_ended_is_kept_for_a_moment() {
    let record = deployment("b", 1, json!([]));
    let world = World::new(&[&theirs()], &[("b", record.clone())], &[]);
    let workload = (
        NAMESPACE.to_owned(),
        WorkloadKind::Deployment,
        "b".to_owned(),
    );
    let reserve = || world.promises.reserve_for(workload.clone(), &record, 3);
    reserve().end();
    assert_eq!(world.gpus(0), 0);
    drop(reserve());
    assert_eq!((world.gpus(1), world.gpus(10), world.gpus(11)), (3, 3, 0));
}

#[test]
fn a_retarget_promises_the_new_resource_to_every_replica() {
    let pools = [&theirs()];
    let world = World::new(&pools, &[("b", deployment("b", 2, json!([])))], &[]);
    let valid = ValidPool::admit(pools[0]).unwrap();
    let small = GpuResource::parse(SMALL).unwrap();
    let steps = [Step::Retarget {
        agent: 0,
        remove: BTreeMap::new(),
        resource: small.clone(),
        count: 1,
    }];
    let seen = view(&valid, &world.caches, &world.claims);
    let _reserved = world.promises.reserve(&valid, &seen, steps.iter());
    assert_eq!(world.promised(0).sizes, [(small, [(1, 2)].into())].into());
}

#[test]
fn a_hold_says_to_whom_what_is_waited_for_is_promised() {
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    let hold = |reason, message: &str, resources: &[GpuResource]| {
        Some(Hold {
            reason,
            message: message.to_owned(),
            resources: resources.to_vec(),
        })
    };
    let (whole, shared) = (GpuResource::whole(), GpuResource::parse(SHARED).unwrap());
    let mut plan = Plan {
        holds: vec![
            hold(HoldReason::WaitingForCapacity, "of 1 each", &[whole]),
            hold(HoldReason::WaitingForCapacity, "nvidia.com/gpu", &[shared]),
            hold(HoldReason::Stabilizing, "nvidia.com/gpu", &[]),
        ],
        ..Plan::default()
    };
    world.promised(0).explain(&mut plan);
    let said: Vec<String> = plan
        .holds
        .into_iter()
        .flatten()
        .map(|h| h.message)
        .collect();
    let promised = "of 1 each; promised to others: 2 nvidia.com/gpu to n/theirs/b";
    assert_eq!(said, [promised, "nvidia.com/gpu", "nvidia.com/gpu"]);
}

#[test]
fn what_is_due_is_counted_anew_only_when_something_has_changed() {
    let world = World::new(&[&theirs()], &[("b", written("b", 2))], &[]);
    let counted = || {
        world.promised(0);
        let known = world.promises.lock();
        Arc::as_ptr(&known.counted.as_ref().unwrap().1)
    };
    let first = counted();
    assert_eq!(counted(), first);
    let label = node(json!({}), json!({ "nvidia.com/gpu": "8" }), json!([]));
    let key = (String::new(), "other".to_owned());
    world.caches.nodes.put(key, 1, label);
    assert_eq!(counted(), first, "nodes do not matter");
    let before = world.promises.lock().counted.clone();
    world.put("b", 2, written("b", 3));
    assert_ne!(counted(), first);
    drop(before);
}
