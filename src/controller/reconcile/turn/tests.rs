#![allow(clippy::unwrap_used)]

use super::super::{Current, State, reconcile};
use super::next;
use crate::api::AgentPool;
use crate::api::annotations::{PAUSED, RESTORE};
use crate::controller::apply::agent_of;
use crate::controller::backoff::Backoff;
use crate::controller::cache::WorkloadRecord;
use crate::controller::fixtures::{
    NAMESPACE, TIMEOUT, caches, deployment, object, pool, shared, whole,
};
use crate::controller::shared::Shared;
use crate::sharing::Step;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// An API server that carries out what it is asked for, but gives no answer to writes of replicas of the workloads that `hangs` names.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    async fn start(hangs: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, log.clone(), hangs));
            }
        });
        Self { url, seen }
    }

    /// Names of the Deployments whose replicas were asked to change, in order.
    fn scaled(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let scaled = seen.iter().filter_map(|(path, _)| workload_of(path));
        scaled.map(str::to_owned).collect()
    }

    /// The statuses that pools were given.
    fn said(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let said = seen
            .iter()
            .filter(|(path, _)| path.contains("/agentpools/"));
        said.map(|(_, body)| body.as_str()).collect()
    }
}

fn workload_of(path: &str) -> Option<&str> {
    path.split("/deployments/").nth(1)?.split("/scale").next()
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<(String, String)>>>,
    hangs: &[&str],
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let length = head.lines().find_map(|line| {
            let line = line.to_ascii_lowercase();
            line.strip_prefix("content-length:")?.trim().parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        log.lock()
            .unwrap()
            .push((path.clone(), String::from_utf8(body).ok()?));
        if workload_of(&path).is_some_and(|name| hangs.contains(&name)) {
            return std::future::pending().await;
        }
        let answer = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "resourceVersion": "7" }, "spec": {}
        });
        let answer = match workload_of(&path) {
            Some(_) => answer.to_string(),
            None => json!(object("any", "WholeGPU", &["a"])).to_string(),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes()).await.ok()?;
    }
}

/// A Deployment that a swap has stopped.
fn stopped(name: &str) -> WorkloadRecord {
    let gpu = "nvidia.com/gpu";
    let note = json!({ "replicas": 1, "from": gpu, "to": gpu, "toReplicas": 1 });
    let mut record = deployment(name, 0, json!([]));
    record.notes.insert(RESTORE.to_owned(), note.to_string());
    record
}

/// A cluster with one node of so many GPUs, and Deployments that a swap has stopped and that their pools are to bring up to one replica,
/// whatever their load is.
fn stage(server: &Server, gpus: u32, workloads: &[&str], pools: &[&AgentPool]) -> Shared {
    let workloads: Vec<_> = workloads
        .iter()
        .map(|name| (*name, stopped(name)))
        .collect();
    let caches = caches(&[("gpu", whole(gpus))], &workloads, &[]);
    shared(&server.url, caches, pools)
}

