//! GPU models that nodes of the bench announce: what their labels say.

/// Facts of a GPU model that its labels carry.
#[derive(Debug, Clone, Copy)]
pub struct GpuModel {
    /// `nvidia.com/gpu.product`.
    pub product: &'static str,
    /// `nvidia.com/gpu.memory`, in MiB.
    pub memory_mib: u32,
    /// Streaming multiprocessors of the whole GPU.
    pub multiprocessors: u32,
    /// MIG profiles: name without `+`, usable memory in MiB, multiprocessors, memory slices, compute slices.
    pub mig: &'static [MigProfile],
}

/// A MIG profile of a GPU model.
#[derive(Debug, Clone, Copy)]
pub struct MigProfile {
    /// `1g.10gb`; the resource is `nvidia.com/mig-1g.10gb`.
    pub name: &'static str,
    /// `nvidia.com/mig-<name>.memory`, in MiB; less than the name says.
    pub memory_mib: u32,
    /// `nvidia.com/mig-<name>.multiprocessors`.
    pub multiprocessors: u32,
    /// `nvidia.com/mig-<name>.slices.gi`: compute slices of the seven.
    pub slices: u32,
}

/// A T4 of the paper: 16 GB (15360 MiB announced), time-slicing only.
pub const T4: GpuModel = GpuModel {
    product: "Tesla-T4",
    memory_mib: 15360,
    multiprocessors: 40,
    mig: &[],
};

/// An A100 with 40 GB (KEP-4815's table of profiles).
pub const A100_40: GpuModel = GpuModel {
    product: "NVIDIA-A100-SXM4-40GB",
    memory_mib: 40960,
    multiprocessors: 108,
    mig: &[
        MigProfile {
            name: "1g.5gb",
            memory_mib: 4864,
            multiprocessors: 14,
            slices: 1,
        },
        MigProfile {
            name: "1g.10gb",
            memory_mib: 9856,
            multiprocessors: 14,
            slices: 1,
        },
        MigProfile {
            name: "2g.10gb",
            memory_mib: 9856,
            multiprocessors: 28,
            slices: 2,
        },
        MigProfile {
            name: "3g.20gb",
            memory_mib: 19968,
            multiprocessors: 42,
            slices: 3,
        },
        MigProfile {
            name: "4g.20gb",
            memory_mib: 19968,
            multiprocessors: 56,
            slices: 4,
        },
        MigProfile {
            name: "7g.40gb",
            memory_mib: 40192,
            multiprocessors: 98,
            slices: 7,
        },
    ],
};

/// An A100 with 80 GB. Memory of the profiles: twice that of the 40 GB model.
pub const A100_80: GpuModel = GpuModel {
    product: "NVIDIA-A100-SXM4-80GB",
    memory_mib: 81920,
    multiprocessors: 108,
    mig: &[
        MigProfile {
            name: "1g.10gb",
            memory_mib: 9728,
            multiprocessors: 14,
            slices: 1,
        },
        MigProfile {
            name: "1g.20gb",
            memory_mib: 19712,
            multiprocessors: 14,
            slices: 1,
        },
        MigProfile {
            name: "2g.20gb",
            memory_mib: 19712,
            multiprocessors: 28,
            slices: 2,
        },
        MigProfile {
            name: "3g.40gb",
            memory_mib: 40192,
            multiprocessors: 42,
            slices: 3,
        },
        MigProfile {
            name: "4g.40gb",
            memory_mib: 40192,
            multiprocessors: 56,
            slices: 4,
        },
        MigProfile {
            name: "7g.80gb",
            memory_mib: 80896,
            multiprocessors: 98,
            slices: 7,
        },
    ],
};
