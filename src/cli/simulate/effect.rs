//! What has no effect where it stands: refused, or said where a what-if may put it there.

use super::file::ScenarioFile;
use crate::api::ValidPool;
use crate::sharing::Strategy;
use crate::simulation::{Cluster, Sharing};

/// Refuses what is said of pods where there are none.
///
/// # Errors
/// The first such field, with its value and why.
pub(super) fn refuse(file: &ScenarioFile, cluster: &Cluster) -> Result<(), String> {
    let Cluster::Fractions(_) = cluster else {
        return Ok(());
    };
    let wrong = |field: &str, value: &dyn std::fmt::Display| {
        Err(format!(
            "{field}: {value}: is about pods, and here are shares of GPUs without pods: leave it out, or say which nodes there are \
             (cluster: {{type: Nodes, groups: [...]}}); what delays shares is cluster.lag"
        ))
    };
    for (name, agent) in &file.agents {
        for (field, value) in [
            ("coldStart", agent.cold_start),
            ("imagePull", agent.image_pull),
            ("drain", agent.drain),
        ] {
            if let Some(value) = value {
                return wrong(&format!("agents.{name}.{field}"), &value);
            }
        }
    }
    match file.dispatch {
        Some(dispatch) => wrong("dispatch", &format_args!("{dispatch:?}")),
        None => Ok(()),
    }
}

/// What is said of switching where nobody takes turns.
pub(super) fn switching(given: Option<f64>, pool: &ValidPool, cluster: &Cluster) -> Option<String> {
    let given = given?;
    let takes_turns = match cluster {
        Cluster::Fractions(fractions) => matches!(fractions.sharing, Sharing::TimeSlicing { .. }),
        Cluster::Nodes(_) => matches!(pool.shape.strategy, Strategy::TimeSlicing { .. }),
    };
    (!takes_turns).then(|| {
        format!(
            "cluster.switchingEfficiency ({given}) has no effect, as no agents take turns on a GPU"
        )
    })
}

/// How fast a part of a GPU is taken to be, where that was not said; and whose exponents are not used.
pub(super) fn speed(pool: &ValidPool, cluster: &Cluster) -> Option<String> {
    const MEASURED: &str = "0.3 to 0.7 were measured as exponents on MIG instances";
    let of = |linear: bool| {
        let agents = pool.agents.iter();
        let agents = agents.filter(|agent| (agent.speed_exponent >= 1.0) == linear);
        let names: Vec<&str> = agents.map(|agent| agent.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let is_mig = pool.shape.strategy == Strategy::Mig;
    match cluster {
        Cluster::Fractions(fractions) => match fractions.sharing {
            Sharing::TimeSlicing { .. } => of(false).map(|names| {
                format!(
                    "model.speedExponent of {names} has no effect: who takes turns has all of a GPU"
                )
            }),
            Sharing::Partition | Sharing::Mps if !is_mig => Some(format!(
                "a part of a GPU is as fast as it is large: the pool does not share by MIG, and without it there is no \
                 model.speedExponent below 1 ({MEASURED})"
            )),
            Sharing::Partition | Sharing::Mps => of(true).map(|names| linear(&names, MEASURED)),
        },
        Cluster::Nodes(_) if is_mig => of(true).map(|names| linear(&names, MEASURED)),
        Cluster::Nodes(_) => None,
    }
}

fn linear(names: &str, measured: &str) -> String {
    format!(
        "a part of a GPU is as fast as it is large to {names} (model.speedExponent 1; {measured})"
    )
}
