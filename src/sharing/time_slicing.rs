//! TimeSlicing: a slice is an access token of which a container asks for exactly one; copies of an agent are its weight.
//!
//! The GPU's own time-slicer gives every busy process the same time and lends what is idle, so one copy of each agent is the
//! natural state, and copies count only while all are busy: they are added only while the demands exceed the GPUs, and as
//! few as bring every share within tolerance of its target.

use super::decide::Decided;
use super::hysteresis::{self, Memory};
use super::market::{Market, Unit};
use super::packer::{self, Cost, Limits, Want};
use super::residents::Residents;
use super::types::{Extent, Hold, HoldReason, Node, PoolShape, Quantum, Strategy, Survey};
use crate::allocation::{Allotment, Reason};
use crate::units::MilliGpus;
use std::time::Duration;

/// Copies beyond the fewest that a vector of copies is searched up to.
const MOST_EXTRA: u64 = 32;
/// A target is met by a share that is this much below it, milli-GPUs.
const TOLERATED: u64 = 50;
/// Search steps for all vectors together.
const SEARCH_STEPS: u32 = 60_000;

/// Slices that one GPU of the node is divided into: as declared, else what is allocatable over the GPUs, else the label.
///
/// The label comes last: GPU feature discovery writes 1 when it lacks the plugin's configuration (k8s-device-plugin #732).
pub(super) fn slices(shape: &PoolShape, node: &Node, tokens: u32) -> u64 {
    let declared = match &shape.strategy {
        Strategy::TimeSlicing { slices_per_gpu, .. } => *slices_per_gpu,
        Strategy::WholeGpu | Strategy::Mig => None,
    };
    let counted = (node.gpus > 0).then(|| tokens.div_ceil(node.gpus));
    let slices = declared
        .or(counted)
        .or(node.slices_per_gpu)
        .unwrap_or(tokens);
    u64::from(slices.max(1))
}

/// The one unit of the strategy: a token. Its share is what it is worth while all tokens are busy.
pub(super) fn units(shape: &PoolShape, market: &super::ground::Ground<'_>) -> Vec<Unit> {
    let Strategy::TimeSlicing { resource, .. } = &shape.strategy else {
        return Vec::new();
    };
    let offers = market
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.allocatable.get(resource).copied()?)))
        .filter(|(_, tokens)| *tokens > 0);
    let share = offers
        .clone()
        .map(|(node, tokens)| 1000 / slices(shape, node, tokens))
        .min();
    vec![Unit {
        resource: resource.clone(),
        share: share.unwrap_or(0).max(1),
        memory: offers
            .map(|(node, _)| node.gpu_memory)
            .max_by_key(|memory| memory.map_or(u64::MAX, |memory| memory.0))
            .flatten(),
        spots: market.spots(resource),
    }]
}

/// What is there to be shared.
pub(super) fn survey(market: &Market<'_>) -> Survey {
    let (shape, ground) = (market.shape, market.ground);
    let Some(unit) = market.units.first() else {
        return super::survey::nothing(shape.agents.len(), Vec::new());
    };
    let (mut found, mut foreign) = (0u64, 0u64);
    let mut notes = market.notes.clone();
    for (node, spot) in ground.nodes.iter().zip(&unit.spots) {
        let tokens = node.allocatable.get(&unit.resource).copied().unwrap_or(0);
        if tokens == 0 {
            continue;
        }
        let slices = slices(shape, node, tokens);
        let usable = if spot.schedulable {
            u64::from(tokens)
        } else {
            spot.pool
        };
        found = found.saturating_add(usable.saturating_mul(1000) / slices);
        if spot.schedulable {
            let held = u64::from(node.foreign.get(&unit.resource).copied().unwrap_or(0));
            foreign = foreign.saturating_add(held.min(usable).saturating_mul(1000) / slices);
        }
        if node.gpu_memory.is_none() && !shape.nodes_hidden {
            notes.push(format!(
                "node {} has no label nvidia.com/gpu.memory: no copies are added",
                node.name
            ));
        }
    }
    let capacity = super::survey::capacity(shape, MilliGpus(found), MilliGpus(foreign));
    let copies = in_force(market);
    let all: u64 = copies.iter().flatten().map(|n| u64::from(*n)).sum();
    let agents = (0..shape.agents.len())
        .map(|i| {
            let agent = &shape.agents[i];
            let most = u64::from(agent.max_replicas).min(unit.total());
            let ceiling = share(capacity.0, most, most);
            let floor = u64::from(agent.min_replicas)
                .min(most)
                .saturating_mul(unit.share);
            let mine = copies[i].map_or(0, u64::from);
            Extent {
                floor: MilliGpus(floor.min(ceiling)),
                ceiling: MilliGpus(ceiling),
                realized: MilliGpus(share(capacity.0, mine, all)),
            }
        })
        .collect();
    Survey {
        capacity,
        found: (!shape.nodes_hidden).then_some(MilliGpus(found)),
        foreign: MilliGpus(foreign),
        agents,
        notes,
    }
}

