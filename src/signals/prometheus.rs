//! A Prometheus server named by the administrator (`--metric-source prom=http://host:9090`) as a source of samples.
//!
//! A pool never names a URL and never writes a query: queries are built from typed parts, with the pool's namespace and the
//! names of its own pods in every selector. The answer's series are put together by the same dialects as a scraped page.
//! What is absent is [`Problem::Absent`], never zero; every sample carries the time at which the server took it, so that a
//! server that goes on repeating an old value is seen to be stale.
//!
//! Needed of the server: the labels `namespace` and `pod` on the engines' series, as the Prometheus operator and the usual
//! relabelling of pod targets set them. Supported: plain `http`, without credentials.

mod query;
#[cfg(test)]
mod tests;

use super::{
    Clock, PodSample, Problem, Scrape,
    dialect::Dialects,
    exposition::{Page, Series},
    http::Http,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Uri, header, uri};
use http_body_util::Full;
use query::{AGE_MARK, instant_query};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// Queries to one server at the same time, of all pools; it answers 20 at most by its own default.
const PLACES: usize = 8;

/// Queries of one round at the same time: places are given in the order of asking, so that a pool with many pods waits for the others as
/// they wait for it.
const PLACES_A_ROUND: usize = 2;

/// Pods that one query asks for: keeps a query below some 50 KiB.
const PODS_A_QUERY: usize = 100;

/// Labels that say how the server found a series, not what the series is: two scrape jobs of one pod are copies.
const TARGET_LABELS: [&str; 9] = [
    "__name__",
    "namespace",
    "pod",
    "job",
    "instance",
    "endpoint",
    "service",
    "prometheus",
    "prometheus_replica",
];

/// Difference of server time and own time that is a clock step rather than a slow answer.
const CLOCK_STEP: f64 = 1.0;

/// A metrics server as the administrator names it: `name=http://host:port[/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name by which pools refer to it.
    pub name: Arc<str>,
    endpoint: Uri,
}

/// A metrics server that cannot be used as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metric source {value:?}: {why}")]
pub struct BadServer {
    /// The text as given, at most 128 characters of it, without what may be a password.
    pub value: String,
    /// What would be right.
    pub why: &'static str,
}

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let (name, url) = text.split_once('=').unwrap_or(("", text));
        let shown = if text.contains('@') { name } else { text };
        let bad = |why| BadServer {
            value: shown.chars().take(128).collect(),
            why,
        };
        if !query::is_dns_label(name) {
            return Err(bad(
                "write name=http://host:port, the name of lower-case letters, digits and -",
            ));
        }
        let parts = url
            .parse::<Uri>()
            .map_err(|_| bad("the address is no URL; write name=http://host:port"))?
            .into_parts();
        match parts.scheme.as_ref().map(uri::Scheme::as_str) {
            Some("http") => {}
            Some("https") => {
                return Err(bad(
                    "https is not supported yet: name an http address inside the cluster",
                ));
            }
            _ => return Err(bad("the address must begin with http://")),
        }
        let authority = parts
            .authority
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| bad("the address has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("credentials in the address are not supported"));
        }
        let path = parts
            .path_and_query
            .unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
        if path.query().is_some() || url.contains('#') {
            return Err(bad("the address must have no query and no fragment"));
        }
        let path = format!("{}/api/v1/query", path.path().trim_end_matches('/'));
        let endpoint = Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(path)
            .build()
            .map_err(|_| bad("the address is no URL; write name=http://host:port"))?;
        Ok(Self {
            name: name.into(),
            endpoint,
        })
    }
}

/// What one query may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the connection.
    pub connect_timeout: Duration,
    /// For everything: connection, query and answer.
    pub timeout: Duration,
    /// For a round of queries: what has not been answered by then is [`Problem::Late`].
    pub round: Duration,
    /// Bytes of an answer.
    pub bytes: usize,
    /// Series of an answer.
    pub series: usize,
}

impl Default for Limits {
    /// 2 s, 5 s and 10 s, 4 MiB, 10,000 series.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            round: Duration::from_secs(10),
            bytes: 4 << 20,
            series: 10_000,
        }
    }
}

/// Reads pods from one metrics server.
#[derive(Debug)]
pub struct Source {
    http: Http,
    server: Server,
    limits: Limits,
    clock: Clock,
    places: Semaphore,
    /// Own time minus server time in seconds: fixed, so that one sample keeps one time, until a clock steps.
    offset: Mutex<Option<f64>>,
}

/// A pod to read: its uid and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// What is to be read of one agent.
#[derive(Debug)]
pub struct Question {
    /// Its pods.
    pub pods: Vec<PodName>,
    /// How their series are put together.
    pub dialects: Arc<Dialects>,
}

/// What was read of one agent.
#[derive(Debug, Default)]
pub struct Answered {
    /// A result for every pod, in the order asked.
    pub scrapes: Vec<Scrape>,
    /// Why the server gave no answer that can be read, where it gave none: no fault of any pod. That no place was free in time is no fault
    /// of the server either.
    pub failure: Option<Problem>,
}

impl Source {
    /// A source; samples carry the clock's time.
    pub fn new(server: Server, limits: Limits, clock: Clock) -> Self {
        Self {
            http: Http::new(limits.connect_timeout),
            server,
            limits,
            clock,
            places: Semaphore::new(PLACES),
            offset: Mutex::default(),
        }
    }

    /// One round: reads the pods of one namespace. Returns, when the round's time is over at the latest, an answer to each question, in
    /// their order; the first are asked first.
    pub async fn read_all(&self, namespace: &str, questions: &[Question]) -> Vec<Answered> {
        let deadline = Instant::now() + self.limits.round;
        let mut round = stream::iter(0..questions.len())
            .map(async |i| (i, self.read(namespace, questions.get(i), deadline).await))
            .buffer_unordered(PLACES_A_ROUND);
        let mut answers = BTreeMap::new();
        while let Some((i, answered)) = round.next().await {
            answers.insert(i, answered);
        }
        answers.into_values().collect()
    }

