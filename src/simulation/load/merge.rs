use super::{AgentLoad, Request};

/// All loads as one stream, in order of time: which load, and the request. Ends at `until` seconds.
pub fn merge(
    loads: &[AgentLoad],
    seed: u64,
    until: f64,
) -> impl Iterator<Item = (usize, Request)> + Send + use<> {
    let mut streams: Vec<_> = loads
        .iter()
        .map(|load| load.requests(seed).peekable())
        .collect();
    std::iter::from_fn(move || {
        let mut first: Option<(usize, f64)> = None;
        for (index, stream) in streams.iter_mut().enumerate() {
            if let Some(request) = stream.peek() {
                // Of two at the same time, the first load's comes first.
                if first.is_none_or(|(_, at)| request.at < at) {
                    first = Some((index, request.at));
                }
            }
        }
        let (index, _) = first.filter(|(_, at)| *at < until)?;
        Some((index, streams[index].next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::load::{Arrivals, Work};

    #[test]
    fn loads_are_merged_in_order_of_time_and_end_in_time() {
        let even = |agent: &str, rate| AgentLoad {
            agent: agent.to_owned(),
            arrivals: Arrivals::Constant { rate },
            work: Work::Deterministic,
        };
        let merged = merge(&[even("a", 1.0), even("b", 2.0)], 1, 2.0);
        let order: Vec<(usize, f64)> = merged.map(|(index, request)| (index, request.at)).collect();
        assert_eq!(order, [(1, 0.5), (0, 1.0), (1, 1.0), (1, 1.5)]);
    }
}
