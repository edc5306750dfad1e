#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::signals::testing::{Served, closed_port, serve, serve_page};
use std::{
    collections::BTreeSet,
    io::Write,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::sleep,
};

const PAGE: &str = include_str!("../fixtures/vllm.txt");

fn limits(request_ms: u64) -> Limits {
    Limits {
        request_timeout: Duration::from_millis(request_ms),
        deadline: Duration::from_secs(30),
        ..Limits::for_interval(Duration::from_secs(10))
    }
}

fn target_at(uid: &str, port: u16) -> Target {
    Target::new(
        uid.into(),
        "127.0.0.1",
        port,
        "/metrics",
        Arc::new(Dialects::detect()),
    )
    .unwrap()
}

/// Scrapes one server once; generous in time unless said otherwise.
async fn scrape_within(server: &Served, request_ms: u64) -> Result<PodSample, Problem> {
    let scraper = Scraper::new(limits(request_ms), Clock::start());
    scraper.scrape_all(&[target_at("a", server.port)]).await[0].result
}

async fn scrape(server: &Served) -> Result<PodSample, Problem> {
    scrape_within(server, 20_000).await
}

#[tokio::test]
async fn a_page_becomes_a_sample_and_the_request_carries_nothing_but_what_is_needed() {
    let server = serve_page("200 OK", "Content-Type: text/plain\r\n", PAGE);
    let sample = scrape(&server).await.unwrap();
    assert_eq!(
        (sample.finished, sample.running, sample.waiting),
        (130.0, 5.0, 4.0)
    );
    let request = server.requests()[0].to_ascii_lowercase();
    assert!(
        request.starts_with("get /metrics http/1.1\r\n"),
        "{request}"
    );
    let headers: BTreeSet<&str> = request
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        headers,
        BTreeSet::from(["host", "accept", "accept-encoding", "user-agent"])
    );
    assert!(request.contains("accept-encoding: identity"));
}

#[tokio::test]
async fn a_connection_is_kept_from_round_to_round() {
    let server = serve_page("200 OK", "", PAGE);
    let scraper = Scraper::new(limits(20_000), Clock::start());
    for _ in 0..5 {
        assert!(
            scraper.scrape_all(&[target_at("a", server.port)]).await[0]
                .result
                .is_ok()
        );
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 5));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let canary = serve_page("200 OK", "", PAGE);
    for status in [301, 302, 303, 307, 308] {
        let port = canary.port;
        let server = serve(move |stream| {
            write!(stream, "HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:{port}/metrics\r\nContent-Length: 0\r\n\r\n").is_ok()
        });
        assert_eq!(scrape(&server).await, Err(Problem::Redirect(status)));
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn only_status_200_is_a_page() {
    for (status, code) in [
        ("503 x", 503),
        ("404 x", 404),
        ("401 x", 401),
        ("206 x", 206),
        ("204 x", 204),
    ] {
        let server = serve_page(status, "", PAGE);
        assert_eq!(scrape(&server).await, Err(Problem::BadStatus(code)));
    }
}

#[tokio::test]
async fn a_body_of_100_mb_is_cut_off_after_4() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let endless = serve(move |stream| {
        let line = [b"x".repeat(63), b"\n".to_vec()].concat().repeat(1024);
        let mut write = || -> std::io::Result<()> {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for _ in 0..1600 {
                write!(stream, "{:x}\r\n", line.len())?;
                stream.write_all(&line)?;
                stream.write_all(b"\r\n")?;
                count.fetch_add(line.len(), Ordering::SeqCst);
            }
            Ok(())
        };
        let _ = write();
        false
    });
    assert_eq!(scrape(&endless).await, Err(Problem::TooLarge));
    // What the sockets' buffers hold comes on top of the 4 MiB.
    assert!(
        sent.load(Ordering::SeqCst) < 40 << 20,
        "{}",
        sent.load(Ordering::SeqCst)
    );

    let announced = serve(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\nx 1\n");
        sleep(Duration::from_secs(60));
        false
    });
    assert_eq!(
        scrape(&announced).await,
        Err(Problem::TooLarge),
        "refused by its head alone"
    );
}

#[tokio::test]
async fn a_compressed_body_is_refused_unread() {
    for encoding in [
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: br\r\n",
    ] {
        let server = serve_page("200 OK", encoding, PAGE);
        assert_eq!(scrape(&server).await, Err(Problem::Encoded));
    }
    let server = serve_page("200 OK", "Content-Encoding: Identity\r\n", PAGE);
    assert!(scrape(&server).await.is_ok());
}