    async fn read(
        &self,
        namespace: &str,
        question: Option<&Question>,
        deadline: Instant,
    ) -> Answered {
        let mut answered = Answered::default();
        let Some(Question { pods, dialects }) = question else {
            return answered;
        };
        for pods in pods.chunks(PODS_A_QUERY) {
            let scrapes = &mut answered.scrapes;
            let failure = self
                .read_some(namespace, pods, dialects, deadline, scrapes)
                .await;
            answered.failure = answered.failure.or(failure);
        }
        answered
    }

    async fn read_some(
        &self,
        namespace: &str,
        pods: &[PodName],
        dialects: &Dialects,
        deadline: Instant,
        scrapes: &mut Vec<Scrape>,
    ) -> Option<Problem> {
        let start = self.clock.now();
        let answer = self.in_turn(namespace, pods, dialects, deadline).await;
        let took = self.clock.now().saturating_sub(start);
        scrapes.extend(pods.iter().map(|pod| Scrape {
            pod_uid: pod.uid.clone(),
            result: match &answer {
                Ok(answer) => answer.sample(&pod.name, dialects),
                Err(problem) => Err(*problem),
            },
            took,
        }));
        answer.err().filter(|problem| *problem != Problem::Late)
    }

    /// A query, when a place is free.
    async fn in_turn(
        &self,
        namespace: &str,
        pods: &[PodName],
        dialects: &Dialects,
        deadline: Instant,
    ) -> Result<Answer, Problem> {
        let place = timeout_at(deadline, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Problem::Late);
        };
        let own = Instant::now() + self.limits.timeout;
        let query = timeout_at(own.min(deadline), self.query(namespace, pods, dialects));
        query.await.unwrap_or(Err(match own <= deadline {
            true => Problem::Timeout,
            false => Problem::Late,
        }))
    }

    async fn query(
        &self,
        namespace: &str,
        pods: &[PodName],
        dialects: &Dialects,
    ) -> Result<Answer, Problem> {
        let names: Vec<&str> = pods.iter().map(|pod| &*pod.name).collect();
        let query = instant_query(namespace, &names, dialects).ok_or(Problem::BadAddress)?;
        let form = format!(
            "timeout={}ms&query={}",
            self.limits.timeout.as_millis(),
            query::percent_encode(&query)
        );
        let request = Request::post(self.server.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(
                header::USER_AGENT,
                concat!("agentpool/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(Bytes::from(form)))
            .map_err(|_| Problem::BadAddress)?;
        let mut body = Vec::new();
        self.http
            .fetch(request, self.limits.bytes, |piece| {
                body.extend_from_slice(piece);
                Ok(())
            })
            .await?;
        let vector = read_vector(&body, self.limits.series)?;
        Ok(self.sort(vector))
    }

    /// Sorts the series by pod, and puts the times of samples on the own clock.
    fn sort(&self, vector: Vec<Item>) -> Answer {
        let mut answer = Answer::default();
        for item in vector {
            let Some((evaluated, value)) = item.value else {
                continue;
            };
            let Some(pod) = item.metric.get("pod").cloned() else {
                continue;
            };
            // What is no number is no series of ours; the text "NaN" is a number.
            let Ok(value) = value.parse::<f64>() else {
                continue;
            };
            let of_pod = answer.pods.entry(pod).or_default();
            if item.metric.contains_key(AGE_MARK) {
                let at = self.own_time(evaluated, value);
                of_pod.at = Some(of_pod.at.map_or(at, |known| known.min(at)));
            } else if let Some(name) = item.metric.get("__name__") {
                of_pod.page.series.push(Series {
                    name: name.as_str().into(),
                    labels: item
                        .metric
                        .iter()
                        .filter(|(label, _)| !TARGET_LABELS.contains(&label.as_str()))
                        .map(|(label, value)| (label.clone(), value.clone()))
                        .collect(),
                    value,
                });
            }
        }
        answer
    }

    fn own_time(&self, evaluated: f64, taken: f64) -> Duration {
        let now = self.clock.now().as_secs_f64();
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = now - evaluated;
        let fixed = match *offset {
            Some(fixed) if (fixed - measured).abs() <= CLOCK_STEP => fixed,
            _ => *offset.insert(measured),
        };
        Duration::try_from_secs_f64((taken + fixed).max(0.0)).unwrap_or_default()
    }
}

/// An answer, by pod name.
#[derive(Debug, Default)]
struct Answer {
    pods: BTreeMap<String, OfPod>,
}

#[derive(Debug, Default)]
struct OfPod {
    page: Page,
    at: Option<Duration>,
}

impl Answer {
    fn sample(&self, pod: &str, dialects: &Dialects) -> Result<PodSample, Problem> {
        match self.pods.get(pod) {
            Some(OfPod { page, at: Some(at) }) => dialects.sample(page, *at),
            _ => Err(Problem::Absent),
        }
    }
}

/// The answer to an instant query: <https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>.
#[derive(Debug, Deserialize)]
struct Reply {
    status: String,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
}

fn read_vector(body: &[u8], series: usize) -> Result<Vec<Item>, Problem> {
    let reply: Reply = serde_json::from_slice(body).map_err(|_| Problem::Malformed)?;
    match reply.data {
        Some(data) if reply.status == "success" && data.result_type == "vector" => {
            if data.result.len() > series {
                return Err(Problem::TooLarge);
            }
            Ok(data.result)
        }
        _ => Err(Problem::Malformed),
    }
}
