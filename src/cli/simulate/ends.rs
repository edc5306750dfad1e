//! Loads that end by themselves, beside a run of another length.

use crate::simulation::load::{AgentLoad, Arrivals};

/// Part of a length that is not worth a word: the last request of an agent comes a little before its trace ends.
const LITTLE: f64 = 0.01;

/// What is said where loads end before the run of `seconds` does, or the run before them.
///
/// # Errors
/// All of them are recorded, and nothing would arrive in the last part of the run: it would count as a time of little load.
pub(super) fn said(loads: &[AgentLoad], seconds: f64) -> Result<Vec<String>, String> {
    let ends = |load: &AgentLoad| load.arrivals.end();
    let recorded = |load: &AgentLoad| match load.arrivals {
        Arrivals::Trace(_) => ends(load),
        _ => None,
    };
    let last = loads.iter().map(recorded).collect::<Option<Vec<f64>>>();
    if let Some(last) = last {
        refuse(seconds, last.into_iter().fold(0.0, f64::max), "traces")?;
    }
    let of = |chosen: &dyn Fn(f64) -> bool| {
        let ends = loads.iter().filter_map(|load| Some((load, ends(load)?)));
        let ends = ends.filter(|(_, end)| chosen(*end));
        let words: Vec<String> = ends
            .map(|(load, end)| format!("{} {end:.0} s", load.agent))
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let short = of(&|end| is_short(end, seconds)).map(|short| {
        format!(
            "loads that end before the run of {seconds} s: {short}; nothing arrives of them afterwards"
        )
    });
    let long = of(&|end| is_short(seconds, end)).map(|long| {
        format!("the run takes the first {seconds} s of loads that are longer: {long}")
    });
    let missing = loads.iter().filter_map(|load| {
        let Arrivals::Trace(replay) = &load.arrivals else {
            return None;
        };
        let (asked, there) = (replay.seconds?, replay.there());
        is_short(there, asked).then(|| {
            format!(
                "arrivals.seconds of {} is {asked}, and {} ends {there:.0} s after `from`: nothing arrives afterwards",
                load.agent, replay.file
            )
        })
    });
    Ok(short.into_iter().chain(long).chain(missing).collect())
}

/// Refuses a run that goes on after everything recorded has ended.
///
/// # Errors
/// It does.
pub(super) fn refuse(seconds: f64, end: f64, what: &str) -> Result<(), String> {
    if is_short(end, seconds) {
        return Err(format!(
            "seconds: {seconds}: the {what} end after {end} s, and nothing would arrive in the rest of the run: must be at most {end}"
        ));
    }
    Ok(())
}

fn is_short(end: f64, seconds: f64) -> bool {
    end < (1.0 - LITTLE) * seconds
}
