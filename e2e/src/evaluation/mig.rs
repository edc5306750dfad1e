//! Pods on MIG instances: parts of a GPU that are there, each its own pod's.

use super::aims::Aim;
use super::bench::{BALANCED, HOLD, Job, Runs, Settings, WATER};
use super::bench::{all, average, mean, p95, ratio, shown};
use super::fractions::words;
use super::losses::{Loss, compare};
use super::pods::{COLD_START, starts};
use super::scenes::{A, B, EVEN, Pool, Source, Traces, UNEVEN, always, on_pods};
use agentpool::sharing::{InstanceFacts, Node, instance};
use agentpool::simulation::load::AgentLoad;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::{Outcome, Scenario};
use agentpool::units::{GpuResource, Mebibytes};
use anyhow::Result;
use std::collections::BTreeMap;

/// What is compared, the first with the others. The other rules of the page on whole GPUs count whole GPUs.
const RULES: [&str; 5] = [HOLD, WATER, BALANCED, "hpa", "keda"];

/// How each of some A100 is divided.
struct Layout {
    words: &'static str,
    gpus: u32,
    /// Profile, multiprocessors, usable memory in MiB, and how many a GPU has.
    instances: &'static [(&'static str, u32, u64, u32)],
    /// Load, of what all instances serve.
    load: f64,
}

const SMALL: (&str, u32, u64, u32) = ("nvidia.com/mig-1g.10gb", 14, 9728, 7);
const LAYOUTS: [Layout; 2] = [
    Layout {
        words: "four GPUs, seven 1g.10gb each",
        gpus: 4,
        instances: &[SMALL],
        load: 0.7,
    },
    Layout {
        words: "one GPU, 3g.40gb, 2g.20gb and two 1g.10gb",
        gpus: 1,
        instances: &[
            (SMALL.0, SMALL.1, SMALL.2, 2),
            ("nvidia.com/mig-2g.20gb", 28, 19_968, 1),
            ("nvidia.com/mig-3g.40gb", 42, 40_192, 1),
        ],
        load: 0.5,
    },
];
/// Multiprocessors of an A100.
const WHOLE: u32 = 108;

/// b in speed = throughput · share^b, and the same as a model declares it.
const EXPONENTS: [(f64, &str); 2] = [
    (1.0, ", memoryPerReplica: 8Gi"),
    (0.5, ", memoryPerReplica: 8Gi, speedExponent: \"0.5\""),
];

const CASES: [(Source, &str, [f64; 4]); 3] = [(A, "A", EVEN), (A, "A", UNEVEN), (B, "B", EVEN)];

impl Layout {
    /// One GPU, divided so.
    fn node(&self) -> Result<Node> {
        let mut node = Node {
            name: "gpu".to_owned(),
            schedulable: true,
            gpus: 1,
            gpu_memory: Some(Mebibytes(81_920)),
            multiprocessors: Some(WHOLE),
            ..Node::default()
        };
        for (name, multiprocessors, memory, count) in self.instances {
            let resource = GpuResource::parse(name)?;
            let facts = InstanceFacts {
                multiprocessors: *multiprocessors,
                memory: Mebibytes(*memory),
            };
            node.allocatable.insert(resource.clone(), *count);
            node.instances.insert(resource, facts);
        }
        Ok(node)
    }

