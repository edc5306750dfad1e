use super::station::serve;
use super::{Bound, Counted, gpus, jobs};
use crate::simulation::scenario::Scenario;

/// Processor sharing: all requests of all agents share all GPUs equally at every moment.
///
/// No bound, for requests can be ordered better (see [`super::cmu_order`]); it is what a fair sharer of requests that neither knows nor
/// prefers anything reaches without lag, and for Poisson arrivals its mean depends on the mean of the service only: size / (1 − ρ).
pub fn processor_sharing(scenario: &Scenario, seed: u64) -> Bound {
    let mut bound = Bound::new(scenario.loads.len());
    bound.unmet = vec!["it is a reference: requests can be ordered better".to_owned()];
    let counted = Counted::of(scenario);
    let jobs = jobs(scenario, seed);
    serve(jobs, gpus(scenario), u32::MAX, |job, latency| {
        bound.add(counted, job, latency);
    });
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::control::rule_tests::{fractions, scenario};
    use crate::simulation::load::Work;

    /// M/G/1 with processor sharing is insensitive to the service (Kleinrock, vol. II, 4.4).
    #[test]
    fn the_means_are_those_of_theory_whatever_the_service() {
        let mut scenario = scenario("{type: WholeGPU}", &[6.0, 0.4], fractions(2000));
        scenario.services[0].throughput = 5.0;
        scenario.services[1].throughput = 1.0;
        scenario.loads[1].work = Work::Deterministic;
        scenario.seconds = 100_000.0;
        scenario.warmup = 1000.0;
        let bound = processor_sharing(&scenario, 1);
        // Loads of 0.6 and 0.2 on two GPUs, services of 0.1 s and 0.5 s.
        for (agent, service) in bound.agents.iter().zip([0.1, 0.5]) {
            let expected = service / (1.0 - 0.8);
            let mean = agent.mean().unwrap_or_default();
            assert!((mean / expected - 1.0).abs() < 0.03, "{mean} {expected}");
        }
    }
}
