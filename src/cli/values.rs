//! Parsers of flag values; each error says what would be right.

use crate::units::parse_duration;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A duration within bounds.
pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let value = parse_duration(text).map_err(|e| e.to_string())?;
    if value < min || value > max {
        return Err(format!("must be between {min:?} and {max:?}"));
    }
    Ok(value)
}

/// A number of bytes within bounds: `4194304`, `512Ki`, `4Mi`, `1Gi`. `rule` says the bounds.
pub(super) fn bytes(text: &str, bounds: RangeInclusive<u64>, rule: &str) -> Result<u64, String> {
    let suffixes = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let (digits, factor) = suffixes
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1));
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| bounds.contains(n))
        .ok_or_else(|| format!("must be a number of bytes such as 4Mi, {rule}"))
}

/// A DNS label (RFC 1123), as Kubernetes names namespaces.
pub(super) fn dns_label(text: &str) -> Result<String, String> {
    if is_dns_name(text, 63, false) {
        Ok(text.to_owned())
    } else {
        Err(
            "must be lower-case letters, digits and '-', at most 63, with a letter or digit first and last"
                .to_owned(),
        )
    }
}

/// A DNS subdomain (RFC 1123), as Kubernetes names pods and leases.
pub(super) fn dns_subdomain(text: &str) -> Result<String, String> {
    if is_dns_name(text, 253, true) {
        Ok(text.to_owned())
    } else {
        Err("must be lower-case letters, digits, '-' and '.', at most 253, with a letter or digit first and last"
            .to_owned())
    }
}

fn is_dns_name(text: &str, max: usize, dots: bool) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= max && text.split('.').all(label) && (dots || !text.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_and_without_a_suffix() {
        let bytes = |text: &str| bytes(text, 64 << 10..=1 << 30, "between 64Ki and 1Gi");
        for (text, expected) in [
            ("65536", 65_536),
            ("64Ki", 65_536),
            ("4Mi", 4 << 20),
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "65535",
            "1025Mi",
            "2Gi",
            "-1",
            "4 Mi",
            "99999999999999999999Mi",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_dns_names() {
        assert!(dns_label("a").is_ok());
        assert!(dns_label(&"a".repeat(63)).is_ok());
        for text in ["", "A", "-a", "a-", "a.b", "a_b", "a b", &"a".repeat(64)] {
            assert!(dns_label(text).is_err(), "{text:?}");
        }
        assert!(dns_subdomain("a.b-1").is_ok());
        for text in ["", ".", "a.", ".a", "a..b", "a.-b"] {
            assert!(dns_subdomain(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_duration_out_of_bounds_says_the_bounds() {
        let (min, max) = (Duration::from_secs(5), Duration::from_secs(120));
        assert_eq!(duration("15s", min, max), Ok(Duration::from_secs(15)));
        assert_eq!(
            duration("1s", min, max),
            Err("must be between 5s and 120s".to_owned())
        );
        assert!(duration("soon", min, max).is_err());
    }
}
