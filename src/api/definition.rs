//! The CustomResourceDefinition as it is installed: what the derive makes of the types, completed.

use super::AgentPool;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

/// The CustomResourceDefinition: generated from the Rust types, then completed by what the derive cannot say.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = AgentPool::crd();
    let labels = crd.metadata.labels.get_or_insert_default();
    labels.insert("app.kubernetes.io/name".into(), "agentpool".into());
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|s| s.open_api_v3_schema.as_mut()) {
            schema.title = None;
            tidy(schema);
        }
    }
    crd
}

/// The CustomResourceDefinition as YAML, as it stands in `crds/`.
///
/// # Errors
/// Never for the types of this crate; the serializers' errors are passed on.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    let mut value = serde_yaml::to_value(crd())?;
    whole_numbers(&mut value);
    serde_yaml::to_string(&value)
}

/// What the derive says and the server should not read.
fn tidy(schema: &mut JSONSchemaProps) {
    // `uint32` draws a warning at every apply; the bounds say the same.
    let unknown = |format: &str| format.starts_with("uint");
    schema.format = schema.format.take().filter(|format| !unknown(format));
    // The server prunes a null and applies the default, as it does for built-in types; a null that is kept would be a third state.
    schema.nullable = None;
    // Comments are broken at the width of the source.
    schema.description = schema.description.take().map(|d| d.replace('\n', " "));
    let properties = schema.properties.iter_mut().flat_map(|p| p.values_mut());
    properties.for_each(tidy);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        tidy(items);
    }
}

/// Bounds are floats in the type of the schema, `1000.0`; the server stores and shows `1000`, and a GitOps tool would see a difference.
fn whole_numbers(value: &mut serde_yaml::Value) {
    use serde_yaml::Value::{Mapping, Number, Sequence};
    match value {
        Number(number) => {
            let float = number
                .as_f64()
                .filter(|f| number.is_f64() && f.fract() == 0.0);
            if let Some(whole) = float.filter(|f| f.abs() < 9e15) {
                *value = (whole as i64).into();
            }
        }
        Sequence(items) => items.iter_mut().for_each(whole_numbers),
        Mapping(entries) => entries.values_mut().for_each(whole_numbers),
        _ => {}
    }
}
