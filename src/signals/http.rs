//! The one HTTP client of the signals: what it reads is bounded, where it goes is decided by the caller.
//!
//! It sends no credentials (there is no way to give it any), follows no redirect, asks for no compression and accepts none,
//! knows no proxy, and reads a body in pieces that the caller may refuse.

use super::Problem;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error as _, io, time::Duration};

/// Idle connections are closed after this; web servers commonly close theirs after 5 s and up.
const IDLE: Duration = Duration::from_secs(15);

/// Bytes of an answer's head that are read.
const HEAD: usize = 64 << 10;

#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub(super) fn new(connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(HEAD)
            .build(connector);
        Self { client }
    }

    /// Sends the request and gives the body to `take`, piece by piece, if it is a plain one of status 200 that does not
    /// announce more than `largest` bytes.
    pub(super) async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        largest: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), Problem> + Send,
    ) -> Result<(), Problem> {
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| of_client(&error))?;
        check_head(&response, largest)?;
        let mut body = response.into_body();
        let mut seen = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| of_hyper(&error))?;
            if let Some(piece) = frame.data_ref() {
                seen = seen.saturating_add(piece.len());
                if seen > largest {
                    return Err(Problem::TooLarge); // dropping the body closes the connection
                }
                take(piece)?;
            }
        }
        Ok(())
    }
}

fn check_head(response: &Response<Incoming>, largest: usize) -> Result<(), Problem> {
    let status = response.status();
    if status.is_redirection() {
        return Err(Problem::Redirect(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(Problem::BadStatus(status.as_u16()));
    }
    let encodings = response.headers().get_all(header::CONTENT_ENCODING);
    if encodings
        .iter()
        .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Problem::Encoded);
    }
    let announced = hyper::body::Body::size_hint(response.body()).lower();
    if usize::try_from(announced).is_ok_and(|announced| announced <= largest) {
        Ok(())
    } else {
        Err(Problem::TooLarge)
    }
}

fn of_client(error: &Error) -> Problem {
    if error.is_connect() {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if inner
                .downcast_ref::<io::Error>()
                .is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused)
            {
                return Problem::ConnectionRefused;
            }
            cause = inner.source();
        }
        return Problem::Unreachable;
    }
    error
        .source()
        .and_then(|inner| inner.downcast_ref())
        .map_or(Problem::ConnectionClosed, of_hyper)
}

fn of_hyper(error: &hyper::Error) -> Problem {
    if error.is_parse_too_large() {
        Problem::TooLarge
    } else if error.is_parse() {
        Problem::Malformed
    } else {
        Problem::ConnectionClosed
    }
}
