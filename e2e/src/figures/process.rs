//! What Linux says of a process and of the machine.

use anyhow::{Context as _, Result};
use std::time::Duration;

/// Resident memory of a process, in MiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_mebibytes(id: i32) -> Result<f64> {
    memory(id, "VmRSS")
}

/// The most resident memory that a process has had since it began, in MiB.
///
/// # Errors
/// When there is no such process.
pub fn peak_mebibytes(id: i32) -> Result<f64> {
    memory(id, "VmHWM")
}

fn memory(id: i32, field: &'static str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))
        .with_context(|| format!("process {id}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|l| l.split_whitespace().next());
    let kibibytes: f64 = kibibytes.context(field)?.parse().context(field)?;
    Ok(kibibytes / 1024.0)
}

/// Time that a process has spent on all cores together.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(id: i32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))
        .with_context(|| format!("process {id}"))?;
    // The name is in parentheses and may hold anything; utime and stime are the 12th and 13th field after it.
    let (_, fields) = text.rsplit_once(") ").context("stat")?;
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|f| f.parse().unwrap_or(0u64))
        .sum();
    let hertz = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / hertz as f64))
}

/// Processes that wanted to run, on average over the last minute.
pub fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_spends_time() {
        let id = i32::try_from(std::process::id()).unwrap();
        let resident = resident_mebibytes(id).unwrap();
        assert!(resident > 1.0 && peak_mebibytes(id).unwrap() >= resident);
        let before = cpu_time(id).unwrap();
        let mut x = 1u64;
        while cpu_time(id).unwrap() <= before {
            x = std::hint::black_box(x.wrapping_mul(31));
        }
    }
}
