//! What a fault proxy does to which requests. Pure bookkeeping; the proxy carries it out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Method;
use tokio::sync::watch;

/// A request on its way to the API server.
#[derive(Debug, Clone)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Whether it asks for a change; a review of one's own rights or identity does not.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD && !self.uri.contains("reviews")
    }

    /// Whether it opens a watch.
    pub fn is_watch(&self) -> bool {
        self.uri.split_once('?').is_some_and(|(_, query)| {
            query
                .split('&')
                .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
        })
    }

    /// Whether it is about leader election.
    pub fn is_lease(&self) -> bool {
        self.uri.contains("/leases")
    }

    /// Whether it changes a Deployment, StatefulSet or pod.
    pub fn is_workload_write(&self) -> bool {
        self.is_write()
            && ["/deployments", "/statefulsets", "/pods"]
                .iter()
                .any(|part| self.uri.contains(part))
    }
}

/// Which requests a rule is about.
#[derive(Clone)]
pub struct Matcher {
    test: Arc<dyn Fn(&Request) -> bool + Send + Sync>,
    skip: usize,
    times: Option<usize>,
}

impl Matcher {
    /// Requests for which `test` holds.
    pub fn new(test: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self {
            test: Arc::new(test),
            skip: 0,
            times: None,
        }
    }

    /// Every request.
    pub fn all() -> Self {
        Self::new(|_| true)
    }

    /// Every write but those of leader election and events.
    pub fn writes() -> Self {
        Self::new(|request| {
            request.is_write() && !request.is_lease() && !request.uri.contains("/events")
        })
    }

    /// Writes to Deployments, StatefulSets and pods.
    pub fn workload_writes() -> Self {
        Self::new(Request::is_workload_write)
    }

    /// Writes of leader election.
    pub fn lease_writes() -> Self {
        Self::new(|request| request.is_write() && request.is_lease())
    }

    /// Watches.
    pub fn watches() -> Self {
        Self::new(Request::is_watch)
    }

    /// Narrows to URIs that contain `part`.
    #[must_use]
    pub fn path(self, part: impl Into<String>) -> Self {
        let (test, part) = (self.test, part.into());
        Self {
            test: Arc::new(move |request| test(request) && request.uri.contains(&part)),
            ..self
        }
    }

    /// Only the `n`-th matching request from now on, counted from 1.
    #[must_use]
    pub fn nth(self, n: usize) -> Self {
        Self {
            skip: n.saturating_sub(1),
            times: Some(1),
            ..self
        }
    }

    /// Only the next `n` matching requests.
    #[must_use]
    pub fn times(self, n: usize) -> Self {
        Self {
            times: Some(n),
            ..self
        }
    }
}

/// Called with the request that a rule matched.
pub type Callback = Arc<dyn Fn(Request) -> BoxFuture<'static, ()> + Send + Sync>;

/// What happens to a request.
#[derive(Clone)]
pub(super) enum Action {
    /// The callback runs, then the connection is reset: the request never arrives.
    CutBefore(Callback),
    /// The API server has done it, the callback runs, then the connection is reset: the answer never arrives.
    CutAfter(Callback),
    /// It waits until it is released.
    Hold(Arc<watch::Sender<usize>>, watch::Receiver<bool>),
    /// It waits for a while.
    Delay(Duration),
    /// It is answered here.
    Answer { status: u16, text: String },
    /// A watch is answered by one `ERROR` event with code 410, as after a compaction of etcd.
    Gone,
    /// The connection is reset.
    Reset,
    /// No answer ever comes.
    Blackhole,
}

pub(super) struct Rule {
    pub id: u64,
    matcher: Matcher,
    action: Action,
    seen: usize,
}

/// The rules in force, in the order in which they were given.
#[derive(Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    next: u64,
}

impl Rules {
    pub(super) fn add(&mut self, matcher: Matcher, action: Action) -> u64 {
        self.next += 1;
        self.rules.push(Rule {
            id: self.next,
            matcher,
            action,
            seen: 0,
        });
        self.next
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.rules.retain(|rule| rule.id != id);
    }

    /// What is to be done with a request; counts it for every rule that it matches.
    pub(super) fn actions(&mut self, request: &Request) -> Vec<Action> {
        let mut actions = Vec::new();
        for rule in &mut self.rules {
            if !(rule.matcher.test)(request) {
                continue;
            }
            rule.seen += 1;
            let turn = rule.seen > rule.matcher.skip;
            let over = rule
                .matcher
                .times
                .is_some_and(|times| rule.seen > rule.matcher.skip + times);
            if turn && !over {
                actions.push(rule.action.clone());
            }
        }
        actions
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str) -> Request {
        Request {
            method,
            uri: uri.to_owned(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn the_third_write_is_the_third_write_whatever_is_read_between() {
        let mut rules = Rules::default();
        rules.add(Matcher::writes().nth(3), Action::Reset);
        let write = request(
            Method::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/d/scale?fieldManager=agentpool",
        );
        let read = request(Method::GET, "/apis/apps/v1/deployments?watch=true");
        let lease = request(
            Method::PATCH,
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/agentpool",
        );
        let hits: Vec<bool> = [&write, &read, &write, &lease, &write, &write]
            .iter()
            .map(|request| !rules.actions(request).is_empty())
            .collect();
        assert_eq!(hits, [false, false, false, false, true, false]);
    }

    #[test]
    fn a_removed_rule_does_nothing_more() {
        let mut rules = Rules::default();
        let id = rules.add(Matcher::all(), Action::Blackhole);
        assert_eq!(rules.actions(&request(Method::GET, "/")).len(), 1);
        rules.remove(id);
        assert!(rules.actions(&request(Method::GET, "/")).is_empty());
    }

    #[test]
    fn a_review_of_ones_own_rights_is_no_write() {
        assert!(
            !request(
                Method::POST,
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            )
            .is_write()
        );
        assert!(
            request(
                Method::GET,
                "/api/v1/pods?allowWatchBookmarks=true&watch=true"
            )
            .is_watch()
        );
        assert!(!request(Method::GET, "/api/v1/pods?allowWatchBookmarks=true").is_watch());
    }
}
