//! The page about the paper: its table beside ours, and what it does not say.

use super::page::Page;
use super::table::Table;
use crate::simulation::paper::{self, AGENTS, CAP, PaperRule, PaperRun, TICKS};

/// The paper's table reproduced, the shares, and what the figures do not say. Every number is computed here.
pub fn paper() -> Page {
    let runs = PaperRule::ALL.map(|rule| (rule, rule.simulate(TICKS)));
    let [(_, equal), (_, adaptive), (_, round)] = &runs;
    let mut page = Page {
        title: "The paper's simulation: adaptive GPU allocation for four agents (arXiv 2512.22149)"
            .to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "In the paper's own model of time: {TICKS} ticks of 1 s, constant arrivals, one GPU at ${} an hour; every tick and agent gives \
         one latency sample, queue / speed, at most {CAP} s, and {CAP} s without a GPU. The shares come from the operator's own Adaptive \
         policy.",
        paper::PRICE
    ));
    page.heading("The published table");
    page.table(table(&runs));
    let less = |published: f64, ours: f64| 100.0 * (1.0 - ours / published);
    let published = PaperRule::RoundRobin.published();
    page.text(format!(
        "Adaptive against round robin: {:.1} % less latency (published: 85 %; against the published {} s it is {:.1} %).",
        less(round.latency, adaptive.latency),
        published.latency,
        less(published.latency, adaptive.latency),
    ));
    page.text(format!(
        "Round robin does not come out to the digit: {:.1} s and {:.1}/s here, {} s and {:.1}/s published. In the first ticks a queue \
         holds less than its agent could serve in its turn, so some of the GPU is lost; a rule that never wastes it would serve \
         60.0/s. How the paper gets 60.0/s and {} s at once is unexplained.",
        round.latency, round.throughput, published.latency, published.throughput, published.latency
    ));
    page.heading("Shares");
    page.table(shares(adaptive));
    page.text(
        "The coordinator's share is 0.238539, so 0.2385 in four digits; it is also quoted as 0.2386, with which four printed digits sum \
         to one. The operator gives whole milli-GPUs.",
    );
    page.heading("What these figures do not say");
    for text in findings(equal, adaptive, round) {
        page.text(text);
    }
    page
}

fn table(runs: &[(PaperRule, PaperRun)]) -> Table {
    let mut table = Table::new([
        "<rule",
        "mean latency s",
        "published",
        "requests/s",
        "published",
        "cost USD",
        "published",
        "<agrees",
    ]);
    for (rule, run) in runs {
        let published = rule.published();
        let same = |ours: f64, theirs: f64| (ours - theirs).abs() <= 0.05 + 1e-9;
        let agrees = same(run.latency, published.latency)
            && same(run.throughput, published.throughput)
            && (run.cost - published.cost).abs() <= 0.0005;
        table.row([
            rule.name().to_owned(),
            format!("{:.2}", run.latency),
            format!("{:.1}", published.latency),
            format!("{:.2}", run.throughput),
            format!("{:.1}", published.throughput),
            format!("{:.3}", run.cost),
            format!("{:.3}", published.cost),
            if agrees {
                "to the digit"
            } else {
                "no, see below"
            }
            .to_owned(),
        ]);
    }
    table
}

fn shares(adaptive: &PaperRun) -> Table {
    let mut table = Table::new([
        "<agent",
        "arrivals/s",
        "served/s at one GPU",
        "load λ/T",
        "declared minimum",
        "share by the rule",
        "share by the operator",
        "<below its minimum",
        "mean latency s",
        "static-equal s",
    ]);
    let equal = PaperRule::StaticEqual.simulate(TICKS);
    let decided = paper::decided();
    for (i, agent) in AGENTS.iter().enumerate() {
        table.row([
            agent.name.to_owned(),
            agent.arrivals.to_string(),
            agent.throughput.to_string(),
            format!("{:.3}", agent.arrivals / agent.throughput),
            format!("{:.2}", agent.min_share.as_gpus()),
            format!("{:.4}", adaptive.agents[i].share),
            format!("{:.3}", decided[i].target.as_gpus()),
            if decided[i].minimum_unmet {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
            format!("{:.2}", adaptive.agents[i].latency),
            format!("{:.2}", equal.agents[i].latency),
        ]);
    }
    table
}

fn findings(equal: &PaperRun, adaptive: &PaperRun, round: &PaperRun) -> [String; 5] {
    let longer = PaperRule::StaticEqual.simulate(2 * TICKS);
    let below: Vec<&str> = AGENTS
        .iter()
        .zip(paper::decided())
        .filter(|(_, allotment)| allotment.minimum_unmet)
        .map(|(agent, _)| agent.name)
        .collect();
    let arriving: f64 = AGENTS.iter().map(|a| a.arrivals).sum();
    let waiting: f64 = equal.agents.iter().map(|a| a.queue).sum();
    [
        format!(
            "Overload. What arrives ({arriving}/s) needs {:.2} GPUs, and there is one. Every queue grows for as long as the run lasts: \
             with static-equal {waiting:.0} requests wait at its end, and twice the ticks give {:.2} s instead of {:.2} s. The figures are the length of \
             the run, not the latency of a system.",
            paper::overload(),
            longer.latency,
            equal.latency
        ),
        format!(
            "The cap. {:.0} of round robin's {:.1} s are samples of agents that have no GPU in that tick, each counted as {CAP} s; with any other cap the \
             reduction would be another.",
            round.capped, round.latency
        ),
        format!(
            "Static-equal is better than adaptive in both columns: {:.2} s against {:.2} s, {:.2}/s against {:.2}/s.",
            equal.latency, adaptive.latency, equal.throughput, adaptive.throughput
        ),
        format!(
            "Minima. The declared minima sum up to one GPU, and after the rule's last line the shares of {} lie below theirs.",
            below.join(", ")
        ),
        "Constant arrivals. Nothing moves between the agents, so nothing is there to adapt to; priorities only choose who waits."
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_published_figures_and_says_where_they_do_not_come_out() {
        let text = paper().to_text();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = words(&text);
        for part in [
            "static-equal 110.26 110.3 60.00 60.0 0.020 0.020 to the digit",
            "adaptive 111.93 111.9 58.12 58.1 0.020 0.020 to the digit",
            "round-robin 756.81 756.1 59.80 60.0 0.020 0.020 no, see below",
            "85.2 % less latency",
            "needs 3.18 GPUs",
            "750 of round",
            "nlp, vision, reasoning lie below",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
