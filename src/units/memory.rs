use super::UnitError;
use super::gpus::parse_decimal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// GPU memory in MiB.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mebibytes(pub u64);

impl Mebibytes {
    const EXPECTED: &'static str =
        "an amount of memory such as \"500Mi\", \"16Gi\" or \"1.5Gi\" (above 0, at most 16Ti)";
    const MAX: u64 = 16 * 1024 * 1024;

    /// Parses a Kubernetes memory quantity (`Mi`, `Gi`, `Ti`, `M`, `G`, or bytes), rounded up to whole MiB.
    ///
    /// # Errors
    /// When the text is no such amount, is zero, or is above 16 TiB.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let err = || UnitError::new(text, Self::EXPECTED);
        let (number, bytes_per_unit) = [
            ("Ki", 1u128 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
        ]
        .into_iter()
        .find_map(|(suffix, bytes)| text.strip_suffix(suffix).map(|number| (number, bytes)))
        .unwrap_or((text, 1));
        let thousandths = parse_decimal(number, 3).ok_or_else(err)?;
        let bytes = u128::from(thousandths) * bytes_per_unit / 1000;
        let mebibytes = bytes.div_ceil(1 << 20);
        match u64::try_from(mebibytes) {
            Ok(mebibytes @ 1..=Self::MAX) => Ok(Self(mebibytes)),
            _ => Err(err()),
        }
    }
}

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 && self.0.is_multiple_of(1024) {
            write!(f, "{}Gi", self.0 / 1024)
        } else {
            write!(f, "{}Mi", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_up_to_whole_mebibytes() {
        for (text, mib) in [
            ("500Mi", 500),
            ("16Gi", 16384),
            ("1.5Gi", 1536),
            ("1", 1),
            ("1G", 954),
            ("3000M", 2862),
        ] {
            assert_eq!(Mebibytes::parse(text), Ok(Mebibytes(mib)), "{text}");
        }
    }

    #[test]
    fn zero_negative_and_absurd_amounts_are_refused() {
        for text in ["", "0", "-1Gi", "1Pi", "Gi", "17Ti", "1e9", "NaN"] {
            assert!(Mebibytes::parse(text).is_err(), "{text}");
        }
    }
}
