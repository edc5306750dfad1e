//! Floats as the integers of their bits: no decimal digits that a reader could round.

pub(super) mod one {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
        x.to_bits().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<f64, D::Error> {
        let x = f64::from_bits(u64::deserialize(from)?);
        if x.is_finite() {
            Ok(x)
        } else {
            Err(D::Error::custom(format!(
                "{x}: expected the bits of a finite number"
            )))
        }
    }
}

pub(super) mod array {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct One(#[serde(with = "super::one")] f64);

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        xs: &[f64; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(xs.iter().map(|x| x.to_bits()))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[f64; N], D::Error> {
        let xs: Vec<f64> = Vec::<One>::deserialize(from)?
            .into_iter()
            .map(|x| x.0)
            .collect();
        let found = xs.len();
        xs.try_into()
            .map_err(|_| D::Error::invalid_length(found, &format!("{N} numbers").as_str()))
    }
}
