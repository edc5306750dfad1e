use super::Metrics;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for log collectors.
    Json,
    /// Text, for people.
    Text,
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is none, nor a list of directives.
    #[error(
        "must be error, warn, info, debug, trace, or directives such as \"info,agentpool=debug\" ({0})"
    )]
    Level(String),
    /// Something else logs already.
    #[error("logging is set up already ({0})")]
    Twice(String),
}

/// Sets up logging to standard error, once a process.
///
/// # Errors
/// When `level` is not understood, or logging is set up already.
pub fn init_logging(format: LogFormat, level: &str) -> Result<(), LoggingError> {
    let registry = tracing_subscriber::registry().with(filter(level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(lines).try_init(),
    }
    .map_err(|e| LoggingError::Twice(e.to_string()))
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    // A bare word that is no level would be read as the name of a module, and silence everything else.
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let understood = level.split(',').all(|directive| {
        LEVELS.contains(&directive.trim().to_ascii_lowercase().as_str()) || directive.contains('=')
    });
    if !understood {
        return Err(LoggingError::Level(format!("got {level:?}")));
    }
    EnvFilter::try_new(level).map_err(|e| LoggingError::Level(e.to_string()))
}

/// Counts every panic of this process, and logs it as a line of the log instead of raw text.
pub fn count_panics(metrics: Metrics) {
    std::panic::set_hook(Box::new(move |info| {
        metrics.count_panic();
        let message = info.payload_as_str().unwrap_or("no message");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(message, location, "a panic: this is a bug of the operator");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_understood() {
        for level in [
            "info",
            "DEBUG",
            "off",
            "info,agentpool=debug",
            "warn,kube_client=trace",
        ] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_mistyped_level_is_refused_and_not_taken_for_a_module() {
        for level in [
            "",
            "inf",
            "verbose",
            "info,debgu",
            "agentpool=loud",
            "info,",
        ] {
            let error = filter(level)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(error.contains("info"), "{level}: {error}");
        }
    }
}
