//! Places for pods that did not answer in time when last asked. They are few, so they are given by who was asked the longest ago, not by who
//! comes first: everybody has its try, however many others hang.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::oneshot, time::Instant};

/// When who waits was asked last, and a number that no other has.
type Turn = (Option<Instant>, u64);

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Lane(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    free: usize,
    waiting: BTreeMap<Turn, oneshot::Sender<Place>>,
    turns: u64,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Lane);

/// Somebody who waits; not any more when it is dropped.
struct Waiting<'a>(&'a Lane, Turn);

impl Lane {
    pub(super) fn new(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Places {
            free,
            waiting: BTreeMap::new(),
            turns: 0,
        })))
    }

    /// A place, for who was asked last at `asked`.
    pub(super) async fn place(&self, asked: Option<Instant>) -> Option<Place> {
        let (given, _waiting) = {
            let mut places = self.places();
            if places.free > 0 {
                places.free -= 1;
                return Some(Place(self.clone()));
            }
            let (give, given) = oneshot::channel();
            places.turns += 1;
            let turn = (asked, places.turns);
            places.waiting.insert(turn, give);
            (given, Waiting(self, turn))
        };
        given.await.ok()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.places().free
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.places().waiting.remove(&self.1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut places = self.0.places();
            let next = places.waiting.pop_first();
            places.free += usize::from(next.is_none());
            next
        };
        if let Some((_, give)) = next {
            // Who has gone in this moment drops it again.
            drop(give.send(Self(self.0.clone())));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn who_was_asked_the_longest_ago_comes_first_whoever_waits_longer() {
        let lane = Lane::new(1);
        let place = lane.place(None).await.unwrap();
        let now = Instant::now();
        let order = Mutex::new(Vec::new());
        let wait = async |seconds: u64| {
            let place = lane.place(Some(now + Duration::from_secs(seconds))).await;
            order.lock().unwrap().push(seconds);
            drop(place);
        };
        let free = async {
            tokio::task::yield_now().await;
            drop(place);
        };
        tokio::join!(wait(5), wait(9), wait(1), wait(7), free);
        assert_eq!(*order.lock().unwrap(), [1, 5, 7, 9]);
        assert_eq!(lane.free(), 1);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_no_trace() {
        let lane = Lane::new(1);
        let place = lane.place(None).await.unwrap();
        {
            let mut waits = std::pin::pin!(lane.place(None));
            assert!(futures::poll!(&mut waits).is_pending());
        }
        assert!(lane.places().waiting.is_empty());
        {
            // Given a place, and gone before it was taken.
            let mut waits = std::pin::pin!(lane.place(None));
            assert!(futures::poll!(&mut waits).is_pending());
            drop(place);
            assert_eq!(lane.free(), 0);
        }
        assert_eq!(lane.free(), 1);
    }
}
