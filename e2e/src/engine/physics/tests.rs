//! Schedules computed by hand, and two laws of queues.

#![allow(clippy::unwrap_used)]

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const EPS: f64 = 1e-9;

fn on(devices: &[DeviceId], max_running: usize) -> ProcessSpec {
    ProcessSpec {
        devices: devices.to_vec(),
        speed: 1.0,
        max_running,
    }
}

/// The times at which requests were done, in the order they were submitted.
fn ends(physics: &mut Physics) -> Vec<f64> {
    let mut done = physics.advance(1e9);
    done.sort_by_key(|finished| finished.request);
    done.into_iter().map(|finished| finished.at).collect()
}

fn assert_times(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{got:?} instead of {want:?}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < EPS, "{got:?} instead of {want:?}");
    }
}

#[test]
fn a_single_server_serves_in_the_order_of_arrival() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let p = physics.start(on(&[gpu], 1));
    for (at, work) in [(0.0, 2.0), (0.5, 1.0), (10.0, 1.0)] {
        physics.submit(at, p, work).unwrap();
    }
    // The second waits until 2; the third finds the process idle.
    assert_times(&ends(&mut physics), &[2.0, 3.0, 11.0]);
}

#[test]
fn running_requests_of_one_process_share_its_speed() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let p = physics.start(on(&[gpu], 2));
    physics.submit(0.0, p, 1.0).unwrap();
    physics.submit(0.0, p, 2.0).unwrap();
    physics.submit(0.0, p, 0.5).unwrap();
    assert_eq!(
        physics.queue(p),
        Queue {
            running: 2,
            waiting: 1
        }
    );
    // Both at half speed: the first is done at 2. The second has 1 left, beside the third with 0.5:
    // the third is done at 3, then 0.5 is left for the second alone: 3.5.
    assert_times(&ends(&mut physics), &[2.0, 3.5, 3.0]);
}

#[test]
fn busy_processes_of_a_gpu_take_equal_turns_and_an_idle_one_lends_its_turn() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let a = physics.start(on(&[gpu], 1));
    let b = physics.start(on(&[gpu], 1));
    let _idle = physics.start(on(&[gpu], 1));
    physics.submit(0.0, a, 1.0).unwrap();
    physics.submit(0.5, b, 1.0).unwrap();
    // a alone until 0.5, then half speed each: a done at 1.5; b has 0.5 left and the GPU to itself: 2.0.
    assert_times(&ends(&mut physics), &[1.5, 2.0]);
}

#[test]
fn switching_costs_speed_only_while_two_or_more_are_busy() {
    let mut physics = Physics::new(0.9);
    let gpu = physics.add_device();
    let a = physics.start(on(&[gpu], 1));
    let b = physics.start(on(&[gpu], 1));
    physics.submit(0.0, a, 1.0).unwrap();
    physics.submit(0.5, b, 1.0).unwrap();
    // From 0.5 on 0.45 each: a done at 0.5 + 0.5/0.45; b has 0.5 left then.
    let a_done = 0.5 + 0.5 / 0.45;
    assert_times(&ends(&mut physics), &[a_done, a_done + 0.5]);
}

#[test]
fn copies_are_weights_while_all_are_busy() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let copies = [physics.start(on(&[gpu], 1)), physics.start(on(&[gpu], 1))];
    let other = physics.start(on(&[gpu], 1));
    for p in [copies[0], copies[1], other] {
        physics.submit(0.0, p, 100.0).unwrap();
    }
    let rates = [copies[0], copies[1], other].map(|p| physics.rate(p));
    assert_times(&rates, &[1.0 / 3.0; 3]);
}

#[test]
fn a_partition_has_its_own_speed_and_no_neighbours() {
    let mut physics = Physics::new(0.5);
    let (small, large) = (physics.add_device(), physics.add_device());
    let a = physics.start(ProcessSpec {
        speed: 0.25,
        ..on(&[small], 1)
    });
    let b = physics.start(ProcessSpec {
        speed: 0.5,
        ..on(&[large], 1)
    });
    physics.submit(0.0, a, 1.0).unwrap();
    physics.submit(0.0, b, 1.0).unwrap();
    assert_times(&ends(&mut physics), &[4.0, 2.0]);
}

#[test]
fn a_tensor_parallel_process_is_as_fast_as_its_gpus_and_as_slow_as_the_slowest() {
    let mut physics = Physics::new(1.0);
    let gpus = [physics.add_device(), physics.add_device()];
    let wide = physics.start(on(&gpus, 1));
    let narrow = physics.start(on(&gpus[1..], 1));
    physics.submit(0.0, wide, 2.0).unwrap();
    physics.submit(0.5, narrow, 0.5).unwrap();
    // wide: speed 2 until 0.5 (1 left), then 2 x 0.5 = 1: done at 1.5. narrow: half speed from 0.5: 0.5 by 1.5.
    assert_times(&ends(&mut physics), &[1.5, 1.5]);
}

