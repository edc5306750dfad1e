#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

//! Schedules of a few requests, computed by hand.

use super::*;

fn server(agent: usize, speed: f64, max_running: u32, devices: &[usize]) -> ServerSpec {
    ServerSpec {
        agent,
        devices: devices.to_vec(),
        speed,
        weight: 1.0,
        max_running,
    }
}

/// Everything that is left, as (agent, arrived, started, at); the laws hold.
fn finish(engine: &mut Engine, agents: usize) -> Vec<(usize, f64, f64, f64)> {
    let mut served = Vec::new();
    let mut latencies = vec![0.0; agents];
    let mut now = 0.0;
    while engine.next() < f64::INFINITY {
        let f = engine.step().unwrap();
        latencies[f.agent] += f.at - f.arrived;
        now = f.at;
        served.push((f.agent, f.arrived, f.started, f.at));
    }
    engine.check(now, &latencies).unwrap();
    served
}

#[test]
fn first_come_first_served() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    engine.start(0.0, server(0, 0.5, 1, &[]));
    engine.arrive(0.0, 0, 1.0);
    engine.arrive(1.0, 0, 0.5);
    assert_eq!(
        finish(&mut engine, 1),
        [(0, 0.0, 0.0, 2.0), (0, 1.0, 2.0, 3.0)]
    );
    assert_eq!(engine.done(3.0, 0), 1.5);
    assert_eq!(engine.counts(0).area, 2.0 + 2.0);
}

#[test]
fn running_requests_share_the_speed_and_the_third_waits() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    engine.start(0.0, server(0, 1.0, 2, &[]));
    engine.arrive(0.0, 0, 2.0);
    engine.arrive(1.0, 0, 2.0);
    engine.arrive(2.0, 0, 1.0);
    // Alone until 1; then half each: the first has 1 left, done at 3. Then the third beside the second, 1 left each.
    assert_eq!(
        finish(&mut engine, 1),
        [(0, 0.0, 0.0, 3.0), (0, 1.0, 1.0, 5.0), (0, 2.0, 3.0, 5.0)]
    );
}

#[test]
fn a_change_of_speed_counts_from_now_on() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    let id = engine.start(0.0, server(0, 1.0, 1, &[]));
    engine.arrive(0.0, 0, 4.0);
    engine.set(1.0, id, 0.5, 0.5, 1.0);
    assert_eq!(engine.next(), 7.0);
    engine.set(3.0, id, 0.0, 0.0, 1.0);
    assert_eq!(engine.next(), f64::INFINITY);
    engine.set(10.0, id, 2.0, 2.0, 1.0);
    assert_eq!(finish(&mut engine, 1), [(0, 0.0, 0.0, 11.0)]);
}

/// A seventh of a GPU that is as fast as three sevenths, alone and where a change halves it.
#[test]
fn a_busy_server_occupies_the_gpus_that_it_has_and_not_what_it_works() {
    let mut engine = Engine::new(2, Dispatch::FewestRequests);
    let small = engine.start_on(0.0, server(0, 3.0 / 7.0, 1, &[]), 1.0 / 7.0);
    engine.start(0.0, server(1, 1.0, 1, &[]));
    engine.arrive(0.0, 0, 3.0);
    engine.arrive(0.0, 1, 4.0);
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    };
    near(engine.done(3.5, 0), 1.5);
    near(engine.occupied(3.5, 0), 0.5);
    engine.set(3.5, small, 1.5 / 7.0, 0.5 / 7.0, 1.0);
    finish(&mut engine, 2);
    // Busy for 3.5 s and for 7 s more; idle afterwards.
    near(engine.done(100.0, 0), 3.0);
    near(engine.occupied(100.0, 0), 1.0);
    assert_eq!(engine.occupied(100.0, 1), engine.done(100.0, 1));
}

