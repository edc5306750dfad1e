#![allow(clippy::unwrap_used)]
use super::*;
use crate::load::backend::Target;
use crate::load::{Arrivals, Piece, Spacing, Work};
use futures::future::BoxFuture;
use std::collections::VecDeque;

/// Answers as it is told, in turn; then as the last one said.
struct Script {
    pods: Mutex<Vec<&'static str>>,
    answers: Mutex<VecDeque<Option<Result<(), Failure>>>>,
    works: Mutex<Vec<f64>>,
}

impl Script {
    fn new(pods: &[&'static str], answers: &[Option<Result<(), Failure>>]) -> Arc<Self> {
        Arc::new(Self {
            pods: Mutex::new(pods.to_vec()),
            answers: Mutex::new(answers.iter().copied().collect()),
            works: Mutex::default(),
        })
    }
}

impl Backend for Script {
    fn ready(&self, agent: &str) -> Vec<Target> {
        assert_eq!(agent, "ns/a");
        let target = |uid: &&str| Target {
            uid: (*uid).to_owned(),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        self.pods.lock().unwrap().iter().map(target).collect()
    }

    fn send<'a>(&'a self, _: &'a Target, work: f64) -> BoxFuture<'a, Result<(), Failure>> {
        self.works.lock().unwrap().push(work);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().copied()
        };
        Box::pin(async move {
            match answer.flatten() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

fn load(n: u32) -> AgentLoad {
    let step = Piece {
        seconds: 1.0,
        rate: f64::from(n),
    };
    AgentLoad {
        agent: "a".into(),
        arrivals: Arrivals::Steps {
            steps: vec![step],
            spacing: Spacing::Even,
        },
        work: Work::Exponential,
    }
}

fn driven(backend: &Arc<Script>, change: impl FnOnce(&mut DriverOptions)) -> Driven {
    let mut options = DriverOptions::new("ns");
    change(&mut options);
    Driven {
        backend: backend.clone(),
        options,
    }
}

const LENGTH: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_cut_or_refused_request_is_tried_again_and_both_are_counted() {
    let backend = Script::new(
        &["p"],
        &[
            Some(Err(Failure::Cut)),
            Some(Err(Failure::Refused)),
            Some(Ok(())),
        ],
    );
    let driver = Driver::start(&[load(1)], 1, vec![driven(&backend, |_| {})], LENGTH);
    driver.finish(LENGTH).await;
    let counts = driver.records(0)["a"].counts();
    assert_eq!(
        (
            counts.cut,
            counts.refused,
            counts.served,
            counts.served_after_retry
        ),
        (1, 1, 1, 1)
    );
    assert_eq!((counts.offered, counts.lost, counts.open), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_lost_after_its_tries_not_silently() {
    let backend = Script::new(&["p"], &[Some(Err(Failure::Refused))]);
    let driver = Driver::start(
        &[load(3)],
        1,
        vec![driven(&backend, |options| options.tries = 2)],
        LENGTH,
    );
    driver.finish(LENGTH).await;
    let counts = driver.records(0)["a"].counts();
    assert_eq!((counts.offered, counts.lost, counts.refused), (3, 3, 6));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_pod_waits_for_one_and_the_wait_is_latency() {
    let backend = Script::new(&[], &[Some(Ok(()))]);
    let driver = Driver::start(&[load(1)], 1, vec![driven(&backend, |_| {})], LENGTH);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(driver.records(0)["a"].counts().open, 1);
    *backend.pods.lock().unwrap() = vec!["p"];
    driver.finish(LENGTH).await;
    let record = &driver.records(0)["a"];
    assert_eq!(
        (record.counts().without_pod, record.counts().served),
        (1, 1)
    );
    let latency = record.latencies().mean().unwrap();
    assert!((5.0..5.6).contains(&latency), "{latency}");
}

#[tokio::test(start_paused = true)]
async fn the_loop_is_open_and_bounded() {
    let backend = Script::new(&["p"], &[None]);
    let driver = Driver::start(
        &[load(10)],
        1,
        vec![driven(&backend, |options| options.max_open = 4)],
        LENGTH,
    );
    driver.finish(Duration::from_secs(1)).await;
    let counts = driver.records(0)["a"].counts();
    assert_eq!((counts.offered, counts.open, counts.shed), (10, 4, 6));
    assert_eq!(driver.open(0), 4);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let backend = Script::new(&["p"], &[None]);
    let options = |options: &mut DriverOptions| options.patience = Duration::from_secs(2);
    let driver = Driver::start(&[load(2)], 1, vec![driven(&backend, options)], LENGTH);
    driver.finish(LENGTH).await;
    assert_eq!(driver.records(0)["a"].counts().lost, 2);
}

#[tokio::test(start_paused = true)]
async fn two_fleets_get_the_same_requests() {
    let backends = [0, 1].map(|_| Script::new(&["p"], &[Some(Ok(()))]));
    let fleets = backends
        .iter()
        .map(|backend| driven(backend, |_| {}))
        .collect();
    let driver = Driver::start(&[load(50)], 1, fleets, LENGTH);
    driver.finish(LENGTH).await;
    let [a, b] = backends.map(|backend| backend.works.lock().unwrap().clone());
    assert_eq!(a.len(), 50);
    assert_eq!(a, b);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_driver_sends_nothing_more() {
    let backend = Script::new(&["p"], &[Some(Ok(()))]);
    let driver = Driver::start(&[load(1000)], 1, vec![driven(&backend, |_| {})], LENGTH);
    sleep(Duration::from_millis(500)).await;
    driver.stop();
    driver.finish(LENGTH).await;
    let offered = driver.records(0)["a"].counts().offered;
    assert!((400..600).contains(&offered), "{offered}");
}
