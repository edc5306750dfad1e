use super::*;
use crate::telemetry::Watched;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// An API server that knows one lease; everything is forbidden once it is told so.
#[derive(Clone, Default)]
struct Register(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    forbids: bool,
}

impl Register {
    /// A client of it.
    fn serve(&self) -> kube::Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let register = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let register = register.clone();
                std::thread::spawn(move || register.converse(stream));
            }
        });
        kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap()
    }

    fn converse(&self, mut stream: TcpStream) {
        while let Some((method, body)) = read_request(&mut stream) {
            let (code, answer) = self.answer(&method, body);
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            if stream.write_all((head + &answer).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, method: &str, body: Option<Value>) -> (u16, Value) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |code: u16, reason: &str, message: &str| {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code });
            (code, status)
        };
        let known = state.lease.clone();
        match (method, body, known) {
            _ if state.forbids => refused(403, "Forbidden", "leases is forbidden"),
            ("GET", _, Some(lease)) => (200, lease),
            ("GET", _, None) => refused(404, "NotFound", "not found"),
            (_, Some(mut lease), known) => {
                let at = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
                if known.is_some_and(|known| at(&known) != at(&lease)) {
                    return refused(409, "Conflict", "the object has been modified");
                }
                state.version += 1;
                lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
                state.lease = Some(lease.clone());
                (200, lease)
            }
            _ => refused(400, "BadRequest", "what?"),
        }
    }

    fn forbid(&self, forbids: bool) {
        self.0.lock().unwrap().forbids = forbids;
    }

    fn holder(&self) -> Option<String> {
        let state = self.0.lock().unwrap();
        let holder = &state.lease.as_ref()?["spec"]["holderIdentity"];
        holder.as_str().map(str::to_owned)
    }
}

fn read_request(stream: &mut TcpStream) -> Option<(String, Option<Value>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |n| n.trim().parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let method = head.split(' ').next()?.to_ascii_uppercase();
    Some((method, serde_json::from_slice(&body).ok()))
}

fn candidate(name: &str, client: &kube::Client) -> (Leadership, Health) {
    let config = ElectionConfig {
        lease_name: "agentpool".to_owned(),
        lease_namespace: "system".to_owned(),
        identity: name.to_owned(),
        duration: Duration::from_secs(5),
        api_timeout: Duration::from_millis(700),
    };
    let health = Health::new();
    let leadership = Leadership::start(client.clone(), config, Metrics::new(), health.clone());
    (leadership, health)
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(30), async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn leads(candidate: &Leadership) -> bool {
    candidate.watch().borrow().may_write(Instant::now())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_becomes_blind_gives_the_lease_back_and_takes_it_again_only_when_it_sees() {
    let register = Register::default();
    let client = register.serve();
    let (a, sees) = candidate("a", &client);
    until("a leads", || leads(&a)).await;
    sees.blind();
    until("a stands down", || !leads(&a)).await;
    assert_eq!(
        register.holder().as_deref(),
        Some("a"),
        "writes may be under way"
    );
    until("the lease is free", || register.holder().is_none()).await;
    // Several looks at a free lease.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(register.holder(), None);
    let (b, _) = candidate("b", &client);
    until("b leads", || leads(&b)).await;
    b.release().await;
    sees.watches(&Watched::new("nodes", None), Ok(()));
    until("a leads again", || leads(&a)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_may_not_be_read_or_written_is_told_until_it_may() {
    let register = Register::default();
    register.forbid(true);
    let (candidate, health) = candidate("a", &register.serve());
    until("the lease is named", || {
        health
            .undone()
            .iter()
            .any(|said| said.starts_with("leases: ") && said.contains("forbidden"))
    })
    .await;
    register.forbid(false);
    until("it is over", || {
        health.undone().is_empty() && leads(&candidate)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_asked_for_while_blind_is_not_said_to_work() {
    let register = Register::default();
    let client = register.serve();
    register.forbid(true);
    let (_candidate, health) = candidate("a", &client);
    until("the lease is named", || !health.undone().is_empty()).await;
    health.blind();
    // Longer than it takes until the lease is to be given back.
    for _ in 0..150 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!health.undone().is_empty(), "nobody has asked for it");
    }
}
