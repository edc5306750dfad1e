//! The demonstration: a pool of four agents beside a static twin under the same arrivals, on a real control plane.
//!
//! [`scene`] says what is shown, [`world`] sets it up, [`frame`] is what is known at one moment, [`view`] writes it on
//! a terminal or as lines, [`plot`] and [`summary`] say what came of it.

pub mod frame;
pub mod plot;
pub mod scene;
pub mod summary;
pub mod view;
pub mod world;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::controlplane::{ControlPlane, Options, binaries};
use crate::wait;
use frame::Frame;
use scene::Scene;
use view::View;
use world::{Steps, World};

/// How often the view is written anew on a terminal, and how often it prints lines elsewhere.
const PERIODS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How long the requests that are open when the load ends may take.
const SETTLE: Duration = Duration::from_secs(20);

/// Runs a scene from the start of the control plane to its end. Ctrl-C at any moment ends it and leaves nothing behind.
///
/// # Errors
/// What could not be started, in words.
pub async fn run(scene: Scene) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let steps = Steps::default();
    let options = Options::new("demo");
    let control_plane = tokio::select! {
        started = ControlPlane::start_own(&options) => started?,
        ended = wait::interrupted() => return ended,
    };
    steps.done("control plane: etcd, API server, controllers, scheduler; KWOK plays the nodes");
    let world = tokio::select! {
        world = World::start(&control_plane, &scene, &steps) => world?,
        ended = wait::interrupted() => {
            println!("\ninterrupted; ending the control plane");
            control_plane.finish();
            return ended;
        }
    };
    let shown = tokio::select! {
        shown = show(&scene, &world, terminal) => shown,
        ended = wait::interrupted() => {
            println!("\ninterrupted; ending the control plane");
            world.end().await;
            control_plane.finish();
            return ended;
        }
    };
    // An error leaves the logs of the run behind: the control plane is dropped unfinished.
    shown?;
    if terminal && std::io::stdin().is_terminal() {
        println!(
            "\nThe control plane still runs, without load. Look around, then press Ctrl-C to end it."
        );
        wait::interrupted().await?;
        println!();
    } else {
        println!("\nIn a terminal the control plane now stays until Ctrl-C, for a look around.");
    }
    world.end().await;
    control_plane.finish();
    Ok(())
}

/// The load, watched; then the summary.
async fn show(scene: &Scene, world: &World<'_>, terminal: bool) -> Result<()> {
    let driver = world.drive(scene);
    let mut view = View::new(terminal);
    let mut frames: Vec<Frame> = Vec::new();
    let period = if terminal { PERIODS.0 } else { PERIODS.1 };
    let mut tick = tokio::time::interval(PERIODS.0);
    let mut shown = tokio::time::Instant::now();
    while driver.now() < scene.length.as_secs_f64() {
        tick.tick().await;
        let frame = world.frame(scene, &driver).await?;
        if shown.elapsed() >= period || frames.is_empty() {
            view.show(scene, &frame);
            shown = tokio::time::Instant::now();
        }
        frames.push(frame);
    }
    view.end();
    println!(
        "The load has ended; up to {} s for the requests that are still open.",
        SETTLE.as_secs()
    );
    driver.finish(SETTLE).await;
    let plot = plot_path(scene)?;
    let series = plot::series(scene, &frames, &driver);
    std::fs::write(&plot, series).with_context(|| format!("write {}", plot.display()))?;
    let outcome = summary::Outcome::of(scene, &driver);
    print!("{}", outcome.text(scene));
    world.print_facts().await;
    println!("plot          {}", plot.display());
    world.print_look_around();
    Ok(())
}

/// `target/demo/<scene>.svg`.
fn plot_path(scene: &Scene) -> Result<PathBuf> {
    let folder = binaries::target().join("demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.join(format!("{}.svg", scene.name)))
}