#[test]
fn who_takes_turns_or_is_capped_occupies_what_is_left_to_it() {
    // What is lost to switching is busy, and serves nobody.
    for (device, occupied, served) in [
        (Device::Turns { efficiency: 0.8 }, 0.5, 0.4),
        (Device::Caps { gpus: 0.4 }, 0.2, 0.2),
    ] {
        let mut engine = Engine::new(2, Dispatch::FewestRequests);
        let gpu = engine.add_device(device);
        for agent in 0..2 {
            engine.start_on(0.0, server(agent, 2.0, 1, &[gpu]), 1.0);
            engine.arrive(0.0, agent, 100.0);
        }
        for agent in 0..2 {
            let found = engine.occupied(1.0, agent);
            assert!((found - occupied).abs() < 1e-12, "{device:?}: {found}");
            assert!((engine.done(1.0, agent) - 2.0 * served).abs() < 1e-12);
        }
    }
}

#[test]
fn busy_servers_take_turns_by_weight_and_idle_ones_lend() {
    let mut engine = Engine::new(2, Dispatch::FewestRequests);
    let gpu = engine.add_device(Device::Turns { efficiency: 0.8 });
    engine.start(0.0, server(0, 1.0, 1, &[gpu]));
    engine.start(
        0.0,
        ServerSpec {
            weight: 3.0,
            ..server(1, 1.0, 1, &[gpu])
        },
    );
    engine.arrive(0.0, 0, 2.0);
    engine.arrive(1.0, 1, 1.2);
    // From 1 on at 0.8 / 4 = 0.2 and 0.6: agent 1 is done at 3, agent 0 has 0.6 left and is alone.
    let served = finish(&mut engine, 2);
    assert!(served[0].0 == 1 && (served[0].3 - 3.0).abs() < 1e-12);
    assert!((served[1].3 - 3.6).abs() < 1e-12);
}

#[test]
fn caps_slow_nobody_down_until_they_exceed_the_gpus() {
    let mut engine = Engine::new(3, Dispatch::FewestRequests);
    let gpu = engine.add_device(Device::Caps { gpus: 1.0 });
    for agent in 0..3 {
        engine.start(
            0.0,
            ServerSpec {
                weight: 0.5,
                ..server(agent, 0.5, 1, &[gpu])
            },
        );
    }
    engine.arrive(0.0, 0, 1.0);
    engine.arrive(0.0, 1, 1.0);
    assert_eq!(engine.next(), 2.0);
    // Caps of 1.5 GPUs on one: each at 1/3.
    engine.arrive(1.0, 2, 1.0);
    assert_eq!(engine.next(), 2.5);
}

#[test]
fn the_larger_weight_interrupts() {
    let mut engine = Engine::new(2, Dispatch::FewestRequests);
    let gpu = engine.add_device(Device::Priority);
    engine.start(0.0, server(0, 1.0, 1, &[gpu]));
    engine.start(
        0.0,
        ServerSpec {
            weight: 2.0,
            ..server(1, 1.0, 1, &[gpu])
        },
    );
    engine.arrive(0.0, 0, 2.0);
    engine.arrive(1.0, 1, 3.0);
    assert_eq!(
        finish(&mut engine, 2),
        [(1, 1.0, 1.0, 4.0), (0, 0.0, 0.0, 5.0)]
    );
}

#[test]
fn ranks_on_two_gpus_are_as_fast_as_the_slower_one() {
    let mut engine = Engine::new(2, Dispatch::FewestRequests);
    let gpus = [0, 1].map(|_| engine.add_device(Device::Turns { efficiency: 1.0 }));
    engine.start(0.0, server(0, 2.0, 1, &gpus));
    engine.start(0.0, server(1, 1.0, 1, &gpus[1..]));
    engine.arrive(0.0, 0, 4.0);
    engine.arrive(1.0, 1, 0.5);
    // Two GPUs until 1, then half of each while the other is busy for one second.
    assert_eq!(
        finish(&mut engine, 2),
        [(1, 1.0, 1.0, 2.0), (0, 0.0, 0.0, 2.5)]
    );
}

#[test]
fn a_request_goes_where_the_fewest_are_and_waits_in_one_queue_while_nobody_serves() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    engine.arrive(0.0, 0, 1.0);
    engine.arrive(0.5, 0, 1.0);
    assert_eq!((engine.next(), engine.present()), (f64::INFINITY, 2));
    let first = engine.start(1.0, server(0, 1.0, 1, &[]));
    assert_eq!(engine.load(first), Some((1, 1)));
    let second = engine.start(1.0, server(0, 1.0, 1, &[]));
    assert_eq!(
        engine.load(second),
        Some((0, 0)),
        "what waits in a server stays there"
    );
    engine.arrive(1.5, 0, 1.0);
    engine.arrive(1.5, 0, 1.0);
    assert_eq!(
        (engine.load(first), engine.load(second)),
        (Some((1, 1)), Some((1, 1)))
    );
    assert_eq!((engine.takers(0), engine.counts(0).running), (2, 2));
}

