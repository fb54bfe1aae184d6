//! Stage 1 turns a raw spec into the agents' words, and asks nobody. After it, nobody reads the raw
//! spec again. The API server has checked bounds and relations already, by the schema and by CEL;
//! what is refused here was stored under an older definition.

mod contest;
mod gauntlet;
mod job;
mod tournament;

use core::fmt::{Debug, Display};

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use ringrift_crds::Status;
use ringrift_crds::resources::Resources;
use ringrift_wire::run::RunSpec;
use ringrift_wire::work;
use serde::de::DeserializeOwned;

/// A kind of object: what the kinds differ by.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its name in run ids, logs and metrics.
    const NAME: &'static str;

    /// The wish in the agents' words.
    ///
    /// # Errors
    /// [`Invalid`] names the first field that the agents could not take.
    fn run_spec(&self) -> Result<RunSpec, Invalid>;

    /// The agents' queue that the object names.
    fn queue(&self) -> &str;

    /// What stands in the status.
    fn status(&self) -> Option<&Status>;
}

/// A wish that the agents can take.
#[derive(Debug)]
pub(super) struct Valid {
    /// The run's id.
    pub(super) run_id: String,
    /// The queue that its items go to.
    pub(super) queue: String,
    /// What it is to do.
    pub(super) spec: RunSpec,
}

/// A field that the agents could not take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}, and is {value}")]
pub(crate) struct Invalid {
    field: String,
    rule: &'static str,
    value: String,
}

/// # Errors
/// [`Invalid`] names the first field that the agents could not take.
pub(super) fn validate<K: Kind>(object: &K) -> Result<Valid, Invalid> {
    let run_id = super::run_id::<K>(object.meta());
    Ok(Valid { run_id, queue: object.queue().to_owned(), spec: object.run_spec()? })
}

fn resources(given: &Resources) -> Result<work::Resources, Invalid> {
    let Resources { cpu_milli, memory_mib, gpu_milli, disk_free_mib } = *given;
    let thousandths = |field: &str, milli: i32| {
        let milli: u32 = unsigned(&format!("spec.resources.{field}"), milli)?;
        Ok(f64::from(milli) / 1_000.0)
    };
    Ok(work::Resources {
        cpu: thousandths("cpuMilli", cpu_milli)?,
        memory_mib: unsigned("spec.resources.memoryMib", memory_mib)?,
        gpus: thousandths("gpuMilli", gpu_milli)?,
        disk_free_mib: unsigned("spec.resources.diskFreeMib", disk_free_mib)?,
    })
}

/// A Kubernetes integer is signed; the agents' are not.
fn unsigned<Wide, Narrow>(field: &str, value: Wide) -> Result<Narrow, Invalid>
where
    Wide: Copy + Display,
    Narrow: TryFrom<Wide>,
{
    Narrow::try_from(value).map_err(|_out_of_range| Invalid {
        field: field.to_owned(),
        rule: "must be greater than or equal to 0 and not that large",
        value: value.to_string(),
    })
}
