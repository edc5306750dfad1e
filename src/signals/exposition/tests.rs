#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use proptest::prelude::*;

fn wanted() -> BTreeSet<Arc<str>> {
    ["up", "vllm:num_requests_running", "done_total"]
        .map(Arc::from)
        .into()
}

fn read(text: &[u8]) -> Result<Page, Problem> {
    let wanted = wanted();
    let mut reader = Reader::new(&wanted, PageLimits::default());
    reader.feed(text)?;
    reader.finish()
}

fn values(text: &str) -> Vec<f64> {
    read(text.as_bytes())
        .unwrap()
        .series
        .iter()
        .map(|s| s.value)
        .collect()
}

#[test]
fn only_wanted_series_are_kept_with_their_labels() {
    let page = read(b"# HELP up help\nup 1\nup_other 7\nother{a=\"b\"} 2\nup{a=\"x\\\"y\\\\z\\n\", b=\"}\",} 3 1700000000000\n").unwrap();
    assert_eq!(page.series.len(), 2);
    assert_eq!(page.series[1].label("a"), "x\"y\\z\n");
    assert_eq!(page.series[1].label("b"), "}");
    assert_eq!(page.series[1].label("absent"), "");
    assert_eq!(page.series[1].value, 3.0);
}

#[test]
fn nan_infinities_and_negative_values_stay_what_they_are() {
    let values = values("up NaN\nup +Inf\nup -Inf\nup -3\nup 1e308\nup -0\n");
    assert!(values[0].is_nan());
    assert_eq!(
        values[1..5],
        [f64::INFINITY, f64::NEG_INFINITY, -3.0, 1e308]
    );
}

#[test]
fn openmetrics_with_exemplars_and_an_end_is_read() {
    let page = read(b"# TYPE done counter\ndone_total{a=\"b\"} 12.0 # {trace=\"1\"} 0.67\ndone_created{a=\"b\"} 1.6e9\n# EOF\n").unwrap();
    assert_eq!(page.series[0].value, 12.0);
    assert!(page.declared.contains("done_total"));
}

#[test]
fn a_wanted_series_that_cannot_be_read_spoils_the_page() {
    for text in [
        "up{a=\"b} 1",
        "up{a=b} 1",
        "up{a=\"b\" 1",
        "up ",
        "up one",
        "up{a=\"b\"}",
        "up{=\"b\"} 1",
        "up{a=\"b\"c=\"d\"} 1",
        "up{a=\"\\",
    ] {
        assert_eq!(read(text.as_bytes()), Err(Problem::Malformed), "{text}");
    }
}

#[test]
fn what_is_no_exposition_is_marked_as_odd_and_skipped() {
    assert!(read(b"<html><body>hello</body></html>\n").unwrap().odd);
    assert!(read(&[0xff, 0xfe, b'\n', 0x00]).unwrap().odd);
    assert!(
        !read(b"{\"quoted.name\", a=\"b\"} 1\nother 2\n\n# anything\r\n")
            .unwrap()
            .odd
    );
}

#[test]
fn lines_pages_and_series_are_bounded() {
    let wanted = wanted();
    let limits = PageLimits {
        bytes: 1000,
        line: 100,
        series: 3,
    };
    let feed = |text: &[u8]| {
        let mut reader = Reader::new(&wanted, limits);
        reader.feed(text)?;
        reader.finish().map(|page| page.series.len())
    };
    assert_eq!(feed(b"up 1\n".repeat(3).as_slice()), Ok(3));
    assert_eq!(feed(b"up 1\n".repeat(4).as_slice()), Err(Problem::TooLarge));
    assert_eq!(feed(&[b'a'; 101]), Err(Problem::TooLarge));
    assert_eq!(
        feed(&[&[b'a'; 101][..], b"\n"].concat()),
        Err(Problem::TooLarge)
    );
    assert_eq!(
        feed(b"# comment\n".repeat(101).as_slice()),
        Err(Problem::TooLarge)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_keep_more_than_its_limits(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(page) = read(&bytes) {
            prop_assert!(page.series.len() <= 2000 / 4);
        }
    }

    #[test]
    fn no_text_of_the_formats_alphabet_makes_it_panic(text in "(up|done_total|vllm:num_requests_running|x|[ \\t{}=,\"\\\\#\n0-9.eE+NaInf-]){0,80}") {
        let _ = read(text.as_bytes());
    }

    #[test]
    fn the_pieces_in_which_a_page_comes_do_not_matter(cuts in prop::collection::vec(0usize..200, 0..8)) {
        let text = b"# TYPE done counter\nup{a=\"b\"} 1\nvllm:num_requests_running{engine=\"0\"} 2.5\nx 3\nup 4";
        let whole = read(text).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
        cuts.sort_unstable();
        let wanted = wanted();
        let mut reader = Reader::new(&wanted, PageLimits::default());
        let mut from = 0;
        for cut in cuts {
            reader.feed(&text[from..cut]).unwrap();
            from = cut;
        }
        reader.feed(&text[from..]).unwrap();
        prop_assert_eq!(reader.finish().unwrap(), whole);
    }

    #[test]
    fn what_is_printed_is_read_back(value in any::<f64>(), label in "[ -~\n]{0,40}") {
        let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let page = read(format!("up{{l=\"{escaped}\"}} {value:e}\n").as_bytes()).unwrap();
        prop_assert_eq!(page.series[0].label("l"), label);
        prop_assert!(page.series[0].value == value || value.is_nan() && page.series[0].value.is_nan());
    }
}
