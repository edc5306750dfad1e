//! Which of many sources has the next event: a tournament over their times.

/// When each source has its next event; `f64::INFINITY` where it has none. The first is known at once, a change costs the
/// logarithm of the number of sources. Of equal times the smaller source is first.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Agenda {
    times: Vec<f64>,
    /// A binary tree in one list: the winner of each match, the final at 1; the leaves are `times`.
    winners: Vec<u32>,
}

impl Agenda {
    /// This many sources without events.
    pub fn new(sources: usize) -> Self {
        let size = sources.next_power_of_two().max(2);
        let mut agenda = Self {
            times: vec![f64::INFINITY; size],
            winners: vec![0; size],
        };
        agenda.play_all();
        agenda
    }

    fn play_all(&mut self) {
        (1..self.times.len())
            .rev()
            .for_each(|node| self.winners[node] = self.play(node));
    }

    /// The winner of the two below a node.
    #[inline]
    fn play(&self, node: usize) -> u32 {
        let size = self.times.len();
        let below = |node: usize| {
            if node >= size {
                (node - size) as u32
            } else {
                self.winners[node]
            }
        };
        let (left, right) = (below(2 * node), below(2 * node + 1));
        if self.times[left as usize] <= self.times[right as usize] {
            left
        } else {
            right
        }
    }

    /// Makes room for sources up to this one.
    pub fn reach(&mut self, source: usize) {
        if source >= self.times.len() {
            let size = (source + 1).next_power_of_two();
            self.times.resize(size, f64::INFINITY);
            self.winners = vec![0; size];
            self.play_all();
        }
    }

    /// The source's next event is at `at`.
    #[inline]
    pub fn set(&mut self, source: usize, at: f64) {
        self.times[source] = at;
        let mut node = (source + self.times.len()) / 2;
        while node >= 1 {
            self.winners[node] = self.play(node);
            node /= 2;
        }
    }

    /// The first event and whose it is.
    #[inline]
    pub fn first(&self) -> (f64, usize) {
        let source = self.winners[1] as usize;
        (self.times[source], source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_the_earliest_whatever_was_changed(
            changes in proptest::collection::vec((0usize..40, prop_oneof![(0u32..50).prop_map(f64::from), Just(f64::INFINITY)]), 1..200),
        ) {
            let mut agenda = Agenda::new(3);
            let mut times = [f64::INFINITY; 64];
            for (source, at) in changes {
                agenda.reach(source);
                agenda.set(source, at);
                times[source] = at;
                let first = (0..64).min_by(|a, b| times[*a].total_cmp(&times[*b])).map(|i| (times[i], i));
                if first.is_some_and(|f| f.0 < f64::INFINITY) {
                    prop_assert_eq!(Some(agenda.first()), first);
                } else {
                    prop_assert_eq!(agenda.first().0, f64::INFINITY);
                }
            }
        }
    }
}
