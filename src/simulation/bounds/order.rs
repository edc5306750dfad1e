use super::{Bound, Counted, Job, gpus, jobs};
use crate::simulation::load::Work;
use crate::simulation::scenario::{Cluster, Scenario, Sharing};
use std::collections::VecDeque;

/// Preemptive cμ order on all GPUs as one fast server: at every moment the request that waits or runs of the agent with the highest
/// throughput a GPU, first come first served within an agent, what was done is kept.
///
/// A lower bound on the **mean** time in the system over all requests, of every rule that does not know how long a request will take,
/// where service is exponential and speed linear in GPUs (the rule minimises the number in the system: Cox and Smith 1961; for Poisson
/// and other arrivals alike, Baras, Dorsey and Makowski 1985, Buyukkoc, Varaiya and Walrand 1985). It lets one request use all GPUs at
/// once and moves without cost or delay, so that shares, replicas and pods can only be slower. It bounds no quantile and no single
/// agent, and not the mean where a part of a GPU is worth more than its size (speed exponent below 1).
pub fn cmu_order(scenario: &Scenario, seed: u64) -> Bound {
    let mut bound = Bound::new(scenario.loads.len());
    bound.unmet = unmet(scenario);
    let throughputs: Vec<f64> = scenario.services.iter().map(|s| s.throughput).collect();
    let jobs = jobs(scenario, seed);
    let counted = Counted::of(scenario);
    serve(&jobs, &throughputs, gpus(scenario), |job, latency| {
        bound.add(counted, job, latency);
    });
    bound
}

fn unmet(scenario: &Scenario) -> Vec<String> {
    let mut unmet = Vec::new();
    for load in &scenario.loads {
        if load.work != Work::Exponential {
            let agent = &load.agent;
            unmet.push(format!("service of {agent} is not exponential"));
        }
    }
    let linear = match &scenario.cluster {
        Cluster::Fractions(fractions) => matches!(fractions.sharing, Sharing::TimeSlicing { .. }),
        Cluster::Nodes(_) => scenario.pool.shape.strategy != crate::sharing::Strategy::Mig,
    };
    for agent in scenario.pool.agents.iter().filter(|_| !linear) {
        if agent.speed_exponent < 1.0 {
            let (name, b) = (&agent.name, agent.speed_exponent);
            unmet.push(format!(
                "a part of a GPU is worth more than its size to {name} (speed exponent {b})"
            ));
        }
    }
    unmet
}

/// Serves jobs, in order of arrival, at `gpus` GPU-seconds a second.
fn serve(jobs: &[Job], throughputs: &[f64], gpus: f64, mut finished: impl FnMut(&Job, f64)) {
    let mut order: Vec<usize> = (0..throughputs.len()).collect();
    order.sort_by(|&a, &b| throughputs[b].total_cmp(&throughputs[a]));
    let mut rank = vec![0; order.len()];
    for (place, &agent) in order.iter().enumerate() {
        rank[agent] = place;
    }
    // By rank: jobs with the work that is left of them.
    let mut queues: Vec<VecDeque<(Job, f64)>> = vec![VecDeque::new(); order.len()];
    let mut now = 0.0;
    let mut advance = |queues: &mut [VecDeque<(Job, f64)>], until: f64| {
        for queue in queues {
            while let Some((job, left)) = queue.front_mut() {
                let end = now + *left / gpus;
                if end > until {
                    *left -= (until - now) * gpus;
                    now = until;
                    return;
                }
                now = end;
                finished(job, now - job.at);
                queue.pop_front();
            }
        }
        if until.is_finite() {
            now = until;
        }
    };
    for job in jobs {
        advance(&mut queues, job.at);
        queues[rank[job.agent]].push_back((*job, job.size));
    }
    advance(&mut queues, f64::INFINITY);
}

#[cfg(test)]
mod tests {
    use super::super::processor_sharing;
    use super::*;
    use crate::simulation::control::rule_tests::{fractions, scenario};

    #[test]
    fn a_hand_computed_schedule() {
        let job = |(at, agent, size)| Job { at, agent, size };
        let jobs = [(0.0, 0, 4.0), (1.0, 1, 1.0), (2.5, 1, 1.0), (3.0, 0, 1.0)].map(job);
        let mut told = Vec::new();
        // The second agent is the faster one: its requests interrupt.
        serve(&jobs, &[1.0, 2.0], 1.0, |job, latency| {
            told.push((job.agent, job.at + latency));
        });
        assert_eq!(told, [(1, 2.0), (1, 3.5), (0, 6.0), (0, 7.0)]);
    }

    /// Two classes of M/M/1 with preemptive priority (Kleinrock, vol. II, 3.4): T₁ = S₁ / (1 − ρ₁) and
    /// T₂ = S₂ / (1 − ρ₁) + (ρ₁ S₁ + ρ₂ S₂) / ((1 − ρ₁)(1 − ρ₁ − ρ₂)).
    #[test]
    fn the_means_of_two_priority_classes_are_those_of_theory() {
        let mut scenario = scenario("{type: WholeGPU}", &[12.0, 1.6], fractions(2000));
        scenario.services[0].throughput = 20.0;
        scenario.services[1].throughput = 2.0;
        scenario.seconds = 200_000.0;
        scenario.warmup = 1000.0;
        let bound = cmu_order(&scenario, 1);
        assert_eq!(bound.unmet, Vec::<String>::new());
        // Two GPUs as one: services of 1/40 s and 1/4 s, loads of 0.3 and 0.4.
        let (s1, s2, r1, r2) = (1.0 / 40.0, 0.25, 0.3, 0.4);
        let t1 = s1 / (1.0 - r1);
        let t2 = s2 / (1.0 - r1) + (r1 * s1 + r2 * s2) / ((1.0 - r1) * (1.0 - r1 - r2));
        let means: Vec<f64> = bound.agents.iter().filter_map(|s| s.mean()).collect();
        assert!((means[0] / t1 - 1.0).abs() < 0.01, "{means:?} {t1}");
        assert!((means[1] / t2 - 1.0).abs() < 0.02, "{means:?} {t2}");
        let fair = processor_sharing(&scenario, 1);
        assert!(bound.mean() < fair.mean());
    }

    #[test]
    fn where_it_bounds_nothing_it_says_so() {
        let mut scenario = scenario("{type: WholeGPU}", &[1.0, 1.0], fractions(1000));
        scenario.loads[1].work = Work::Deterministic;
        scenario.pool.agents[0].speed_exponent = 0.5;
        let unmet = cmu_order(&scenario, 1).unmet;
        assert!(unmet[0].contains("agent-1"), "{unmet:?}");
        assert!(unmet[1].contains("agent-0"), "{unmet:?}");
    }
}
