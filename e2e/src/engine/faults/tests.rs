#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use flate2::read::GzDecoder;
use std::io::Read as _;

const TRUE_PAGE: &str = "# TYPE a gauge\na{le=\"1.0\"} 3.0\nb 0.0\n";

fn answer(fault: Fault) -> Response<Body> {
    let mut faults = Faults::default();
    faults.set("ns/agent", fault);
    now(faults.answer("ns/pod", "ns/agent", TRUE_PAGE.into()))
}

fn now(answer: Answer) -> Response<Body> {
    match answer {
        Answer::Now(response) => response,
        Answer::After(delay, _) => panic!("after {delay:?}"),
    }
}

async fn bytes(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn absurd_values_replace_the_values_and_nothing_else() {
    for (fault, want) in [
        (Fault::Nan, "# TYPE a gauge\na{le=\"1.0\"} NaN\nb NaN\n"),
        (
            Fault::Huge,
            "# TYPE a gauge\na{le=\"1.0\"} 1e+308\nb 1e+308\n",
        ),
        (
            Fault::Negative,
            "# TYPE a gauge\na{le=\"1.0\"} -3.0\nb 0.0\n",
        ),
    ] {
        assert_eq!(bytes(answer(fault)).await, want);
    }
}

#[tokio::test]
async fn a_frozen_page_stays_until_the_fault_ends() {
    let mut faults = Faults::default();
    faults.set("ns/pod", Fault::Freeze);
    for (page, want) in [("1", "1"), ("2", "1")] {
        let answer = faults.answer("ns/pod", "ns/agent", page.into());
        assert_eq!(bytes(now(answer)).await, want);
    }
    assert!(faults.clear("ns/pod") && !faults.clear("ns/pod"));
    let answer = faults.answer("ns/pod", "ns/agent", "3".into());
    assert_eq!(bytes(now(answer)).await, "3");
}

#[tokio::test]
async fn a_fault_of_a_pod_beats_that_of_its_agent_and_others_are_spared() {
    let mut faults = Faults::default();
    faults.set("ns/agent", Fault::Refuse);
    faults.set("ns/pod", Fault::NotFound);
    assert!(faults.refuses("ns/other", "ns/agent") && !faults.refuses("ns/pod", "ns/agent"));
    let answer = faults.answer("ns/pod", "ns/agent", "1".into());
    assert_eq!(now(answer).status(), StatusCode::NOT_FOUND);
    let answer = faults.answer("ns/third", "ns/third-agent", "1".into());
    assert_eq!(now(answer).status(), StatusCode::OK);
}

#[test]
fn a_slow_answer_is_the_right_page_later() {
    let mut faults = Faults::default();
    faults.set("ns/agent", Fault::Slow { seconds: 30.0 });
    let answer = faults.answer("ns/pod", "ns/agent", "1".into());
    assert!(matches!(answer, Answer::After(delay, _) if delay == Duration::from_secs(30)));
}

#[tokio::test]
async fn the_oversized_body_has_its_size() {
    let mut body = answer(Fault::Oversized).into_body();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame.unwrap().into_data().unwrap().len();
    }
    assert!((OVERSIZED..OVERSIZED + (1 << 20)).contains(&size), "{size}");
}

#[tokio::test]
async fn the_bomb_is_small_and_unpacks_to_its_size() {
    let response = answer(Fault::GzipBomb);
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    let packed = bytes(response).await;
    assert!(packed.len() < 4 << 20, "{}", packed.len());
    let mut decoder = GzDecoder::new(&packed[..]);
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        match decoder.read(&mut buffer).unwrap() {
            0 => break,
            n => size += n,
        }
    }
    assert_eq!(size, BOMB);
}

#[test]
fn a_redirect_says_where_to() {
    let location = "http://127.0.0.1:1/metrics".to_owned();
    let response = answer(Fault::Redirect {
        location: location.clone(),
    });
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.headers()[LOCATION], location);
}

#[test]
fn faults_are_written_as_the_control_port_takes_them() {
    let fault: Fault = serde_json::from_str(r#"{"kind":"slow","seconds":30}"#).unwrap();
    assert_eq!(fault, Fault::Slow { seconds: 30.0 });
    let fault: Fault = serde_json::from_str(r#"{"kind":"gzipBomb"}"#).unwrap();
    assert_eq!(fault, Fault::GzipBomb);
}
