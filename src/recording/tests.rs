#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod session;
mod unmeasured;

use super::*;
use crate::allocation::Load;
use proptest::prelude::*;
use session::{Kind, Session};

fn replay(lines: &[String]) -> Result<(Replay, Vec<Difference>), String> {
    let mut replay = Replay::default();
    let mut found = Vec::new();
    for line in lines {
        found.extend(replay.line(line)?);
    }
    Ok((replay, found))
}

#[test]
fn a_recorded_session_is_computed_again_byte_for_byte_whatever_the_strategy() {
    for kind in [Kind::Whole, Kind::TimeSlicing, Kind::Mig] {
        let session = Session::record(kind, 7, 600);
        assert!(session.steps > 3, "{kind:?}: only {} steps", session.steps);
        let (replay, found) = replay(&session.lines).unwrap();
        assert_eq!(found, [], "{kind:?}");
        assert_eq!(
            (replay.equal, replay.different, replay.missing),
            (600, 0, 0)
        );
    }
}

#[test]
fn what_was_changed_in_an_output_is_found_and_named() {
    let mut session = Session::record(Kind::Whole, 7, 200);
    let at = session.line_of(150);
    session.change(at, |decision| decision.output.allotments[1].target.0 += 1);
    let (replay, found) = replay(&session.lines).unwrap();
    assert_eq!((replay.equal, replay.different), (199, 1));
    assert_eq!(
        (found[0].number, found[0].pool.as_str()),
        (150, "agents/team")
    );
    let what = &found[0].what;
    let named = what.starts_with("output, allotments, agent nlp, target: recorded ");
    assert!(named && what.contains(", recomputed "), "{what}");
}

#[test]
fn what_was_changed_in_an_input_or_in_the_memory_is_found() {
    let session = Session::record(Kind::Whole, 7, 400);
    let mut tampered = session.clone();
    let at = tampered.line_of(300);
    tampered.change(at, |decision| {
        decision.inputs.loads[0] = Load::Measured {
            arrivals_per_second: 80.0,
            backlog: 100.0,
        };
    });
    assert!(replay(&tampered.lines).unwrap().0.different > 0);

    let mut tampered = session.clone();
    let at = tampered.line_of(CHECKPOINT);
    tampered.change(at, |decision| decision.memory = Some(Memory::default()));
    let (_, found) = replay(&tampered.lines).unwrap();
    assert_eq!(found[0].number, CHECKPOINT);
    assert!(
        found[0].what.starts_with("memory, sharing, "),
        "{}",
        found[0].what
    );

    let mut respelled = session;
    let at = respelled.line_of(5);
    respelled.lines[at] = respelled.lines[at].replacen("\":", "\": ", 1);
    let (_, found) = replay(&respelled.lines).unwrap();
    assert!(
        found[0].what.contains("in other bytes"),
        "{}",
        found[0].what
    );
}

#[test]
fn what_cannot_be_computed_is_refused_in_words() {
    let session = Session::record(Kind::Whole, 7, 20);
    let refused = |lines: &[String]| replay(lines).unwrap_err();
    let without = |at: usize| {
        let mut lines = session.lines.clone();
        lines.remove(at);
        lines
    };
    assert!(refused(&without(0)).contains("must be its head"));
    assert!(refused(&without(1)).contains("decision 0 of pool \"agents/team\" stands before"));
    let missing = refused(&without(session.line_of(9)));
    assert!(
        missing.contains("decision 10 ") && missing.contains("follows upon one that is missing")
    );
    let mut lines = session.lines.clone();
    lines[0] = lines[0].replace("\"version\":1", "\"version\":2");
    let version = refused(&lines);
    assert!(
        version.contains("has version 2") && version.contains("reads version 1"),
        "{version}"
    );
    let mut short = session.clone();
    let at = short.line_of(3);
    short.change(at, |decision| decision.inputs.loads.truncate(1));
    assert!(refused(&short.lines).contains("inputs.loads is for 1 agents; the pool has 3"));
    let mut lines = session.lines.clone();
    lines[1] = lines[1].replace("\"interval\":\"1s\"", "\"interval\":\"soon\"");
    assert!(refused(&lines).contains("spec.policy.interval"));
    assert!(
        Line::read("{\"decision\": {")
            .unwrap_err()
            .contains("not a line of a recording")
    );
}

