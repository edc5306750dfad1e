//! Schemas of single fields that the derive cannot say: patterns, CEL on durations and quantities, what is added to the CRD.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use schemars::{Schema, SchemaGenerator, json_schema};

fn duration(least: &str, most: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "pattern": r"^([0-9]{1,6}(ms|s|m|h))+$",
        "x-kubernetes-validations": [{
            "rule": format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
            "message": format!("must be a duration from {least} to {most}, such as 1s, 90s or 5m")
        }]
    })
}

pub(super) fn interval(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "1h")
}

pub(super) fn window(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "24h")
}

pub(super) fn lag(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "1h")
}

/// An int-or-string of at most `length` characters; `pattern` binds strings, `rule` (CEL, on a float `v`) both.
fn number(length: u32, pattern: &str, least: &str, most: &str, expected: &str) -> Schema {
    let value = "(type(self) == int ? double(self) : quantity(self).asApproximateFloat())";
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": length,
        "pattern": pattern,
        "x-kubernetes-validations": [{
            "rule": format!("{value} {least} && {value} <= {most}"),
            "message": format!("must be {expected}")
        }]
    })
}

const SHARE: &str = r"^([0-9]{1,5}(\.[0-9]{1,3})?|[0-9]{1,8}m)$";

pub(super) fn gpus(_: &mut SchemaGenerator) -> Schema {
    number(
        8,
        SHARE,
        "> 0.0",
        "65536.0",
        "a number of GPUs above 0 and at most 65536, such as 4, \"0.5\" or \"500m\" (whole milli-GPUs)",
    )
}

pub(super) fn min_share(_: &mut SchemaGenerator) -> Schema {
    number(
        8,
        SHARE,
        ">= 0.0",
        "65536.0",
        "a share of at least 0 and at most 65536 GPUs, such as 1, \"0.1\" or \"100m\" (whole milli-GPUs)",
    )
}

pub(super) fn price(_: &mut SchemaGenerator) -> Schema {
    number(
        10,
        r"^[0-9]{1,5}(\.[0-9]{1,4})?$",
        ">= 0.0",
        "10000.0",
        "USD for one GPU for one hour, at least 0 and at most 10000, such as \"2.10\"",
    )
}

pub(super) fn requests_per_second(_: &mut SchemaGenerator) -> Schema {
    number(
        16,
        r"^[0-9]{1,7}(\.[0-9]{1,6})?$",
        "> 0.0",
        "1000000.0",
        "requests per second that one whole GPU serves, above 0 and at most 1000000, such as 30 or \"2.5\"",
    )
}

pub(super) fn memory(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "pattern": r"^[0-9]{1,12}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)?$",
        "x-kubernetes-validations": [{
            "rule": "quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('16Ti'))",
            "message": "must be an amount of GPU memory above 0 and at most 16Ti, such as 500Mi or 16Gi"
        }]
    })
}

pub(super) fn fraction(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 8, "pattern": r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$" })
}

pub(super) fn exponent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 8, "pattern": r"^(0\.[1-9][0-9]{0,3}|1)$" })
}

pub(super) fn path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^/[A-Za-z0-9/_.~-]*$" })
}

pub(super) fn metric_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[a-zA-Z_:][a-zA-Z0-9_:]*$" })
}

pub(super) fn container(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" })
}

pub(super) fn apps_v1(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["apps/v1"] })
}

pub(super) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "x-kubernetes-validations": [{
            "rule": "self.all(k, k.matches('^[A-Za-z0-9]([A-Za-z0-9_./-]{0,315}[A-Za-z0-9])?$'))",
            "message": "keys must be label keys, such as nvidia.com/gpu.product"
        }]
    })
}

/// Completes what the derive makes of the types: labels, and no number formats that Kubernetes does not know (`uint32` draws a
/// warning at every apply; the bounds say the same).
pub(super) fn complete(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.metadata
        .labels
        .get_or_insert_default()
        .insert("app.kubernetes.io/name".into(), "agentpool".into());
    for version in &mut crd.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        {
            drop_unknown_formats(schema);
        }
    }
    crd
}

fn drop_unknown_formats(schema: &mut JSONSchemaProps) {
    if schema
        .format
        .as_deref()
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.format = None;
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        drop_unknown_formats(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        drop_unknown_formats(items);
    }
}
