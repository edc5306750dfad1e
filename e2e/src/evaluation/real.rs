//! What is real and what is modelled.

use super::bench::Settings;
use super::scenes::{NAMES, Traces};
use agentpool::simulation::report::{Page, Table};

/// The page.
pub(super) fn page(traces: &Traces, settings: &Settings) -> Page {
    let mut page = Page {
        title: "What is real here and what is modelled".to_owned(),
        ..Page::default()
    };
    page.text(
        "Real: the operator's own measuring, allocation and planning code. Arrivals as far as the table says; docs/traces.md says \
         where each trace is published. Modelled: queues (first come first served), exponential service, speed in proportion to a share \
         where no exponent is given, the physics of each sharing strategy, cold starts of one length. Metrics are read without delay, under \
         every rule; a Prometheus server would add some 15 s to the rules that use one. Nothing here ran on a GPU.",
    );
    page.text(
        "The policies know what nobody knows exactly: the true throughput of every agent is declared (static-proportional knows it too, and \
         the mean arrivals of the very run), and on fractions of a GPU they are told the true lag. On pods they go by \
         how long the pods took that are there at the beginning, as the operator sees it, and then learn it from those that start. What becomes of them when they are told wrong has a section of its own.",
    );
    page.text(format!(
        "Every comparison is paired: the same requests under every rule, {} seeds where nothing else is said. Times in seconds are \
         arithmetic means over the seeds. A ratio is the geometric mean of the pairs' ratios with its 95 % interval (Student), so that it is not \
         the quotient of the times beside it: where seeds differ, a few bad ones weigh more in the times. A seed draws the work of the \
         requests and, where arrivals are not recorded, these: intervals on one recorded window say nothing about other windows. Requests \
         that are not served when a run ends, at twice its length at most, count with their age.",
        settings.seeds
    ));
    let mut table = Table::new(["<source", "<what of it is measured"]);
    for (name, measured) in NAMES {
        let real = if traces.get(name).is_some() {
            measured
        } else {
            "absent: a generator with its statistics stands in, or it is left out"
        };
        table.row([name, real]);
    }
    page.table(table);
    page
}