#[test]
fn a_pool_line_keeps_the_spec_and_neither_annotations_nor_labels_nor_status() {
    let mut object = session::pool(Kind::Whole);
    let secret = Some([("note".to_owned(), "a secret".to_owned())].into());
    object.metadata.annotations = secret.clone();
    object.metadata.labels = secret;
    object.status = Some(crate::api::AgentPoolStatus::default());
    let pool = Pool::of(&object, true);
    let text = Line::Pool(Box::new(pool.clone())).write().unwrap();
    assert!(
        !text.contains("secret") && !text.contains("observedGeneration"),
        "{text}"
    );
    assert_eq!(pool.manifest.spec, object.spec);
    assert!(pool.admit().unwrap().shape.nodes_hidden);
}

#[test]
fn a_gap_is_counted() {
    let mut session = Session::record(Kind::Whole, 7, 5);
    let gap = Gap {
        pool: "agents/team".to_owned(),
        from: 5,
        to: 7,
    };
    session.lines.push(Line::Gap(gap).write().unwrap());
    let (replay, _) = replay(&session.lines).unwrap();
    assert_eq!((replay.missing, replay.gaps), (3, 1));
}

#[test]
fn a_recording_is_read_as_rates_over_time() {
    let session = Session::record(Kind::Whole, 7, 100);
    let mut loads = Loads::default();
    for line in &session.lines {
        loads.line(line).unwrap();
    }
    let pool = &loads.pools["agents/team"];
    assert_eq!(pool.manifest.spec, session::pool(Kind::Whole).spec);
    assert!((pool.seconds() - 99.0).abs() < 1e-6);
    for (i, name) in ["coordinator", "nlp", "vision"].iter().enumerate() {
        let agent = &pool.agents[*name];
        assert!((agent.seconds - 99.0).abs() < 1e-6, "{}", agent.seconds);
        // Each second has the rate of the decision at its end.
        let mut at = 0.0;
        for held in &agent.held {
            at += held.seconds;
            let decision = session.decision(at.round() as u64);
            let expected = match decision.inputs.loads[i] {
                Load::Measured {
                    arrivals_per_second,
                    ..
                } => Some(arrivals_per_second),
                Load::Unknown => None,
            };
            assert_eq!(held.arrivals_per_second, expected, "{name} at {at}");
        }
    }
    // A pause is not known to be like what came before it.
    let mut late = session.decision(99).clone();
    late.wall = "2026-01-01T01:00:00Z".to_owned();
    loads.line(&Line::Decision(late).write().unwrap()).unwrap();
    let last = loads.pools["agents/team"].agents["nlp"]
        .held
        .last()
        .copied()
        .unwrap();
    assert_eq!(last.arrivals_per_second, None);
    assert!((last.seconds - 3501.0).abs() < 1e-3, "{last:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever the floats, a line reads back to what was written, and is written again in the same bytes.
    #[test]
    fn a_line_reads_back_to_what_was_written(
        kind in prop_oneof![Just(Kind::Whole), Just(Kind::TimeSlicing), Just(Kind::Mig)],
        seed in any::<u64>(),
        odd in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ) {
        let mut session = Session::record(kind, seed, 40);
        let at = session.line_of(30);
        session.change(at, |decision| {
            decision.inputs.loads[0] = Load::Measured { arrivals_per_second: odd, backlog: odd };
            decision.inputs.observed.agents[0].pods[0].load = Some(odd);
        });
        for text in &session.lines {
            let line = Line::read(text).unwrap();
            prop_assert_eq!(&line.write().unwrap(), text);
        }
        let Line::Decision(decision) = Line::read(&session.lines[at]).unwrap() else { panic!() };
        let Load::Measured { backlog, .. } = decision.inputs.loads[0] else { panic!() };
        prop_assert_eq!(backlog.to_bits(), odd.to_bits());
    }

    /// Whatever the session, replay agrees.
    #[test]
    fn every_session_replays(seed in any::<u64>()) {
        let session = Session::record(Kind::Mig, seed, 150);
        let (replay, found) = replay(&session.lines).unwrap();
        prop_assert_eq!(found, []);
        prop_assert_eq!(replay.equal, 150);
    }
}
