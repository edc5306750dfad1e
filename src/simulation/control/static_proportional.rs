use super::Controller;
use super::fixed::Fixed;
use super::rule::{Refusal, Rule};
use crate::sharing::Strategy;
use crate::simulation::load::Arrivals;
use crate::simulation::{Cluster, Scenario};
use crate::units::MilliGpus;

/// A share in proportion to the mean load that is declared: arrivals a second over the requests a second that the manifest says a
/// whole GPU serves. What a careful user sets by hand and leaves alone.
pub(super) fn build(
    rule: &Rule,
    gpus: Option<MilliGpus>,
    scenario: &Scenario,
) -> Result<Box<dyn Controller>, Refusal> {
    let shape = &scenario.pool.shape;
    let pods = match &scenario.cluster {
        Cluster::Fractions(_) => None,
        Cluster::Nodes(_) if shape.strategy == Strategy::WholeGpu => Some(shape.agents.clone()),
        Cluster::Nodes(_) => {
            return Err(rule.refuse(
                "only whole GPUs can be dealt out by replicas: the size of a MIG instance is no number of replicas, and time-slicing \
                 lends idle turns by itself; `hold` keeps the equal shares that a run begins with",
            ));
        }
    };
    Ok(Box::new(Fixed::new(loads(scenario), gpus, pods)))
}

/// GPUs that each agent's mean load needs by what its manifest declares.
fn loads(scenario: &Scenario) -> Vec<f64> {
    let agents = scenario.pool.agents.iter().zip(&scenario.loads);
    agents
        .map(|(agent, load)| mean_rate(&load.arrivals, scenario.seconds) / agent.base_throughput)
        .collect()
}

/// Arrivals a second on average over a run of `seconds`, as the load declares them.
fn mean_rate(arrivals: &Arrivals, seconds: f64) -> f64 {
    use crate::simulation::load::Scaling;
    match arrivals {
        Arrivals::Constant { rate }
        | Arrivals::Poisson { rate }
        | Arrivals::Sine { rate, .. }
        | Arrivals::Diurnal { rate, .. }
        | Arrivals::Bursty { rate, .. } => *rate,
        Arrivals::Drifting(drift) => drift.rate,
        Arrivals::Square {
            low, high, duty, ..
        } => low * (1.0 - duty) + high * duty,
        Arrivals::Steps { steps, .. } => {
            let mut left = seconds;
            let mut arrived = 0.0;
            for step in steps {
                let held = step.seconds.min(left);
                arrived += held * step.rate;
                left -= held;
            }
            arrived / seconds
        }
        Arrivals::Trace(replay) => match replay.scaling {
            Scaling::AsRecorded => replay.mean_rate(),
            Scaling::Compression { rate }
            | Scaling::Superposition { rate }
            | Scaling::Thinning { rate } => rate,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::load::{Piece, Spacing};

    #[test]
    fn the_mean_of_a_load_is_what_it_declares() {
        let steps = |steps: &[(f64, f64)]| Arrivals::Steps {
            steps: steps
                .iter()
                .map(|&(seconds, rate)| Piece { seconds, rate })
                .collect(),
            spacing: Spacing::Even,
        };
        let square = Arrivals::Square {
            low: 1.0,
            high: 5.0,
            period: 10.0,
            duty: 0.25,
            spacing: Spacing::Even,
        };
        assert_eq!(mean_rate(&square, 100.0), 2.0);
        // 20 s at 3/s, then 80 s at 1/s; and 20 s at 3/s, then nothing.
        assert_eq!(
            mean_rate(&steps(&[(20.0, 3.0), (f64::INFINITY, 1.0)]), 100.0),
            1.4
        );
        assert_eq!(mean_rate(&steps(&[(20.0, 3.0)]), 100.0), 0.6);
    }
}
