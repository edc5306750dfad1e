use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use std::time::Duration;

/// A watch is tried again at least this often, so that an API server that was away for half a minute makes nobody blind.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses between tries to list or watch: from a second on, each twice the one before.
#[derive(Default)]
pub struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_begin_anew() {
        let mut pauses = Pauses::default();
        let many: Vec<Duration> = pauses.by_ref().take(50).collect();
        assert!(many[0] < Duration::from_secs(2), "{many:?}");
        assert!(many[5..].iter().all(|pause| *pause == LONGEST), "{many:?}");
        pauses.reset();
        assert!(
            pauses
                .next()
                .is_some_and(|pause| pause < Duration::from_secs(2))
        );
    }
}
