#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;
use std::io::Read;

fn read(text: &str) -> Result<Trace, TraceError> {
    Trace::read(text.as_bytes(), "t.csv", Limits::default())
}

fn requests(trace: &Trace, agent: &str) -> Vec<(f64, u32, u32)> {
    match &trace.agents[agent] {
        Recording::Requests(rows) => rows
            .iter()
            .map(|row| (row.at, row.input_tokens, row.output_tokens))
            .collect(),
        Recording::Rates(_) => panic!("rates"),
    }
}

fn rates(trace: &Trace, agent: &str) -> Vec<(f64, f64)> {
    match &trace.agents[agent] {
        Recording::Rates(pieces) => pieces.iter().map(|p| (p.seconds, p.rate)).collect(),
        Recording::Requests(_) => panic!("requests"),
    }
}

#[test]
fn arrivals_with_tokens_and_agents_are_read() {
    let text = "arrival_s,input_tokens,output_tokens,agent\n0.5,1,2,b\n1.0,3,4,a\n2.5,5,6,b\n";
    let trace = read(text).unwrap();
    assert_eq!(trace.format, Format::Arrivals);
    assert_eq!(requests(&trace, "a"), [(1.0, 3, 4)]);
    assert_eq!(requests(&trace, "b"), [(0.5, 1, 2), (2.5, 5, 6)]);
}

#[test]
fn the_first_line_of_an_agent_is_found_in_the_column_that_names_agents() {
    let found = |text: &str| first_line(text.as_bytes(), "b");
    assert_eq!(
        found("arrival_s,class,agent\n0,b,a\n1,a, b \r\n2,a,b\n"),
        Some((3, "agent"))
    );
    assert_eq!(
        found("\u{feff}class,t_s,rate_rps\na,0,1\na,1,1\nb,0,1\n"),
        Some((4, "class"))
    );
    assert_eq!(found("arrival_s,agent\n0,a\n"), None);
    assert_eq!(found("arrival_s\nb\n"), None);
    assert_eq!(
        first_line(&b"arrival_s,agent\n\xff\xfe,b\n0,b\n"[..], "b"),
        None
    );
}

#[test]
fn agents_may_stand_one_below_the_other() {
    let trace = read("arrival_s,agent\n0.5,a\n9,a\n1,b\n").unwrap();
    assert_eq!(requests(&trace, "a"), [(0.5, 0, 0), (9.0, 0, 0)]);
    assert_eq!(requests(&trace, "b"), [(1.0, 0, 0)]);
}

#[test]
fn a_class_is_no_agent_and_images_are_not_used() {
    let text =
        "arrival_s,input_tokens,output_tokens,class,images\r\n1.0,3,4,c7,1\r\n1.0,3,5,c8,2\r\n\r\n";
    let trace = read(text).unwrap();
    assert_eq!(requests(&trace, EVERYONE), [(1.0, 3, 4), (1.0, 3, 5)]);
}

#[test]
fn bare_arrivals_are_read() {
    let trace = read("\u{feff}arrival_s\n0\n0\n1e1\n").unwrap();
    assert_eq!(
        requests(&trace, EVERYONE),
        [(0.0, 0, 0), (0.0, 0, 0), (10.0, 0, 0)]
    );
}

#[test]
fn azure_of_2023_is_read_from_its_first_request_on() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.6805900,374,44\r\n\
                2023-11-17 00:00:03.9951690,396,109\r\n";
    let trace = read(text).unwrap();
    assert_eq!(trace.format, Format::Azure);
    assert_eq!(
        requests(&trace, EVERYONE),
        [(0.0, 374, 44), (4.314579, 396, 109)]
    );
}

#[test]
fn azure_of_2024_has_offsets_and_seconds_without_a_fraction() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00.500000+00:00,1,2\n\
                2024-05-12 00:00:02+00:00,3,4\n2024-05-12 02:00:03+02:00,3,4\n";
    let times: Vec<f64> = requests(&read(text).unwrap(), EVERYONE)
        .iter()
        .map(|r| r.0)
        .collect();
    assert_eq!(times, [0.0, 1.5, 2.5]);
}

