//! Queries from typed parts. Every selector carries the namespace and the pods; nothing that a pool's author wrote reaches a
//! query but names that are checked and quoted here.

use crate::signals::dialect::Dialects;
use std::fmt::Write;

/// Label that marks the elements of an answer that are times of samples.
pub(super) const AGE_MARK: &str = "agentpool_sample_time";

/// One instant query for everything that the dialects want of these pods: the series themselves, and for each pod the time
/// of its oldest series of running requests. None: a name that no namespace or pod can have.
pub(super) fn instant_query(namespace: &str, pods: &[&str], dialects: &Dialects) -> Option<String> {
    if !is_dns_label(namespace) || !pods.iter().all(|pod| is_dns_subdomain(pod)) {
        return None;
    }
    let pods: Vec<String> = pods.iter().map(|pod| regex_escape(pod)).collect();
    let selector = format!(
        "namespace={},pod=~{}",
        quote(namespace),
        quote(&pods.join("|"))
    );
    let wanted: Vec<String> = dialects
        .wanted()
        .iter()
        .map(|name| regex_escape(name))
        .collect();
    let mut query = format!("{{__name__=~{},{selector}}}", quote(&wanted.join("|")));
    for name in dialects.iter().flat_map(|dialect| &dialect.running) {
        // One part a name: timestamp() drops the name, and two names must not become one series.
        let time = format!(
            "min by (pod) (timestamp({{__name__={},{selector}}}))",
            quote(name)
        );
        let _ = write!(
            query,
            " or label_replace({time}, {}, {}, \"\", \"\")",
            quote(AGE_MARK),
            quote(name)
        );
    }
    Some(query)
}

/// RFC 1123 label: a namespace, or the name of a metrics server.
pub(super) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_dns_subdomain(name)
}

/// RFC 1123 subdomain: the name of a pod.
fn is_dns_subdomain(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
        && name
            .chars()
            .all(|c| alphanumeric(c) || c == '-' || c == '.')
}

/// A string literal of the query language (escapes as in Go).
fn quote(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(literal, "\\u{:04x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// A regular expression (RE2) that matches exactly `text`.
fn regex_escape(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::signals::dialect::{CustomMetrics, Dialect};
    use proptest::prelude::*;

    /// Splits a query at its string literals as the query language does: `(outside, literals undone)`.
    fn lex(query: &str) -> Option<(String, Vec<String>)> {
        let (mut outside, mut literals) = (String::new(), Vec::new());
        let mut chars = query.chars();
        while let Some(c) = chars.next() {
            if c != '"' {
                outside.push(c);
                continue;
            }
            let mut literal = String::new();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => match chars.next()? {
                        'u' => {
                            let hex: String = chars.by_ref().take(4).collect();
                            literal.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                        }
                        c @ ('"' | '\\') => literal.push(c),
                        _ => return None,
                    },
                    '\n' => return None,
                    c => literal.push(c),
                }
            }
            outside.push_str("\"\"");
            literals.push(literal);
        }
        Some((outside, literals))
    }

    #[test]
    fn every_selector_has_the_namespace_and_the_pods() {
        let query = instant_query("agents", &["a-0", "b.c"], &Dialects::detect()).unwrap();
        let selectors = query.matches('{').count();
        assert_eq!(selectors, 1 + 3);
        assert_eq!(
            query
                .matches(r#"namespace="agents",pod=~"a-0|b\\.c"}"#)
                .count(),
            selectors,
            "{query}"
        );
    }

    #[test]
    fn names_that_kubernetes_does_not_allow_make_no_query() {
        for namespace in [
            "",
            "A",
            "a b",
            "a\"} or up{a=\"",
            "a.b",
            "-a",
            "a-",
            &"a".repeat(64),
        ] {
            assert_eq!(
                instant_query(namespace, &["a"], &Dialects::detect()),
                None,
                "{namespace}"
            );
        }
        for pod in ["", "a|b", ".*", "a\"", "a\n", "a\\", "A"] {
            assert_eq!(
                instant_query("agents", &["ok", pod], &Dialects::detect()),
                None,
                "{pod}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_the_names_the_query_keeps_its_shape(namespace in ".{0,12}", pod in "(.{0,12}|[a-z\"{}|.]{0,12})", metric in "(.{0,12}|[a-z:\"{}()|,=]{0,12})") {
            let metrics = CustomMetrics { finished: metric, running: "r".into(), waiting: "w".into() };
            let Ok(dialect) = Dialect::custom(&metrics) else { return Ok(()) };
            let dialects = Dialects::only(dialect);
            if let Some(query) = instant_query(&namespace, &[&pod], &dialects) {
                let plain = instant_query("ns", &["pod"], &dialects).unwrap();
                prop_assert_eq!(lex(&query).unwrap().0, lex(&plain).unwrap().0);
            }
        }

        #[test]
        fn a_quoted_text_is_one_literal_with_that_value(text in any::<String>()) {
            let (outside, literals) = lex(&quote(&text)).unwrap();
            prop_assert_eq!((outside.as_str(), literals), ("\"\"", vec![text]));
        }

        #[test]
        fn an_encoded_form_value_has_no_separator_and_decodes_to_itself(text in any::<String>()) {
            let encoded = percent_encode(&text);
            prop_assert!(!encoded.contains(['&', '=', '+', ' ']));
            let mut bytes = Vec::new();
            let mut rest = encoded.as_bytes();
            while let Some((&first, tail)) = rest.split_first() {
                if first == b'%' {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                    rest = &tail[2..];
                } else {
                    bytes.push(first);
                    rest = tail;
                }
            }
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
    }
}
