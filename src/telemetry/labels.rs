//! The closed sets of label values. A set that is not closed is no label.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use std::fmt::Write;

/// A closed set of label values, with stable CamelCase names.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// All of the set.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable CamelCase name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant)),+
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label! {
    /// What was written.
    WriteKind {
        /// Replicas, through the scale subresource.
        Replicas,
        /// The GPU resource of a pod template.
        GpuRequest,
        /// Which pod a scale-in takes first.
        DeletionCost,
        /// Our notes on a workload: what to put back, what was taken over.
        Annotation,
        /// A pool's status.
        Status,
        /// Our field ownership, given up.
        HandBack,
        /// An event.
        Event,
    }
}

label! {
    /// How a write ended.
    WriteOutcome {
        /// Carried out.
        Applied,
        /// Somebody else wrote in between (409, or a patch whose test failed): decided anew next time.
        Conflict,
        /// The API server refused it (400, 403, 404, 422): fence, jail, RBAC, quota, or gone.
        Refused,
        /// No answer in time: it may have been carried out.
        TimedOut,
        /// Any other failure.
        Failed,
    }
}

label! {
    /// How a scrape ended.
    ScrapeOutcome {
        /// Read and understood.
        Succeeded,
        /// No connection.
        Unreachable,
        /// No complete answer in time.
        TimedOut,
        /// A status other than 200; redirects are not followed.
        BadStatus,
        /// A body above the bound.
        TooLarge,
        /// Read, and nothing in it could be used.
        Unusable,
    }
}

/// A label `reason`, from a closed set elsewhere in this crate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) reason: &'static str,
}

/// A label `category`, from a closed set elsewhere in this crate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CategoryLabel {
    pub(super) category: &'static str,
}

/// Labels of a write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WriteLabels {
    pub(super) kind: WriteKind,
    pub(super) outcome: WriteOutcome,
}

/// Labels of a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ScrapeLabels {
    pub(super) outcome: ScrapeOutcome,
}
