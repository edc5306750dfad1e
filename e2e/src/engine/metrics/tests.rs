use super::page::go_float;
use super::*;

fn one_served(dialect: Dialect) -> EngineCounters {
    let mut counters = EngineCounters::new(dialect, "m", 1_732_050_807.5);
    counters.served(Served {
        queued: 0.25,
        ran: 0.5,
        prompt_tokens: 100,
    });
    counters.aborted();
    counters
}

const MOMENT: Moment = Moment {
    queue: Queue {
        running: 2,
        waiting: 3,
    },
    max_running: 8,
    now: 1_732_050_907.5,
    delivered: 12.5,
    requests_per_gpu_second: 0.12,
};

#[test]
fn the_vllm_page_has_the_names_labels_and_order_of_the_python_client() {
    let page = one_served(Dialect::Vllm).render(&MOMENT);
    for lines in [
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
         # TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 2.0\n",
        "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 3.0\n",
        "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.25\n",
        "# TYPE vllm:request_success_total counter\n\
         vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=\"m\"} 1.0\n\
         vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"m\"} 0.0\n\
         vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"m\"} 1.0\n",
        "# TYPE vllm:request_success_created gauge\n\
         vllm:request_success_created{engine=\"0\",finished_reason=\"stop\",model_name=\"m\"} 1.7320508075e+09\n",
        "vllm:e2e_request_latency_seconds_bucket{engine=\"0\",le=\"0.5\",model_name=\"m\"} 0.0\n\
         vllm:e2e_request_latency_seconds_bucket{engine=\"0\",le=\"0.8\",model_name=\"m\"} 1.0\n",
        "vllm:e2e_request_latency_seconds_bucket{engine=\"0\",le=\"+Inf\",model_name=\"m\"} 1.0\n\
         vllm:e2e_request_latency_seconds_count{engine=\"0\",model_name=\"m\"} 1.0\n\
         vllm:e2e_request_latency_seconds_sum{engine=\"0\",model_name=\"m\"} 0.75\n",
        "vllm:request_queue_time_seconds_sum{engine=\"0\",model_name=\"m\"} 0.25\n",
        "vllm:time_to_first_token_seconds_sum{engine=\"0\",model_name=\"m\"} 0.35\n",
        "process_start_time_seconds 1.7320508075e+09\n",
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 17.5\n",
        "vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 306.0\n",
        "vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 100.0\n",
    ] {
        assert!(page.contains(lines), "{lines}\nis not in\n{page}");
    }
}

#[test]
fn the_sglang_page_has_no_created_and_no_process_series() {
    let page = one_served(Dialect::Sglang).render(&MOMENT);
    for line in [
        "sglang:num_running_reqs{engine_type=\"unified\",model_name=\"m\",pp_rank=\"0\",tp_rank=\"0\"} 2.0\n",
        "sglang:num_queue_reqs{engine_type=\"unified\",model_name=\"m\",pp_rank=\"0\",tp_rank=\"0\"} 3.0\n",
        "sglang:num_requests_total{model_name=\"m\"} 1.0\n",
        "sglang:e2e_request_latency_seconds_count{model_name=\"m\"} 1.0\n",
    ] {
        assert!(page.contains(line), "{line}\nis not in\n{page}");
    }
    assert!(!page.contains("_created") && !page.contains("process_") && !page.contains("vllm:"));
}

#[test]
fn a_reset_engine_counts_from_zero_with_a_new_birth_date() {
    let mut counters = one_served(Dialect::Vllm);
    counters.reset(2e9, 12.0);
    let page = counters.render(&Moment { now: 2e9, ..MOMENT });
    for line in [
        "finished_reason=\"stop\",model_name=\"m\"} 0.0\n",
        "vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 12.0\n",
        "process_start_time_seconds 2e+09\n",
        "process_cpu_seconds_total 0.5\n",
    ] {
        assert!(page.contains(line), "{line}\nis not in\n{page}");
    }
}

#[test]
fn numbers_are_printed_as_the_python_client_prints_them() {
    for (value, text) in [
        (0.0, "0.0"),
        (0.3, "0.3"),
        (7680.0, "7680.0"),
        (1_700_000_000.25, "1.70000000025e+09"),
        (2_000_000.0, "2e+06"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(go_float(value), text);
    }
}

#[test]
fn a_model_name_cannot_break_the_page() {
    let page = EngineCounters::new(Dialect::Vllm, "a\"b\\c\n", 0.0).render(&Moment::default());
    assert!(page.contains(r#"model_name="a\"b\\c\n""#));
}
