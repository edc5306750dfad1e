//! Which of an agent's ready pods a request goes to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The rule by which a pod is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Any, as kube-proxy does for a Service.
    Random,
    /// Of two at random the one with fewer of our requests open, as many gateways do.
    TwoChoices,
    /// The one with the fewest of our requests open.
    LeastOutstanding,
}

/// Chooses, and knows how many requests are open where.
#[derive(Debug)]
pub struct Balancer {
    rule: Balance,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    open: HashMap<String, usize>,
}

/// An open request at a pod; dropping it closes the request.
#[derive(Debug)]
pub struct Open<'a> {
    balancer: &'a Balancer,
    pod: String,
}

impl Balancer {
    /// A balancer with nothing open.
    pub fn new(rule: Balance, seed: u64) -> Self {
        Self {
            rule,
            state: Mutex::new(State {
                rng: StdRng::seed_from_u64(seed),
                open: HashMap::new(),
            }),
        }
    }

    /// Chooses one of these pods and opens a request there: its index, and the open request. `None` without pods.
    pub fn choose(&self, pods: &[&str]) -> Option<(usize, Open<'_>)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match (self.rule, pods.len()) {
            (_, 0) => return None,
            (_, 1) => 0,
            (Balance::Random, n) => state.rng.random_range(0..n),
            (Balance::TwoChoices, n) => {
                let first = state.rng.random_range(0..n);
                let second = (first + state.rng.random_range(1..n)) % n;
                if state.open(pods[second]) < state.open(pods[first]) {
                    second
                } else {
                    first
                }
            }
            (Balance::LeastOutstanding, n) => {
                // A random start, so that ties do not always go to the first.
                let start = state.rng.random_range(0..n);
                (0..n)
                    .map(|step| (start + step) % n)
                    .min_by_key(|index| state.open(pods[*index]))
                    .unwrap_or(start)
            }
        };
        let pod = pods[index].to_owned();
        *state.open.entry(pod.clone()).or_default() += 1;
        Some((
            index,
            Open {
                balancer: self,
                pod,
            },
        ))
    }
}

impl State {
    fn open(&self, pod: &str) -> usize {
        self.open.get(pod).copied().unwrap_or(0)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self
            .balancer
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = state.open.get_mut(&self.pod) {
            *open -= 1;
            if *open == 0 {
                state.open.remove(&self.pod);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PODS: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn the_least_loaded_pod_is_chosen_and_closing_a_request_counts() {
        let balancer = Balancer::new(Balance::LeastOutstanding, 1);
        let mut open: Vec<_> = (0..3).map(|_| balancer.choose(&PODS).unwrap()).collect();
        let mut chosen: Vec<usize> = open.iter().map(|(index, _)| *index).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 2]);
        let (freed, request) = open.remove(1);
        drop(request);
        assert_eq!(balancer.choose(&PODS).unwrap().0, freed);
        drop(open);
        assert!(balancer.state.lock().unwrap().open.is_empty());
    }

    #[test]
    fn random_reaches_every_pod_about_equally() {
        let balancer = Balancer::new(Balance::Random, 1);
        let mut hits = [0; 3];
        for _ in 0..3000 {
            hits[balancer.choose(&PODS).unwrap().0] += 1;
        }
        assert!(hits.iter().all(|n| (900..1100).contains(n)), "{hits:?}");
    }

    #[test]
    fn two_choices_never_take_the_fullest_pod() {
        let balancer = Balancer::new(Balance::TwoChoices, 1);
        let full: Vec<_> = (0..5).map(|_| balancer.choose(&["a"]).unwrap()).collect();
        for _ in 0..100 {
            assert_ne!(balancer.choose(&PODS).unwrap().0, 0);
        }
        drop(full);
    }

    #[test]
    fn without_pods_there_is_no_choice() {
        assert!(Balancer::new(Balance::Random, 1).choose(&[]).is_none());
    }
}
