use super::table::Table;

/// The columns of a comparison's tables: name, field of the JSON, what it is.
pub(super) const COLUMNS: [(&str, &str, &str); 21] = [
    (
        "rule",
        "policy",
        "The rule, with its target where that is not the default.",
    ),
    (
        "mean s",
        "meanLatencySeconds",
        "Mean time in the system. What is not served in the end counts with its age.",
    ),
    ("p50 s", "p50LatencySeconds", "Its median."),
    ("p95 s", "p95LatencySeconds", "Its 95th percentile."),
    ("p99 s", "p99LatencySeconds", "Its 99th percentile."),
    (
        "wait s",
        "meanWaitingSeconds",
        "Mean time before a request first runs.",
    ),
    (
        "mean ratio",
        "meanLatencyRatio",
        "Mean time in the system as a ratio to the first rule's, paired by seed, with 95 % confidence in brackets; below 1 is better.",
    ),
    (
        "p95 ratio",
        "p95LatencyRatio",
        "The same of the 95th percentile.",
    ),
    (
        "served/s",
        "throughputPerSecond",
        "Requests served a second, until all is served.",
    ),
    ("requests", "requests", "Requests that arrived, a run."),
    ("unserved", "unserved", "Of these, not served in the end."),
    (
        "in target",
        "withinTarget",
        "Part of the requests that arrived that was served within `latencyTarget`.",
    ),
    (
        "GPU-h",
        "gpuHours",
        "GPU-hours a run, until all is served: of a rule those that were paid for, of an agent those that it was granted.",
    ),
    ("USD", "costUsd", "Their price."),
    (
        "used",
        "utilisation",
        "Part of the GPU-hours that was spent on requests.",
    ),
    (
        "stranded",
        "strandedGpuHours",
        "GPU-hours that were paid for and granted to nobody; in the table as a part of those paid for.",
    ),
    (
        "fair",
        "fairness",
        "Jain's index over the agents' speeds (work of a request over its time in the system): 1 when all are served equally fast, one \
         over their number when one is and the others are not.",
    ),
    (
        "starved s",
        "longestStarvationSeconds",
        "Longest time for which an agent had requests and finished none, in any run.",
    ),
    (
        "moves/h",
        "movesPerHour",
        "Changes of shares or replicas that were begun, an hour, until all is served.",
    ),
    ("restarts", "restarts", "Pods that were started, a run."),
    ("kWh", "energyKwh", "Energy; only where `power` is given."),
];

/// What the columns of a comparison's tables are.
pub fn legend() -> Table {
    let mut table = Table::new(["<column", "<field of the JSON", "<what it is"]);
    for (column, field, what) in COLUMNS {
        table.row([column.to_owned(), format!("`{field}`"), what.to_owned()]);
    }
    table
}
