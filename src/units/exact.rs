//! Floats in records: the shortest decimal text that reads back to the same bits, as a JSON string, because readers of JSON
//! numbers may round (serde_json does, by a unit in the last place).

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a float.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{x:?}"))
}

/// Reads a float.
///
/// # Errors
/// When there is no text, or one that is no number.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let text = String::deserialize(from)?;
    text.parse()
        .map_err(|_| D::Error::custom(format_args!("{text:?} is not a number such as \"0.35\"")))
}

/// The same for a float that may be absent.
pub mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "super")] f64);

    /// Writes a float or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(x: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        x.map(Exact).serialize(to)
    }

    /// Reads a float or null.
    ///
    /// # Errors
    /// When there is neither null nor a text that is a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(from)?.map(|x| x.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize)]
    struct Pair {
        #[serde(with = "crate::units::exact")]
        one: f64,
        #[serde(with = "crate::units::exact::option")]
        other: Option<f64>,
    }

    proptest! {
        #[test]
        fn every_float_reads_back_to_the_same_bits(bits in any::<u64>(), is_there in any::<bool>()) {
            let x = f64::from_bits(bits);
            prop_assume!(!x.is_nan());
            let text = serde_json::to_string(&Pair { one: x, other: is_there.then_some(x) }).unwrap();
            let pair: Pair = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(pair.one.to_bits(), bits);
            prop_assert_eq!(pair.other.map(f64::to_bits), is_there.then_some(bits));
        }
    }

    #[test]
    fn what_is_no_number_is_refused_with_its_text() {
        let error = serde_json::from_str::<Pair>(r#"{"one": "many", "other": null}"#);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("\"many\" is not a number")
        );
    }
}