#[test]
fn mooncake_is_in_milliseconds() {
    let text = "{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1]}\n\
                {\"timestamp\": 5999, \"input_length\": 1053, \"output_length\": 26}\n";
    let trace = read(text).unwrap();
    assert_eq!(trace.format, Format::Mooncake);
    assert_eq!(
        requests(&trace, EVERYONE),
        [(0.0, 6758, 500), (5.999, 1053, 26)]
    );
}

#[test]
fn a_table_of_rates_lasts_from_window_to_window() {
    let text = "t_s,agent,rate_rps,active_clients,rate_weighted_iat_cv\n0.0,a,3.5,11,5.5\n0.0,b,1,1,1\n\
                600.0,a,0,11,5.5\n900.0,b,2,1,1\n1200,a,4,1,1\n";
    let trace = read(text).unwrap();
    assert_eq!(trace.format, Format::Rates);
    assert_eq!(
        rates(&trace, "a"),
        [(600.0, 3.5), (600.0, 0.0), (600.0, 4.0)]
    );
    assert_eq!(rates(&trace, "b"), [(900.0, 1.0), (900.0, 2.0)]);
    let by_class = read("t_s,class,rate_rps\n600,m-small,1\n1200,m-small,2\n").unwrap();
    assert_eq!(
        rates(&by_class, "m-small"),
        [(600.0, 0.0), (600.0, 1.0), (600.0, 2.0)]
    );
}

#[test]
fn a_client_of_servegen_is_a_table_of_rates() {
    let text =
        "0,22.46,173.81,Weibull,0.0575,0.000573\n600,0.0,0.0,,0.0,0.0\n1200,0.5,1.0,Gamma,1.0,2\n";
    let trace = read(text).unwrap();
    assert_eq!(trace.format, Format::ServeGen);
    assert_eq!(
        rates(&trace, EVERYONE),
        [(600.0, 22.46), (600.0, 0.0), (600.0, 0.5)]
    );
}

