use super::{Pod, Ring, Settings};
use crate::signals::{PodSample, Problem};
use std::{sync::Arc, time::Duration};

/// Fastest arrivals that are believed, in requests/s a pod; more is a broken counter.
const FASTEST: f64 = 1e5;

/// Jump that is believed whatever the interval, in requests: two scrapes may lie milliseconds apart.
const LARGEST_JUMP: f64 = 1e3;

/// Samples that must repeat before a pod can count as frozen.
const FROZEN_SAMPLES: u32 = 3;

/// How far from the future a sample may come: scrape and tick read the clock at different moments.
const FUTURE: Duration = Duration::from_secs(1);

/// How much earlier than the last tick a pod may have started and still count as started after it: Kubernetes writes
/// whole seconds.
const START_SLACK: Duration = Duration::from_secs(2);

/// Arrivals over seconds, the past fading with a time constant: the pod's last known rate.
#[derive(Debug, Clone, Copy, Default)]
struct Fading {
    arrivals: f64,
    seconds: f64,
}

impl Fading {
    fn add(&mut self, arrivals: f64, seconds: f64, memory: f64) {
        let kept = memory / (memory + seconds);
        self.arrivals = self.arrivals * kept + arrivals;
        self.seconds = self.seconds * kept + seconds;
    }

    fn rate(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| (self.arrivals / self.seconds).max(0.0))
    }
}

/// What is known of one pod.
#[derive(Debug, Clone)]
pub(super) struct PodState {
    pub(super) name: Arc<str>,
    ready: bool,
    /// When it was last seen to become ready or unready.
    since: Duration,
    /// The last sample that said something new.
    last: Option<PodSample>,
    /// Time of the last sane sample, new or not.
    answered: Duration,
    /// How many samples in a row said what the last one said although something must have moved.
    repeats: u32,
    /// The last sample made no sense beside the one before.
    distrusted: bool,
    /// Requests in the engine, as last believed.
    backlog: f64,
    rate: Fading,
    /// Until when the ring knows it as measured.
    credited: Duration,
    /// Time before the first sample in which it was ready.
    unmeasured: Option<(Duration, Duration)>,
    /// Why the last attempt gave no sample.
    problem: Option<Problem>,
    /// What was remarkable about a sample that was used.
    notice: Option<(Duration, Problem)>,
}

impl PodState {
    pub(super) fn new(pod: &Pod, now: Duration) -> Self {
        Self {
            name: pod.name.clone(),
            ready: pod.ready,
            since: now,
            last: None,
            answered: Duration::ZERO,
            repeats: 0,
            distrusted: false,
            backlog: 0.0,
            rate: Fading::default(),
            credited: now,
            unmeasured: None,
            problem: None,
            notice: None,
        }
    }

    pub(super) fn set_ready(&mut self, ready: bool, now: Duration) {
        if self.ready != ready {
            self.ready = ready;
            self.since = now;
        }
    }

    /// Nothing listened at the last attempt, and there never was a sample: its counters start at zero after that.
    pub(super) fn engine_was_down(&self) -> bool {
        self.last.is_none() && self.problem == Some(Problem::ConnectionRefused)
    }

    /// The last attempt failed.
    pub(super) fn failed(&mut self, problem: Problem) {
        self.problem = Some(problem);
    }

