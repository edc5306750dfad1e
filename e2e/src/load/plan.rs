//! What is sent when: one stream of requests an agent, the same for everyone who asks for it.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::arrivals::{Piece, Spacing, arrivals};
use super::drift::Drift;
use super::mmpp::Mmpp;
use super::random::exponential;
use super::statistics::Burstiness;
use super::traces::Recorded;

/// When requests arrive.
#[derive(Clone, Debug)]
pub enum Process {
    /// Evenly spaced, at a constant rate or in steps.
    Even(Vec<Piece>),
    /// Independently, at a constant rate or in steps.
    Poisson(Vec<Piece>),
    /// In bursts: an [`Mmpp`] with these statistics, its time compressed until its mean rate is `rate`.
    Bursty {
        /// What it is fitted to.
        like: Burstiness,
        /// Arrivals a second.
        rate: f64,
    },
    /// Drifting.
    Drifting(Drift),
    /// As recorded, with the time compressed, and thinned out.
    Trace {
        /// The requests.
        requests: Arc<[Recorded]>,
        /// How many times as fast; 1 is as recorded.
        faster: f64,
        /// The part of the requests that is kept, drawn one by one; 1 keeps all. Thinning keeps the drift of a trace
        /// and weakens its bursts.
        keep: f64,
    },
}

/// How much work a request is, as a multiple of its agent's mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Exponential.
    Exponential,
    /// Always the mean.
    Constant,
    /// By the tokens of a trace (other processes: exponential), see [`token_work`].
    Tokens,
}

/// A request: when, and how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// Seconds since the start of the load.
    pub at: f64,
    /// Its work as a multiple of the agent's mean.
    pub work: f64,
}

/// The load of one agent. Two streams of one load are equal, request by request.
#[derive(Clone, Debug)]
pub struct AgentLoad {
    /// Whose load it is.
    pub agent: String,
    /// When requests arrive.
    pub process: Process,
    /// How much they are.
    pub work: Work,
    /// Everything random follows from it (and from the agent's name).
    pub seed: u64,
}

impl AgentLoad {
    /// Its requests, in order. Endless unless the process ends.
    pub fn stream(&self) -> Box<dyn Iterator<Item = Arrival> + Send> {
        let [pieces, times, works] = [1, 2, 3].map(|part| derive(self.seed, &self.agent, part));
        let work = self.work;
        let mut rng = StdRng::seed_from_u64(works);
        let mut draw = move || match work {
            Work::Constant => 1.0,
            Work::Exponential | Work::Tokens => exponential(&mut rng, 1.0),
        };
        match &self.process {
            Process::Even(steps) => {
                let at = arrivals(steps.clone().into_iter(), Spacing::Even, times);
                Box::new(at.map(move |at| Arrival { at, work: draw() }))
            }
            Process::Poisson(steps) => {
                let at = arrivals(steps.clone().into_iter(), Spacing::Poisson, times);
                Box::new(at.map(move |at| Arrival { at, work: draw() }))
            }
            Process::Bursty { like, rate } => {
                let mmpp = Mmpp::fit(like).faster(rate / like.mean);
                let at = arrivals(mmpp.pieces(pieces), Spacing::Poisson, times);
                Box::new(at.map(move |at| Arrival { at, work: draw() }))
            }
            Process::Drifting(drift) => {
                let at = arrivals(drift.pieces(pieces), Spacing::Poisson, times);
                Box::new(at.map(move |at| Arrival { at, work: draw() }))
            }
            Process::Trace {
                requests,
                faster,
                keep,
            } => {
                let (requests, faster, keep) = (requests.clone(), *faster, *keep);
                let mean =
                    requests.iter().map(token_work).sum::<f64>() / requests.len().max(1) as f64;
                let mut thin = StdRng::seed_from_u64(times);
                let kept =
                    (0..requests.len()).filter(move |_| keep >= 1.0 || thin.random::<f64>() < keep);
                Box::new(kept.map(move |index| {
                    let request = &requests[index];
                    let work = match work {
                        Work::Tokens if mean > 0.0 => token_work(request) / mean,
                        _ => draw(),
                    };
                    Arrival {
                        at: request.at / faster,
                        work,
                    }
                }))
            }
        }
    }
}

/// GPU-seconds of a request of a 7B model on an A100-80GB: prefill at 13,454 tokens/s, decode at 6,337 tokens/s
/// (MuxServe's published profile, batch 8 x 512 and batch 256 x 128, whole GPU). Only the ratio matters here.
pub fn token_work(request: &Recorded) -> f64 {
    request.input_tokens as f64 / 13_454.0 + request.output_tokens as f64 / 6_337.0
}

