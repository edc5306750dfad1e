//! The exponential distribution without a logarithm in 99 of 100 draws.

use std::sync::OnceLock;

/// Layers of equal area under exp(-x), stacked (Marsaglia and Tsang, The ziggurat method, 2000).
const LAYERS: usize = 256;
/// Where the lowest layer ends and the tail begins.
pub(super) const TAIL: f64 = 7.697_117_470_131_05;
/// Area of a layer; the lowest one's includes the tail.
const AREA: f64 = 0.003_949_659_822_581_557;

/// Right ends of the layers from the lowest (with the tail as a rectangle) up, and the density there.
#[derive(Debug)]
pub(super) struct Ziggurat {
    ends: [f64; LAYERS + 1],
    heights: [f64; LAYERS + 1],
}

/// What two draws say together.
pub(super) enum Drawn {
    /// This is it.
    Value(f64),
    /// It lies beyond [`TAIL`], which forgets: the tail is the distribution again.
    Beyond,
    /// It may be this, if a number up to `high` from `low` on lies below exp(-x).
    Perhaps {
        /// The value.
        x: f64,
        /// Density at the layer's lower and upper end.
        low: f64,
        /// See `low`.
        high: f64,
    },
}

impl Ziggurat {
    /// The layers; the same everywhere.
    pub fn layers() -> &'static Self {
        static LAYERS_OF_ALL: OnceLock<Ziggurat> = OnceLock::new();
        LAYERS_OF_ALL.get_or_init(|| {
            let mut ends = [0.0; LAYERS + 1];
            ends[0] = AREA * libm::exp(TAIL);
            ends[1] = TAIL;
            for i in 2..LAYERS {
                let before = ends[i - 1];
                ends[i] = -libm::log(AREA / before + libm::exp(-before));
            }
            let heights = ends.map(|end| libm::exp(-end));
            Self { ends, heights }
        })
    }

    /// What 64 random bits draw: 8 choose the layer, 53 others the place in it.
    #[inline]
    pub fn draw(&self, bits: u64) -> Drawn {
        let layer = (bits & 0xff) as usize;
        let x = (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64) * self.ends[layer];
        if x < self.ends[layer + 1] {
            Drawn::Value(x)
        } else if layer == 0 {
            Drawn::Beyond
        } else {
            Drawn::Perhaps {
                x,
                low: self.heights[layer],
                high: self.heights[layer + 1],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_have_equal_areas_and_end_at_nothing() {
        let Ziggurat { ends, heights } = Ziggurat::layers();
        for i in 1..LAYERS {
            let area = ends[i] * (heights[i + 1] - heights[i]);
            assert!((area / AREA - 1.0).abs() < 1e-9, "{i}: {area}");
        }
        // The lowest: its rectangle and the tail.
        let lowest = TAIL * heights[1] + libm::exp(-TAIL);
        assert!((lowest / AREA - 1.0).abs() < 1e-9, "{lowest}");
        assert!(ends.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!((ends[LAYERS], heights[LAYERS]), (0.0, 1.0));
    }
}
