use super::LeaderState;
use super::decide::{Action, Observation, Record, Terms, decide};
use crate::controller::ElectionConfig;
use crate::telemetry::{Health, Metrics};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Field manager of the lease.
const MANAGER: &str = "agentpool/election";

/// What `/readyz` calls what the election reads and writes.
const LEASES: &str = "leases";

/// The election ended by itself, which it never should.
#[derive(Debug, thiserror::Error)]
#[error("the task that holds the lease died: {0}")]
pub struct LeadershipError(String);

/// A running election.
#[derive(Debug)]
pub struct Leadership {
    state: watch::Receiver<LeaderState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Starts to take part. The state changes at every renewal. Who is blind by `health` does not lead.
    pub fn start(
        client: kube::Client,
        config: ElectionConfig,
        metrics: Metrics,
        health: Health,
    ) -> Self {
        let (publish, state) = watch::channel(LeaderState::Following { holder: None });
        let stop = CancellationToken::new();
        let candidate = Candidate {
            api: Api::namespaced(client, &config.lease_namespace),
            terms: Terms::of(config.duration),
            config,
            metrics,
            health,
            publish,
            seen: None,
            began: Instant::now(),
            blind: None,
            last_error: None,
        };
        Self {
            state,
            task: tokio::spawn(candidate.run(stop.clone())),
            stop,
        }
    }

    /// Whether this process may write, always the latest.
    pub fn watch(&self) -> watch::Receiver<LeaderState> {
        self.state.clone()
    }

    /// Waits until the task ends by itself, and says why. The process should then end.
    pub async fn ended(&mut self) -> LeadershipError {
        LeadershipError(match (&mut self.task).await {
            Ok(()) => "it returned".to_owned(),
            Err(error) => error.to_string(),
        })
    }

    /// Stops taking part and gives the lease back if it is ours, so that another replica need not wait. Call it when
    /// nothing of this process writes any more.
    pub async fn release(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the lease is not given back");
        }
    }
}

/// Why one look at the lease came to nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Api(#[from] kube::Error),
}

struct Candidate {
    api: Api<Lease>,
    config: ElectionConfig,
    terms: Terms,
    metrics: Metrics,
    health: Health,
    publish: watch::Sender<LeaderState>,
    seen: Option<Observation>,
    began: Instant,
    blind: Option<Blind>,
    last_error: Option<String>,
}

/// What has been done about the lease since the cluster could not be watched any more.
struct Blind {
    since: Instant,
    given_back: bool,
}