/// All loads as one stream, in order of time: which load, and the request. Ends at `until` seconds.
pub fn merge(
    loads: &[AgentLoad],
    until: f64,
) -> impl Iterator<Item = (usize, Arrival)> + Send + use<> {
    let mut streams: Vec<_> = loads.iter().map(|load| load.stream().peekable()).collect();
    std::iter::from_fn(move || {
        let mut first: Option<(usize, f64)> = None;
        for (index, stream) in streams.iter_mut().enumerate() {
            if let Some(arrival) = stream.peek() {
                // Of two at the same time, the first load's comes first.
                if first.is_none_or(|(_, at)| arrival.at < at) {
                    first = Some((index, arrival.at));
                }
            }
        }
        let (index, _) = first.filter(|(_, at)| *at < until)?;
        Some((index, streams[index].next()?))
    })
}

/// A seed for one part of one agent's load (FNV-1a).
fn derive(seed: u64, agent: &str, part: u64) -> u64 {
    let bytes = seed
        .to_le_bytes()
        .into_iter()
        .chain(part.to_le_bytes())
        .chain(agent.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::builtin::{FOUR_AGENT_A, FOUR_AGENT_B};

    fn load(agent: &str, process: Process, work: Work) -> AgentLoad {
        AgentLoad {
            agent: agent.into(),
            process,
            work,
            seed: 7,
        }
    }

    fn trace() -> Process {
        let recorded = |at, input_tokens, output_tokens| Recorded {
            at,
            input_tokens,
            output_tokens,
        };
        Process::Trace {
            requests: [recorded(0.0, 13_454, 0), recorded(6.0, 0, 3 * 6_337)].into(),
            faster: 3.0,
            keep: 1.0,
        }
    }

    #[test]
    fn two_streams_of_one_load_are_equal_and_agents_differ() {
        let processes = [
            Process::Poisson(vec![Piece::forever(5.0)]),
            Process::Bursty {
                like: FOUR_AGENT_A[0].1,
                rate: 40.0,
            },
            Process::Drifting(FOUR_AGENT_B[1].1.scaled(20.0, 60.0)),
        ];
        for process in processes {
            let a = load("a", process, Work::Exponential);
            let b = AgentLoad {
                agent: "b".into(),
                ..a.clone()
            };
            let head = |load: &AgentLoad| load.stream().take(100).collect::<Vec<_>>();
            assert_eq!(head(&a), head(&a));
            assert_ne!(head(&a), head(&b));
        }
    }

    #[test]
    fn work_is_one_on_average_whatever_its_kind() {
        for (process, work, n) in [
            (
                Process::Even(vec![Piece::forever(1.0)]),
                Work::Exponential,
                50_000,
            ),
            (Process::Even(vec![Piece::forever(1.0)]), Work::Constant, 10),
            (trace(), Work::Tokens, 2),
        ] {
            let stream = load("a", process, work).stream().take(n);
            let mean = stream.map(|arrival| arrival.work).sum::<f64>() / n as f64;
            assert!((mean - 1.0).abs() < 0.02, "{work:?}: {mean}");
        }
    }

    #[test]
    fn a_trace_is_compressed_in_time_and_weighed_by_its_tokens() {
        let requests: Vec<Arrival> = load("a", trace(), Work::Tokens).stream().collect();
        assert_eq!(
            requests,
            [
                Arrival { at: 0.0, work: 0.5 },
                Arrival { at: 2.0, work: 1.5 }
            ]
        );
    }

    #[test]
    fn a_thinned_trace_keeps_its_part_and_its_times() {
        let requests: Arc<[Recorded]> = (0..10_000)
            .map(|second| Recorded {
                at: f64::from(second),
                input_tokens: 1,
                output_tokens: 1,
            })
            .collect();
        let process = Process::Trace {
            requests,
            faster: 1.0,
            keep: 0.25,
        };
        let kept: Vec<Arrival> = load("a", process, Work::Constant).stream().collect();
        assert!((2_300..2_700).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().all(|arrival| arrival.at.fract() == 0.0));
        assert!(kept.windows(2).all(|pair| pair[0].at < pair[1].at));
    }

    #[test]
    fn a_bursty_load_has_the_rate_that_is_asked_for() {
        let process = Process::Bursty {
            like: FOUR_AGENT_A[1].1,
            rate: 40.0,
        };
        let stream = load("nlp", process, Work::Constant).stream();
        let count = stream.take_while(|arrival| arrival.at < 5_000.0).count() as f64;
        assert!((count / 200_000.0 - 1.0).abs() < 0.05, "{count}");
    }

    #[test]
    fn loads_are_merged_in_order_of_time_and_end_in_time() {
        let even = |agent: &str, rate| {
            load(
                agent,
                Process::Even(vec![Piece::forever(rate)]),
                Work::Constant,
            )
        };
        let merged = merge(&[even("a", 1.0), even("b", 2.0)], 2.0);
        let order: Vec<(usize, f64)> = merged.map(|(index, arrival)| (index, arrival.at)).collect();
        assert_eq!(order, [(1, 0.5), (0, 1.0), (1, 1.0), (1, 1.5)]);
    }
}
