use super::{Controller, Sight, Wish};

/// Never moves: what the run begins with, which is settled with equal shares, stays.
///
/// "Never worse than doing nothing" is measured against it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold;

impl Controller for Hold {
    fn interval(&self) -> f64 {
        3600.0
    }

    fn decide(&mut self, _: &Sight<'_>, _: &mut Wish) {}
}
