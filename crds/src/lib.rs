//! RingRift's custom resources: group `ringrift.dev`, version `v1alpha1`, category `ringrift`.
//!
//! A resource is a wish that is written once: its spec cannot change, for the games or tasks of two
//! wishes must not be mixed. What the agents made of it stands in its status, which is a bounded
//! digest: the full record (every pair, every log) stays with the agents.
//!
//! The API server itself enforces every rule here: bounds by the schema, relations between fields
//! by CEL. There is no webhook, so nothing of ours can be down when an object is written.
#![expect(
    clippy::duplicated_attributes,
    reason = "the printed columns of a kind are one attribute each and share words"
)]
#![expect(unreachable_pub, reason = "KubeSchema repeats each type inside a function")]

pub mod condition;
pub mod contest;
pub mod gauntlet;
pub mod job;
pub mod resources;
pub mod status;
pub mod tournament;

pub use gauntlet::{Gauntlet, GauntletSpec};
pub use job::{Job, JobSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;
pub use status::Status;
pub use tournament::{Tournament, TournamentSpec};

/// The API group of all kinds.
pub const GROUP: &str = "ringrift.dev";
/// The finalizer that holds a deleted object until its run was cancelled.
pub const FINALIZER: &str = "ringrift.dev/run";

/// The queue of objects that name none.
fn queue() -> String {
    "default".to_owned()
}

/// The annotation that keeps Helm from deleting the definition, and with it every object.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// Every definition, in order of name.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![Gauntlet::crd(), Job::crd(), Tournament::crd()];
    for definition in &mut definitions {
        let annotations = definition.metadata.annotations.get_or_insert_default();
        annotations.insert(KEEP.0.to_owned(), KEEP.1.to_owned());
    }
    definitions
}

/// Why a definition could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("the definition {name} could not be written as YAML: {cause}")]
pub struct YamlError {
    name: String,
    cause: String,
}

/// A definition as a YAML document, without a leading `---`.
///
/// # Errors
/// [`YamlError`] when the definition holds a value that YAML cannot express.
pub fn yaml(definition: &CustomResourceDefinition) -> Result<String, YamlError> {
    // Through JSON, so that the text depends on nothing but the values: keys in order of the alphabet.
    let failed = |cause: String| YamlError {
        name: definition.metadata.name.clone().unwrap_or_default(),
        cause,
    };
    let mut value = serde_json::to_value(definition).map_err(|error| failed(error.to_string()))?;
    whole_numbers(&mut value);
    serde_saphyr::to_string(&value).map_err(|error| failed(error.to_string()))
}

/// Kubernetes' own types hold a bound as a float; people read 400 rather than 400.0.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            if let Some(whole) = text.strip_suffix(".0").and_then(|text| text.parse::<i64>().ok()) {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
