//! Depth first through the menus, cheapest lines first, leaving out what cannot be better than the best so far.

use super::Cost;
use super::packing::Packing;

/// A search under way.
pub(super) struct Search {
    bounds: Vec<Cost>,
    /// The best choice so far.
    pub best: Option<(Cost, Vec<usize>)>,
    chosen: Vec<usize>,
    /// Steps that are left; 0: it was cut short.
    pub steps: u32,
}

impl Search {
    /// A search that begins with a choice that fits, if there is one.
    pub fn from(packing: &Packing<'_>, start: Option<Vec<usize>>) -> Self {
        Self {
            bounds: packing.bounds(),
            best: start.map(|choice| (packing.total(&choice), choice)),
            chosen: vec![0; packing.table.len()],
            steps: packing.limits.steps,
        }
    }

    /// Goes on with agent `i`, when those before it cost `so_far`.
    pub fn descend(&mut self, packing: &mut Packing<'_>, i: usize, so_far: Cost) {
        if i == packing.table.len() {
            if (packing.limits.fits)(&self.chosen) {
                self.best = Some((so_far, self.chosen.clone()));
            }
            return;
        }
        for k in 0..packing.order[i].len() {
            if self.steps == 0 {
                return;
            }
            let at = packing.order[i][k];
            let table = packing.table;
            let line = &table[i][at];
            let cost = so_far + line.cost;
            let hopeless = self
                .best
                .as_ref()
                .is_some_and(|(best, _)| cost + self.bounds[i + 1] >= *best);
            if hopeless {
                return; // lines are in order of cost
            }
            self.steps -= 1;
            if packing.take(line) {
                self.chosen[i] = at;
                self.descend(packing, i + 1, cost);
                packing.give_back(line);
            }
        }
    }
}