/// One tick of a pool that nobody changes.
async fn tick(shared: &Shared, pool: &AgentPool, state: &mut State) {
    let (_sender, now) = watch::channel(Arc::new(pool.clone()));
    let current = Current {
        begun: pool,
        now: &now,
    };
    reconcile(shared, current, state, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_its_turn_goes_on_without_it_and_says_so_and_tries_again() {
    let server = Server::start(&[]).await;
    let pool = object("p", "WholeGPU", &["a"]);
    let shared = stage(&server, 4, &["a"], &[&pool]);
    let mut state = State::default();
    let others = shared.claims.turn().await;
    // It waits for half a second; unbounded it would wait for ever, because nobody gives the turn back.
    let bounded = timeout(Duration::from_secs(20), tick(&shared, &pool, &mut state));
    bounded.await.unwrap();
    assert_eq!(server.scaled(), [""; 0]);
    let said = server.said();
    assert!(said.contains("at the next tick: somebody else"), "{said}");
    drop(others);
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_write_of_one_pool_gets_no_answer_another_takes_what_the_first_has_not_reserved() {
    let server = Server::start(&["slow"]).await;
    let slow = object("first", "WholeGPU", &["slow"]);
    let quick = object("second", "WholeGPU", &["one", "two"]);
    let workloads = ["slow", "one", "two"];
    let shared = stage(&server, 2, &workloads, &[&slow, &quick]);
    let mut state = State::default();
    let start = Instant::now();
    let (mut waiting, mut others) = (State::default(), 0);
    tokio::join!(tick(&shared, &slow, &mut waiting), async {
        while server.scaled().is_empty() && start.elapsed() < TIMEOUT {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tick(&shared, &quick, &mut state).await;
        assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
        others = server.scaled().len() - 1;
    });
    assert_eq!(others, 1, "one of two GPUs is about to be the slow pool's");
    let said = server.said();
    assert!(said.contains("1 nvidia.com/gpu to n/first/slow"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_write_without_an_answer_is_the_last_of_what_a_tick_takes_and_of_a_while() {
    let server = Server::start(&["a", "b", "c"]).await;
    let pool = object("p", "WholeGPU", &["a", "b", "c"]);
    let shared = stage(&server, 4, &["a", "b", "c"], &[&pool]);
    let mut state = State::default();
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a"]);
    // Status is written anew only by a pool that has not just written one.
    let mut state = State {
        turns: state.turns,
        ..State::default()
    };
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a"], "it pauses");
    let said = server.said();
    assert!(said.contains("follows a write without an answer"), "{said}");
    assert!(said.contains("\"hold\":\"WaitingForAnswer\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_paused_while_it_waits_for_its_turn_writes_nothing() {
    let server = Server::start(&[]).await;
    let pool = object("p", "WholeGPU", &["a"]);
    let shared = stage(&server, 4, &["a"], &[&pool]);
    let (sender, now) = watch::channel(Arc::new(pool.clone()));
    let current = Current {
        begun: &pool,
        now: &now,
    };
    let mut state = State::default();
    let others = shared.claims.turn().await;
    tokio::join!(reconcile(&shared, current, &mut state, false), async {
        // The tick waits now: nothing in it but the turn does before its first write.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut paused = pool.clone();
        let annotations = paused.metadata.annotations.get_or_insert_default();
        annotations.insert(PAUSED.to_owned(), "true".to_owned());
        sender.send_replace(Arc::new(paused));
        drop(others);
    });
    assert_eq!(server.scaled(), [""; 0]);
    assert_eq!(
        shared
            .caches
            .deployments
            .get(NAMESPACE, "a")
            .unwrap()
            .replicas,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_whose_writes_get_no_answer_keeps_those_after_it_waiting_for_a_pause_and_no_longer()
 {
    let server = Server::start(&["a"]).await;
    let pool = object("p", "WholeGPU", &["a", "b", "c"]);
    let shared = stage(&server, 4, &["a", "b", "c"], &[&pool]);
    let mut state = State::default();
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a"]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let start = Instant::now();
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a", "b", "c"]);
    assert!(start.elapsed() < TIMEOUT, "nor do they wait for it");
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled()[..4], ["a", "b", "c", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_without_an_answer_may_have_taken_no_sibling_takes_at_the_next_tick() {
    let server = Server::start(&["b"]).await;
    let pool = object("p", "WholeGPU", &["a", "b"]);
    let mut paused = pool.clone();
    let annotations = paused.metadata.annotations.get_or_insert_default();
    annotations.insert(PAUSED.to_owned(), "true".to_owned());
    let shared = stage(&server, 1, &["b"], &[&pool]);
    let mut state = State::default();
    tick(&shared, &paused, &mut state).await;
    assert_eq!(server.scaled(), ["b"], "a swap that was cut is ended");
    let a = (NAMESPACE.to_owned(), "a".to_owned());
    shared.caches.deployments.put(a, 1, stopped("a"));
    // Status is written anew only by a pool that has not just written one.
    let mut state = State::default();
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["b"]);
    let said = server.said();
    assert!(said.contains("1 nvidia.com/gpu to n/p/b"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_pool_claims_while_a_pool_waits_for_its_turn_is_left_alone() {
    let server = Server::start(&[]).await;
    let (pool, older) = (
        object("p", "WholeGPU", &["a"]),
        object("older", "WholeGPU", &["a"]),
    );
    let shared = stage(&server, 4, &["a"], &[&pool]);
    let mut state = State::default();
    let others = shared.claims.turn().await;
    tokio::join!(tick(&shared, &pool, &mut state), async {
        // The tick waits now: nothing in it but the turn does before its first write.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let pools = [&older, &pool].into_iter();
        shared.claims.replace(pools, &Default::default());
        drop(others);
    });
    assert_eq!(server.scaled(), [""; 0]);
}

#[test]
fn who_is_given_up_keeps_nobody_waiting_who_has_failed_before() {
    let pool = pool("p", "WholeGPU", &["a", "b"]);
    let steps = [0, 1].map(|agent| Step::Scale {
        agent,
        from: 0,
        to: 1,
        victims: Vec::new(),
    });
    let mut backoff = Backoff::default();
    backoff.failed("b", Duration::ZERO, "no answer".to_owned());
    let now = Duration::from_secs(2);
    let next = |given_up: &[usize]| {
        let next = next(&pool, &steps, given_up, &backoff, now);
        next.into_iter().map(agent_of).collect::<Vec<_>>()
    };
    assert_eq!((next(&[]), next(&[0])), (vec![0], vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_agents_of_a_paused_pool_one_whose_write_gets_no_answer_is_the_last_of_its_tick_and_not_the_first_of_the_next()
 {
    let server = Server::start(&["a"]).await;
    let mut pool = object("p", "WholeGPU", &["a", "b"]);
    let annotations = pool.metadata.annotations.get_or_insert_default();
    annotations.insert(PAUSED.to_owned(), "true".to_owned());
    let shared = stage(&server, 4, &["a", "b"], &[&pool]);
    let mut state = State::default();
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a"]);
    tick(&shared, &pool, &mut state).await;
    assert_eq!(server.scaled(), ["a", "b"]);
}
