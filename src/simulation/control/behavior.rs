//! The part of a HorizontalPodAutoscaler behind its metrics: what becomes of the replicas that a metric asks for.

use std::collections::VecDeque;

/// Time between two looks, in seconds (`--horizontal-pod-autoscaler-sync-period`).
pub(super) const SYNC: f64 = 15.0;
/// A ratio of metric to target closer to 1 changes nothing (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;
/// `behavior.scaleDown.stabilizationWindowSeconds`, the default.
const WINDOW: f64 = 300.0;
/// `periodSeconds` of the default policies of `behavior.scaleUp`: 100 % or 4 pods, whichever is more.
const PERIOD: f64 = 15.0;

/// The default `behavior` of one HorizontalPodAutoscaler (autoscaling/v2, Kubernetes 1.36).
///
/// Scale-down: the highest recommendation of the last 300 s, then 100 % per 15 s, which bounds nothing. Scale-up: at once, by 100 % or
/// 4 pods in any 15 s, whichever is more. Source: kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale ("Default
/// Behavior") and `pkg/controller/podautoscaler/horizontal.go` of Kubernetes (`stabilizeRecommendationWithBehaviors`,
/// `calculateScaleUpLimitWithScalingRules`).
#[derive(Debug, Clone, Default)]
pub(super) struct Behavior {
    /// When what was recommended.
    recommended: VecDeque<(f64, u32)>,
    /// When how many replicas were added (above zero) or removed.
    changed: VecDeque<(f64, i64)>,
}

impl Behavior {
    /// The replicas to ask for at `now` in seconds, given those asked for and those that the metrics recommend; `bounds` are
    /// minReplicas (≥ 1) and maxReplicas. With no replica it is switched off, as the real one is.
    pub fn follow(&mut self, now: f64, current: u32, recommended: u32, bounds: (u32, u32)) -> u32 {
        let (min, max) = bounds;
        if current == 0 {
            return 0;
        }
        if self.recommended.is_empty() {
            self.recommended.push_back((now, current));
        }
        while self
            .recommended
            .front()
            .is_some_and(|(at, _)| *at <= now - WINDOW)
        {
            self.recommended.pop_front();
        }
        let highest = self.recommended.iter().map(|(_, replicas)| *replicas).max();
        self.recommended.push_back((now, recommended));
        let stable = current.clamp(recommended, highest.unwrap_or(0).max(recommended));
        let next = if current < min || current > max {
            current.clamp(min, max)
        } else if stable > current {
            stable.min(self.limit(now, current)).max(current).min(max)
        } else {
            stable.max(min)
        };
        if next != current {
            self.changed
                .push_back((now, i64::from(next) - i64::from(current)));
        }
        next
    }

    /// The most that may be asked for now.
    fn limit(&mut self, now: f64, current: u32) -> u32 {
        while self
            .changed
            .front()
            .is_some_and(|(at, _)| *at <= now - PERIOD)
        {
            self.changed.pop_front();
        }
        let changed: i64 = self.changed.iter().map(|(_, by)| by).sum();
        let before = (i64::from(current) - changed).max(0);
        u32::try_from((before * 2).max(before + 4)).unwrap_or(u32::MAX)
    }
}

/// Whether a ratio of metric to target is too close to 1 to change anything.
pub(super) fn within_tolerance(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

/// `ceil(metric / per)` as replicas; `metric` ≥ 0, `per` > 0.
pub(super) fn replicas_for(metric: f64, per: f64) -> u32 {
    // A cast saturates, so that an absurd metric asks for all there can be.
    (metric / per).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: (u32, u32) = (1, 100);

    #[test]
    fn a_scale_up_is_followed_at_once_by_four_pods_or_double_whichever_is_more() {
        let mut behavior = Behavior::default();
        assert_eq!(behavior.follow(0.0, 1, 50, ANY), 5);
        assert_eq!(behavior.follow(15.0, 5, 50, ANY), 10);
        assert_eq!(behavior.follow(30.0, 10, 50, ANY), 20);
        assert_eq!(behavior.follow(45.0, 20, 24, ANY), 24);
    }

    #[test]
    fn the_limit_counts_from_where_the_period_began() {
        let mut behavior = Behavior::default();
        assert_eq!(behavior.follow(0.0, 4, 6, ANY), 6);
        // Ten seconds later the period still began with four: eight is the limit, not twelve.
        assert_eq!(behavior.follow(10.0, 6, 50, ANY), 8);
    }

    #[test]
    fn a_scale_down_waits_until_the_highest_recommendation_is_300_seconds_old() {
        let mut behavior = Behavior::default();
        assert_eq!(behavior.follow(0.0, 8, 8, ANY), 8);
        for tick in 1..20u32 {
            assert_eq!(behavior.follow(f64::from(tick) * 15.0, 8, 2, ANY), 8);
        }
        assert_eq!(behavior.follow(300.0, 8, 2, ANY), 2, "and then all at once");
    }

    #[test]
    fn what_it_begins_with_counts_as_recommended() {
        let mut behavior = Behavior::default();
        assert_eq!(behavior.follow(0.0, 8, 1, ANY), 8);
        assert_eq!(behavior.follow(285.0, 8, 1, ANY), 8);
        assert_eq!(behavior.follow(300.0, 8, 1, ANY), 1);
    }

    #[test]
    fn a_higher_recommendation_in_the_window_bounds_how_far_it_falls() {
        let mut behavior = Behavior::default();
        behavior.follow(0.0, 8, 8, ANY);
        behavior.follow(150.0, 8, 5, ANY);
        assert_eq!(behavior.follow(300.0, 8, 2, ANY), 5);
        assert_eq!(behavior.follow(450.0, 5, 2, ANY), 2);
    }

    #[test]
    fn bounds_hold_and_no_replica_switches_it_off() {
        let mut behavior = Behavior::default();
        assert_eq!(behavior.follow(0.0, 3, 50, (1, 4)), 4);
        assert_eq!(behavior.follow(1000.0, 4, 0, (2, 4)), 2);
        assert_eq!(Behavior::default().follow(0.0, 0, 50, ANY), 0);
        assert_eq!(Behavior::default().follow(0.0, 9, 9, (1, 4)), 4);
    }

    #[test]
    fn an_absurd_metric_asks_for_all_there_can_be() {
        assert_eq!(replicas_for(f64::INFINITY, 1.0), u32::MAX);
        assert_eq!(replicas_for(10.1, 5.0), 3);
        assert_eq!(replicas_for(0.0, 5.0), 0);
    }
}
