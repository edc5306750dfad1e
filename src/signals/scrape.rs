//! Scrapes of the pods' own metrics pages, at the pod's address and nowhere else.

mod lane;
mod memory;

use super::{Clock, PodSample, Problem, Scrape, dialect::Dialects, exposition, http::Http};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use lane::Lane;
use memory::Memory;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

/// Longest metrics path.
const LONGEST_PATH: usize = 256;

/// Metadata services of clouds that are not link-local; no pod has these addresses. Link-local ones (169.254.169.254 and
/// the like) are refused as such.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)), // AWS
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                    // Alibaba Cloud
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                      // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),                        // Oracle Cloud
];

/// What one scrape, and one round of scrapes, may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the connection.
    pub connect_timeout: Duration,
    /// For everything: connection, head and body.
    pub request_timeout: Duration,
    /// For a round: what has not answered by then is [`Problem::Late`], and delays nobody.
    pub deadline: Duration,
    /// Scrapes of one round at the same time.
    pub concurrency: usize,
    /// Scrapes of all rounds at the same time.
    pub total_concurrency: usize,
    /// How much of a page is read.
    pub page: exposition::PageLimits,
}

impl Limits {
    /// Limits for a round every `interval`: the round ends before the next one starts, after 10 s at the latest.
    pub fn for_interval(interval: Duration) -> Self {
        let deadline =
            (interval * 9 / 10).clamp(Duration::from_millis(100), Duration::from_secs(10));
        Self {
            connect_timeout: deadline / 2,
            request_timeout: deadline,
            deadline,
            concurrency: 64,
            total_concurrency: 512,
            page: exposition::PageLimits::default(),
        }
    }

    /// Limits for an operator whose pools scrape side by side, `total` pods at the same time, each for `timeout` at the longest.
    ///
    /// No round takes more than a quarter of the places, so that no pool whose pods hang keeps the others' pods waiting.
    pub fn shared(total: usize, timeout: Duration, page_bytes: usize) -> Self {
        Self {
            request_timeout: timeout,
            deadline: timeout,
            concurrency: total.div_ceil(4),
            total_concurrency: total,
            page: exposition::PageLimits {
                bytes: page_bytes,
                ..Default::default()
            },
            ..Self::for_interval(Duration::from_secs(1))
        }
    }
}

/// One pod's metrics page.
#[derive(Debug, Clone)]
pub struct Target {
    /// The pod's uid.
    pub pod_uid: Arc<str>,
    /// How the page is read.
    pub dialects: Arc<Dialects>,
    uri: Uri,
}

impl Target {
    /// The page at `http://ip:port/path`, with `ip` as in the pod's status.
    ///
    /// Loopback is allowed: a pod's status is written by its node's kubelet, and a test bench gives pods loopback addresses.
    ///
    /// # Errors
    /// [`Problem::BadAddress`] when `ip` is no address, or one that no pod has: unspecified, multicast, broadcast,
    /// link-local, a cloud's metadata service. [`Problem::BadPath`] when `path` is no absolute path.
    pub fn new(
        pod_uid: Arc<str>,
        ip: &str,
        port: u16,
        path: &str,
        dialects: Arc<Dialects>,
    ) -> Result<Self, Problem> {
        let ip: IpAddr = ip.parse().map_err(|_| Problem::BadAddress)?;
        if port == 0 || is_refused(ip) {
            return Err(Problem::BadAddress);
        }
        let clean = path.len() <= LONGEST_PATH
            && path.starts_with('/')
            && path.bytes().all(|b| b.is_ascii_graphic());
        let path: PathAndQuery = Some(path)
            .filter(|_| clean)
            .and_then(|path| path.parse().ok())
            .ok_or(Problem::BadPath)?;
        let uri = Uri::builder()
            .scheme("http")
            .authority(SocketAddr::new(ip, port).to_string())
            .path_and_query(path)
            .build()
            .map_err(|_| Problem::BadAddress)?;
        Ok(Self {
            pod_uid,
            dialects,
            uri,
        })
    }
}

