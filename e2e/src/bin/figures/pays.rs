//! Whether moving GPUs pays: latencies of a pool beside its static twin under the same arrivals, over several seeds.
//!
//! The demonstration's scene: four agents on eight whole GPUs, two at first; the twin, on GPUs of its own, keeps two each. Once under the
//! built-in drift, once under the real trace `four_agent_B`, a section of half an hour each run; both 30 times as fast as recorded and at
//! a mean of 55 % of what the GPUs serve. A pod is ready after 2 s, a minute of the recorded time.
//! All is real but the GPUs. Latency counts from the moment at which a request was due. Every run waits for its open requests.
#![forbid(unsafe_code)]

use std::time::Duration;

use agentpool::cli::traces;
use agentpool::simulation::load::trace::{Recorded, Recording, Trace};
use agentpool::simulation::load::{Arrivals, Replay, Scaling};
use agentpool_e2e::controlplane::binaries;
use agentpool_e2e::controlplane::{ControlPlane, Options};
use agentpool_e2e::demo::scene::{Choice, Scene};
use agentpool_e2e::demo::summary::{Outcome, Part};
use agentpool_e2e::demo::world::{Steps, World};
use agentpool_e2e::figures::paired::ratio;
use agentpool_e2e::figures::{Figure, publish};
use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};

/// Seeds of the built-in drift, and how long the load of a run lasts: an hour of the recorded time. In shorter ones hardly anybody is ever
/// overloaded.
const SEEDS: u64 = 10;
const DRIFT: Duration = Duration::from_secs(120);
/// How long the load of a section of the trace lasts.
const SECTION: Duration = Duration::from_secs(60);
/// Runs at the same time, each on a control plane of its own. One keeps half a core busy.
const AT_ONCE: usize = 2;
/// How many times as fast as recorded.
const FASTER: f64 = 30.0;
/// The trace, its length in seconds as recorded, and how many sections make it up.
const TRACE: &str = "four_agent_B";
const TRACE_SECONDS: f64 = 10_800.0;
const SECTIONS: u64 = 6;
/// How long the requests that are open when the load ends may take.
const SETTLE: Duration = Duration::from_secs(180);

fn scene(seed: u64, length: Duration) -> Result<Scene> {
    let length = format!("{}s", length.as_secs());
    let choice = Choice::read("drift", &length, "2s", &seed.to_string(), "WaterFilling")?;
    Ok(Scene::of(&choice))
}

/// The same scene under a section of the trace, thinned out so that each agent has the same mean rate over the whole trace as under the drift.
fn section_of(trace: &Trace, section: u64) -> Result<Scene> {
    let mut scene = scene(section + 1, SECTION)?;
    for load in &mut scene.loads {
        let (Arrivals::Drifting(drift), Some(Recording::Requests(all))) =
            (&load.arrivals, trace.agents.get(&load.agent))
        else {
            bail!("the trace has no requests of {}", load.agent);
        };
        let from = SECTION.as_secs_f64() * section as f64;
        let mut replay = Replay {
            file: TRACE.to_owned(),
            from,
            seconds: Some(SECTION.as_secs_f64()),
            recorded: Recording::Requests(all.iter().map(compressed).collect()),
            ..Replay::default()
        };
        let whole = all.len() as f64 / TRACE_SECONDS * FASTER;
        let rate = replay.mean_rate() * drift.rate / whole;
        replay.scaling = Scaling::Thinning { rate };
        load.arrivals = Arrivals::Trace(replay);
        load.check()?;
    }
    Ok(scene)
}

fn compressed(request: &Recorded) -> Recorded {
    Recorded {
        at: request.at / FASTER,
        ..*request
    }
}

/// The trace, where it is at hand.
fn trace() -> Result<Option<Trace>> {
    let folder = binaries::traces();
    let path = folder.join(TRACE);
    if !path.exists() {
        println!(
            "skipped: the half of this benchmark under {TRACE}, which is not in {} (AGENTPOOL_TRACES names the folder; docs/traces.md \
             says where the traces are published)",
            folder.display()
        );
        return Ok(None);
    }
    Ok(Some(traces::read(&path)?))
}