impl Candidate {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let outcome = if self.health.is_blind() {
                self.stand_down().await
            } else {
                self.blind = None;
                let outcome = self.round().await;
                if outcome.is_ok() {
                    self.health.does(LEASES, Ok(()));
                }
                outcome
            };
            self.settle(outcome);
            tokio::select! {
                () = tokio::time::sleep(self.terms.retry) => {}
                () = stop.cancelled() => break,
            }
        }
        self.give_back().await;
    }

    /// One look at the lease, and what follows from it.
    async fn round(&mut self) -> Result<LeaderState, RoundError> {
        let Some(lease) = self.call(self.api.get_opt(&self.config.lease_name)).await? else {
            return self.claim(None).await;
        };
        let now = self.began.elapsed();
        let seen = Observation::update(self.seen.take(), record_of(&lease), now);
        let action = decide(now, &seen, &self.config.identity, self.terms);
        let holder = seen.record().holder.clone();
        self.seen = Some(seen);
        match action {
            Action::Wait => Ok(LeaderState::Following { holder }),
            Action::Acquire | Action::Renew => self.claim(Some(lease)).await,
        }
    }

    /// Leaves the lease to a replica that can see, and does not ask for it meanwhile. A write that was begun before may still be under way: the
    /// lease goes back when it has ended.
    async fn stand_down(&mut self) -> Result<LeaderState, RoundError> {
        let blind = self.blind.get_or_insert_with(|| Blind {
            since: Instant::now(),
            given_back: false,
        });
        if !blind.given_back && blind.since.elapsed() >= self.config.api_timeout {
            self.clear().await?;
            self.blind.iter_mut().for_each(|b| b.given_back = true);
        }
        Ok(LeaderState::Following { holder: None })
    }

    /// Writes ourselves into the lease as it was read: if it has changed since, the API server refuses.
    async fn claim(&self, read: Option<Lease>) -> Result<LeaderState, RoundError> {
        // The term counts from before the request: when it was carried out is not known, only that it was later.
        let until = Instant::now() + self.terms.deadline;
        let params = by_us();
        let name = &self.config.lease_name;
        let lease = self.claimed(read.clone());
        let written = match read {
            None => self.call(self.api.create(&params, &lease)).await,
            Some(_) => self.call(self.api.replace(name, &params, &lease)).await,
        };
        match written {
            Ok(_) => Ok(LeaderState::Leading { until }),
            Err(RoundError::Api(kube::Error::Api(status))) if status.code == 409 => {
                Ok(LeaderState::Following { holder: None })
            }
            Err(error) => Err(error),
        }
    }

    fn claimed(&self, read: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = read.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.config.lease_name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.config.identity.as_str()) {
            spec.holder_identity = Some(self.config.identity.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds =
            Some(i32::try_from(self.terms.duration.as_secs()).unwrap_or(i32::MAX));
        lease
    }

    /// Publishes what a round found. A failed round changes nothing until the term is over.
    fn settle(&mut self, outcome: Result<LeaderState, RoundError>) {
        let before = self.publish.borrow().clone();
        let after = match outcome {
            Ok(state) => {
                self.last_error = None;
                state
            }
            Err(error) => {
                let error = error.to_string();
                self.health.does(LEASES, Err(error.clone()));
                if self.last_error.as_ref() != Some(&error) {
                    tracing::warn!(%error, lease = %self.config.lease_name, "the lease cannot be read or written");
                    self.last_error = Some(error);
                }
                if before.may_write(Instant::now()) {
                    return;
                }
                LeaderState::Following { holder: None }
            }
        };
        let leads = matches!(after, LeaderState::Leading { .. });
        if leads != matches!(before, LeaderState::Leading { .. }) {
            tracing::info!(identity = %self.config.identity, leads, "leadership changed");
        }
        self.metrics.set_leader(leads);
        self.publish.send_if_modified(|state| {
            let changed = *state != after;
            *state = after;
            changed
        });
    }

    async fn give_back(&self) {
        let state = self
            .publish
            .send_replace(LeaderState::Following { holder: None });
        self.metrics.set_leader(false);
        if !matches!(state, LeaderState::Leading { .. }) {
            return;
        }
        if let Err(error) = self.clear().await {
            tracing::warn!(%error, "the lease is not given back: the next leader waits for its end");
        }
    }

    async fn clear(&self) -> Result<(), RoundError> {
        let name = &self.config.lease_name;
        let Some(mut lease) = self.call(self.api.get_opt(name)).await? else {
            return Ok(());
        };
        if record_of(&lease).holder.as_deref() != Some(self.config.identity.as_str()) {
            return Ok(());
        }
        let transitions = lease.spec.and_then(|s| s.lease_transitions);
        lease.spec = Some(LeaseSpec {
            lease_transitions: transitions,
            ..LeaseSpec::default()
        });
        self.call(self.api.replace(name, &by_us(), &lease)).await?;
        tracing::info!("the lease is given back");
        Ok(())
    }

    /// Bounds a call so that at least two renewals can be tried within a term.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, RoundError> {
        let bound = self.config.api_timeout.min(self.terms.deadline / 4);
        match timeout(bound, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RoundError::Timeout(bound)),
        }
    }
}

fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn record_of(lease: &Lease) -> Record {
    let Some(spec) = &lease.spec else {
        return Record::default();
    };
    Record {
        holder: spec.holder_identity.clone().filter(|h| !h.is_empty()),
        renewed: spec.renew_time.as_ref().map(|t| t.0.to_string()),
        duration: spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok())
            .map(Duration::from_secs),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