/// Every malformed input: its text, and what the error must say of it.
const WRONG: [(&str, &[&str]); 40] = [
    ("", &["t.csv: no request"]),
    ("arrival_s\n", &["t.csv: no request"]),
    ("\n\n", &["t.csv: no request"]),
    (
        "time,agent\n1,a\n",
        &["line 1", "\"time,agent\"", "arrival_s"],
    ),
    ("1.0,2,3\n", &["line 1", "\"1.0,2,3\"", "arrival_s"]),
    ("arrival_s,user\n", &["line 1", "\"user\"", "input_tokens"]),
    ("arrival_s,agent,agent\n", &["line 1", "\"agent\"", "once"]),
    (
        "arrival_s\n1.0\nx\n",
        &["line 3", "arrival_s is \"x\"", "seconds"],
    ),
    (
        "arrival_s\n-1.0\n",
        &["line 2", "arrival_s is \"-1.0\"", "at least 0"],
    ),
    (
        "arrival_s\nNaN\n",
        &["line 2", "arrival_s is \"NaN\"", "finite"],
    ),
    (
        "arrival_s\ninf\n",
        &["line 2", "arrival_s is \"inf\"", "finite"],
    ),
    ("arrival_s\n1\n\n2\n", &["line 3", "blank"]),
    (
        "arrival_s\n5\n4.5\n",
        &["line 3", "arrival_s is \"4.5\"", "earlier", "sorted"],
    ),
    (
        "arrival_s,agent\n5,a\n1,b\n4,a\n",
        &["line 4", "\"4\"", "sorted"],
    ),
    ("arrival_s,agent\n5\n", &["line 2", "\"5\"", "2 columns"]),
    (
        "arrival_s,agent\n5,a,b\n",
        &["line 2", "\"5,a,b\"", "2 columns"],
    ),
    (
        "arrival_s,agent\n5,\n",
        &["line 2", "agent is \"\"", "name"],
    ),
    ("arrival_s,agent\n5,\"a\"\n", &["line 2", "agent", "name"]),
    (
        "arrival_s,input_tokens\n5,-3\n",
        &["line 2", "input_tokens is \"-3\"", "whole number"],
    ),
    (
        "arrival_s,input_tokens\n5,4294967296\n",
        &["line 2", "\"4294967296\"", "4294967295"],
    ),
    (
        "arrival_s,output_tokens\n5,1.5\n",
        &["line 2", "output_tokens is \"1.5\"", "whole number"],
    ),
    (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-31 00:00:00,1,2\n",
        &["line 2", "TIMESTAMP is \"2023-11-31", "such as"],
    ),
    (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-30 00:00:01,1,2\n2023-11-30 00:00:00,1,2\n",
        &["line 3", "TIMESTAMP", "sorted"],
    ),
    (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-30 00:00:01,1\n",
        &["line 2", "3 columns"],
    ),
    ("{\"timestamp\": 1\n", &["line 1", "JSON object"]),
    (
        "{\"timestamp\": 1, \"input_length\": 2}\n",
        &["line 1", "output_length"],
    ),
    (
        "{\"timestamp\": -1, \"input_length\": 2, \"output_length\": 3}\n",
        &["line 1", "timestamp is \"-1\"", "milliseconds"],
    ),
    (
        "{\"timestamp\": 1, \"input_length\": \"2\", \"output_length\": 3}\n",
        &["line 1", "input_length", "whole number"],
    ),
    // The same names in seconds.
    (
        "{\"chat_id\": 159, \"timestamp\": 61.1, \"input_length\": 2, \"output_length\": 3}\n",
        &["line 1", "chat_id"],
    ),
    (
        "t_s,agent,rate_rps\n0,a,-1\n",
        &["line 2", "rate_rps is \"-1\"", "at least 0"],
    ),
    ("t_s,agent,rate_rps\n0,a,1\n0,a,2\n", &["line 3", "sorted"]),
    (
        "t_s,agent,rate_rps\n0,a,1\n",
        &["the agent is \"a\"", "one window"],
    ),
    (
        "t_s,agent,class,rate_rps\n0,a,a,1\n",
        &["line 1", "not both"],
    ),
    // Seconds since 1970, and milliseconds.
    (
        "arrival_s,agent\n1700000000.5,a\n",
        &[
            "line 2",
            "arrival_s is \"1700000000.5\"",
            "400 days",
            "not from 1970",
        ],
    ),
    (
        "arrival_s\n5\n34560000\n34560001\n",
        &["line 4", "arrival_s is \"34560001\"", "400 days"],
    ),
    (
        "t_s,agent,rate_rps\n1700000000,a,1\n1700000600,a,1\n",
        &["line 2", "1700000000", "400 days"],
    ),
    (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-30 00:00:00,1,2\n2025-11-30 00:00:00,1,2\n",
        &["line 3", "TIMESTAMP is \"2025", "400 days"],
    ),
    (
        "{\"timestamp\": 1700000000000, \"input_length\": 2, \"output_length\": 3}\n",
        &["line 1", "timestamp is \"1700000000000\"", "400 days"],
    ),
    ("0,1,1,Pareto,1,1\n", &["line 1", "\"0,1,1,Pareto,1,1\""]),
    (
        "0,1,1,Gamma,1,1\n600,1,1,Pareto,1,1\n",
        &["line 2", "\"Pareto\"", "Gamma, Weibull"],
    ),
];

#[test]
fn every_malformed_trace_is_refused_with_its_file_line_field_and_what_would_be_right() {
    for (text, parts) in WRONG {
        let error = read(text).expect_err(text).to_string();
        assert!(error.starts_with("t.csv"), "{text:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{text:?}: {part:?} in {error:?}");
        }
    }
}

