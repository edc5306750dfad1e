use super::UnitError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The name of a GPU extended resource, from the closed set that the operator may write:
/// `nvidia.com/gpu`, `nvidia.com/gpu.shared`, `nvidia.com/mig-<c>g.<m>gb` (with the device plugin's
/// variants `.me`, `-me`, `.gfx`).
///
/// Source: NVIDIA k8s-device-plugin, resource naming of the `mixed` MIG strategy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GpuResource(Arc<str>);

impl GpuResource {
    const EXPECTED: &'static str = "a GPU resource: nvidia.com/gpu, nvidia.com/gpu.shared or nvidia.com/mig-<compute>g.<memory>gb";

    /// Whole GPUs: `nvidia.com/gpu`.
    pub fn whole() -> Self {
        Self(Arc::from("nvidia.com/gpu"))
    }

    /// Time-sliced GPUs under the device plugin's `renameByDefault`: `nvidia.com/gpu.shared`.
    pub fn shared() -> Self {
        Self(Arc::from("nvidia.com/gpu.shared"))
    }

    /// Parses a resource name of the closed set.
    ///
    /// # Errors
    /// When the name is not of the set.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let known = matches!(text, "nvidia.com/gpu" | "nvidia.com/gpu.shared")
            || text.strip_prefix("nvidia.com/mig-").is_some_and(is_profile);
        if known {
            Ok(Self(Arc::from(text)))
        } else {
            Err(UnitError::new(text, Self::EXPECTED))
        }
    }

    /// The name as Kubernetes writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The MIG profile (`3g.40gb`), when the resource is a MIG instance.
    pub fn mig_profile(&self) -> Option<&str> {
        self.0.strip_prefix("nvidia.com/mig-")
    }
}

/// `1g.10gb`, `1g.10gb.me`, `1g.24gb-me`, `1g.24gb.gfx`.
fn is_profile(text: &str) -> bool {
    let number = |s: &str, max: usize| {
        !s.is_empty()
            && s.len() <= max
            && s.bytes().all(|b| b.is_ascii_digit())
            && !s.starts_with('0')
    };
    let Some((compute, rest)) = text.split_once("g.") else {
        return false;
    };
    let Some((memory, variant)) = rest.split_once("gb") else {
        return false;
    };
    number(compute, 1)
        && number(memory, 4)
        && matches!(variant, "" | ".me" | "-me" | ".me.all" | ".gfx")
}

impl TryFrom<String> for GpuResource {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        Self::parse(&text)
    }
}

impl From<GpuResource> for String {
    fn from(resource: GpuResource) -> Self {
        resource.as_str().to_owned()
    }
}

impl fmt::Display for GpuResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_of_resource_names_is_closed() {
        for name in [
            "nvidia.com/gpu",
            "nvidia.com/gpu.shared",
            "nvidia.com/mig-1g.10gb",
            "nvidia.com/mig-7g.141gb",
            "nvidia.com/mig-1g.10gb.me",
        ] {
            assert_eq!(
                GpuResource::parse(name).map(|r| r.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in [
            "",
            "cpu",
            "amd.com/gpu",
            "nvidia.com/",
            "nvidia.com/gpu ",
            "nvidia.com/mig-",
            "nvidia.com/mig-g.gb",
            "nvidia.com/mig-0g.10gb",
            "nvidia.com/mig-1g.10gb/../x",
        ] {
            assert!(GpuResource::parse(name).is_err(), "{name}");
        }
    }
}