#[test]
fn in_one_queue_requests_wait_for_whichever_server_has_room_first() {
    let mut engine = Engine::new(1, Dispatch::OneQueue);
    let first = engine.start(0.0, server(0, 1.0, 1, &[]));
    for work in [4.0, 1.0, 2.0] {
        engine.arrive(0.0, 0, work);
    }
    assert_eq!(engine.load(first), Some((1, 0)), "two wait in the queue");
    let second = engine.start(1.0, server(0, 1.0, 1, &[]));
    assert_eq!(
        engine.load(second),
        Some((1, 0)),
        "and a new server takes one"
    );
    assert_eq!(
        finish(&mut engine, 1),
        [(0, 0.0, 1.0, 2.0), (0, 0.0, 0.0, 4.0), (0, 0.0, 2.0, 4.0)]
    );
}

#[test]
fn the_fullest_server_has_its_part_of_what_waits_in_front_of_all() {
    for (dispatch, fullest) in [(Dispatch::OneQueue, 2.5), (Dispatch::FewestRequests, 3.0)] {
        let mut engine = Engine::new(2, dispatch);
        (0..2).for_each(|_| {
            engine.start(0.0, server(0, 1.0, 2, &[]));
        });
        (0..5).for_each(|_| engine.arrive(0.0, 0, 1.0));
        assert_eq!((engine.fullest(0), engine.fullest(1)), (fullest, 0.0));
    }
}

#[test]
fn a_server_that_retires_finishes_what_it_runs_and_one_that_stops_cuts_it() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    let first = engine.start(0.0, server(0, 1.0, 1, &[]));
    engine.arrive(0.0, 0, 4.0);
    engine.arrive(0.0, 0, 2.0);
    engine.retire(1.0, first);
    assert_eq!(
        engine.load(first),
        Some((1, 0)),
        "what waited has no server now"
    );
    let second = engine.start(2.0, server(0, 1.0, 1, &[]));
    engine.stop(3.0, first);
    // The second request runs from 2 to 4; the first has lost three seconds of work and starts again at 4.
    assert_eq!(engine.counts(0).cut, 1);
    assert_eq!(
        finish(&mut engine, 1),
        [(0, 0.0, 2.0, 4.0), (0, 0.0, 0.0, 8.0)]
    );
    assert_eq!(engine.done(8.0, 0), 3.0 + 2.0 + 4.0);
    assert_eq!(engine.load(second), Some((0, 0)));
    assert_eq!(
        engine.start(9.0, server(0, 1.0, 1, &[])),
        first,
        "its number is free"
    );
}

#[test]
fn a_law_that_is_broken_is_told() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    engine.start(0.0, server(0, 1.0, 1, &[]));
    engine.arrive(0.0, 0, 1.0);
    engine.step();
    assert!(engine.check(1.0, &[1.0]).is_ok());
    let told = engine.check(1.0, &[1.5]).unwrap_err().to_string();
    assert!(
        told.starts_with("Little's law") && told.ends_with("1 is not 1.5"),
        "{told}"
    );
    engine.agents[0].counts.served += 1.0;
    assert!(
        engine
            .check(1.0, &[1.0])
            .unwrap_err()
            .law
            .starts_with("conservation of work")
    );
    engine.agents[0].counts.finished += 1;
    assert!(
        engine
            .check(1.0, &[1.0])
            .unwrap_err()
            .law
            .starts_with("conservation of requests")
    );
    engine.agents[0].queue.push_back(Job {
        arrived: 1.0,
        started: f64::NAN,
        work: 1.0,
        number: 9,
    });
    assert!(
        engine
            .check_idleness(1.0)
            .unwrap_err()
            .law
            .starts_with("no idle server")
    );
}