    /// Takes a sample; `born` says that its counters started at zero after the tick before, at `previous`.
    pub(super) fn take(
        &mut self,
        sample: PodSample,
        born: Option<Duration>,
        now: Duration,
        settings: &Settings,
        ring: &mut Ring,
    ) {
        let mut sample = match sample.check() {
            Ok(sample) if sample.at <= now + FUTURE => sample,
            Ok(_) => return self.failed(Problem::FutureTimestamp),
            Err(problem) => return self.failed(problem),
        };
        sample.at = sample.at.min(now);
        let problem = self.problem.take();
        let Some(last) = self.last else {
            return self.first(sample, born, settings, ring);
        };
        if sample.at <= self.answered {
            return; // a metrics server repeats its last sample until the next; or the order of arrival is not that of time
        }
        if is_restart(&last, &sample) {
            self.start_again(sample, Problem::CounterReset, settings, ring);
            self.believe(sample);
            return;
        }
        let lost = sample.at.saturating_sub(last.at) > settings.stale_after;
        if let Some(problem) = problem.filter(|p| lost && p.keeps_requests_away()) {
            self.start_again(sample, problem, settings, ring);
            self.believe(sample);
            return;
        }
        if is_no_news(&last, &sample) {
            self.repeats = self.repeats.saturating_add(1);
            self.answered = sample.at;
            return;
        }
        let arrivals = arrivals_between(&last, &sample);
        let seconds = (sample.at - last.at).as_secs_f64();
        if arrivals > FASTEST.mul_add(seconds, LARGEST_JUMP) {
            self.start_again(sample, Problem::ImplausibleJump, settings, ring);
            self.last = Some(sample);
            self.answered = sample.at;
            self.distrusted = true;
            return;
        }
        ring.add_arrivals(last.at, sample.at, arrivals);
        self.rate
            .add(arrivals, seconds, settings.memory.as_secs_f64());
        self.believe(sample);
    }

    fn first(
        &mut self,
        sample: PodSample,
        born: Option<Duration>,
        settings: &Settings,
        ring: &mut Ring,
    ) {
        let all = sample.finished + sample.backlog();
        let span = |from: Duration| sample.at.saturating_sub(from).as_secs_f64();
        match born
            .filter(|&from| span(from) > 0.0 && all <= FASTEST.mul_add(span(from), LARGEST_JUMP))
        {
            Some(from) => {
                ring.add_arrivals(from, sample.at, all);
                self.rate
                    .add(all, span(from), settings.memory.as_secs_f64());
                self.credited = from;
            }
            None => {
                if self.ready && self.since < sample.at {
                    self.unmeasured = Some((self.since, sample.at));
                }
                self.credited = sample.at;
            }
        }
        self.believe(sample);
    }

    fn believe(&mut self, sample: PodSample) {
        self.last = Some(sample);
        self.answered = sample.at;
        self.backlog = sample.backlog();
        self.repeats = 0;
        self.distrusted = false;
    }

    /// The interval up to `sample` was not measured: it keeps the last known rate.
    fn start_again(
        &mut self,
        sample: PodSample,
        why: Problem,
        settings: &Settings,
        ring: &mut Ring,
    ) {
        self.settle(sample.at, settings, ring);
        self.credited = self.credited.max(sample.at);
        self.notice = Some((sample.at, why));
    }

    /// Writes the last known rate into the time since the last sample: what [`PodState::assumed`] said until now.
    pub(super) fn settle(&self, until: Duration, settings: &Settings, ring: &mut Ring) {
        if let (Some(last), Some(rate)) = (self.last, self.rate.rate()) {
            let until = until.min(self.assumed_until(until, settings));
            let seconds = until.saturating_sub(last.at).as_secs_f64();
            ring.add_arrivals(last.at, until, rate * seconds);
        }
    }

    /// Tells the ring what should have been and what was measured up to `now`.
    pub(super) fn credit(
        &mut self,
        previous: Duration,
        now: Duration,
        settings: &Settings,
        ring: &mut Ring,
    ) {
        if self.expected(now, settings) {
            ring.add_expected(previous, now);
        }
        // One sample alone is no evidence of a rate; the second one credits the time since the first.
        if self.fresh(now, settings) && self.rate().is_some() {
            ring.add_known(self.credited, now);
            self.credited = self.credited.max(now);
        }
    }

    /// Its samples are new and make sense.
    pub(super) fn fresh(&self, now: Duration, settings: &Settings) -> bool {
        self.last.is_some()
            && !self.distrusted
            && now.saturating_sub(self.answered) <= settings.stale_after
            && !self.frozen(now, settings)
    }

    /// It answers, but nothing moves that must move.
    fn frozen(&self, now: Duration, settings: &Settings) -> bool {
        self.repeats >= FROZEN_SAMPLES
            && self
                .last
                .is_some_and(|last| now.saturating_sub(last.at) > settings.frozen_after)
    }

