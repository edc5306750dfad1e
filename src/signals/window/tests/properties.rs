//! Laws of the window over random engines: each engine is simulated exactly, request by request, and the tracker sees only
//! what a scrape would.
use super::*;
use proptest::prelude::*;

/// An exact engine: what happens in each tick is `(arrivals, at most so many served)`.
#[derive(Debug, Clone)]
struct Engine {
    history: Vec<(u8, u8)>,
    /// It counts tokens, so that a sample that repeats the last one is known to be news.
    counts_tokens: bool,
}

impl Engine {
    /// Samples after each tick, the first before any.
    fn samples(&self) -> Vec<PodSample> {
        let (mut finished, mut inside, mut tokens) = (0.0, 0.0_f64, 0.0);
        let mut sample = |arrivals: u8, most: u8| {
            inside += f64::from(arrivals);
            let served = inside.min(f64::from(most));
            inside -= served;
            finished += served;
            tokens += 1.0;
            let running = inside.min(4.0);
            PodSample {
                tokens: self.counts_tokens.then_some(tokens),
                ..PodSample::new(finished, running, inside - running, Duration::ZERO)
            }
        };
        std::iter::once(&(0, 0))
            .chain(&self.history)
            .map(|&(arrivals, most)| sample(arrivals, most))
            .collect()
    }

    fn arrivals(&self, from: usize) -> f64 {
        self.history
            .iter()
            .skip(from)
            .map(|(arrivals, _)| f64::from(*arrivals))
            .sum()
    }
}

fn engines(pods: usize, ticks: usize) -> impl Strategy<Value = Vec<Engine>> {
    let history = prop::collection::vec((0u8..20, 0u8..20), ticks);
    let engine = (history, any::<bool>()).prop_map(|(history, counts_tokens)| Engine {
        history,
        counts_tokens,
    });
    prop::collection::vec(engine, 1..=pods)
}

fn counting_tokens(mut engines: Vec<Engine>) -> Vec<Engine> {
    for engine in &mut engines {
        engine.counts_tokens = true;
    }
    engines
}

/// What a scrape of one pod at one tick gives instead of the truth.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Fails,
    Bad(f64),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        2 => Just(Fault::Fails),
        2 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-5.0), Just(1e308), any::<f64>().prop_filter("bad", |v| !(0.0..=1e15).contains(v))].prop_map(Fault::Bad),
    ]
}

fn uid(index: usize) -> String {
    format!("uid-{index}")
}

fn tracker() -> Tracker {
    Tracker::new(Settings {
        stale_after: Duration::from_secs(3),
        ..Settings::new(SECOND, Duration::from_secs(60), Duration::from_secs(60))
    })
}

const START: u64 = 500;

fn time(tick: usize) -> Duration {
    Duration::from_secs(START + tick as u64)
}

/// Feeds every tick, pods and samples in the order that `order` gives, and shows the tracker after each to `see`.
fn run_and_see(
    engines: &[Engine],
    fault: impl Fn(usize, usize) -> Fault,
    order: impl Fn(usize) -> Vec<usize>,
    mut see: impl FnMut(usize, &Tracker),
) -> (Tracker, usize) {
    let mut tracker = tracker();
    let samples: Vec<_> = engines.iter().map(Engine::samples).collect();
    let uids: Vec<_> = (0..engines.len()).map(uid).collect();
    let last = samples[0].len() - 1;
    for (tick, now) in (0..=last).map(|tick| (tick, time(tick))) {
        let order = order(tick);
        let pods: Vec<Pod> = order.iter().map(|&i| pod(&uids[i], true)).collect();
        let outcomes: Vec<(&str, Outcome)> = order
            .iter()
            .map(|&i| {
                let truth = PodSample {
                    at: now,
                    ..samples[i][tick]
                };
                let outcome = match fault(i, tick) {
                    Fault::None => Ok(truth),
                    Fault::Fails => Err(Problem::Timeout),
                    Fault::Bad(value) => Ok(PodSample {
                        finished: value,
                        ..truth
                    }),
                };
                (&*uids[i], outcome)
            })
            .collect();
        tracker.observe(now, &pods, outcomes);
        see(tick, &tracker);
    }
    (tracker, last)
}

/// As [`run_and_see`], looking only at the end.
fn run(
    engines: &[Engine],
    fault: impl Fn(usize, usize) -> Fault,
    order: impl Fn(usize) -> Vec<usize>,
) -> (Tracker, usize) {
    run_and_see(engines, fault, order, |_, _| {})
}

fn in_order(pods: usize) -> impl Fn(usize) -> Vec<usize> {
    move |_| (0..pods).collect()
}

