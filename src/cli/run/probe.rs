//! Whether the API server is there and new enough, for `/readyz`.

use crate::telemetry::Health;
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// The oldest minor release of Kubernetes 1 that is supported: the first whose admission policies can hold the jail.
const OLDEST_MINOR: u32 = 33;

/// Looks now and then. Resolves only when the API server is too old, with the words for people: without its jail nothing may be written.
pub(super) async fn probe(client: kube::Client, health: Health, api_timeout: Duration) -> String {
    let mut before = Ok(());
    loop {
        let server = match tokio::time::timeout(api_timeout, client.apiserver_version()).await {
            Ok(Ok(version)) => match check(&version.major, &version.minor) {
                Ok(()) => Ok(()),
                Err(too_old) => return too_old,
            },
            Ok(Err(error)) => Err(format!("the API server does not answer: {error}")),
            Err(_) => Err(format!(
                "the API server does not answer within {api_timeout:?}"
            )),
        };
        if server != before {
            match &server {
                Ok(()) => tracing::info!("the API server can be used"),
                Err(why) => tracing::error!(why, "the API server cannot be used"),
            }
        }
        before.clone_from(&server);
        health.set_server(server);
        tokio::time::sleep(EVERY).await;
    }
}

/// Vendors write suffixes behind the minor version (`33+`). A version that cannot be read is taken for new.
fn check(major: &str, minor: &str) -> Result<(), String> {
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    match (major, digits.parse::<u32>()) {
        ("1", Ok(number)) if number < OLDEST_MINOR => Err(format!(
            "this is Kubernetes {major}.{minor}; AgentPool needs 1.{OLDEST_MINOR} or newer"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_too_old_is_named_with_what_would_be_right() {
        for (major, minor) in [
            ("1", "33"),
            ("1", "33+"),
            ("1", "36"),
            ("2", "0"),
            ("1", ""),
        ] {
            assert_eq!(check(major, minor), Ok(()), "{major}.{minor}");
        }
        for minor in ["32", "9+"] {
            let error = check("1", minor).err().unwrap_or_default();
            assert!(error.contains(minor) && error.contains("1.33"), "{error}");
        }
    }
}
