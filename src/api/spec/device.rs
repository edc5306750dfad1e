use crate::api::{Amount, rules, schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One kind of GPU.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSpec {
    /// Name of this kind of GPU, for people; a DNS label of at most 63 characters. Required.
    #[schemars(schema_with = "schema::label")]
    pub name: String,

    /// Labels of the nodes whose GPUs the pool may use, such as nvidia.com/gpu.product; at most 16; a node needs them all.
    /// Default: all GPU nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_selector")]
    pub node_selector: BTreeMap<String, String>,

    /// At most this many GPUs are spent, as 4, "0.5" or "500m" (fractions are quoted); above 0, at most 65536, in whole milli-GPUs.
    /// Default: what the nodes have; needed where the operator runs namespaced, because it cannot see nodes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::gpus")]
    pub gpus: Option<Amount>,

    /// Price of one GPU for one hour, in USD, as 2 or "2.10" (fractions are quoted); 0 to 10000; for reports only. Default: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::price")]
    pub price_per_gpu_hour: Option<Amount>,

    /// How one GPU is shared. Required.
    pub sharing: SharingSpec,
}

/// How one GPU is shared: a union by `type`.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::sharing()))]
pub struct SharingSpec {
    /// WholeGPU: a replica has whole GPUs, the share becomes a replica count. TimeSlicing: replicas take turns on a GPU, the
    /// share becomes a number of copies. MIG: a replica has one MIG instance (device plugin strategy "mixed"), the share
    /// becomes a profile and a replica count. Required.
    #[serde(rename = "type")]
    pub kind: SharingType,

    /// Settings of TimeSlicing; only with type TimeSlicing. Default: its own defaults.
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
    /// Resource that the device plugin offers for a time slice: nvidia.com/gpu.shared (with the plugin's renameByDefault) or
    /// nvidia.com/gpu (without it). Default nvidia.com/gpu.shared.
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
