#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::signals::{
    Input,
    testing::{Served, closed_port, serve, serve_by_request, serve_page},
};
use serde_json::json;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

fn pods(names: &[&str]) -> Vec<PodName> {
    names
        .iter()
        .map(|name| PodName {
            uid: format!("uid-{name}").into(),
            name: (*name).into(),
        })
        .collect()
}

fn item(labels: &[(&str, &str)], value: &str) -> serde_json::Value {
    let metric: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({"metric": metric, "value": [1000.0, value]})
}

fn vector(items: &[serde_json::Value]) -> String {
    json!({"status": "success", "data": {"resultType": "vector", "result": items}}).to_string()
}

/// A pod's series as one scrape job gives them, sampled `age` seconds ago.
fn of_pod(pod: &str, job: &str, finished: &str, age: f64) -> Vec<serde_json::Value> {
    let one = |name: &str, engine: &str, value: &str| {
        item(
            &[
                ("__name__", name),
                ("pod", pod),
                ("namespace", "ns"),
                ("job", job),
                ("instance", "i"),
                ("engine", engine),
            ],
            value,
        )
    };
    vec![
        one("vllm:num_requests_running", "0", "2"),
        one("vllm:num_requests_running", "1", "3"),
        one("vllm:num_requests_waiting", "0", "4"),
        one("vllm:request_success_total", "0", finished),
        item(
            &[("pod", pod), (AGE_MARK, "vllm:num_requests_running")],
            &(1000.0 - age).to_string(),
        ),
    ]
}

fn source(port: u16) -> Source {
    let limits = Limits {
        timeout: Duration::from_secs(20),
        round: Duration::from_secs(40),
        ..Limits::default()
    };
    source_within(port, limits)
}

fn source_within(port: u16, limits: Limits) -> Source {
    Source::new(
        format!("prom=http://127.0.0.1:{port}").parse().unwrap(),
        limits,
        Clock::start(),
    )
}

fn question(names: &[&str]) -> Question {
    Question {
        pods: pods(names),
        dialects: Arc::new(Dialects::detect()),
    }
}

/// Reads one agent's pods.
async fn ask(source: &Source, namespace: &str, names: &[&str]) -> Answered {
    let answers = source.read_all(namespace, &[question(names)]).await;
    answers.into_iter().next().unwrap()
}

async fn read(server: &Served, names: &[&str]) -> Vec<Result<PodSample, Problem>> {
    let scrapes = ask(&source(server.port), "ns", names).await;
    let results = scrapes.scrapes.into_iter();
    results.map(|scrape| scrape.result).collect()
}

#[tokio::test]
async fn pods_are_read_with_one_query_and_two_jobs_of_one_pod_count_once() {
    let items = [
        of_pod("a", "one", "100", 0.0),
        of_pod("a", "two", "100", 0.0),
        of_pod("b", "one", "7", 0.0),
    ]
    .concat();
    let server = serve_page("200 OK", "", vector(&items));
    let results = read(&server, &["a", "b", "c"]).await;
    let numbers = |r: &Result<PodSample, Problem>| r.map(|s| (s.finished, s.running, s.waiting));
    assert_eq!(numbers(&results[0]), Ok((100.0, 5.0, 4.0)));
    assert_eq!(numbers(&results[1]), Ok((7.0, 5.0, 4.0)));
    assert_eq!(results[2], Err(Problem::Absent), "absent is not zero");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].starts_with("POST /api/v1/query HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert!(!requests[0].to_ascii_lowercase().contains("authorization"));
    assert!(
        requests[0].contains("namespace%3D%22ns%22%2Cpod%3D~%22a%7Cb%7Cc%22"),
        "{}",
        requests[0]
    );
}

#[tokio::test]
async fn a_sample_has_the_time_at_which_the_server_took_it() {
    let server = serve_page("200 OK", "", vector(&of_pod("a", "one", "100", 30.0)));
    let clock = Clock::start();
    let source = Source::new(
        format!("prom=http://127.0.0.1:{}", server.port)
            .parse()
            .unwrap(),
        Limits::default(),
        clock,
    );
    // A clock that has run for less than the sample's age cannot say so: the offset is what the test looks at.
    let now = 100.0;
    *source.offset.lock().unwrap() = Some(clock.now().as_secs_f64() - 1000.0);
    let at = source.own_time(1000.0, 970.0 + now);
    let expected = clock.now().as_secs_f64() + now - 30.0;
    assert!(
        (at.as_secs_f64() - expected).abs() < 1.0,
        "{at:?} {expected}"
    );
    assert_eq!(
        source.own_time(1000.2, 970.0 + now),
        at,
        "a slow answer moves no sample"
    );
    assert_ne!(
        source.own_time(2000.0, 970.0 + now),
        at,
        "a clock step does"
    );
}

