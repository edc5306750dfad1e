use super::types::{Agent, Load};
use crate::units::MilliGpus;
use std::time::Duration;

/// Turns measured load into a share. The only floating-point step before WaterFilling's integers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter {
    per_second: f64,
}

impl Meter {
    /// A meter that wants backlog worked off within `drain`; zero counts as one nanosecond.
    pub(super) fn new(drain: Duration) -> Self {
        Self {
            per_second: 1.0 / drain.max(Duration::from_nanos(1)).as_secs_f64(),
        }
    }

    /// What the agent's load asks for; `None` when its load is unknown.
    #[inline]
    pub(super) fn demand(self, agent: &Agent<'_>) -> Option<Demand> {
        load(agent).map(|load| self.of(agent, load))
    }

    /// The share that serves `load`, rounded up to milli-GPUs and clamped to the agent's ceiling.
    ///
    /// Work arrives at `need = arrivals/T + backlog/(T · drain)` GPUs. Within one part of a GPU the speed is `T · share^b`, so
    /// that the share is `need^(1/b)`; beyond, parts of that size add up linearly. Where smaller parts would do, they serve more
    /// with the share, never less. Any load above zero asks for at least one milli-GPU.
    #[inline]
    pub(super) fn of(self, agent: &Agent<'_>, load: KnownLoad) -> Demand {
        let work = load.arrivals + load.backlog * self.per_second;
        let mut milli = 1000.0 * work / agent.base_throughput;
        if agent.speed_exponent < 1.0 {
            milli = in_parts(milli, agent.speed_exponent, agent.part_gpus());
        }
        let wanted = round_up(milli).max(u64::from(work > 0.0));
        Demand {
            share: MilliGpus(wanted.min(agent.ceiling.0)),
            capped: wanted > agent.ceiling.0,
        }
    }
}

/// A load whose numbers, and the facts they are judged by, can be true: finite, arrivals and backlog ≥ 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct KnownLoad {
    /// Requests a second.
    pub(super) arrivals: f64,
    /// Requests.
    pub(super) backlog: f64,
}

/// What an agent's load asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// The share, not above the ceiling.
    pub(super) share: MilliGpus,
    /// The load asks for more than the ceiling.
    pub(super) capped: bool,
}

/// The agent's load, or `None` when it cannot be true: NaN, infinite or negative is no data, and no data is never zero load.
#[inline]
pub(super) fn load(agent: &Agent<'_>) -> Option<KnownLoad> {
    match agent.load {
        Load::Measured {
            arrivals_per_second: arrivals,
            backlog,
        } if amount(arrivals) & amount(backlog) & facts(agent) => {
            Some(KnownLoad { arrivals, backlog })
        }
        _ => None,
    }
}

/// The share, in milli-GPUs, that does the work of `milli` GPUs where speed is `T · share^exponent` within a part of a GPU.
#[inline(never)]
fn in_parts(milli: f64, exponent: f64, part: f64) -> f64 {
    if milli < 1000.0 {
        let alone = 1000.0 * libm::pow(milli / 1000.0, 1.0 / exponent);
        if alone < 1000.0 * part {
            return alone;
        }
    }
    // At the joint both are the part itself, whatever the roundings: demand stays monotone.
    (milli * libm::pow(part, 1.0 - exponent)).max(1000.0 * part)
}

/// Finite and ≥ 0: the bits of such numbers, -0 made 0, are those below infinity's. One comparison where a range takes many.
#[inline]
fn amount(x: f64) -> bool {
    (x + 0.0).to_bits() < f64::INFINITY.to_bits()
}

/// Base throughput is finite and above zero, the exponent in (0, 1]; bits of positive numbers are in the numbers' order.
#[inline]
fn facts(agent: &Agent<'_>) -> bool {
    let positive = |x: f64, end: u64| x.to_bits().wrapping_sub(1) < end - 1;
    positive(agent.base_throughput, f64::INFINITY.to_bits())
        & positive(agent.speed_exponent, 1f64.to_bits() + 1)
}

/// `x` ≥ 0 rounded up to a whole number, at most 2^52; what exceeds a whole number by no more than a millionth is taken for
/// a rounding error and counts as that number.
#[inline]
fn round_up(x: f64) -> u64 {
    // Adding 2^52 leaves no room for a fraction, so that the sum's low bits are the nearest integer. Without the function
    // call (`ceil`) and the saturating conversion that together cost most of a pass on baseline x86-64.
    const SHIFT: f64 = (1u64 << 52) as f64;
    ((x + 0.499_999).min(SHIFT) + SHIFT).to_bits() - SHIFT.to_bits()
}