#[tokio::test]
async fn a_server_that_answers_too_late_or_drip_by_drip_is_a_timeout() {
    let silent = serve(|_| {
        sleep(Duration::from_secs(30));
        false
    });
    let drip = |head: &'static str| {
        serve(move |stream| {
            head.bytes().cycle().all(|byte| {
                sleep(Duration::from_millis(20));
                stream.write_all(&[byte]).is_ok()
            })
        })
    };
    let head = drip("HTTP/1.1 200 OK\r\nX-A: b\r\nX-C: ddddddddddddddddddddddddddddddddddddd\r\n");
    let body = serve(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while stream.write_all(b"#").is_ok() {
            sleep(Duration::from_millis(20));
        }
        false
    });
    for server in [silent, head, body] {
        assert_eq!(scrape_within(&server, 400).await, Err(Problem::Timeout));
    }
}

#[tokio::test]
async fn what_is_not_http_or_not_metrics_is_malformed() {
    let answers: [&[u8]; 4] = [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n<html><body>hi</body></html",
    ];
    for answer in answers {
        let server = serve(move |stream| {
            let _ = stream.write_all(answer);
            false
        });
        assert_eq!(
            scrape(&server).await,
            Err(Problem::Malformed),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
    let other = serve_page("200 OK", "", "go_goroutines 7\n");
    assert_eq!(scrape(&other).await, Err(Problem::NoKnownMetrics));
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let server = serve(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream
            .write_all(b"X-Filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
            .is_ok()
        {}
        false
    });
    assert_eq!(scrape(&server).await, Err(Problem::TooLarge));
}

#[tokio::test]
async fn nobody_listening_and_a_connection_cut_in_the_middle_are_told_apart() {
    let scraper = Scraper::new(limits(20_000), Clock::start());
    let refused = scraper.scrape_all(&[target_at("a", closed_port())]).await;
    assert_eq!(refused[0].result, Err(Problem::ConnectionRefused));
    let cut = serve(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx 1\n");
        false
    });
    assert_eq!(scrape(&cut).await, Err(Problem::ConnectionClosed));
}

#[tokio::test]
async fn a_round_ends_at_its_deadline_and_stuck_pods_delay_nobody_in_the_rounds_after() {
    let good = serve_page("200 OK", "", PAGE);
    let stuck = serve(|_| {
        sleep(Duration::from_secs(60));
        false
    });
    let limits = Limits {
        concurrency: 4,
        deadline: Duration::from_secs(2),
        ..limits(60_000)
    };
    let scraper = Scraper::new(limits, Clock::start());
    // Stuck pods come first, and take every place of the first two rounds.
    let mut targets: Vec<Target> = (0..8)
        .map(|i| target_at(&format!("stuck-{i}"), stuck.port))
        .collect();
    targets.push(target_at("good", good.port));
    let mut answered = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        let round = scraper.scrape_all(&targets).await;
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(
            round[..8]
                .iter()
                .all(|scrape| scrape.result == Err(Problem::Late))
        );
        assert_eq!(round[8].pod_uid, "good".into());
        answered.push(round[8].result.is_ok());
    }
    assert_eq!(answered, [false, false, true, true]);
    // A pod that answered goes first: many new stuck pods do not keep it waiting.
    let mut targets: Vec<Target> = (0..50)
        .map(|i| target_at(&format!("new-{i}"), stuck.port))
        .collect();
    targets.push(target_at("good", good.port));
    assert!(scraper.scrape_all(&targets).await[50].result.is_ok());
}

#[tokio::test]
async fn a_pod_that_hung_once_has_its_try_again_beside_many_that_always_hang() {
    let hangs = Arc::new(AtomicBool::new(true));
    let once = hangs.clone();
    let recovers = serve(move |stream| {
        if once.load(Ordering::SeqCst) {
            sleep(Duration::from_secs(60));
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PAGE.len());
        stream.write_all((head + PAGE).as_bytes()).is_ok()
    });
    let stuck = serve(|_| {
        sleep(Duration::from_secs(60));
        false
    });
    let limits = Limits {
        concurrency: 4,
        deadline: Duration::from_millis(500),
        ..limits(60_000)
    };
    let scraper = Scraper::new(limits, Clock::start());
    let mut targets: Vec<Target> = (0..8)
        .map(|i| target_at(&format!("stuck-{i}"), stuck.port))
        .collect();
    targets.push(target_at("recovers", recovers.port));
    for _ in 0..3 {
        scraper.scrape_all(&targets).await;
    }
    assert!(scraper.memory().slow("recovers").is_some());
    hangs.store(false, Ordering::SeqCst);
    let mut answered = 0;
    for _ in 0..4 {
        answered += usize::from(scraper.scrape_all(&targets).await[8].result.is_ok());
    }
    assert!(answered >= 1, "it never had its try");
    assert!(scraper.memory().slow("recovers").is_none());
}

