use std::fmt;

/// One of the three numbers that an agent's load is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Counter of finished requests.
    Finished,
    /// Requests that run.
    Running,
    /// Requests that wait.
    Waiting,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished requests",
            Self::Running => "running requests",
            Self::Waiting => "waiting requests",
        })
    }
}

/// Why a pod's signal is not used. A closed set: [`Problem::reason`] is a stable CamelCase name for status and metrics,
/// [`fmt::Display`] is a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Problem {
    /// The pod's address is none that a pod can have.
    #[error(
        "the pod's address is missing or not one that is ever scraped (link-local, metadata service, multicast, unspecified)"
    )]
    BadAddress,
    /// The metrics path is not one.
    #[error(
        "the metrics path is not an absolute path of visible ASCII characters, at most 256 long"
    )]
    BadPath,
    /// Nobody listens on the port.
    #[error("connection refused: nothing listens on the metrics port")]
    ConnectionRefused,
    /// No connection within the connect timeout, or no route.
    #[error("no connection to the metrics port")]
    Unreachable,
    /// The connection broke before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    ConnectionClosed,
    /// No complete answer within the request timeout.
    #[error("no complete answer within the request timeout")]
    Timeout,
    /// The round's deadline came first.
    #[error("not answered before the round's deadline")]
    Late,
    /// The answer has more bytes, lines or series than are read.
    #[error("the answer is larger than is read")]
    TooLarge,
    /// Any status but 200.
    #[error("HTTP status {0} instead of 200")]
    BadStatus(u16),
    /// A redirect; never followed.
    #[error("HTTP status {0}: redirects are never followed")]
    Redirect(u16),
    /// A compressed body, which was not asked for.
    #[error("the answer is compressed although only identity was accepted")]
    Encoded,
    /// Not an HTTP answer, not text, or not the exposition format.
    #[error("the answer is not Prometheus text")]
    Malformed,
    /// Well-formed, but with no metric of a known dialect.
    #[error("no metric of a known engine: enable the engine's metrics or declare the metric names")]
    NoKnownMetrics,
    /// One of the three inputs is not exposed.
    #[error("the counter or gauge of {0} is not exposed")]
    Missing(Input),
    /// NaN.
    #[error("{0} is NaN")]
    NotANumber(Input),
    /// Positive or negative infinity.
    #[error("{0} is infinite")]
    Infinite(Input),
    /// Below zero.
    #[error("{0} is negative")]
    Negative(Input),
    /// Larger than any engine can mean.
    #[error("{0} is absurdly large")]
    Absurd(Input),
    /// More arrivals since the last sample than any engine takes.
    #[error("more requests arrived since the last sample than an engine can take")]
    ImplausibleJump,
    /// The sample claims to be from the future.
    #[error("the sample's time lies in the future")]
    FutureTimestamp,
    /// Finished requests fell: the engine restarted; the interval counts as not measured.
    #[error("the counter of finished requests was reset: the engine restarted")]
    CounterReset,
    /// Nothing changes although something must.
    #[error("the metrics stand still although they must move: the exporter is frozen")]
    Frozen,
    /// No new sample for too long.
    #[error("no new sample for too long")]
    Stale,
    /// The pod was never sampled.
    #[error("the pod was never sampled")]
    NeverSampled,
    /// The metrics server does not know the pod's series.
    #[error("the metrics server has no series of the pod")]
    Absent,
}

impl Problem {
    /// Where metrics could not be asked for, requests could not arrive either, as engines serve both on one port: that
    /// none arrived says nothing about demand.
    pub(super) const fn keeps_requests_away(self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused | Self::Unreachable | Self::ConnectionClosed
        )
    }

    /// The stable CamelCase name.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadAddress => "BadAddress",
            Self::BadPath => "BadPath",
            Self::ConnectionRefused => "ConnectionRefused",
            Self::Unreachable => "Unreachable",
            Self::ConnectionClosed => "ConnectionClosed",
            Self::Timeout => "Timeout",
            Self::Late => "Late",
            Self::TooLarge => "TooLarge",
            Self::BadStatus(_) => "BadStatus",
            Self::Redirect(_) => "Redirect",
            Self::Encoded => "Encoded",
            Self::Malformed => "Malformed",
            Self::NoKnownMetrics => "NoKnownMetrics",
            Self::Missing(_) => "MissingMetric",
            Self::NotANumber(_) => "NotANumber",
            Self::Infinite(_) => "Infinite",
            Self::Negative(_) => "Negative",
            Self::Absurd(_) => "Absurd",
            Self::ImplausibleJump => "ImplausibleJump",
            Self::FutureTimestamp => "FutureTimestamp",
            Self::CounterReset => "CounterReset",
            Self::Frozen => "Frozen",
            Self::Stale => "Stale",
            Self::NeverSampled => "NeverSampled",
            Self::Absent => "Absent",
        }
    }
}
