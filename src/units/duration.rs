use super::UnitError;
use std::time::Duration;

/// Parses a duration as Go and Kubernetes write it: `500ms`, `1s`, `2m30s`, `1h`.
///
/// # Errors
/// When the text is no such duration or is above 24 h.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let err = || {
        UnitError::new(
            text,
            "a duration such as \"500ms\", \"30s\" or \"2m30s\" (at most 24h)",
        )
    };
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest
            .get(..digits)
            .and_then(|d| d.parse().ok())
            .ok_or_else(err)?;
        rest = rest.get(digits..).unwrap_or_default();
        let (unit, after) = [
            ("ms", Duration::from_millis(1)),
            ("s", Duration::from_secs(1)),
            ("m", Duration::from_secs(60)),
            ("h", Duration::from_secs(3600)),
        ]
        .into_iter()
        .find_map(|(suffix, unit)| rest.strip_prefix(suffix).map(|after| (unit, after)))
        .ok_or_else(err)?;
        total = total.saturating_add(unit.saturating_mul(number));
        rest = after;
    }
    if text.is_empty() || total > Duration::from_secs(86_400) {
        Err(err())
    } else {
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("1s", 1000),
            ("500ms", 500),
            ("2m30s", 150_000),
            ("24h", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "1",
            "s",
            "-1s",
            "1.5s",
            "25h",
            "1d",
            "99999999999s",
            "1s ",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