#[tokio::test]
async fn pods_that_hang_never_take_more_than_half_of_all_places_whosever_they_are() {
    let stuck = serve(|_| {
        sleep(Duration::from_secs(60));
        false
    });
    let limits = Limits {
        total_concurrency: 4,
        concurrency: 4,
        ..limits(200)
    };
    let scraper = Scraper::new(limits, Clock::start());
    let targets: Vec<Target> = (0..8)
        .map(|i| target_at(&format!("stuck-{i}"), stuck.port))
        .collect();
    scraper.scrape_all(&targets).await;
    // From now on it is known that they hang.
    let (one, two) = targets.split_at(4);
    let watch = async {
        while scraper.slow.free() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scraper.permits.available_permits(), 2);
    };
    tokio::join!(scraper.scrape_all(one), scraper.scrape_all(two), watch);
}

#[tokio::test]
async fn a_pool_whose_pods_hang_takes_a_quarter_of_the_places_and_the_others_are_read_beside_it() {
    let good = serve_page("200 OK", "", PAGE);
    let stuck = serve(|_| {
        sleep(Duration::from_secs(60));
        false
    });
    let scraper = Scraper::new(
        Limits::shared(16, Duration::from_secs(20), 1 << 20),
        Clock::start(),
    );
    let hostile: Vec<Target> = (0..100)
        .map(|i| target_at(&format!("stuck-{i}"), stuck.port))
        .collect();
    let others = async {
        while stuck.requests().len() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..10 {
            let targets = [target_at("good", good.port)];
            assert!(scraper.scrape_all(&targets).await[0].result.is_ok());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = scraper.scrape_all(&hostile) => panic!("the others had to wait for the round that hangs"),
        () = others => {}
    }
    assert_eq!(stuck.requests().len(), 4, "a quarter of 16");
}

#[tokio::test]
async fn rounds_can_run_on_other_threads() {
    let server = serve_page("200 OK", "", PAGE);
    let scraper = Arc::new(Scraper::new(limits(20_000), Clock::start()));
    let targets = vec![target_at("a", server.port)];
    let round = tokio::spawn(async move { scraper.scrape_all(&targets).await });
    assert!(round.await.unwrap()[0].result.is_ok());
}

#[test]
fn addresses_that_no_pod_has_are_refused() {
    for ip in [
        "",
        "localhost",
        "example.com",
        "10.0.0.1:80",
        "010.0.0.1",
        "0x7f.1",
        "2130706433",
        "127.1",
        " 10.0.0.1",
        "10.0.0.1/24",
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::ffff:0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "[::1]",
        "user@10.0.0.1",
        "10.0.0.1#",
        "１０.0.0.1",
    ] {
        let target = Target::new("a".into(), ip, 80, "/metrics", Arc::new(Dialects::detect()));
        assert_eq!(target.unwrap_err(), Problem::BadAddress, "{ip}");
    }
    for ip in [
        "10.0.0.1",
        "192.168.1.2",
        "100.64.0.9",
        "fd00::12",
        "2001:db8::1",
        "127.0.0.1",
    ] {
        assert!(
            Target::new("a".into(), ip, 80, "/metrics", Arc::new(Dialects::detect())).is_ok(),
            "{ip}"
        );
    }
}

#[test]
fn a_path_cannot_lead_elsewhere() {
    let uri = |path: &str| {
        Target::new(
            "a".into(),
            "fd00::12",
            8000,
            path,
            Arc::new(Dialects::detect()),
        )
        .map(|t| t.uri.to_string())
    };
    assert_eq!(
        uri("/v1/metrics?format=prometheus").unwrap(),
        "http://[fd00::12]:8000/v1/metrics?format=prometheus"
    );
    assert_eq!(
        uri("//evil.example/x").unwrap(),
        "http://[fd00::12]:8000//evil.example/x"
    );
    for path in [
        "",
        "metrics",
        "http://evil.example/",
        "/a b",
        "/a\r\nHost: b",
        "/ü",
        "@evil.example/",
        &format!("/{}", "a".repeat(256)),
    ] {
        assert_eq!(uri(path), Err(Problem::BadPath), "{path}");
    }
}