/// Share of `copies` among `all` busy copies; one copy cannot use more than one GPU.
fn share(capacity: u64, copies: u64, all: u64) -> u64 {
    let part = u128::from(capacity) * u128::from(copies) / u128::from(all.max(1));
    u64::try_from(part)
        .unwrap_or(u64::MAX)
        .min(copies.saturating_mul(1000))
}

/// Copies in force per agent; `None` when the template asks for something else than one token.
fn in_force(market: &Market<'_>) -> Vec<Option<u32>> {
    (0..market.shape.agents.len())
        .map(|i| {
            let quantum = market.in_force(i)?;
            (quantum.count == 1).then_some(quantum.replicas)
        })
        .collect()
}

/// One agent on its way to a number of copies.
struct Case {
    copies: Option<u32>,
    fixed: bool,
    share: u64,
    target: u64,
    /// Share it should have while all are busy, as far as the windows let it go; 0: the fewest copies will do.
    aim: u64,
    fewest: u32,
    most: u32,
}

/// Decides on the copies of every agent.
pub(super) fn decide(
    market: &Market<'_>,
    survey: &Survey,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Decided {
    let n = decision.len();
    let Some(unit) = market.units.first() else {
        return Decided::nothing(n);
    };
    let capacity = survey.capacity.0;
    let cases = cases(market, survey, decision, memory, now);
    let known = Residents::read(market.shape, market.ground, &unit.resource, None).err();
    let search = Search {
        market,
        unit,
        capacity,
        cases: &cases,
        unknown: known.is_some(),
    };
    let copies = search.best(true);
    let unbounded = search.best(false);
    let mut decided = Decided::nothing(n);
    for (i, case) in cases.iter().enumerate() {
        let agent = &market.shape.agents[i];
        let got = copies
            .as_ref()
            .map_or(case.copies, |copies| Some(copies[i]));
        let free = unbounded.as_ref().map_or(got, |copies| Some(copies[i]));
        let all: u64 = copies.iter().flatten().map(|n| u64::from(*n)).sum();
        let bound = !case.fixed && free > got;
        if bound {
            let why = known.clone().or_else(|| {
                let mut copies = copies.clone()?;
                copies[i] = free?.min(copies[i].saturating_add(1));
                search.residents(&copies)?.excess()
            });
            decided.memory_bound[i] = Some(format!(
                "{} copies are wanted for a share of {}, {} are given: {}",
                free.unwrap_or(0),
                MilliGpus(case.aim),
                got.unwrap_or(0),
                why.unwrap_or_else(|| "the copies of all agents together do not fit".to_owned()),
            ));
        } else {
            decided.memory_bound[i] = market.too_large(i);
        }
        if got.unwrap_or(0) < agent.min_replicas && (!case.fixed || !market.serves(i)) {
            let why = decided.memory_bound[i]
                .clone()
                .or_else(|| market.refusal(i));
            decided.unmet[i] = Some(why.unwrap_or_else(|| {
                format!(
                    "{} of at least {} copies; the pool may hold {} {}",
                    got.unwrap_or(0),
                    agent.min_replicas,
                    unit.total(),
                    unit.resource
                )
            }));
        }
        decided.holds[i] = hold(market, case, &decision[i], got, bound);
        decided.quanta[i] = got
            .filter(|copies| *copies > 0 || agent.min_replicas == 0)
            .filter(|_| !case.fixed || case.copies.is_some())
            .map(|copies| Quantum {
                replicas: copies,
                resource: unit.resource.clone(),
                count: 1,
                share: MilliGpus(share(capacity, u64::from(copies), all)),
            });
    }
    decided
}

fn cases(
    market: &Market<'_>,
    survey: &Survey,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Vec<Case> {
    let shape = market.shape;
    let demand = decision
        .iter()
        .map(|allotment| allotment.demand.0)
        .fold(0, u64::saturating_add);
    let overloaded = demand > survey.capacity.0;
    let copies = in_force(market);
    let short = overloaded
        && decision
            .iter()
            .zip(&survey.agents)
            .any(|(allotment, extent)| {
                let share = extent.realized.0;
                allotment.target.0 > share + hysteresis::tolerated(&shape.behavior, share)
            });
    let mut cases: Vec<Case> = Vec::with_capacity(decision.len());
    for (i, allotment) in decision.iter().enumerate() {
        let agent = &shape.agents[i];
        // One copy uses at most one GPU: who needs more needs copies, overload or not.
        let needed = allotment.demand.0.min(allotment.target.0);
        let wanted = if overloaded {
            allotment.target.0
        } else if needed > 1000 {
            needed
        } else {
            0
        };
        let window = memory.recommend(&shape.behavior, &agent.name, now, wanted);
        let share = survey.agents[i].realized.0;
        let lost = allotment.reason == Reason::SignalLost;
        let fixed = market.ground.agents[i].frozen || lost || !market.serves(i);
        // One more copy is a rise over what is in force, one less a fall; without overload nothing keeps a copy but the window.
        let aim = if wanted >= share {
            wanted.min(window.rise_to.max(share))
        } else {
            let down_to = if short {
                window.yield_to
            } else {
                window.fall_to
            };
            wanted.max(down_to.min(share))
        };
        cases.push(Case {
            copies: copies[i],
            fixed,
            share,
            target: allotment.target.0,
            aim,
            fewest: agent.min_replicas,
            most: agent.max_replicas,
        });
    }
    cases
}

struct Search<'a> {
    market: &'a Market<'a>,
    unit: &'a Unit,
    capacity: u64,
    cases: &'a [Case],
    /// Memory is not known: no copies are added to what is there.
    unknown: bool,
}

impl Search<'_> {
    fn residents(&self, copies: &[u32]) -> Option<Residents> {
        let resource = &self.unit.resource;
        Residents::read(
            self.market.shape,
            self.market.ground,
            resource,
            Some(copies),
        )
        .ok()
    }

    /// The copies that bring the shares nearest to their aims, and the fewest of those. Without `bounded` as if memory did
    /// not matter.
    fn best(&self, bounded: bool) -> Option<Vec<u32>> {
        if let Some(kept) = self.kept() {
            return Some(kept);
        }
        let ranges: Vec<(u32, u32)> = self
            .cases
            .iter()
            .map(|case| self.range(case, bounded))
            .collect();
        let fewest: u64 = ranges.iter().map(|(low, _)| u64::from(*low)).sum();
        let tokens = self.unit.total();
        let most = tokens.min(fewest.saturating_add(MOST_EXTRA));
        let rounds = most.saturating_sub(fewest) + 1;
        let steps = (u64::from(SEARCH_STEPS) / rounds) as u32;
        let mut best: Option<(Cost, Vec<u32>)> = None;
        for all in fewest.min(most)..=most {
            let Some((cost, copies)) = self.pack(&ranges, all, bounded, steps) else {
                continue;
            };
            let met = cost.is_met();
            if best.as_ref().is_none_or(|(least, _)| cost.is_below(least)) {
                best = Some((cost, copies));
            }
            if met {
                break;
            }
        }
        best.map(|(_, copies)| copies)
    }

    /// What is in force, when all of it is permitted and near enough to every aim.
    fn kept(&self) -> Option<Vec<u32>> {
        let behavior = &self.market.shape.behavior;
        let all: u64 = self
            .cases
            .iter()
            .filter_map(|c| c.copies)
            .map(u64::from)
            .sum();
        let near = |case: &Case| {
            let copies = case.copies?;
            let one_more = share(self.capacity, u64::from(copies) + 1, all + 1);
            let band = hysteresis::band(behavior, case.share, one_more.saturating_sub(case.share));
            let fewest = case.aim == 0 && copies == case.fewest;
            let near = case.aim > 0 && case.aim.abs_diff(case.share) <= band;
            ((case.fewest..=case.most).contains(&copies) && (near || fewest) || case.fixed)
                .then_some(copies)
        };
        let kept: Vec<u32> = self.cases.iter().map(near).collect::<Option<_>>()?;
        (all <= self.unit.total()).then_some(kept)
    }

    /// Fewest and most copies of an agent.
    fn range(&self, case: &Case, bounded: bool) -> (u32, u32) {
        let now = case.copies.unwrap_or(0);
        if case.fixed {
            return (now, now);
        }
        let low = case.fewest.min(case.most);
        let high = if bounded && self.unknown {
            case.most.min(now.max(low))
        } else {
            case.most
        };
        (low, high.max(low))
    }

    /// The best copies with `all` busy copies in sum.
    fn pack(
        &self,
        ranges: &[(u32, u32)],
        all: u64,
        bounded: bool,
        steps: u32,
    ) -> Option<(Cost, Vec<u32>)> {
        let behavior = &self.market.shape.behavior;
        let wants: Vec<Want> = self
            .cases
            .iter()
            .zip(ranges)
            .enumerate()
            .map(|(i, (case, (low, high)))| {
                let agent = &self.market.shape.agents[i];
                let tolerated = hysteresis::tolerated(behavior, case.aim).max(TOLERATED);
                let aim = case.aim.saturating_sub(tolerated);
                let quantum = |copies: u32| Quantum {
                    replicas: copies,
                    resource: self.unit.resource.clone(),
                    count: 1,
                    share: MilliGpus(share(self.capacity, u64::from(copies), all)),
                };
                let reach = u64::from(*low)
                    .saturating_add(MOST_EXTRA)
                    .min(u64::from(*high));
                let reach = u32::try_from(reach).unwrap_or(u32::MAX);
                // Where not even the fewest fit, fewer are better than none; who runs keeps one.
                let bottom = if case.fixed || !bounded {
                    *low
                } else {
                    (*low).min(u32::from(case.copies.unwrap_or(0) > 0))
                };
                Want {
                    priority: agent.priority,
                    min_replicas: *low,
                    target: aim,
                    hunger: aim,
                    in_force: case.copies.map(quantum),
                    menu: (bottom..=reach).map(quantum).collect(),
                }
            })
            .collect();
        let fits = |choice: &[usize]| {
            let copies: Vec<u32> = choice
                .iter()
                .zip(&wants)
                .map(|(at, want)| want.menu[*at].replicas)
                .collect();
            let adds = copies
                .iter()
                .zip(self.cases)
                .any(|(copies, case)| *copies > case.copies.unwrap_or(0));
            !bounded
                || !adds
                || self.unknown
                || self
                    .residents(&copies)
                    .is_some_and(|r| r.excess().is_none())
        };
        let limits = Limits {
            budget: u64::MAX,
            totals: vec![(self.unit.resource.clone(), all)],
            fits: &fits,
            steps,
        };
        let choice = packer::pack(&wants, &limits)?;
        let quanta: Vec<Quantum> = choice
            .into_iter()
            .zip(&wants)
            .map(|(at, want)| want.menu[at].clone())
            .collect();
        let cost = packer::total(&wants, &quanta);
        Some((
            cost,
            quanta.iter().map(|quantum| quantum.replicas).collect(),
        ))
    }
}

