#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::signals::exposition::{PageLimits, Reader};
use proptest::prelude::*;

const VLLM: &str = include_str!("../fixtures/vllm.txt");
const SGLANG: &str = include_str!("../fixtures/sglang.txt");

fn read(dialects: &Dialects, text: &str) -> Result<PodSample, Problem> {
    let mut reader = Reader::new(dialects.wanted(), PageLimits::default());
    reader.feed(text.as_bytes())?;
    dialects.sample(&reader.finish()?, Duration::from_secs(7))
}

fn detect(text: &str) -> Result<PodSample, Problem> {
    read(&Dialects::detect(), text)
}

#[test]
fn vllm_is_detected_and_summed_over_engines_and_finish_reasons() {
    let sample = detect(VLLM).unwrap();
    assert_eq!(
        (sample.finished, sample.running, sample.waiting),
        (130.0, 5.0, 4.0)
    );
    assert_eq!(sample.tokens, Some(12_000.0));
    assert_eq!(sample.cpu_seconds, Some(421.37));
    assert_eq!(sample.process_start, Some(1.763_600_000_12e9));
    assert_eq!(sample.at, Duration::from_secs(7));
}

#[test]
fn sglang_is_detected_without_counting_tensor_parallel_copies_or_parts_by_priority() {
    let sample = detect(SGLANG).unwrap();
    assert_eq!(
        (sample.finished, sample.running, sample.waiting),
        (42.0, 7.0, 12.0)
    );
    assert_eq!((sample.tokens, sample.cpu_seconds), (Some(5_700.0), None));
}

#[test]
fn sglang_with_underscores_is_the_same_engine() {
    let sample = detect(&SGLANG.replace("sglang:", "sglang_")).unwrap();
    assert_eq!(
        (sample.finished, sample.running, sample.waiting),
        (42.0, 7.0, 12.0)
    );
}

#[test]
fn requests_swapped_out_by_the_v0_engine_wait() {
    let page = "vllm:num_requests_running 1\nvllm:num_requests_waiting 2\nvllm:num_requests_swapped 4\nvllm:request_success_total 8\n";
    assert_eq!(detect(page).unwrap().waiting, 6.0);
}

#[test]
fn a_counter_that_is_declared_but_has_no_series_yet_has_counted_nothing() {
    let page = "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n";
    assert_eq!(detect(page), Err(Problem::Missing(Input::Finished)));
    let declared = format!("# TYPE vllm:request_success_total counter\n{page}");
    assert_eq!(detect(&declared).unwrap().finished, 0.0);
    let openmetrics = format!("# TYPE vllm:request_success counter\n{page}# EOF\n");
    assert_eq!(detect(&openmetrics).unwrap().finished, 0.0);
}

#[test]
fn every_missing_input_is_named_and_never_zero() {
    for (gone, input) in [
        ("vllm:num_requests_running", Input::Running),
        ("vllm:num_requests_waiting", Input::Waiting),
        ("vllm:request_success", Input::Finished),
    ] {
        let page: String = VLLM
            .lines()
            .filter(|line| !line.contains(gone))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(detect(&page), Err(Problem::Missing(input)), "{gone}");
    }
}

#[test]
fn one_bad_series_among_good_ones_is_not_hidden_by_the_sum() {
    for (value, problem) in [
        ("NaN", Problem::NotANumber(Input::Running)),
        ("+Inf", Problem::Infinite(Input::Running)),
        ("-1", Problem::Negative(Input::Running)),
        ("1e308", Problem::Absurd(Input::Running)),
    ] {
        let page = VLLM.replace(
            "running{engine=\"1\",model_name=\"org/small-model\"} 2.0",
            &format!("running{{engine=\"1\",model_name=\"org/small-model\"}} {value}"),
        );
        assert_eq!(detect(&page), Err(problem), "{value}");
    }
}

#[test]
fn a_bad_copy_among_good_ones_is_not_hidden_by_the_largest() {
    for (value, problem) in [
        ("NaN", Problem::NotANumber(Input::Running)),
        ("-1", Problem::Negative(Input::Running)),
    ] {
        let page = SGLANG.replace(
            "priority=\"\",tp_rank=\"1\"} 6.0",
            &format!("priority=\"\",tp_rank=\"1\"}} {value}"),
        );
        assert_ne!(page, SGLANG);
        assert_eq!(detect(&page), Err(problem), "{value}");
    }
}

#[test]
fn a_page_of_another_program_is_no_known_metrics_and_a_web_page_is_malformed() {
    assert_eq!(detect("go_goroutines 12\n"), Err(Problem::NoKnownMetrics));
    assert_eq!(detect(""), Err(Problem::NoKnownMetrics));
    assert_eq!(
        detect("<html><body>login</body></html>\n"),
        Err(Problem::Malformed)
    );
}

fn declared(finished: &str, running: &str, waiting: &str) -> CustomMetrics {
    CustomMetrics {
        finished: finished.into(),
        running: running.into(),
        waiting: waiting.into(),
    }
}

#[test]
fn declared_metrics_are_summed_over_all_series() {
    let dialects = Dialects::only(Dialect::custom(&declared("done", "busy", "queued")).unwrap());
    let page = "done{a=\"1\"} 3\ndone{a=\"2\"} 4\nbusy 2\nqueued 5\nvllm:num_requests_running 9\n";
    let sample = read(&dialects, page).unwrap();
    assert_eq!(
        (sample.finished, sample.running, sample.waiting),
        (7.0, 2.0, 5.0)
    );
    assert_eq!(
        read(&dialects, "done 1\nbusy 1\n"),
        Err(Problem::Missing(Input::Waiting))
    );
}

#[test]
fn a_declared_name_that_is_none_is_refused_with_what_would_be_right() {
    for (metrics, input) in [
        (declared("", "b", "c"), Input::Finished),
        (declared("a", "1b", "c"), Input::Running),
        (declared("a", "b", "c\"} or vector(0)"), Input::Waiting),
        (declared("a", "b", "b"), Input::Waiting),
        (declared(&"a".repeat(129), "b", "c"), Input::Finished),
    ] {
        let refused = Dialect::custom(&metrics).unwrap_err();
        assert_eq!(refused.input, input);
        assert!(!refused.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn the_order_of_lines_does_not_matter(seed in any::<u64>()) {
        for page in [VLLM, SGLANG] {
            let mut lines: Vec<&str> = page.lines().collect();
            // A cheap deterministic shuffle: sort by a hash of line number and seed.
            let mut order: Vec<(u64, usize)> = (0..lines.len())
                .map(|i| ((i as u64 + 1).wrapping_mul(seed | 1).rotate_left(17), i))
                .collect();
            order.sort_unstable();
            lines = order.into_iter().map(|(_, i)| lines[i]).collect();
            prop_assert_eq!(detect(&lines.join("\n")), detect(page));
        }
    }
}
