use crate::api::{Amount, schema};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One kind of GPU.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSpec {
    /// Name of this kind of GPU, for people. A DNS label.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,

    /// Labels of the nodes whose GPUs the pool may use, such as nvidia.com/gpu.product. At most 16. Default: all GPU nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_selector")]
    pub node_selector: BTreeMap<String, String>,

    /// At most this many GPUs, as 4, "0.5" or "500m" (whole milli-GPUs, above 0, at most 65536). Default: what the nodes have.
    /// Required where the operator runs namespaced, because it cannot see nodes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::gpus")]
    pub gpus: Option<Amount>,

    /// Price of one GPU for one hour, in USD, as "2.10"; at most 10000. For reports only. Default: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::price")]
    pub price_per_gpu_hour: Option<Amount>,

    /// How one GPU is shared.
    pub sharing: SharingSpec,
}

/// How one GPU is shared: a union by `type`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.timeSlicing) || self.type == 'TimeSlicing'").message("timeSlicing may be set only when type is TimeSlicing"))]
pub struct SharingSpec {
    /// WholeGPU: a replica has whole GPUs, the share becomes a replica count. TimeSlicing: replicas take turns on a GPU, the
    /// share becomes a number of copies. MIG: a replica has one MIG instance (device plugin strategy "mixed"), the share
    /// becomes a profile and a replica count. Required.
    #[serde(rename = "type")]
    pub kind: SharingType,

    /// Settings of TimeSlicing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_slicing: Option<TimeSlicingSpec>,
}

/// How one GPU is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SharingType {
    /// A replica has whole GPUs.
    WholeGPU,
    /// Replicas take turns on a GPU.
    TimeSlicing,
    /// A replica has one MIG instance.
    MIG,
}

/// Settings of TimeSlicing.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeSlicingSpec {
    /// Resource that the device plugin offers for a time slice. Default nvidia.com/gpu.shared (the plugin's renameByDefault).
    #[serde(default)]
    pub resource_name: TimeSliceResource,

    /// Slices of one GPU, as the device plugin is configured; 2 to 48. Default: the nodes' label nvidia.com/gpu.replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 48))]
    pub slices_per_gpu: Option<u32>,
}

/// Resource that the device plugin offers for a time slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimeSliceResource {
    /// With the plugin's renameByDefault.
    #[default]
    #[serde(rename = "nvidia.com/gpu.shared")]
    Shared,
    /// Without it.
    #[serde(rename = "nvidia.com/gpu")]
    Gpu,
}