/// One run on a control plane of its own: the pool, and the twin.
async fn run_once(what: &str, scene: &Scene) -> Result<[Part; 2]> {
    let control_plane = ControlPlane::start_own(&Options::new("pays")).await?;
    let world = World::start(&control_plane, scene, &Steps::default()).await?;
    let driver = world.drive(scene);
    driver.finish(SETTLE).await;
    let outcome = Outcome::of(scene, &driver);
    print!("\n{what}{}", outcome.text(scene));
    let all = outcome.all().context("no agents")?;
    println!(
        "requests were sent {:.1} ms late (p99)",
        driver.lateness().p99 * 1000.0
    );
    drop(driver);
    world.end().await;
    control_plane.finish();
    Ok(all)
}

/// The runs of these scenes, in their order.
async fn run_all(scenes: impl Iterator<Item = Result<(String, Scene)>>) -> Result<Vec<[Part; 2]>> {
    stream::iter(scenes)
        .map(|scene| async move {
            let (what, scene) = scene?;
            run_once(&what, &scene).await
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// What several runs of one load give.
fn figures(load: &str, runs: &[[Part; 2]]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let figure = |what: &str, value, unit| Figure::new(format!("{load}: {what}"), value, unit);
    figures.push(figure("runs", runs.len() as f64, "runs"));
    for (what, of) in [
        (
            "mean",
            (|part: &Part| part.latency.mean) as fn(&Part) -> f64,
        ),
        ("p95", |part: &Part| part.latency.p95),
    ] {
        let pairs: Vec<(f64, f64)> = runs
            .iter()
            .map(|[pool, twin]| (of(pool), of(twin)))
            .collect();
        let middle =
            |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / pairs.len() as f64;
        figures.push(figure(
            &format!("{what} latency of the pool"),
            middle(|p| p.0),
            "s",
        ));
        figures.push(figure(
            &format!("{what} latency of the twin"),
            middle(|p| p.1),
            "s",
        ));
        let ratios = || pairs.iter().map(|(pool, twin)| pool / twin);
        let best = ratios().fold(f64::INFINITY, f64::min);
        let worst = ratios().fold(0.0, f64::max);
        let ratio = ratio(&pairs).context("a latency of zero, or too few runs")?;
        let name = format!("{what} latency, pool / twin");
        figures.push(figure(&name, ratio.mean, "times"));
        figures.push(figure(
            &format!("{name}, 95 % confidence from"),
            ratio.low,
            "times",
        ));
        figures.push(figure(&format!("{name}, best run"), best, "times"));
        figures.push(figure(&format!("{name}, worst run"), worst, "times"));
        // The loop pays when even the upper end is below 1.
        figures
            .push(figure(&format!("{name}, 95 % confidence to"), ratio.high, "times").at_most(1.0));
    }
    for (side, whose) in ["pool", "twin"].into_iter().enumerate() {
        let open: u64 = runs.iter().map(|parts| parts[side].unanswered).sum();
        figures.push(figure(
            &format!(
                "requests of the {whose} not answered within {} s",
                SETTLE.as_secs()
            ),
            open as f64,
            "requests",
        ));
    }
    Ok(figures)
}

/// Measures and publishes.
///
/// # Errors
/// What could not be started, or did not come to pass.
pub async fn run() -> Result<()> {
    let drift = |seed| Ok((format!("built-in drift, seed {seed}"), scene(seed, DRIFT)?));
    let mut all = figures("built-in drift", &run_all((1..=SEEDS).map(drift)).await?)?;
    if let Some(trace) = trace()? {
        let section = |section| {
            let what = format!("{TRACE}, half hour {} of {SECTIONS}", section + 1);
            Ok((what, section_of(&trace, section)?))
        };
        all.extend(figures(TRACE, &run_all((0..SECTIONS).map(section)).await?)?);
    }
    publish("pays", all)
}