proptest! {
    #[test]
    fn arrivals_over_a_window_are_exactly_what_arrived(engines in engines(4, 30).prop_map(counting_tokens), window in 12u64..30) {
        let (tracker, last) = run(&engines, |_, _| Fault::None, in_order(engines.len()));
        let signal = tracker.signal(time(last), Duration::from_secs(window));
        let truth: f64 = engines.iter().map(|e| e.arrivals(last - window as usize)).sum();
        prop_assert!((rate(&signal) * window as f64 - truth).abs() < 1e-6, "{} {truth}", rate(&signal) * window as f64);
        let inside: f64 = engines.iter().map(|e| e.samples()[last].backlog()).sum();
        prop_assert!((backlog(&signal) - inside).abs() < 1e-9);
    }

    #[test]
    fn the_order_of_pods_and_samples_does_not_matter(engines in engines(5, 25), faults in prop::collection::vec(fault(), 5 * 26), turn in 0usize..5) {
        let pods = engines.len();
        let fault = |pod: usize, tick: usize| faults[pod * 26 + tick];
        let (one, last) = run(&engines, fault, in_order(pods));
        let (other, _) = run(&engines, fault, |tick| (0..pods).rev().map(|i| (i + turn + tick) % pods).collect());
        prop_assert_eq!(one.signal(time(last), WINDOW), other.signal(time(last), WINDOW));
    }

    #[test]
    fn no_fault_makes_a_rate_negative_infinite_or_unknown_without_a_name(engines in engines(3, 40), faults in prop::collection::vec(fault(), 3 * 41)) {
        let (tracker, last) = run(&engines, |pod, tick| faults[pod * 41 + tick], in_order(engines.len()));
        let signal = tracker.signal(time(last), WINDOW);
        match signal.load {
            Load::Measured { arrivals_per_second, backlog } => {
                // 3 pods of at most 20 a second each, and one that is not measured may count like the busiest.
                prop_assert!((0.0..=60.0 + 1e-6).contains(&arrivals_per_second), "{signal:?}");
                prop_assert!(backlog.is_finite() && backlog >= 0.0);
                prop_assert!(signal.freshness.is_known());
            }
            Load::Unknown => prop_assert!(!signal.freshness.is_known()),
        }
    }

    #[test]
    fn a_busy_agent_is_never_idle_because_of_faults(per_tick in 1u8..20, faults in prop::collection::vec(fault(), 2 * 61)) {
        // Both pods get the same steady load, all served: true rate 2 × per_tick.
        let engine = Engine { history: vec![(per_tick, per_tick); 60], counts_tokens: false };
        let engines = [engine.clone(), engine];
        let fault = |pod: usize, tick: usize| faults[pod * 61 + tick];
        let mut measured = Vec::new();
        run_and_see(&engines, fault, in_order(2), |tick, tracker| {
            let signal = tracker.signal(time(tick), WINDOW);
            if let Load::Measured { .. } = signal.load {
                measured.push(rate(&signal));
            }
        });
        for rate in measured {
            prop_assert!((rate - 2.0 * f64::from(per_tick)).abs() < 1e-6, "{rate}");
        }
    }

    #[test]
    fn resets_never_make_a_rate_negative_or_larger_than_any_truth(per_tick in 1u8..20, resets in prop::collection::vec(any::<bool>(), 40)) {
        let mut driver = Driver::new();
        let (mut finished, mut starts) = (0.0, 0.0);
        for (tick, reset) in resets.into_iter().enumerate() {
            let reset = reset && tick > 11;
            finished = if reset { 0.0 } else { finished + f64::from(per_tick) };
            starts += f64::from(u8::from(reset)); // two resets in a row look like an idle engine but for this
            let outcome = sample(finished, 0.0, 0.0).map(|s| PodSample { process_start: Some(starts), ..s });
            let signal = driver.tick(&[("a", outcome)]);
            if let Load::Measured { arrivals_per_second, .. } = signal.load {
                prop_assert!((arrivals_per_second - f64::from(per_tick)).abs() < 1e-6, "{signal:?}");
            }
        }
    }

    #[test]
    fn after_any_faults_one_clean_window_is_the_truth(engines in engines(3, 50).prop_map(counting_tokens), faults in prop::collection::vec(fault(), 3 * 51)) {
        let clean_from = 50 - 10;
        let fault = |pod: usize, tick: usize| if tick >= clean_from { Fault::None } else { faults[pod * 51 + tick] };
        let (tracker, last) = run(&engines, fault, in_order(engines.len()));
        let signal = tracker.signal(time(last), WINDOW);
        let truth: f64 = engines.iter().map(|e| e.arrivals(clean_from)).sum();
        prop_assert_eq!(signal.freshness, Freshness::Fresh);
        prop_assert!((rate(&signal) * 10.0 - truth).abs() < 1e-6, "{} {truth}", rate(&signal) * 10.0);
    }
}