    /// Four agents with these loads on the instances.
    fn scenario(
        &self,
        loads: Vec<(AgentLoad, f64)>,
        split: [f64; 4],
        (exponent, model): (f64, &'static str),
        seconds: f64,
    ) -> Result<Scenario> {
        let node = self.node()?;
        let serves: f64 = speeds(&node, exponent).values().sum();
        let pool = Pool {
            gpus: self.gpus,
            // Two agents that change places are both without a pod for a moment, or they never do.
            policy: "{disruption: {allowDowntime: true}}".to_owned(),
            sharing: "{type: MIG}",
            replicas: Some(28),
            model,
            ..Pool::default()
        };
        let load = (self.load * serves, split);
        let nodes = (always(node, self.gpus), COLD_START);
        on_pods(&pool, loads, load, nodes, seconds)
    }
}

/// What all instances of each profile of a GPU serve together, in GPUs.
fn speeds(node: &Node, exponent: f64) -> BTreeMap<GpuResource, f64> {
    let each = |(resource, count): (&GpuResource, &u32)| {
        let share = instance(node, resource).0.as_gpus();
        (resource.clone(), share.powf(exponent) * f64::from(*count))
    };
    node.allocatable.iter().map(each).collect()
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    traces: &Traces,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let mut page = Page {
        title: "Pods on MIG instances".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "Four agents on the MIG instances of A100s, cold start {COLD_START} s, one request at a time, in one queue an agent in front of \
         its pods. An agent has one profile and a number of replicas; the MIG configuration never changes. Ratios to Hold, which \
         keeps what a pool has that has settled with equal shares. Loads are parts of what all instances serve together. Speed is in \
         proportion to an instance's multiprocessors (exponent 1), or its share to the power of 0.5. static-proportional, WVA and Dynamo \
         count whole GPUs and have no meaning here; HPA and KEDA change replicas and never the profile.",
    ));
    page.text(
        "The policies reckon with as many of the largest instance that an agent could have as its load needs; smaller ones serve more with \
         the same share. Where agents change places both are without a pod for a moment: nobody is stopped for capacity that is only lent, \
         and where instances differ in size Balanced reckons with the time that both lose. The pools here allow that \
         (disruption.allowDowntime: true). The API's default does not: without a spare instance everybody then keeps the instance it has, and on \
         the second layout nothing moves under any policy.",
    );
    for layout in &LAYOUTS {
        page.heading(layout.words);
        let mut table = Table::new([
            "<load",
            "exponent",
            "<rule",
            "mean",
            "p95",
            "mean to Hold",
            "p95 to Hold",
            "pod starts/h",
        ]);
        for (source, name, split) in CASES {
            for exponent in EXPONENTS {
                let load = format!(
                    "{} {} {}",
                    traces.called(source, name),
                    layout.load,
                    words(split)
                );
                let seconds = traces.seconds(source);
                let made = layout.scenario(traces.loads(source)?, split, exponent, seconds)?;
                let runs = all(settings, &[Job::new(made, &RULES)?])?.remove(0);
                let place = format!("MIG, {}, {load}, exponent {}", layout.words, exponent.0);
                compare(losses, &place, &runs);
                aims.push(Aim::no_worse(&place, &runs));
                rows(&mut table, &load, exponent.0, &runs);
            }
        }
        page.table(table);
    }
    Ok(page)
}

/// Every rule on a load.
fn rows(table: &mut Table, load: &str, exponent: f64, runs: &Runs) {
    for (rule, outcomes) in RULES.into_iter().zip(runs) {
        let to_hold = |of: fn(&Outcome) -> f64| match rule {
            HOLD => "1".to_owned(),
            _ => shown(ratio(runs, rule, of)),
        };
        table.row([
            load.to_owned(),
            exponent.to_string(),
            rule.to_owned(),
            format!("{} s", average(outcomes, mean)),
            format!("{} s", average(outcomes, p95)),
            to_hold(mean),
            to_hold(p95),
            average(outcomes, starts),
        ]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::bench::under;
    use super::super::waves::turns;
    use super::*;

    #[test]
    fn instances_serve_by_their_multiprocessors() {
        let speeds = |exponent| {
            let speeds = speeds(&LAYOUTS[1].node().unwrap(), exponent);
            speeds.into_values().collect::<Vec<f64>>()
        };
        // 14, 28 and 42 of 108, in whole thousandths.
        assert_eq!(speeds(1.0), [2.0 * 0.129, 0.259, 0.388]);
        assert!(speeds(0.5)[2] > 0.6);
    }

    #[test]
    fn a_busier_agent_gets_more_instances_and_all_rules_make_sense_there() {
        for layout in &LAYOUTS {
            let loads = turns(1e6, 1200.0);
            let made = layout.scenario(loads, UNEVEN, EXPONENTS[0], 1200.0);
            let job = Job::new(made.unwrap(), &RULES).unwrap();
            let runs = all(&Settings { seeds: 2 }, &[job]).unwrap().remove(0);
            for (water, hold) in under(&runs, WATER).iter().zip(&runs[0]) {
                let (water, hold) = (mean(water), mean(hold));
                assert!(water < hold, "{}: {water} {hold}", layout.words);
            }
        }
    }
}
