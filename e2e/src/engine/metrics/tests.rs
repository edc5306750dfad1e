use super::*;

fn one_served(dialect: Dialect) -> EngineCounters {
    let mut counters = EngineCounters::new(dialect, "m", 1_732_050_807.5);
    counters.served(Served {
        queued: 0.25,
        ran: 0.5,
        prompt_tokens: 100,
        generation_tokens: 20,
    });
    counters.aborted();
    counters
}

const QUEUE: Queue = Queue {
    running: 2,
    waiting: 3,
};

#[test]
fn the_vllm_page_has_the_names_labels_and_order_of_the_python_client() {
    let page = one_served(Dialect::Vllm).render(QUEUE, 8);
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
        "vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 100.0\n",
    ] {
        assert!(page.contains(lines), "{lines}\nis not in\n{page}");
    }
}

#[test]
fn the_sglang_page_has_no_created_series() {
    let page = one_served(Dialect::Sglang).render(QUEUE, 8);
    for line in [
        "sglang:num_running_reqs{engine_type=\"unified\",model_name=\"m\",pp_rank=\"0\",tp_rank=\"0\"} 2.0\n",
        "sglang:num_queue_reqs{engine_type=\"unified\",model_name=\"m\",pp_rank=\"0\",tp_rank=\"0\"} 3.0\n",
        "sglang:num_requests_total{model_name=\"m\"} 1.0\n",
        "sglang:e2e_request_latency_seconds_count{model_name=\"m\"} 1.0\n",
    ] {
        assert!(page.contains(line), "{line}\nis not in\n{page}");
    }
    assert!(!page.contains("_created") && !page.contains("vllm:"));
}

#[test]
fn a_reset_engine_counts_from_zero_with_a_new_birth_date() {
    let mut counters = one_served(Dialect::Vllm);
    counters.reset(2e9);
    assert_eq!(counters, EngineCounters::new(Dialect::Vllm, "m", 2e9));
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
    let page = EngineCounters::new(Dialect::Vllm, "a\"b\\c\n", 0.0).render(Queue::default(), 1);
    assert!(page.contains(r#"model_name="a\"b\\c\n""#));
}
