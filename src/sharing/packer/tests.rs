#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::units::MilliGpus;
use proptest::prelude::*;

fn resource(n: usize) -> GpuResource {
    let profiles = ["1g.10gb", "2g.20gb", "3g.40gb"];
    GpuResource::parse(&format!("nvidia.com/mig-{}", profiles[n])).unwrap()
}

fn quanta(most: usize) -> impl Strategy<Value = Quantum> {
    (0..4u32, 0..3usize, 1..3u32, 0..most as u64).prop_map(|(replicas, n, count, share)| Quantum {
        replicas,
        resource: resource(n),
        count,
        share: MilliGpus(share * 97),
    })
}

fn wants() -> impl Strategy<Value = Want> {
    let priority = prop_oneof![
        Just(Priority::High),
        Just(Priority::Medium),
        Just(Priority::Low)
    ];
    (
        priority,
        0..3u32,
        0..2000u64,
        0..2000u64,
        prop::option::of(quanta(20)),
        prop::collection::vec(quanta(20), 1..=10),
    )
        .prop_map(
            |(priority, min_replicas, target, hunger, in_force, menu)| Want {
                priority,
                min_replicas,
                target,
                hunger,
                in_force,
                menu,
            },
        )
}

/// Every combination, one by one.
fn brute(wants: &[Want], limits: &Limits<'_>) -> Option<Cost> {
    let mut choice = vec![0; wants.len()];
    let mut best: Option<Cost> = None;
    loop {
        let chosen: Vec<Quantum> = choice
            .iter()
            .zip(wants)
            .map(|(at, want): (&usize, &Want)| want.menu[*at].clone())
            .collect();
        let spent: u64 = chosen.iter().map(|q| q.share.0).sum();
        let sums = limits.totals.iter().all(|(resource, total)| {
            let used = chosen.iter().filter(|q| q.resource == *resource);
            used.map(|q| u64::from(q.replicas * q.count)).sum::<u64>() <= *total
        });
        if spent <= limits.budget && sums && (limits.fits)(&choice) {
            let cost = total(wants, &chosen);
            best = Some(best.map_or(cost, |best| best.min(cost)));
        }
        let Some(i) = (0..wants.len()).find(|i| choice[*i] + 1 < wants[*i].menu.len()) else {
            return best;
        };
        choice[i] += 1;
        choice[..i].fill(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_packer_is_as_good_as_trying_every_combination(
        wants in prop::collection::vec(wants(), 1..=4),
        totals in prop::collection::vec(0..8u64, 3),
        budget in 0..5000u64,
        odd in any::<bool>(),
    ) {
        // A constraint that sums cannot say, as nodes and memory are.
        let fits = |choice: &[usize]| !odd || choice.iter().sum::<usize>() % 3 != 1;
        let limits = Limits {
            budget,
            totals: totals.iter().enumerate().map(|(n, t)| (resource(n), *t)).collect(),
            fits: &fits,
            steps: SEARCH_STEPS,
        };
        let packed = pack(&wants, &limits).map(|choice| {
            let chosen: Vec<Quantum> = choice
                .iter()
                .zip(&wants)
                .map(|(at, want)| want.menu[*at].clone())
                .collect();
            total(&wants, &chosen)
        });
        prop_assert_eq!(packed, brute(&wants, &limits));
    }

    #[test]
    fn whole_gpus_of_many_agents_are_left_to_nobody_who_wants_one(
        targets in prop::collection::vec((0..3usize, 0..6000u64), 5..=64),
        gpus in 0..200u64,
    ) {
        let wants: Vec<Want> = targets
            .iter()
            .map(|(priority, target)| Want {
                priority: [Priority::High, Priority::Medium, Priority::Low][*priority],
                min_replicas: 0,
                target: *target,
                hunger: *target,
                in_force: None,
                menu: (0..=target.div_ceil(1000) as u32).map(whole).collect(),
            })
            .collect();
        let limits = Limits {
            budget: u64::MAX,
            totals: vec![(GpuResource::whole(), gpus)],
            fits: &|_| true,
            steps: SEARCH_STEPS,
        };
        let choice = pack(&wants, &limits).unwrap();
        let used: usize = choice.iter().sum();
        prop_assert!(used as u64 <= gpus);
        if (used as u64) < gpus {
            for (at, want) in choice.iter().zip(&wants) {
                prop_assert!(at + 1 == want.menu.len(), "a GPU is idle and an agent is short");
            }
        }
    }
}

fn whole(replicas: u32) -> Quantum {
    Quantum {
        replicas,
        resource: GpuResource::whole(),
        count: 1,
        share: MilliGpus::whole(u64::from(replicas)),
    }
}

fn two(low: Priority) -> Vec<Want> {
    [Priority::High, low]
        .map(|priority| Want {
            priority,
            min_replicas: 2,
            target: 2000,
            hunger: 2000,
            in_force: Some(whole(2)),
            menu: (0..=2).map(whole).collect(),
        })
        .to_vec()
}

fn packed(wants: &[Want], gpus: u64) -> Vec<usize> {
    let limits = Limits {
        budget: u64::MAX,
        totals: vec![(GpuResource::whole(), gpus)],
        fits: &|_| true,
        steps: SEARCH_STEPS,
    };
    pack(wants, &limits).unwrap()
}

#[test]
fn when_minima_do_not_fit_the_least_important_loses_its_extra_replicas_first() {
    let wants = two(Priority::Low);
    assert_eq!(packed(&wants, 4), [2, 2]);
    assert_eq!(packed(&wants, 3), [2, 1]);
    assert_eq!(
        packed(&wants, 2),
        [1, 1],
        "extra replicas go before anyone's last"
    );
    assert_eq!(packed(&wants, 1), [1, 0]);
    assert_eq!(packed(&wants, 0), [0, 0]);
}

#[test]
fn what_is_in_force_breaks_ties() {
    let mut wants = two(Priority::High);
    for want in &mut wants {
        want.min_replicas = 0;
    }
    wants[0].in_force = Some(whole(1));
    wants[1].in_force = Some(whole(2));
    assert_eq!(packed(&wants, 3), [1, 2]);
    wants[0].in_force = Some(whole(2));
    wants[1].in_force = Some(whole(1));
    assert_eq!(packed(&wants, 3), [2, 1]);
}

#[test]
fn enormous_shares_do_not_overflow() {
    let mut wants = vec![two(Priority::High)[0].clone(); 64];
    for want in &mut wants {
        want.target = u64::MAX;
        want.hunger = u64::MAX;
        want.min_replicas = u32::MAX;
        want.menu = vec![
            Quantum {
                replicas: u32::MAX,
                resource: GpuResource::whole(),
                count: u32::MAX,
                share: MilliGpus(u64::MAX),
            },
            whole(0),
        ];
    }
    assert_eq!(packed(&wants, u64::MAX)[1..], [1; 63]);
}

#[test]
fn sixty_four_agents_are_packed_in_few_steps() {
    let wants: Vec<Want> = (0..64u64)
        .map(|i| Want {
            priority: [Priority::High, Priority::Medium, Priority::Low][i as usize % 3],
            min_replicas: 1,
            target: 500 + 137 * (i % 29),
            hunger: 400 + 111 * (i % 31),
            in_force: Some(whole(1 + (i % 3) as u32)),
            menu: (1..=5).map(whole).collect(),
        })
        .collect();
    let choice = packed(&wants, 150);
    assert_eq!(choice.iter().map(|at| at + 1).sum::<usize>(), 150);
}
