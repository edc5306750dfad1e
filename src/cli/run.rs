//! `agentpool run`: wires the process together, and takes it apart in the right order.

mod args;
mod probe;

pub(super) use args::RunArgs;

use super::complain;
use crate::controller::leadership::{LeaderState, Leadership, LeadershipError};
use crate::controller::{self, RunConfig, Wiring};
use crate::telemetry::{self, Health, Metrics, RecordConfig, Recorder, Recording};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The command line is wrong; what `clap` exits with as well.
const USAGE: u8 = 2;

/// Time the controller has to finish the step under way. With the release of the lease it stays below the 30 s that
/// Kubernetes gives a pod.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Time that the recording has to be written to its end.
const RECORD_WITHIN: Duration = Duration::from_secs(2);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("cannot listen on --listen {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot record in --record {folder:?}: {source}")]
    Record {
        folder: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("cannot watch for signals: {0}")]
    Signals(std::io::Error),
    #[error("no API server is configured: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("cannot make a client of the API server: {0}")]
    Client(kube::Error),
    #[error("{0}")]
    TooOld(String),
    #[error("the HTTP endpoints ended: {0}")]
    Http(std::io::Error),
    #[error("the election ended: {0}")]
    Election(#[from] LeadershipError),
    #[error("the controller ended: {0}")]
    Controller(String),
    #[error("the controller did not stop within {STOP_WITHIN:?}")]
    Stuck,
}

/// Runs the operator until it is told to stop.
pub(super) fn main(args: RunArgs) -> ExitCode {
    if let Err(error) = telemetry::init_logging(args.log_format, &args.log_level) {
        complain(&format!("--log-level {:?}: {error}", args.log_level));
        return ExitCode::from(USAGE);
    }
    let config = match args.resolve(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(RunError::Runtime)
        .and_then(|runtime| runtime.block_on(operate(config)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn operate(config: RunConfig) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone()).map_err(RunError::Signals)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, "starting");

    let metrics = Metrics::new();
    telemetry::count_panics(metrics.clone());
    let (recorder, recording) = begin_recording(&config, &metrics)?.unzip();
    let health = Health::new();
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| RunError::Listen {
            address: config.listen,
            source,
        })?;
    let client = connect(config.api_timeout).await?;

    let probe = probe::probe(client.clone(), health.clone(), config.api_timeout);

    let http_stop = CancellationToken::new();
    let mut http = tokio::spawn(telemetry::serve(
        listener,
        metrics.clone(),
        health.clone(),
        http_stop.clone(),
    ));
    let ended = tokio::select! {
        ended = lead_and_control(config, client, Counting { metrics, recorder }, health, stop.clone()) => ended,
        too_old = probe => Err(RunError::TooOld(too_old)),
        ended = &mut http => Err(RunError::Http(match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => std::io::Error::other("without an error"),
            Err(error) => std::io::Error::other(error),
        })),
    };
    http_stop.cancel();
    if !http.is_finished() {
        // Ends by itself within the bound of a connection; the answer matters to nobody any more.
        let _ = http.await;
    }
    if let Some(recording) = recording {
        let finished = tokio::task::spawn_blocking(|| recording.finish(RECORD_WITHIN)).await;
        if !finished.unwrap_or_default() {
            tracing::warn!("the last decisions may not be recorded: the disk took too long");
        }
    }
    if ended.is_ok() {
        tracing::info!("stopped");
    }
    ended
}

/// What is counted and kept of the decisions.
struct Counting {
    metrics: Metrics,
    recorder: Option<Recorder>,
}

fn begin_recording(
    config: &RunConfig,
    metrics: &Metrics,
) -> Result<Option<(Recorder, Recording)>, RunError> {
    let begin = |config: RecordConfig| {
        let folder = config.folder.clone();
        Recording::begin(config, metrics.clone())
            .map_err(|source| RunError::Record { folder, source })
    };
    config.record.clone().map(begin).transpose()
}

/// A connection on which nothing comes for this long after a request is lost: longer than a watch that works is silent.
const SILENT: Duration = Duration::from_secs(60);

/// A client that retries nothing by itself: a call that may last minutes is worse than one that fails.
pub(super) async fn connect(api_timeout: Duration) -> Result<kube::Client, RunError> {
    let mut kube_config = kube::Config::infer().await?;
    kube_config.connect_timeout = Some(api_timeout);
    kube_config.read_timeout = Some(SILENT);
    kube_config.reset_reader_on_write = true;
    kube_config.default_retry = false;
    kube::Client::try_from(kube_config).map_err(RunError::Client)
}

/// Runs election and controller. Stops the controller first, and gives the lease back only when it has ended: nobody
/// else may write before.
async fn lead_and_control(
    config: RunConfig,
    client: kube::Client,
    counting: Counting,
    health: Health,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let Counting { metrics, recorder } = counting;
    let mut election = config
        .election
        .clone()
        .map(|e| Leadership::start(client.clone(), e, metrics.clone(), health.clone()));
    let leader = match &election {
        Some(election) => election.watch(),
        None => {
            metrics.set_leader(true);
            watch::channel(LeaderState::Unopposed).1
        }
    };
    let mut controller = tokio::spawn(controller::run(Wiring {
        config,
        client,
        metrics,
        recorder,
        health,
        leader,
        stop: stop.clone(),
    }));
    let ended = tokio::select! {
        ended = &mut controller => controller_result(ended, stop.is_cancelled()),
        error = election_ended(&mut election) => {
            // Without an election this process can never write again: end at once, to be started afresh.
            controller.abort();
            return Err(error.into());
        }
        () = stop.cancelled() => match tokio::time::timeout(STOP_WITHIN, &mut controller).await {
            Ok(ended) => controller_result(ended, true),
            Err(_) => {
                // The lease is not given back: a write may be under way, and the next leader waits for its term to end.
                controller.abort();
                return Err(RunError::Stuck);
            }
        },
    };
    if let Some(election) = election {
        election.release().await;
    }
    ended
}

/// Resolves only when there is an election and it ends by itself.
async fn election_ended(election: &mut Option<Leadership>) -> LeadershipError {
    match election {
        Some(election) => election.ended().await,
        None => std::future::pending().await,
    }
}

fn controller_result<E: std::fmt::Display>(
    joined: Result<Result<(), E>, tokio::task::JoinError>,
    told_to: bool,
) -> Result<(), RunError> {
    match joined {
        Ok(Ok(())) if told_to => Ok(()),
        Ok(Ok(())) => Err(RunError::Controller("it was not told to".to_owned())),
        Ok(Err(error)) => Err(RunError::Controller(error.to_string())),
        Err(error) => Err(RunError::Controller(error.to_string())),
    }
}

/// Cancels `stop` on SIGTERM or SIGINT; a second signal ends the process as it would without us.
fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!("told to stop: finishing the step under way");
                stop.cancel();
            } else {
                tracing::warn!("told twice: ending at once");
                std::process::exit(130);
            }
        }
    });
    Ok(())
}
