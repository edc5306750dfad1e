//! What is shown: nodes, agents, the pool, and the load.

use std::ops::RangeInclusive;
use std::time::Duration;

use agentpool::units::parse_duration;
use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use crate::controlplane::nodes::{A100_80, NodeSpec, T4};
use crate::load::{AgentLoad, Arrivals, Piece, Spacing, Work};
use crate::stage::{AGENTS, AgentWorkload};
use agentpool::simulation::load::FOUR_AGENT_B;

/// The namespace of the static twin.
pub const TWIN: &str = "twin";
/// The label of nodes that says whose they are: `agents` or `twin`.
pub const LANE: &str = "demo.agentpool.dev/lane";
/// The pool's name.
pub const POOL: &str = "team";

/// Mean load of the drifting scene, as a part of what eight GPUs serve.
const DRIFTING_LOAD: f64 = 0.55;
/// Requests a second on one GPU, there.
const DRIFTING_SPEED: f64 = 15.0;
/// How long the rate of an agent stays, there: ten minutes of the real trace.
const DRIFTING_WINDOW: f64 = 20.0;

/// How long the load may last.
const LENGTHS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(3600);
/// The longest time to Ready that may be chosen.
pub const MAX_READY: Duration = Duration::from_secs(300);

/// What the user may choose.
#[derive(Clone, Debug)]
pub struct Choice {
    scene: fn(&Choice) -> Scene,
    /// How long the load lasts.
    length: Duration,
    /// From the binding of a pod to its Ready.
    ready: Duration,
    /// Draws arrivals and work.
    seed: u64,
    policy: &'static str,
}

/// Follows demand at once. These loads drift and never burst, and a minute is too short to learn much.
const FOLLOWS: &str = "WaterFilling";
/// The default of the API.
const DEFAULT: &str = "Balanced";

impl Choice {
    /// Reads what was asked for, as the variables of `make demo` have it.
    ///
    /// # Errors
    /// A value that is not possible: the variable, the value, and what would be right.
    pub fn read(scene: &str, length: &str, ready: &str, seed: &str, policy: &str) -> Result<Self> {
        Ok(Self {
            scene: match scene {
                "drift" => drift,
                "paper" => paper,
                _ => bail!("SCENE is {scene:?}: there are drift (the default) and paper"),
            },
            length: between("LENGTH", length, LENGTHS)?,
            ready: between("READY", ready, Duration::ZERO..=MAX_READY)?,
            seed: seed.parse().map_err(|_| {
                anyhow!(
                    "SEED is {seed:?}: a whole number is possible, 0 to {}",
                    u64::MAX
                )
            })?,
            policy: [FOLLOWS, DEFAULT]
                .into_iter()
                .find(|known| *known == policy)
                .ok_or_else(|| {
                    anyhow!(
                        "POLICY is {policy:?}: there are {FOLLOWS} (the default here) and {DEFAULT}"
                    )
                })?,
        })
    }
}

fn between(variable: &str, text: &str, range: RangeInclusive<Duration>) -> Result<Duration> {
    parse_duration(text)
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            let (least, most) = (duration(*range.start()), duration(*range.end()));
            anyhow!("{variable} is {text:?}: {least} to {most} is possible, as 90s, 1500ms or 2m")
        })
}

/// A scene.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in a few lines.
    pub story: String,
    /// How long the load lasts.
    pub length: Duration,
    /// The agents' workloads as they are at first, and as they stay in the twin.
    pub workloads: Vec<AgentWorkload>,
    /// The nodes of both.
    pub nodes: Vec<NodeSpec>,
    /// The AgentPool.
    pub pool: Value,
    /// The arrivals of both.
    pub loads: Vec<AgentLoad>,
    /// What draws them.
    pub seed: u64,
}

impl Scene {
    /// The scene that was asked for.
    pub fn of(choice: &Choice) -> Self {
        (choice.scene)(choice)
    }

    /// The Deployment of an agent in a namespace, on that namespace's nodes.
    pub fn deployment(workload: &AgentWorkload, namespace: &str) -> Value {
        let mut object = workload.object();
        object["metadata"]["namespace"] = json!(namespace);
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({ LANE: namespace });
        object
    }
}

