//! Schemas of single fields that the derive cannot say.
//!
//! A text is checked by CEL rather than by `pattern`: the server then answers in the words given here, not with a regular
//! expression. The lengths bound what a check can cost.

use schemars::{Schema, SchemaGenerator, json_schema};

const LABEL: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

/// A string of at most `length` characters for which the CEL expression `rule` holds.
fn text(length: u32, rule: &str, expected: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": length,
        "x-kubernetes-validations": [{ "rule": rule, "message": format!("must be {expected}") }]
    })
}

fn matches(pattern: &str) -> String {
    format!("self.matches(r'{pattern}')")
}

fn duration(least: &str, most: &str) -> Schema {
    let form = matches("^([0-9]{1,6}(ms|s|m|h))+$");
    text(
        16,
        &format!(
            "{form} && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
        ),
        &format!("a duration from {least} to {most}, such as 1s, 90s or 2m30s"),
    )
}

/// How often: 1s to 1h.
pub(super) fn interval(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "1h")
}

/// Over what time: 1s to 24h.
pub(super) fn window(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "24h")
}

/// A delay: 0s to 1h.
pub(super) fn lag(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "1h")
}

/// An integer, or a string of the form `pattern` that is a Kubernetes quantity; from `least` (with its comparison) to `most`.
///
/// `maxLength` binds the string; without it the server estimates that a rule over 64 agents costs too much.
fn amount(pattern: &str, least: &str, most: u64, expected: &str) -> Schema {
    let form = matches(pattern);
    let value = "quantity(self).asApproximateFloat()";
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 16,
        "x-kubernetes-validations": [{
            "rule": format!(
                "type(self) == int ? self {least} && self <= {most} : {form} && {value} {least}.0 && {value} <= {most}.0"
            ),
            "message": format!("must be {expected}")
        }]
    })
}

const SHARE: &str = r"^([0-9]{1,5}(\.[0-9]{1,3})?|[0-9]{1,8}m)$";

/// A number of GPUs.
pub(super) fn gpus(_: &mut SchemaGenerator) -> Schema {
    amount(
        SHARE,
        "> 0",
        65_536,
        "a number of GPUs above 0 and at most 65536 in whole milli-GPUs, such as 4, \"0.5\" or \"500m\"",
    )
}

/// A share that may be nothing.
pub(super) fn min_share(_: &mut SchemaGenerator) -> Schema {
    amount(
        SHARE,
        ">= 0",
        65_536,
        "a share from 0 to 65536 GPUs in whole milli-GPUs, such as 1, \"0.1\" or \"100m\"",
    )
}

/// USD for an hour of one GPU.
pub(super) fn price(_: &mut SchemaGenerator) -> Schema {
    amount(
        r"^[0-9]{1,5}(\.[0-9]{1,4})?$",
        ">= 0",
        10_000,
        "USD for one GPU for one hour, from 0 to 10000, such as \"2.10\"",
    )
}

/// The base throughput T.
pub(super) fn requests_per_second(_: &mut SchemaGenerator) -> Schema {
    amount(
        r"^[0-9]{1,7}(\.[0-9]{1,6})?$",
        "> 0",
        1_000_000,
        "the requests per second that one whole GPU serves, above 0 and at most 1000000, such as 30 or \"2.5\"",
    )
}

/// GPU memory.
pub(super) fn memory(_: &mut SchemaGenerator) -> Schema {
    amount(
        r"^[0-9]{1,12}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)?$",
        "> 0",
        16 << 40,
        "an amount of GPU memory above 0 and at most 16Ti, such as \"500Mi\" or \"16Gi\"",
    )
}

/// A fraction of a whole.
pub(super) fn fraction(_: &mut SchemaGenerator) -> Schema {
    amount(
        r"^[01](\.[0-9]{1,4})?$",
        ">= 0",
        1,
        "a fraction from 0 to 1, such as \"0.1\"",
    )
}

/// Standard deviations.
pub(super) fn deviations(_: &mut SchemaGenerator) -> Schema {
    amount(
        r"^[0-9]{1,2}(\.[0-9]{1,3})?$",
        ">= 0",
        10,
        "standard deviations from 0 to 10, such as \"2\"",
    )
}

/// The exponent b of a speed curve. Integers leave only 1.
pub(super) fn exponent(_: &mut SchemaGenerator) -> Schema {
    amount(
        r"^(0\.[1-9][0-9]{0,3}|1(\.0{1,4})?)$",
        "> 0",
        1,
        "a number from \"0.1\" to 1, such as \"0.7\"",
    )
}

/// An absolute path.
pub(super) fn path(_: &mut SchemaGenerator) -> Schema {
    text(
        128,
        &matches("^/[A-Za-z0-9/_.~-]*$"),
        "an absolute path without query or escapes, such as /metrics",
    )
}

/// A metric's name.
pub(super) fn metric_name(_: &mut SchemaGenerator) -> Schema {
    text(
        128,
        &matches("^[a-zA-Z_:][a-zA-Z0-9_:]*$"),
        "the name of a metric without labels, such as engine_requests_running",
    )
}

/// A DNS label.
pub(super) fn label(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &matches(LABEL),
        "a DNS label: lower-case letters, digits and '-', such as coordinator",
    )
}

/// The name of a Kubernetes object.
pub(super) fn object_name(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &matches("^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
        "the name of a workload: lower-case letters, digits, '-' and '.'",
    )
}

/// The one API version of workloads that is built.
pub(super) fn apps_v1(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["apps/v1"] })
}

/// Labels of nodes.
pub(super) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "x-kubernetes-validations": [
            {
                "rule": "self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
                "message": "keys must be label keys, such as nvidia.com/gpu.product"
            },
            {
                "rule": "self.all(k, self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
                "message": "values must be label values: letters, digits, '-', '_' and '.', such as NVIDIA-A100-SXM4-80GB"
            }
        ]
    })
}