    /// It should be measured: it is ready, or answers anyway, or was ready until a moment ago.
    pub(super) fn expected(&self, now: Duration, settings: &Settings) -> bool {
        self.ready
            || self.fresh(now, settings)
            || (self.last.is_some() && now <= self.assumed_until(now, settings))
    }

    /// Until when its load is assumed although nobody measures it. An unready pod gets no new requests, and its old ones
    /// are soon over or cut.
    fn assumed_until(&self, now: Duration, settings: &Settings) -> Duration {
        if self.ready || self.fresh(now, settings) {
            now
        } else {
            self.since + settings.unready_grace
        }
    }

    /// The stretches of time of which the ring does not know its arrivals, each with whether the pod was fresh then.
    pub(super) fn gaps(
        &self,
        now: Duration,
        settings: &Settings,
    ) -> [Option<(Duration, Duration)>; 2] {
        let open = match self.last {
            Some(last) => Some((last.at, self.assumed_until(now, settings).min(now))),
            None if self.ready => Some((self.since, now)),
            None => None,
        };
        [self.unmeasured, open.filter(|(from, to)| from < to)]
    }

    /// The last gap before a sample that nothing covers, and why.
    pub(super) fn noticed(&self) -> Option<(Duration, Problem)> {
        self.notice
    }

    /// Its last known rate, in requests/s. None: it was never measured.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.rate()
    }

    /// Its last known backlog. None: it was never sampled.
    pub(super) fn backlog(&self) -> Option<f64> {
        self.last.map(|_| self.backlog)
    }

    /// Age of its last sane sample.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        self.last.map(|_| now.saturating_sub(self.answered))
    }

    /// What is wrong with it, if anything is.
    pub(super) fn trouble(&self, now: Duration, settings: &Settings) -> Option<Problem> {
        if self.fresh(now, settings) {
            return self.problem.or_else(|| {
                self.notice
                    .filter(|(at, _)| now.saturating_sub(*at) <= settings.stale_after)
                    .map(|(_, problem)| problem)
            });
        }
        if !self.expected(now, settings) {
            return None;
        }
        Some(self.problem.unwrap_or(match self.last {
            None => Problem::NeverSampled,
            Some(_) if self.distrusted => Problem::ImplausibleJump,
            Some(_) if self.frozen(now, settings) => Problem::Frozen,
            Some(_) => Problem::Stale,
        }))
    }
}

/// The pod's counters started at zero after the tick at `previous`: it did not exist then, or nothing listened.
pub(super) fn is_born(pod: &Pod, known: Option<&PodState>, previous: Duration) -> bool {
    match known {
        Some(state) => state.engine_was_down(),
        None => pod
            .started
            .is_some_and(|started| started + START_SLACK >= previous),
    }
}

fn is_restart(last: &PodSample, next: &PodSample) -> bool {
    next.finished < last.finished
        || matches!((last.process_start, next.process_start), (Some(a), Some(b)) if a.to_bits() != b.to_bits())
}

/// Conservation: what arrived either left or is still there. Exact between two samples of one engine.
fn arrivals_between(last: &PodSample, next: &PodSample) -> f64 {
    (next.finished - last.finished) + (next.backlog() - last.backlog())
}

/// The sample repeats the last one although something must have moved, so it is no evidence of zero arrivals: requests
/// run and no token was processed; or, where the engine counts no tokens or is idle, its process used no CPU time.
///
/// An idle engine without a CPU witness is believed: one value cannot tell it from a frozen exporter.
fn is_no_news(last: &PodSample, next: &PodSample) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let still = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if same(a, b));
    let load = same(last.finished, next.finished)
        && same(last.running, next.running)
        && same(last.waiting, next.waiting);
    let cpu = still(last.cpu_seconds, next.cpu_seconds);
    let witness = if next.backlog() > 0.0 {
        match next.tokens {
            Some(_) => still(last.tokens, next.tokens),
            None => cpu || next.cpu_seconds.is_none(),
        }
    } else {
        cpu
    };
    load && witness
}
