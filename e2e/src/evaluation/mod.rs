//! What AgentPool is worth, measured by its own simulator: `docs/evaluation.md`.
//!
//! Nothing here decides anything: scenarios are put together from traces and from generators with their statistics, run under the rules that
//! are compared, and written down with their confidence intervals, also where AgentPool loses.

mod aims;
mod bench;
mod bounds;
mod elastic;
mod exponent;
mod fractions;
mod losses;
mod mig;
mod overload;
mod pod_waves;
mod pods;
mod real;
mod scenes;
mod told;
mod turns;
mod waves;

pub use aims::Aim;
pub use bench::Settings;

use agentpool::simulation::report::Page;
use anyhow::Result;
use scenes::Traces;

/// Everything, in the order in which it is read.
///
/// # Errors
/// A trace that is there and cannot be read, or a run that came to nothing.
pub fn pages(settings: &Settings) -> Result<Vec<Page>> {
    let traces = Traces::open()?;
    let (mut aims, mut losses) = (Vec::new(), Vec::new());
    eprintln!("evaluation: the paper's agents");
    let mut pages = vec![agentpool::cli::paper_page(u32::try_from(settings.seeds)?)?];
    let mut say = |what: &str, page: Result<Page>| -> Result<()> {
        eprintln!("evaluation: {what}");
        pages.push(page?);
        Ok(())
    };
    say(
        "hard fractions of one GPU",
        fractions::page(settings, &traces, &mut aims, &mut losses),
    )?;
    say(
        "rules that are told wrong",
        told::page(settings, &traces, &mut aims, &mut losses),
    )?;
    say(
        "parts that are worth more than their size",
        exponent::page(settings, &traces, &mut losses),
    )?;
    say("overload", overload::page(settings, &traces, &mut aims))?;
    say(
        "square waves",
        waves::page(settings, &mut aims, &mut losses),
    )?;
    say(
        "pods on whole GPUs",
        pods::page(settings, &traces, &mut aims, &mut losses),
    )?;
    say(
        "square waves on pods",
        pod_waves::page(settings, &mut aims, &mut losses),
    )?;
    say(
        "pods on MIG instances",
        mig::page(settings, &traces, &mut aims, &mut losses),
    )?;
    say(
        "copies on a time-sliced GPU",
        turns::page(settings, &traces, &mut aims, &mut losses),
    )?;
    say(
        "capacity that comes and goes",
        elastic::page(settings, &traces, &mut aims),
    )?;
    pages.insert(1, losses::page(&losses));
    pages.insert(1, aims::page(&aims));
    pages.insert(1, real::page(&traces, settings));
    Ok(pages)
}