#[test]
fn text_that_is_no_text_is_refused() {
    let error = Trace::read(&b"arrival_s\n1\n\xff\xfe\n"[..], "t.csv", Limits::default());
    assert!(error.unwrap_err().to_string().contains("line 3"), "UTF-8");
}

/// A file that breaks off with an error of its reader, as a damaged gzip stream does.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("corrupt deflate stream")),
            n => Ok(n),
        }
    }
}

#[test]
fn a_reader_that_fails_is_told_with_the_line() {
    let input = std::io::BufReader::new(Broken(b"arrival_s\n1\n2"));
    let error = Trace::read(input, "t.csv.gz", Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv.gz, line 3: cannot be read: corrupt deflate stream"
    );
}

#[test]
fn a_gigantic_line_is_refused_before_it_is_held() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b'1');
            self.0 += buffer.len() as u64;
            Ok(buffer.len())
        }
    }
    let mut input = std::io::BufReader::new(Endless(0));
    let error = Trace::read(&mut input, "t.csv", Limits::default()).unwrap_err();
    assert!(
        error.to_string().contains("longer than 65536 bytes"),
        "{error}"
    );
    assert!(input.get_ref().0 < 200_000);
    let long = format!("arrival_s\n{}\n", "1".repeat(65_537));
    assert!(matches!(
        read(&long),
        Err(TraceError::LongLine { line: 2, .. })
    ));
    let longest = format!("arrival_s\n{}1\n", "0".repeat(65_535));
    assert_eq!(requests(&read(&longest).unwrap(), EVERYONE), [(1.0, 0, 0)]);
}

#[test]
fn more_than_the_limits_is_refused() {
    let limits = Limits {
        rows: 3,
        agents: 2,
        line: 100,
    };
    let error = |text: &str| {
        let read = Trace::read(text.as_bytes(), "t.csv", limits);
        read.unwrap_err().to_string()
    };
    assert_eq!(
        error("arrival_s\n1\n2\n3\n4\n"),
        "t.csv, line 5: more than 3 requests; cut the trace into shorter ones"
    );
    assert!(error("arrival_s,agent\n1,a\n1,b\n1,c\n").contains("line 4: more than 2 agents"));
    assert!(
        error("t_s,agent,rate_rps\n1,a,1\n2,a,1\n3,a,1\n4,a,1\n").contains("more than 3 windows")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Trace::read(&bytes[..], "t.csv", Limits::default());
    }

    #[test]
    fn no_rows_below_a_known_header_make_it_panic_and_what_it_takes_is_sorted(
        header in prop::sample::select(vec![
            "arrival_s", "arrival_s,agent", "arrival_s,input_tokens,output_tokens,agent",
            "TIMESTAMP,ContextTokens,GeneratedTokens", "t_s,agent,rate_rps", "0,1,1,Gamma,1,1",
            "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}",
        ]),
        rows in proptest::collection::vec(
            "([0-9]{1,3}(\\.[0-9]{1,2})?|-1|NaN|1e400|a|b|\\{\\}|2023-11-16 18:15:46|,){1,6}",
            0..6,
        ),
    ) {
        let text = format!("{header}\n{}", rows.join("\n"));
        if let Ok(trace) = read(&text) {
            for recording in trace.agents.values() {
                match recording {
                    Recording::Requests(rows) => {
                        prop_assert!(rows.iter().all(|r| r.at.is_finite() && r.at >= 0.0));
                        prop_assert!(rows.windows(2).all(|pair| pair[0].at <= pair[1].at));
                    }
                    Recording::Rates(pieces) => prop_assert!(
                        pieces.iter().all(|p| p.seconds > 0.0 && p.seconds.is_finite() && p.rate >= 0.0 && p.rate.is_finite())
                    ),
                }
            }
        }
    }
}
