//! The operator's own eyes on the stand-in: what it scrapes is the load that was sent, and a fault is never "no load".

use super::*;
use crate::load::{AgentLoad, Arrivals, Direct, Driven, Driver, DriverOptions, Work};
use agentpool::allocation::Load;
use agentpool::signals::dialect::Dialects;
use agentpool::signals::scrape::{Limits, Scraper, Target};
use agentpool::signals::{Clock, Freshness, Pod, Problem, Settings, Tracker};

const INTERVAL: Duration = Duration::from_millis(500);

fn target(address: SocketAddr) -> Target {
    let dialects = Arc::new(Dialects::detect());
    Target::new(
        "p".into(),
        &address.ip().to_string(),
        address.port(),
        "/metrics",
        dialects,
    )
    .unwrap()
}

async fn estimate(dialect: &str, address: SocketAddr) -> (f64, f64) {
    let (fleet, http) = (Arc::new(fleet().await), client());
    let mut pod = pod("p", address, "100");
    if let Some(Ok(profile)) = &mut pod.profile {
        profile.dialect = if dialect == "vllm" {
            Dialect::Vllm
        } else {
            Dialect::Sglang
        };
    }
    fleet.apply_pod(pod);
    up(&http, address).await;
    let load = AgentLoad {
        agent: "a".into(),
        arrivals: Arrivals::Constant { rate: 50.0 },
        work: Work::Exponential,
    };
    let driven = Driven {
        backend: Arc::new(Direct::new(fleet.clone())),
        options: DriverOptions::new("ns"),
    };
    let driver = Driver::start(&[load], 1, vec![driven], Duration::from_secs(60));
    let clock = Clock::start();
    let scraper = Scraper::new(Limits::for_interval(INTERVAL), clock);
    let window = Duration::from_secs(4);
    let mut tracker = Tracker::new(Settings::new(INTERVAL, window, window));
    let pods = [Pod {
        uid: "p".into(),
        name: "p".into(),
        ready: true,
        started: None,
    }];
    // The rate must become right: the window fills, and a busy machine sends late at first.
    let limit = Instant::now() + Duration::from_secs(55);
    loop {
        let scrape = scraper.scrape_all(&[target(address)]).await.remove(0);
        let now = clock.now();
        tracker.observe(now, &pods, [("p", scrape.result)]);
        let signal = tracker.signal(now, window);
        if let (
            Load::Measured {
                arrivals_per_second,
                backlog,
            },
            Freshness::Fresh,
        ) = (signal.load, signal.freshness)
            && ((arrivals_per_second - 50.0).abs() < 3.0 || Instant::now() > limit)
        {
            driver.stop();
            return (arrivals_per_second, backlog);
        }
        assert!(Instant::now() < limit, "no fresh signal: {signal:?}");
        tokio::time::sleep(INTERVAL).await;
    }
}

#[tokio::test]
async fn the_operator_measures_the_rate_that_is_sent_in_both_dialects() {
    for (dialect, host) in [("vllm", "127.88.1.1"), ("sglang", "127.88.1.2")] {
        let (rate, backlog) = estimate(dialect, free(host)).await;
        assert!(
            (rate - 50.0).abs() < 3.0,
            "{dialect}: {rate}/s instead of 50/s"
        );
        assert!(backlog < 30.0, "{dialect}: {backlog}");
    }
}

#[tokio::test]
async fn no_fault_looks_like_an_idle_engine_to_the_operator() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.1.3"));
    fleet.apply_pod(pod("p", address, "100"));
    up(&http, address).await;
    complete(&http, address, 0.1).await.unwrap();
    let scraper = Scraper::new(Limits::for_interval(Duration::from_secs(2)), Clock::start());
    let scrape = async || {
        scraper
            .scrape_all(&[target(address)])
            .await
            .remove(0)
            .result
    };
    assert!(scrape().await.unwrap().finished > 0.0);
    for fault in [
        Fault::Refuse,
        Fault::NotFound,
        Fault::ServerError,
        Fault::Nan,
        Fault::Huge,
        Fault::Negative,
        Fault::Garbage,
        Fault::Empty,
        Fault::Oversized,
        Fault::Slow { seconds: 30.0 },
        Fault::GzipBomb,
        Fault::Redirect {
            location: "http://169.254.169.254/".into(),
        },
        Fault::SlowLoris,
    ] {
        fleet.set_fault("ns/p", fault.clone());
        let seen: Result<_, Problem> = scrape().await;
        assert!(seen.is_err(), "{fault:?}: {seen:?}");
        fleet.clear_fault("ns/p");
        up(&http, address).await;
        assert!(scrape().await.is_ok(), "after {fault:?}");
    }
}
