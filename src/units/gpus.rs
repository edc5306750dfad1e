use super::UnitError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

/// A GPU share in thousandths of one GPU: 350 is 35 % of a GPU, 2500 two and a half GPUs.
///
/// Integers keep the laws exact: sums do not depend on order and the same input gives the same bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MilliGpus(pub u64);

impl MilliGpus {
    /// No GPU.
    pub const ZERO: Self = Self(0);
    /// One whole GPU.
    pub const ONE: Self = Self(1000);

    const EXPECTED: &'static str =
        "a number of GPUs such as 4, \"0.35\" or \"350m\" (whole milli-GPUs, at most 65536 GPUs)";

    /// Whole GPUs as milli-GPUs.
    pub const fn whole(gpus: u64) -> Self {
        Self(gpus.saturating_mul(1000))
    }

    /// The share as GPUs, for display and for the policies' arithmetic.
    pub fn as_gpus(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Parses a Kubernetes quantity of GPUs: `4`, `0.35` or `350m`; finer than a milli-GPU is refused.
    ///
    /// # Errors
    /// When the text is no such number, is negative, or is above 65536 GPUs.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let err = || UnitError::new(text, Self::EXPECTED);
        let milli = match text.strip_suffix('m') {
            Some(milli) => parse_decimal(milli, 0).ok_or_else(err)?,
            None => parse_decimal(text, 3).ok_or_else(err)?,
        };
        if milli > 65_536_000 {
            Err(err())
        } else {
            Ok(Self(milli))
        }
    }

    /// `self - other`, or zero when that would be negative.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// Parses `12` or `12.5` as an integer with `scale` decimals; `None` for anything else or for finer digits.
pub(super) fn parse_decimal(text: &str, scale: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || !digits(whole) || !digits(fraction) {
        return None;
    }
    if text.contains('.') && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let padded = format!("{fraction:0<scale$}");
    let fraction: u64 = if padded.is_empty() {
        0
    } else {
        padded.parse().ok()?
    };
    whole
        .checked_mul(10u64.pow(u32::try_from(scale).ok()?))?
        .checked_add(fraction)
}

impl fmt::Display for MilliGpus {
    /// The canonical Kubernetes quantity: `350m`, `2`, `2500m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{}", self.0 / 1000)
        } else {
            write!(f, "{}m", self.0)
        }
    }
}

impl Add for MilliGpus {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MilliGpus {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for MilliGpus {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Sum for MilliGpus {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, milli) in [
            ("4", 4000),
            ("0.35", 350),
            ("350m", 350),
            ("0", 0),
            ("1.5", 1500),
            ("0.100000", 100),
            ("2500m", 2500),
        ] {
            assert_eq!(MilliGpus::parse(text), Ok(MilliGpus(milli)), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_of_whole_milli_gpus_is_refused_with_what_would_be_right() {
        for text in [
            "",
            "-1",
            "1.",
            ".5",
            "0.0001",
            "1e3",
            "NaN",
            "inf",
            "0.5m",
            "1k",
            "1 ",
            "70000",
            "99999999999999999999",
        ] {
            let err = MilliGpus::parse(text)
                .map(|g| g.to_string())
                .err()
                .map(|e| e.to_string());
            assert!(
                err.as_deref().is_some_and(|e| e.contains("350m")),
                "{text}: {err:?}"
            );
        }
    }

    #[test]
    fn display_is_the_canonical_quantity() {
        assert_eq!(MilliGpus(350).to_string(), "350m");
        assert_eq!(MilliGpus(2000).to_string(), "2");
    }
}