#[tokio::test]
async fn nan_infinite_and_missing_values_are_named() {
    for (value, problem) in [
        ("NaN", Problem::NotANumber(Input::Finished)),
        ("+Inf", Problem::Infinite(Input::Finished)),
        ("-Inf", Problem::Infinite(Input::Finished)),
        ("-1", Problem::Negative(Input::Finished)),
        ("1e308", Problem::Absurd(Input::Finished)),
        ("text", Problem::Missing(Input::Finished)),
    ] {
        let server = serve_page("200 OK", "", vector(&of_pod("a", "one", value, 0.0)));
        assert_eq!(read(&server, &["a"]).await, [Err(problem)], "{value}");
    }
    let mut without_time = of_pod("a", "one", "1", 0.0);
    without_time.pop();
    let server = serve_page("200 OK", "", vector(&without_time));
    assert_eq!(read(&server, &["a"]).await, [Err(Problem::Absent)]);
    let answered = ask(&source(server.port), "ns", &["a"]).await;
    assert_eq!(answered.failure, None, "the server is not at fault");
}

#[tokio::test]
async fn what_the_server_may_do_wrong_is_a_problem_of_every_pod() {
    let redirect = serve_page("302 Found", "Location: http://127.0.0.1:1/\r\n", "");
    let gzip = serve_page("200 OK", "Content-Encoding: gzip\r\n", "x");
    let down = serve_page("503 x", "", "");
    let html = serve_page("200 OK", "", "<html>");
    let matrix = serve_page(
        "200 OK",
        "",
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
    );
    let error = serve_page(
        "200 OK",
        "",
        r#"{"status":"error","errorType":"bad_data","error":"x"}"#,
    );
    let deep = serve_page("200 OK", "", "[".repeat(100_000));
    let large = serve_page("200 OK", "", " ".repeat(5 << 20));
    let many = serve_page("200 OK", "", vector(&vec![item(&[], "1"); 10_001]));
    for (server, problem) in [
        (redirect, Problem::Redirect(302)),
        (gzip, Problem::Encoded),
        (down, Problem::BadStatus(503)),
        (html, Problem::Malformed),
        (matrix, Problem::Malformed),
        (error, Problem::Malformed),
        (deep, Problem::Malformed),
        (large, Problem::TooLarge),
        (many, Problem::TooLarge),
    ] {
        assert_eq!(
            read(&server, &["a", "b"]).await,
            [Err(problem), Err(problem)]
        );
    }
    let nobody = ask(&source(closed_port()), "ns", &["a"]).await;
    assert_eq!(nobody.scrapes[0].result, Err(Problem::ConnectionRefused));
    assert_eq!(nobody.failure, Some(Problem::ConnectionRefused));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let server = serve(|_| {
        std::thread::sleep(Duration::from_secs(30));
        false
    });
    let limits = Limits {
        timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let source = Source::new(
        format!("prom=http://127.0.0.1:{}", server.port)
            .parse()
            .unwrap(),
        limits,
        Clock::start(),
    );
    let read = ask(&source, "ns", &["a"]).await;
    assert_eq!(read.scrapes[0].result, Err(Problem::Timeout));
    assert_eq!(read.failure, Some(Problem::Timeout));
}

#[tokio::test]
async fn many_pods_are_asked_for_in_several_queries_and_answered_in_order() {
    let names: Vec<String> = (0..250).map(|i| format!("pod-{i}")).collect();
    let items: Vec<_> = names
        .iter()
        .enumerate()
        .flat_map(|(i, name)| of_pod(name, "j", &i.to_string(), 0.0))
        .collect();
    let server = serve_page("200 OK", "", vector(&items));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let finished: Vec<f64> = read(&server, &names)
        .await
        .into_iter()
        .map(|r| r.unwrap().finished)
        .collect();
    assert_eq!(finished, (0..250).map(f64::from).collect::<Vec<_>>());
    assert_eq!(server.requests().len(), 3);
}

/// A server that answers after a while, and the most queries that it had at once.
fn slow_server(pause: Duration) -> (Served, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let server = serve(move |stream| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(pause);
        now.fetch_sub(1, Ordering::SeqCst);
        let body = vector(&of_pod("a", "one", "1", 0.0));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).is_ok()
    });
    (server, most)
}