#[test]
fn killing_a_process_cuts_its_requests_and_frees_the_gpu_for_the_others() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let a = physics.start(on(&[gpu], 1));
    let b = physics.start(on(&[gpu], 1));
    let r1 = physics.submit(0.0, a, 10.0).unwrap();
    let r2 = physics.submit(0.0, a, 10.0).unwrap();
    physics.submit(0.0, b, 2.0).unwrap();
    assert_eq!(physics.stop(1.0, a), vec![r1, r2]);
    // b: half speed until 1, then alone with 1.5 left.
    assert_times(&ends(&mut physics), &[2.5]);
    assert_eq!(physics.submit(3.0, a, 1.0), None);
    assert_eq!(physics.queue(a), Queue::default());
}

#[test]
fn a_request_whose_client_left_makes_room_for_the_next() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let p = physics.start(on(&[gpu], 1));
    let first = physics.submit(0.0, p, 10.0).unwrap();
    physics.submit(0.0, p, 1.0).unwrap();
    let third = physics.submit(0.0, p, 1.0).unwrap();
    assert!(physics.cancel(1.0, first) && physics.cancel(1.0, third));
    assert!(!physics.cancel(1.0, first), "twice");
    assert_times(&ends(&mut physics), &[2.0]);
    assert_eq!(physics.next_event(), None);
}

#[test]
fn delivered_work_grows_while_requests_run_and_never_shrinks() {
    let mut physics = Physics::new(1.0);
    let gpu = physics.add_device();
    let p = physics.start(on(&[gpu], 2));
    let first = physics.submit(0.0, p, 4.0).unwrap();
    physics.submit(0.0, p, 1.0).unwrap();
    physics.advance(1.5);
    assert_times(&[physics.delivered(p)], &[1.5]);
    physics.cancel(3.0, first);
    physics.advance(10.0);
    // Half of the first 2 s went to each; one more second to the first alone.
    assert_times(&[physics.delivered(p)], &[3.0]);
}

#[test]
fn absurd_work_is_no_work_and_time_never_goes_back() {
    let mut physics = Physics::new(f64::NAN);
    let gpu = physics.add_device();
    let p = physics.start(on(&[gpu], 0));
    physics.advance(5.0);
    physics.submit(1.0, p, f64::NAN).unwrap();
    physics.submit(1.0, p, -3.0).unwrap();
    assert_times(&ends(&mut physics), &[5.0, 5.0]);
}

fn exponential(rng: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random::<f64>()).ln()
}

#[test]
fn sharing_conserves_work_however_many_processes_it_is_spread_over() {
    let schedule = |processes: usize, max_running: usize| {
        let mut rng = StdRng::seed_from_u64(7);
        let mut physics = Physics::new(1.0);
        let gpu = physics.add_device();
        let ids: Vec<_> = (0..processes)
            .map(|_| physics.start(on(&[gpu], max_running)))
            .collect();
        let mut at = 0.0;
        for i in 0..2_000 {
            at += exponential(&mut rng, 1.25);
            let work = exponential(&mut rng, 1.0);
            physics.submit(at, ids[i % processes], work).unwrap();
        }
        let last = ends(&mut physics);
        assert_eq!(last.len(), 2_000);
        last.into_iter().fold(0.0, f64::max)
    };
    let alone = schedule(1, 1);
    for (processes, max_running) in [(1, 8), (3, 1), (7, 4)] {
        let spread = schedule(processes, max_running);
        assert!((spread - alone).abs() < 1e-6, "{spread} instead of {alone}");
    }
}

#[test]
fn the_mean_time_in_the_system_is_that_of_the_theory() {
    // M/M/1 at load 0.7: 1 / (1 - 0.7) service times, for one server and for sharing alike.
    for max_running in [1, 1_000_000] {
        let mut rng = StdRng::seed_from_u64(11);
        let mut physics = Physics::new(1.0);
        let gpu = physics.add_device();
        let p = physics.start(on(&[gpu], max_running));
        let mut at = 0.0;
        for _ in 0..200_000 {
            at += exponential(&mut rng, 1.0 / 0.7);
            physics.submit(at, p, exponential(&mut rng, 1.0)).unwrap();
        }
        let done = physics.advance(1e9);
        let mean = done.iter().map(|f| f.at - f.submitted).sum::<f64>() / done.len() as f64;
        assert!((mean - 1.0 / 0.3).abs() < 0.15, "mean {mean}");
    }
}