fn hold(
    market: &Market<'_>,
    case: &Case,
    allotment: &Allotment,
    got: Option<u32>,
    bound: bool,
) -> Option<Hold> {
    let behavior = &market.shape.behavior;
    let copies = case.copies?;
    if got != Some(copies)
        || case.target.abs_diff(case.share) <= hysteresis::tolerated(behavior, case.share)
    {
        return None;
    }
    let numbers = format!(
        "target {}, in force {} ({copies} copies)",
        MilliGpus(case.target),
        MilliGpus(case.share)
    );
    let (reason, message) = if case.fixed {
        let reason = if allotment.reason == Reason::SignalLost {
            HoldReason::SignalLost
        } else {
            HoldReason::Frozen
        };
        (reason, numbers)
    } else if bound {
        (HoldReason::MemoryBound, numbers)
    } else if case.aim == 0 {
        (
            HoldReason::WithinTolerance,
            format!(
                "{numbers}; the demands fit the GPUs, and a time-sliced GPU lends what is idle"
            ),
        )
    } else if case.aim == case.share && case.target != case.share {
        (
            HoldReason::Stabilizing,
            format!("{numbers}; not for the whole window"),
        )
    } else {
        (HoldReason::WithinTolerance, numbers)
    };
    Some(Hold { reason, message })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};

    /// The paper's four agents (arXiv 2512.22149) on T4s with 16 GiB and ten slices each.
    fn paper() -> PoolShape {
        let agents = [
            ("coordinator", Priority::High, 500),
            ("nlp", Priority::Medium, 2000),
            ("reasoning", Priority::High, 3000),
            ("vision", Priority::Medium, 1500),
        ];
        let agents = agents
            .map(|(name, priority, memory)| with_memory(agent(name, priority, 1, 10, 1), memory));
        let sliced = super::super::Strategy::TimeSlicing {
            resource: GpuResource::shared(),
            slices_per_gpu: Some(10),
        };
        pool(sliced, agents.to_vec())
    }

    fn t4(name: &str, gpus: u32) -> Node {
        Node {
            name: name.to_owned(),
            schedulable: true,
            allocatable: [(GpuResource::shared(), 10 * gpus)].into(),
            gpus,
            gpu_memory: Some(Mebibytes(16_384)),
            ..Node::default()
        }
    }

    fn copies(counts: [usize; 4]) -> Vec<AgentObserved> {
        counts
            .iter()
            .map(|n| running(&GpuResource::shared(), 1, &vec!["t4"; *n]))
            .collect()
    }

    const SHARES: [u64; 4] = [239, 254, 296, 211];

    #[test]
    fn one_copy_each_is_within_tolerance_of_the_papers_shares() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let seen = survey(&paper(), &observed);
        assert_eq!(seen.capacity, MilliGpus(1000));
        assert_eq!(seen.agents[0].realized, MilliGpus(250));
        assert_eq!(seen.agents[0].floor, MilliGpus(100));
        assert_eq!(seen.agents[0].ceiling, MilliGpus(1000));
        for started in [[1; 4], [3, 1, 1, 2]] {
            let observed = world(vec![t4("t4", 1)], copies(started));
            let plan_of = |targets: [u64; 4]| {
                let decision = targets.map(|t| Allotment {
                    target: MilliGpus(t),
                    ..hungry(3 * t)
                });
                super::super::plan(
                    &paper(),
                    &observed,
                    &decision,
                    &Memory::default(),
                    Duration::ZERO,
                )
                .0
            };
            assert_eq!(replicas(&plan_of(SHARES)), [Some(1); 4], "{started:?}");
        }
    }

    fn overload(shape: &PoolShape, observed: &Observed, targets: [u64; 4]) -> Plan {
        let decision = targets.map(|t| Allotment {
            target: MilliGpus(t),
            ..hungry(2 * t)
        });
        super::super::plan(
            shape,
            observed,
            &decision,
            &Memory::default(),
            Duration::ZERO,
        )
        .0
    }

    #[test]
    fn overload_adds_as_few_copies_as_bring_the_shares_near() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let plan = overload(&paper(), &observed, [200, 200, 200, 400]);
        // 2 of 5 is 0.4, and each of the others has 0.2.
        assert_eq!(scales(&plan), [(3, 1, 2)]);
        assert_eq!(plan.memory_bound, [None, None, None, None]);
    }

    #[test]
    fn without_overload_one_copy_each_suffices_whatever_the_targets_are() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let decision = [50, 50, 50, 850].map(|t| Allotment {
            target: MilliGpus(t),
            ..hungry(t - 10)
        });
        let plan = plan(
            &paper(),
            &observed,
            &decision,
            &Memory::default(),
            Duration::ZERO,
        )
        .0;
        assert_eq!(plan.steps, []);
        assert!(plan.holds[3].as_ref().unwrap().message.contains("lends"));
    }

    #[test]
    fn memory_bounds_the_copies_and_the_numbers_are_said() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let plan = overload(&paper(), &observed, [50, 50, 850, 50]);
        // 7000 are resident; 3 copies more of 3000 make 16000 of 16384.
        assert_eq!(scales(&plan), [(2, 1, 4)]);
        let why = plan.memory_bound[2].clone().unwrap();
        assert!(why.contains("19000Mi") && why.contains("16Gi"), "{why}");
    }

    #[test]
    fn memory_of_pods_on_their_way_out_is_still_held() {
        let mut agents = copies([1, 1, 3, 1]);
        agents[2].replicas = 1;
        for pod in &mut agents[2].pods[1..] {
            pod.state = PodState::Terminating;
        }
        let observed = world(vec![t4("t4", 1)], agents);
        let plan = overload(&paper(), &observed, [100, 100, 100, 700]);
        let [(3, 1, to)] = scales(&plan)[..] else {
            panic!("{:?}", plan.steps);
        };
        assert_eq!(to, 3, "13000 are resident: two of 1500 more fit 16384");
        assert!(plan.unfinished);
    }

    #[test]
    fn on_a_node_with_several_gpus_the_largest_copies_are_taken_to_share_one() {
        // 2 GPUs of 10 slices: all of 7000 + 3 x 3000 could sit on one of them.
        let observed = world(vec![t4("t4", 2)], copies([1; 4]));
        let plan = overload(&paper(), &observed, [100, 100, 1700, 100]);
        assert_eq!(scales(&plan), [(2, 1, 4)]);
        assert!(plan.memory_bound[2].is_some());
    }

    #[test]
    fn where_memory_is_not_known_no_copy_is_added_and_it_is_said() {
        let missing_need = {
            let mut shape = paper();
            shape.agents[1].memory_per_replica = None;
            (shape, t4("t4", 1), "agent nlp")
        };
        let missing_label = {
            let node = Node {
                gpu_memory: None,
                ..t4("t4", 1)
            };
            (paper(), node, "nvidia.com/gpu.memory")
        };
        let foreign = {
            let mut node = t4("t4", 1);
            node.foreign.insert(GpuResource::shared(), 1);
            (paper(), node, "outside the pool")
        };
        for (shape, node, word) in [missing_need, missing_label, foreign] {
            let observed = world(vec![node], copies([1; 4]));
            let plan = overload(&shape, &observed, [50, 50, 50, 850]);
            assert_eq!(plan.steps, [], "{word}");
            let why = plan.memory_bound[3].clone().unwrap();
            assert!(why.contains(word), "{why}");
        }
    }
}
