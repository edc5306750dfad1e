//! What can be wrong with an engine's metrics, on purpose.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};

/// The body of any answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The content type of a metrics page.
const PAGE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What the oversized body holds, in bytes.
pub const OVERSIZED: usize = 100 << 20;
/// What the gzip bomb unpacks to, in bytes.
pub const BOMB: usize = 256 << 20;

/// A fault of the metrics endpoint. Requests are served as before, except under [`Fault::Refuse`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Fault {
    /// The port is closed and open connections are dropped, for requests too.
    Refuse,
    /// 404.
    NotFound,
    /// 500.
    ServerError,
    /// The page stays as it was when the fault began.
    Freeze,
    /// Every value is NaN.
    Nan,
    /// Every value is 1e308.
    Huge,
    /// Every value above zero is below.
    Negative,
    /// A page that is no metrics page.
    Garbage,
    /// The page without any of the engine's own series.
    Empty,
    /// A body of 100 MB.
    Oversized,
    /// The right page, after this many seconds.
    Slow {
        /// Seconds before the answer begins.
        seconds: f64,
    },
    /// A small gzip body that unpacks to 256 MB.
    GzipBomb,
    /// 302 to another address.
    Redirect {
        /// Where to.
        location: String,
    },
    /// An answer that never ends, one byte a second.
    SlowLoris,
}

/// The faults in force: by `namespace/pod`, or by `namespace/agent` for all pods of an agent.
#[derive(Debug, Default)]
pub struct Faults {
    by_target: BTreeMap<String, Fault>,
    /// Frozen pages, by target and pod.
    frozen: BTreeMap<(String, String), String>,
}

impl Faults {
    /// Puts a fault in force.
    pub fn set(&mut self, target: &str, fault: Fault) {
        self.clear(target);
        self.by_target.insert(target.to_owned(), fault);
    }

    /// Ends a fault. False when there was none.
    pub fn clear(&mut self, target: &str) -> bool {
        self.frozen.retain(|(frozen, _), _| frozen != target);
        self.by_target.remove(target).is_some()
    }

    /// All faults in force.
    pub fn all(&self) -> &BTreeMap<String, Fault> {
        &self.by_target
    }

    /// Whether this pod's port is closed by a fault.
    pub fn refuses(&self, pod: &str, agent: &str) -> bool {
        self.find(pod, agent)
            .is_some_and(|(_, fault)| *fault == Fault::Refuse)
    }

    /// The answer to a scrape of this pod, whose true page is given.
    pub fn answer(&mut self, pod: &str, agent: &str, page: String) -> Answer {
        let Some((target, fault)) = self.find(pod, agent) else {
            return Answer::Now(text(StatusCode::OK, page));
        };
        let key = (target.to_owned(), pod.to_owned());
        match fault.clone() {
            Fault::Freeze => Answer::Now(text(
                StatusCode::OK,
                self.frozen.entry(key).or_insert(page).clone(),
            )),
            Fault::Slow { seconds } => Answer::After(
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
                text(StatusCode::OK, page),
            ),
            other => Answer::Now(distorted(&other, &page)),
        }
    }

    fn find(&self, pod: &str, agent: &str) -> Option<(&str, &Fault)> {
        let entry = self
            .by_target
            .get_key_value(pod)
            .or_else(|| self.by_target.get_key_value(agent))?;
        Some((entry.0.as_str(), entry.1))
    }
}

/// An answer, at once or later.
#[derive(Debug)]
pub enum Answer {
    /// At once.
    Now(Response<Body>),
    /// After a delay.
    After(Duration, Response<Body>),
}

fn distorted(fault: &Fault, page: &str) -> Response<Body> {
    match fault {
        Fault::Refuse | Fault::NotFound => {
            text(StatusCode::NOT_FOUND, "404 page not found\n".into())
        }
        Fault::ServerError => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Server Error\n".into(),
        ),
        Fault::Nan => text(StatusCode::OK, with_values(page, |_| "NaN".into())),
        Fault::Huge => text(StatusCode::OK, with_values(page, |_| "1e+308".into())),
        Fault::Negative => text(StatusCode::OK, with_values(page, negative)),
        Fault::Garbage => text(
            StatusCode::OK,
            "<html>\u{fffd} {{{ vllm:num_requests_running{ = = \n\0\n".into(),
        ),
        Fault::Empty => text(
            StatusCode::OK,
            "# HELP python_info Python platform information\n".into(),
        ),
        Fault::Oversized => oversized(),
        Fault::GzipBomb => {
            let mut response = text_bytes(StatusCode::OK, bomb());
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
            response
        }
        Fault::Redirect { location } => {
            let mut response = text(StatusCode::FOUND, String::new());
            if let Ok(location) = http::HeaderValue::from_str(location) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        Fault::SlowLoris => slow_loris(),
        Fault::Freeze | Fault::Slow { .. } => text(StatusCode::OK, page.to_owned()),
    }
}

fn negative(value: &str) -> String {
    if value.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        format!("-{value}")
    } else {
        value.to_owned()
    }
}

/// The page with every sample's value replaced.
fn with_values(page: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(page.len());
    for line in page.lines() {
        match line.rsplit_once(' ') {
            Some((series, old)) if !line.starts_with('#') => {
                out.push_str(series);
                out.push(' ');
                out.push_str(&value(old));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// An answer with this text, as a metrics page.
pub fn text(status: StatusCode, body: String) -> Response<Body> {
    text_bytes(status, body.into())
}

fn text_bytes(status: StatusCode, body: Bytes) -> Response<Body> {
    with_body(status, Full::new(body).boxed_unsync())
}

fn with_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(PAGE));
    response
}

fn oversized() -> Response<Body> {
    let chunk = Bytes::from("filler{a=\"b\"} 1.0\n".repeat(1 << 12));
    let length = chunk.len();
    let chunks =
        stream::iter((0..OVERSIZED.div_ceil(length)).map(move |_| Ok(Frame::data(chunk.clone()))));
    with_body(StatusCode::OK, StreamBody::new(chunks).boxed_unsync())
}

fn slow_loris() -> Response<Body> {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok(Frame::data(Bytes::from_static(b"#"))), ()))
    });
    with_body(StatusCode::OK, StreamBody::new(bytes).boxed_unsync())
}

/// Built once: compressing it takes a moment.
fn bomb() -> Bytes {
    static BOMB_BYTES: OnceLock<Bytes> = OnceLock::new();
    BOMB_BYTES
        .get_or_init(|| {
            let zeros = vec![b'\n'; 1 << 20];
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            for _ in 0..BOMB / zeros.len() {
                // Writing into memory cannot fail.
                let _ = encoder.write_all(&zeros);
            }
            encoder.finish().unwrap_or_default().into()
        })
        .clone()
}

#[cfg(test)]
mod tests;
