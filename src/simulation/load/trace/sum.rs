use std::sync::Arc;

use super::{EVERYONE, Piece, Recording, Trace};

impl Trace {
    /// Tables of rates as one, the clients of a pool for instance: at each moment the sum of all rates. `None` when one is
    /// something else, or without any.
    pub fn sum(traces: &[Self]) -> Option<Self> {
        let rates = |recording: &Recording| match recording {
            Recording::Rates(pieces) => Some(pieces.clone()),
            Recording::Requests(_) => None,
        };
        let recordings = traces.iter().flat_map(|trace| trace.agents.values());
        let parts: Vec<Arc<[Piece]>> = recordings.map(rates).collect::<Option<_>>()?;
        let format = traces.first()?.format;
        let everyone = Recording::Rates(added(&parts).into());
        Some(Self {
            format,
            agents: [(EVERYONE.to_owned(), everyone)].into(),
        })
    }
}

/// The sum of rates, until the last of them ends.
fn added(parts: &[Arc<[Piece]>]) -> Vec<Piece> {
    // Where each part is: its next piece, and when the one before it ends.
    let mut cursors: Vec<(usize, f64)> = parts.iter().map(|_| (0, 0.0)).collect();
    let (mut sum, mut now) = (Vec::new(), 0.0);
    loop {
        let (mut rate, mut until) = (0.0, f64::INFINITY);
        for (part, (next, end)) in parts.iter().zip(&mut cursors) {
            while *end <= now && *next < part.len() {
                *end += part[*next].seconds;
                *next += 1;
            }
            if *end > now {
                rate += part[*next - 1].rate;
                until = until.min(*end);
            }
        }
        if until.is_infinite() {
            return sum;
        }
        let seconds = until - now;
        sum.push(Piece { seconds, rate });
        now = until;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn part(pieces: &[(f64, f64)]) -> Arc<[Piece]> {
        let piece = |(seconds, rate): &(f64, f64)| Piece {
            seconds: *seconds,
            rate: *rate,
        };
        pieces.iter().map(piece).collect()
    }

    #[test]
    fn rates_add_up_from_boundary_to_boundary() {
        let parts = [part(&[(600.0, 1.0), (600.0, 2.0)]), part(&[(900.0, 10.0)])];
        let expected = part(&[(600.0, 11.0), (300.0, 12.0), (300.0, 2.0)]);
        assert_eq!(added(&parts), expected[..]);
        assert_eq!(added(&[]), []);
    }

    #[test]
    fn requests_are_not_added() {
        let trace = Trace {
            format: Format::Arrivals,
            agents: [(EVERYONE.to_owned(), Recording::default())].into(),
        };
        assert_eq!(Trace::sum(&[trace]), None);
        assert_eq!(Trace::sum(&[]), None);
    }
}
