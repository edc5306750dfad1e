//! Where requests are sent.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::endpoints::Endpoints;
use crate::engine::{DEMAND_HEADER, Demand, EngineFleet, Failure};

/// A ready pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its uid.
    pub uid: String,
    /// Where its engine listens.
    pub address: SocketAddr,
}

/// A set of engines that requests can be sent to.
pub trait Backend: Send + Sync + 'static {
    /// The ready pods of `namespace/agent`.
    fn ready(&self, agent: &str) -> Vec<Target>;

    /// Sends a request of `work` times the mean to a pod and waits for its answer.
    fn send<'a>(&'a self, target: &'a Target, work: f64) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Real requests over HTTP to the pods that the API server shows as ready.
pub struct Http {
    endpoints: Arc<Endpoints>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    /// Sends to these endpoints, with connections kept alive.
    pub fn new(endpoints: Arc<Endpoints>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            endpoints,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(64)
                .build(connector),
        }
    }
}

impl Backend for Http {
    fn ready(&self, agent: &str) -> Vec<Target> {
        self.endpoints.ready(agent)
    }

    fn send<'a>(&'a self, target: &'a Target, work: f64) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let body =
                Bytes::from_static(b"{\"model\":\"bench\",\"prompt\":\"\",\"max_tokens\":16}");
            let request = Request::post(format!("http://{}/v1/completions", target.address))
                .header(DEMAND_HEADER, work.to_string())
                .header("content-type", "application/json")
                .body(Full::new(body))
                // The parts are ours and well formed.
                .map_err(|_| Failure::Refused)?;
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    Failure::Refused
                } else {
                    Failure::Cut
                }
            })?;
            let status = response.status();
            response
                .into_body()
                .collect()
                .await
                .map_err(|_| Failure::Cut)?;
            if status == StatusCode::OK {
                Ok(())
            } else {
                Err(Failure::Refused)
            }
        })
    }
}

/// The same engines without sockets: for loads that two cores could not send over HTTP, and for a twin that has no
/// pods at all.
pub struct Direct {
    fleet: Arc<EngineFleet>,
}

impl Direct {
    /// Sends to this fleet.
    pub fn new(fleet: Arc<EngineFleet>) -> Self {
        Self { fleet }
    }
}

impl Backend for Direct {
    fn ready(&self, agent: &str) -> Vec<Target> {
        self.fleet
            .serving(agent)
            .into_iter()
            .map(|(uid, address)| Target { uid, address })
            .collect()
    }

    fn send<'a>(&'a self, target: &'a Target, work: f64) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let demand = Demand {
                factor: Some(work),
                prompt_tokens: 0,
                generation_tokens: 16,
            };
            self.fleet.request(&target.uid, demand).await.map(|_| ())
        })
    }
}