#[cfg(test)]
mod tests {
    use super::super::tests::agent;
    use super::*;

    fn demand_of(
        arrivals: f64,
        backlog: f64,
        throughput: f64,
        exponent: f64,
        drain: u64,
    ) -> Option<u64> {
        let agent = Agent {
            base_throughput: throughput,
            speed_exponent: exponent,
            load: Load::Measured {
                arrivals_per_second: arrivals,
                backlog,
            },
            ceiling: MilliGpus(64_000),
            ..agent("a")
        };
        Meter::new(Duration::from_secs(drain))
            .demand(&agent)
            .map(|d| d.share.0)
    }

    #[test]
    fn demand_is_arrivals_plus_drained_backlog_over_throughput() {
        assert_eq!(demand_of(80.0, 0.0, 100.0, 1.0, 60), Some(800));
        assert_eq!(demand_of(80.0, 600.0, 100.0, 1.0, 60), Some(900));
        assert_eq!(demand_of(250.0, 0.0, 100.0, 1.0, 60), Some(2500));
        assert_eq!(demand_of(0.0, 0.0, 100.0, 1.0, 60), Some(0));
    }

    #[test]
    fn where_speed_is_sublinear_a_small_partition_serves_more_than_its_share() {
        // At b = 0.5 a quarter of a GPU already serves half of T.
        assert_eq!(demand_of(50.0, 0.0, 100.0, 0.5, 60), Some(250));
        assert_eq!(demand_of(100.0, 0.0, 100.0, 0.5, 60), Some(1000));
        assert_eq!(
            demand_of(150.0, 0.0, 100.0, 0.5, 60),
            Some(1500),
            "whole GPUs are linear"
        );
    }

    /// What an agent asks for that needs so many thousandths of a GPU's work, with exponent 0.5.
    fn in_parts_of(part: u64, need: u32) -> u64 {
        let agent = Agent {
            speed_exponent: 0.5,
            part: MilliGpus(part),
            load: Load::Measured {
                arrivals_per_second: f64::from(need),
                backlog: 0.0,
            },
            base_throughput: 1000.0,
            ..agent("a")
        };
        let meter = Meter::new(Duration::from_secs(60));
        meter.demand(&agent).map_or(0, |d| d.share.0)
    }

    #[test]
    fn several_parts_are_each_worth_more_than_their_size() {
        // A quarter of a GPU serves half of T: three of them serve 1.5 T.
        assert_eq!(in_parts_of(250, 1500), 750);
        assert_eq!(in_parts_of(250, 750), 375, "one and a half quarters");
        assert_eq!(in_parts_of(250, 300), 90, "less than one part: as before");
        assert_eq!(in_parts_of(143, 1500), 568, "4 of 143 serve 1.51 T");
    }

    #[test]
    fn a_part_as_large_as_a_gpu_changes_nothing() {
        for need in 0..3000 {
            assert_eq!(in_parts_of(1000, need), in_parts_of(0, need));
            assert_eq!(in_parts_of(9000, need), in_parts_of(0, need));
        }
    }

    #[test]
    fn more_work_asks_for_no_smaller_share_and_larger_parts_for_no_less() {
        for part in [1, 2, 129, 143, 250, 388, 907, 1000] {
            for need in 0..3000 {
                let (one, more) = (in_parts_of(part, need), in_parts_of(part, need + 1));
                assert!(one <= more, "{part} {need}: {one} {more}");
                let larger = in_parts_of(part + 1, need);
                assert!(one <= larger, "{part} {need}: {one} {larger}");
            }
        }
    }

    #[test]
    fn instances_of_the_share_asked_for_serve_the_load() {
        for part in [129u64, 259, 388] {
            for need in 1..3000 {
                let parts = in_parts_of(part, need).div_ceil(part);
                let serves = parts as f64 * (part as f64 / 1000.0).sqrt();
                assert!(serves * 1000.0 >= f64::from(need) - 1e-6, "{part} {need}");
            }
        }
    }

    #[test]
    fn exact_tenths_do_not_round_up() {
        for arrivals in 1..=100u32 {
            assert_eq!(
                demand_of(f64::from(arrivals), 0.0, 100.0, 1.0, 60),
                Some(u64::from(arrivals) * 10)
            );
        }
    }

    #[test]
    fn the_faintest_load_is_not_no_load() {
        assert_eq!(demand_of(5e-324, 0.0, 1e308, 1.0, 60), Some(1));
        assert_eq!(demand_of(1e-300, 0.0, 1.0, 0.1, 60), Some(1));
        assert_eq!(demand_of(-0.0, 0.0, 1.0, 1.0, 60), Some(0));
    }
}