/// Four agents on eight whole GPUs; their rates drift as those of four real services do.
fn drift(choice: &Choice) -> Scene {
    let workloads: Vec<AgentWorkload> = FOUR_AGENT_B
        .iter()
        .map(|(name, _)| {
            let mut workload = AgentWorkload::new(*name, DRIFTING_SPEED).replicas(2);
            workload.ready_delay = duration(choice.ready);
            workload
        })
        .collect();
    let mean = DRIFTING_LOAD * 8.0 * DRIFTING_SPEED / 4.0;
    let loads = FOUR_AGENT_B
        .iter()
        .map(|(name, drift)| AgentLoad {
            agent: (*name).to_owned(),
            arrivals: Arrivals::Drifting(drift.scaled(mean, drift.window / DRIFTING_WINDOW)),
            work: Work::Exponential,
        })
        .collect();
    let agents: Vec<Value> = workloads
        .iter()
        .map(|workload| workload.agent("Medium", "1", 5))
        .collect();
    let faster = 600.0 / DRIFTING_WINDOW;
    Scene {
        name: "drift",
        story: format!(
            "Four agents share 8 GPUs. Each gets {:.0} % of two GPUs' worth of requests on average, but the rates drift as those of four\n\
             real services did (ServeGen, 3 hours), {faster:.0} times as fast. A new pod is ready after {}: {:.0} s at the real pace.\n\
             The pool moves GPUs; the static twin, on 8 GPUs of its own, gets the same requests at the same moments and keeps 2 each.\n\
             {}",
            DRIFTING_LOAD * 100.0,
            duration(choice.ready),
            choice.ready.as_secs_f64() * faster,
            match choice.policy {
                FOLLOWS =>
                    "Its policy is WaterFilling, which follows a load that drifts at once. POLICY=Balanced shows the API's default,\n\
                    which waits until it is sure that moving pays; it has to learn that in this minute.",
                _ =>
                    "Its policy is Balanced, the API's default: it waits until it is sure that moving pays, and has to learn that in this minute.",
            },
        ),
        length: choice.length,
        nodes: [AGENTS, TWIN]
            .map(|lane| NodeSpec::whole(format!("gpu-{lane}"), A100_80, 8).label(LANE, lane))
            .into(),
        pool: pool(
            json!({ "name": "a100", "gpus": 8, "nodeSelector": { LANE: AGENTS }, "sharing": { "type": "WholeGPU" } }),
            choice,
            &agents,
        ),
        workloads,
        loads,
        seed: choice.seed,
    }
}

/// Name, model memory, requests a second on the GPU, minimum share, priority and arrivals a second of the agents of arXiv 2512.22149.
const PAPER: [(&str, &str, f64, &str, &str, f64); 4] = [
    ("coordinator", "500Mi", 100.0, "100m", "High", 80.0),
    ("nlp", "2000Mi", 50.0, "300m", "Medium", 40.0),
    ("vision", "1500Mi", 60.0, "250m", "Medium", 45.0),
    ("reasoning", "3000Mi", 30.0, "350m", "High", 25.0),
];
/// The paper's arrivals ask for 3.18 GPUs where there is one; so many times fewer can be served.
const PAPER_SLOWER: f64 = 5.0;
/// How many times as much the reasoning agent gets in the middle of the scene.
const PAPER_BURST: f64 = 5.0;

/// The paper's four agents on one T4 in ten time slices.
fn paper(choice: &Choice) -> Scene {
    let workloads: Vec<AgentWorkload> = PAPER
        .iter()
        .map(|(name, memory, speed, ..)| {
            let mut workload = AgentWorkload::new(*name, *speed)
                .memory(memory)
                .gpus("nvidia.com/gpu.shared", 1);
            workload.ready_delay = duration(choice.ready);
            workload
        })
        .collect();
    let third = choice.length.as_secs_f64() / 3.0;
    let loads = PAPER
        .iter()
        .map(|(name, .., arrivals)| {
            let rate = arrivals / PAPER_SLOWER;
            let middle = if *name == "reasoning" {
                PAPER_BURST
            } else {
                1.0
            };
            let steps = [1.0, middle, 1.0].map(|factor| Piece {
                seconds: third,
                rate: rate * factor,
            });
            AgentLoad {
                agent: (*name).to_owned(),
                arrivals: Arrivals::Steps {
                    steps: steps.into(),
                    spacing: Spacing::Poisson,
                },
                work: Work::Exponential,
            }
        })
        .collect();
    let agents: Vec<Value> = workloads
        .iter()
        .zip(PAPER)
        .map(|(workload, (_, _, _, minimum, priority, _))| workload.agent(priority, minimum, 3))
        .collect();
    Scene {
        name: "paper",
        story: format!(
            "The four agents of arXiv 2512.22149 take turns on one T4 (15 GiB). The paper's arrivals ask for 3.18 GPUs where there is one:\n\
             here they are {PAPER_SLOWER:.0} times fewer, and in the middle third reasoning gets {PAPER_BURST:.0} times as much, more than the GPU serves.\n\
             One copy each is the natural state of a time-sliced GPU: whoever is busy gets the turns of whoever is not. A second copy is\n\
             a weight that counts only while all are busy. So expect little to move, little to gain, and the reasons in words."
        ),
        length: choice.length,
        nodes: [AGENTS, TWIN]
            .map(|lane| NodeSpec::time_sliced(format!("t4-{lane}"), T4, 1, 10).label(LANE, lane))
            .into(),
        pool: pool(
            json!({ "name": "t4", "gpus": 1, "nodeSelector": { LANE: AGENTS }, "sharing": {
                "type": "TimeSlicing", "timeSlicing": { "resourceName": "nvidia.com/gpu.shared", "slicesPerGpu": 10 } } }),
            choice,
            &agents,
        ),
        workloads,
        loads,
        seed: choice.seed,
    }
}