#[tokio::test]
async fn a_server_has_eight_queries_at_once_at_most_and_two_of_one_round() {
    let (server, most) = slow_server(Duration::from_millis(30));
    let source = source(server.port);
    let agents = || (0..10).map(|_| question(&["a"])).collect::<Vec<_>>();
    assert_eq!(source.read_all("ns", &agents()).await.len(), 10);
    assert_eq!(most.load(Ordering::SeqCst), 2);
    let pools: Vec<_> = (0..10).map(|_| agents()).collect();
    let rounds = pools.iter().map(|agents| source.read_all("ns", agents));
    let answers = futures::future::join_all(rounds).await;
    let answers: Vec<Answered> = answers.into_iter().flatten().collect();
    assert_eq!(answers.len(), 100);
    assert!(
        answers
            .iter()
            .all(|answer| answer.scrapes[0].result.is_ok())
    );
    assert_eq!(most.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_pool_with_very_many_pods_on_a_server_that_hangs_for_it_keeps_nobody_waiting() {
    let good = vector(&of_pod("a", "one", "1", 0.0));
    let server = serve_by_request(move |request, stream| {
        if request.contains("hostile") {
            std::thread::sleep(Duration::from_secs(60));
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", good.len());
        stream.write_all((head + &good).as_bytes()).is_ok()
    });
    let limits = Limits {
        timeout: Duration::from_secs(20),
        round: Duration::from_secs(20),
        ..Limits::default()
    };
    let source = source_within(server.port, limits);
    let names: Vec<String> = (0..1000).map(|i| format!("pod-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hostile: Vec<_> = (0..20).map(|_| question(&names)).collect();
    let others = async {
        while server.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..10 {
            let answer = ask(&source, "ns", &["a"]).await;
            assert!(answer.scrapes[0].result.is_ok());
        }
    };
    tokio::select! {
        _ = source.read_all("hostile", &hostile) => panic!("the others had to wait for the round that hangs"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_round_ends_in_time_and_what_was_not_asked_is_late_which_is_not_the_servers_fault() {
    let (server, _) = slow_server(Duration::from_millis(400));
    let limits = Limits {
        timeout: Duration::from_secs(20),
        round: Duration::from_secs(1),
        ..Limits::default()
    };
    let source = source_within(server.port, limits);
    let agents: Vec<_> = (0..20).map(|_| question(&["a"])).collect();
    let start = Instant::now();
    let answers = source.read_all("ns", &agents).await;
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(answers.len(), 20);
    assert!(answers[0].scrapes[0].result.is_ok());
    assert_eq!(answers[19].scrapes[0].result, Err(Problem::Late));
    assert!(answers.iter().all(|answer| answer.failure.is_none()));
}

#[tokio::test]
async fn a_namespace_that_is_none_is_never_asked_for() {
    let server = serve_page("200 OK", "", vector(&[]));
    let read = ask(&source(server.port), "ns\"} or up{a=\"", &["a"]).await;
    assert_eq!(
        (read.scrapes[0].result, server.connections()),
        (Err(Problem::BadAddress), 0)
    );
}

#[test]
fn a_server_is_named_with_a_plain_http_address() {
    let endpoint = |text: &str| {
        text.parse::<Server>()
            .map(|server| server.endpoint.to_string())
    };
    assert_eq!(
        endpoint("prom=http://prometheus.monitoring:9090").unwrap(),
        "http://prometheus.monitoring:9090/api/v1/query"
    );
    assert_eq!(
        endpoint("m1=http://[fd00::1]:80/select/0/prometheus/").unwrap(),
        "http://[fd00::1]:80/select/0/prometheus/api/v1/query"
    );
    for text in [
        "",
        "prom",
        "http://host:9090",
        "=http://host",
        "Prom=http://host",
        "a.b=http://host",
        "prom=host:9090",
        "prom=https://host",
        "prom=ftp://host",
        "prom=http://",
        "prom=http://user:secret@host",
        "prom=http://host/?a=b",
        "prom=http://host/#a",
        "prom=/path",
        "prom=http://ho st",
    ] {
        let refused = text.parse::<Server>().unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