fn is_refused(ip: IpAddr) -> bool {
    let ip = ip.to_canonical(); // ::ffff:169.254.169.254 is 169.254.169.254
    let by_kind = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    by_kind || ip.is_unspecified() || ip.is_multicast() || METADATA.contains(&ip)
}

/// Scrapes pods, for all pools.
#[derive(Debug)]
pub struct Scraper {
    http: Http,
    limits: Limits,
    clock: Clock,
    permits: Semaphore,
    /// Half of the places, for pods that did not answer in time when last asked: however many pools have such pods, the others' pods find
    /// places.
    slow: Lane,
    memory: Mutex<Memory>,
}

impl Scraper {
    /// A scraper; samples carry the clock's time.
    pub fn new(limits: Limits, clock: Clock) -> Self {
        Self {
            http: Http::new(limits.connect_timeout),
            permits: Semaphore::new(limits.total_concurrency),
            slow: Lane::new(limits.total_concurrency.div_ceil(2)),
            limits,
            clock,
            memory: Mutex::default(),
        }
    }

    /// One round: reads every target and returns, at the deadline at the latest, a result for each, in their order.
    pub async fn scrape_all(&self, targets: &[Target]) -> Vec<Scrape> {
        let start = Instant::now();
        let uids = targets.iter().map(|target| &target.pod_uid);
        let order = self.memory().order(uids, start);
        let mut results: Vec<Option<Scrape>> = vec![None; targets.len()];
        let mut round = stream::iter(order.iter().copied())
            .map(async |index| (index, self.scrape(targets.get(index)).await))
            .buffer_unordered(self.limits.concurrency);
        while let Ok(Some((index, scrape))) =
            timeout_at(start + self.limits.deadline, round.next()).await
        {
            if let Some(slot) = results.get_mut(index) {
                *slot = scrape;
            }
        }
        drop(round);
        let results: Vec<Scrape> = targets
            .iter()
            .zip(results)
            .map(|(target, result)| {
                result.unwrap_or_else(|| Scrape {
                    pod_uid: target.pod_uid.clone(),
                    result: Err(Problem::Late),
                    took: start.elapsed(),
                })
            })
            .collect();
        let mut memory = self.memory();
        results.iter().for_each(|scrape| memory.take(scrape, start));
        results
    }

    async fn scrape(&self, target: Option<&Target>) -> Option<Scrape> {
        let target = target?;
        let slow = self.memory().slow(&target.pod_uid);
        let _slow = match slow {
            Some(asked) => Some(self.slow.place(asked).await?),
            None => None,
        };
        let _permit = self.permits.acquire().await.ok()?;
        let start = Instant::now();
        self.memory().asks(&target.pod_uid, start);
        let result = timeout(self.limits.request_timeout, self.read(target))
            .await
            .unwrap_or(Err(Problem::Timeout));
        Some(Scrape {
            pod_uid: target.pod_uid.clone(),
            result,
            took: start.elapsed(),
        })
    }

    async fn read(&self, target: &Target) -> Result<PodSample, Problem> {
        match self.read_once(target).await {
            // A kept connection may be closed by the other side just as it is used again.
            Err(Problem::ConnectionClosed) => self.read_once(target).await,
            result => result,
        }
    }

    async fn read_once(&self, target: &Target) -> Result<PodSample, Problem> {
        let request = Request::get(target.uri.clone())
            .header(
                header::ACCEPT,
                "text/plain;version=0.0.4, application/openmetrics-text;q=0.5",
            )
            .header(header::ACCEPT_ENCODING, "identity")
            .header(
                header::USER_AGENT,
                concat!("agentpool/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::<Bytes>::default())
            .map_err(|_| Problem::BadAddress)?;
        let mut reader = exposition::Reader::new(target.dialects.wanted(), self.limits.page);
        self.http
            .fetch(request, self.limits.page.bytes, |piece| reader.feed(piece))
            .await?;
        target.dialects.sample(&reader.finish()?, self.clock.now())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
