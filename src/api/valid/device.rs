//! `spec.devices`.

use super::Invalid;
use super::fields::{between, gpus, label, node_label, number};
use crate::api::spec::{DeviceSpec, SharingSpec, SharingType, TimeSliceResource};
use crate::sharing::Strategy;
use crate::units::{GpuResource, MilliGpus};
use std::collections::BTreeMap;

/// What is read of a kind of GPU.
pub(super) struct Device {
    pub(super) strategy: Strategy,
    pub(super) gpus: Option<MilliGpus>,
    pub(super) node_selector: BTreeMap<String, String>,
}

pub(super) fn read(spec: &DeviceSpec) -> Result<Device, Invalid> {
    label("spec.devices[0].name", &spec.name)?;
    let field = "spec.devices[0].nodeSelector";
    if spec.node_selector.len() > 16 {
        return Err(Invalid::new(
            field,
            spec.node_selector.len(),
            "at most 16 labels",
        ));
    }
    for (key, value) in &spec.node_selector {
        node_label(field, key, value)?;
    }
    if let Some(price) = &spec.price_per_gpu_hour {
        let expected = "USD for one GPU for one hour, from 0 to 10000, such as \"2.10\"";
        let right = |usd: f64| (0.0..=10_000.0).contains(&usd);
        number("spec.devices[0].pricePerGpuHour", price, right, expected)?;
    }
    let field = "spec.devices[0].gpus";
    let gpus = spec
        .gpus
        .as_ref()
        .map(|amount| gpus(field, amount))
        .transpose()?;
    if gpus == Some(MilliGpus::ZERO) {
        return Err(Invalid::new(field, 0, "above 0, such as 4 or \"500m\""));
    }
    Ok(Device {
        strategy: strategy(&spec.sharing)?,
        gpus,
        node_selector: spec.node_selector.clone(),
    })
}

fn strategy(sharing: &SharingSpec) -> Result<Strategy, Invalid> {
    let slicing = sharing.time_slicing.as_ref();
    match (sharing.kind, slicing) {
        (SharingType::WholeGPU, None) => Ok(Strategy::WholeGpu),
        (SharingType::MIG, None) => Ok(Strategy::Mig),
        (SharingType::TimeSlicing, slicing) => {
            let slices = slicing.and_then(|s| s.slices_per_gpu);
            let field = "spec.devices[0].sharing.timeSlicing.slicesPerGpu";
            Ok(Strategy::TimeSlicing {
                resource: match slicing.map(|s| s.resource_name).unwrap_or_default() {
                    TimeSliceResource::Shared => GpuResource::shared(),
                    TimeSliceResource::Gpu => GpuResource::whole(),
                },
                slices_per_gpu: slices.map(|n| between(field, n, 2, 48)).transpose()?,
            })
        }
        (SharingType::WholeGPU | SharingType::MIG, Some(_)) => Err(Invalid::new(
            "spec.devices[0].sharing.timeSlicing",
            "set",
            "absent unless sharing.type is TimeSlicing",
        )),
    }
}