fn pool(device: Value, choice: &Choice, agents: &[Value]) -> Value {
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": { "name": POOL, "namespace": AGENTS },
        "spec": {
            "mode": "Auto",
            "devices": [device],
            "policy": {
                "type": choice.policy, "interval": "1s", "demandWindow": "5s", "drain": "5s", "actuationLag": duration(choice.ready),
                "behavior": { "tolerance": "0.25", "scaleUp": { "stabilizationWindowSeconds": 2 }, "scaleDown": { "stabilizationWindowSeconds": 10 } },
                "disruption": { "maxConcurrent": 4 }
            },
            "agents": agents,
        }
    })
}

fn duration(value: Duration) -> String {
    match value.as_millis() {
        whole if whole % 1000 == 0 => format!("{}s", whole / 1000),
        part => format!("{part}ms"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_possible_is_refused_with_the_variable_the_value_and_what_is() {
        let refused = [
            (
                ["mig", "60s", "2s", "1"],
                ["SCENE", "\"mig\"", "drift", "paper"],
            ),
            (
                ["drift", "0s", "2s", "1"],
                ["LENGTH", "\"0s\"", "10s", "3600s"],
            ),
            (
                ["drift", "long", "2s", "1"],
                ["LENGTH", "\"long\"", "10s", "90s"],
            ),
            (
                ["drift", "2h", "2s", "1"],
                ["LENGTH", "\"2h\"", "10s", "3600s"],
            ),
            (
                ["drift", "60s", "6m", "1"],
                ["READY", "\"6m\"", "0s", "300s"],
            ),
            (
                ["drift", "60s", "2s", "x"],
                ["SEED", "\"x\"", "whole number", "0 to"],
            ),
            (
                ["drift", "60s", "2s", "-1"],
                ["SEED", "\"-1\"", "whole number", "0 to"],
            ),
            (
                ["drift", "60s", "2s", ""],
                ["SEED", "\"\"", "whole number", "0 to"],
            ),
        ];
        for ([scene, length, ready, seed], words) in refused {
            let error = Choice::read(scene, length, ready, seed, FOLLOWS).unwrap_err();
            let error = error.to_string();
            for word in words {
                assert!(error.contains(word), "{word} is not in: {error}");
            }
        }
        let error = Choice::read("drift", "60s", "2s", "1", "Adaptive").unwrap_err();
        let error = error.to_string();
        for word in ["POLICY", "\"Adaptive\"", FOLLOWS, DEFAULT] {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }

    #[test]
    fn both_scenes_have_four_agents_and_two_lanes_that_do_not_mix() {
        for name in ["drift", "paper"] {
            let scene = Scene::of(&Choice::read(name, "60s", "2s", "1", DEFAULT).unwrap());
            assert_eq!(
                (scene.workloads.len(), scene.loads.len(), scene.nodes.len()),
                (4, 4, 2)
            );
            for lane in [AGENTS, TWIN] {
                let object = Scene::deployment(&scene.workloads[0], lane);
                assert_eq!(object["metadata"]["namespace"], lane);
                assert_eq!(
                    object["spec"]["template"]["spec"]["nodeSelector"][LANE],
                    lane
                );
            }
        }
    }

    #[test]
    fn durations_are_written_as_kubernetes_reads_them() {
        assert_eq!(duration(Duration::from_secs(5)), "5s");
        assert_eq!(duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(duration(Duration::ZERO), "0s");
    }
}
