//! Tells the cluster what this node has, so that work which asks for something finds room.
//!
//! Now and then the agent looks at itself and at the ledger, and the core says whether there is
//! anything to say: nothing when the ledger is right, and nothing while an operator's word stands. So a
//! node at rest writes no log entries, and one whose word got lost says it again. It is told as a
//! worker tells everything: over HTTP, to its own agent, which passes it on.

mod measure;

use std::path::PathBuf;
use std::time::Duration;

use ringrift_core::id::NodeId;
use ringrift_core::queue::resources::{Capacity, Word};
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::tenancy::{Nodes, Set};
use tokio_util::sync::CancellationToken;

use crate::http::convert::capacity as convert;

/// Between two looks. It bounds how often a node whose disk fills and empties writes log entries, and
/// how long a word is missing that somebody removed.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after a look that failed, which doubles up to [`LOOK_INTERVAL`]: an agent that has just
/// started has no cluster yet.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Taking the word back is a courtesy: who cannot is lost to the others soon, and its word with it.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// What the flags say of this node; what is not given is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// Thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// Mebibytes of memory.
    pub memory_mib: Option<u32>,
    /// GPU devices.
    pub gpu_devices: Option<u16>,
}

/// Tells what one node has.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) node_id: NodeId,
    /// Whether it runs work at all; else it offers nothing.
    pub(crate) works: bool,
    pub(crate) given: Given,
    /// The disk under it counts.
    pub(crate) data_dir: PathBuf,
    pub(crate) client: Client,
}

impl Offer {
    /// Keeps the ledger right until `stop` is cancelled, and takes the word back then.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let kept = async {
            let mut pause = RETRY_FIRST;
            loop {
                pause = match self.look(self.works).await {
                    Ok(()) => LOOK_INTERVAL,
                    Err(error) => {
                        tracing::debug!(%error, "what this node has was not told");
                        (pause * 2).min(LOOK_INTERVAL)
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = kept => {}
        }
        if !self.works {
            return;
        }
        let farewell = tokio::time::timeout(FAREWELL_PATIENCE, self.look(false));
        if !matches!(farewell.await, Ok(Ok(()))) {
            tracing::debug!("what this node has was not taken back");
        }
    }

    /// Compares the ledger with this node once, and says what there is to say.
    async fn look(&self, works: bool) -> Result<(), ClientError> {
        let Self { node_id, works: _, given, data_dir, client } = self;
        let ledger = client.get::<Nodes>(&format!("/nodes?node_id={node_id}")).await?;
        let ledger = ledger.nodes.first().map(convert::stated);
        let (given, data_dir) = (*given, data_dir.clone());
        // Beside the runtime's threads: a disk that hangs answers this late.
        let measured = tokio::task::spawn_blocking(move || offered(given, measure::now(&data_dir)));
        let offered = measured.await.ok().filter(|_| works);
        let path = format!("/nodes/{node_id}/capacity?by=agent");
        match Word::on(offered.as_ref(), ledger.as_ref()) {
            Word::Nothing => {}
            Word::Say(capacity) => {
                let _: Set = client.put(&path, &convert::told(&capacity)).await?;
                let Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib } = capacity;
                tracing::info!(
                    cpu_milli,
                    memory_mib,
                    gpu_devices,
                    disk_free_mib,
                    "told what there is"
                );
            }
            Word::TakeBack => {
                let _: Set = client.delete(&path, &()).await?;
                tracing::info!("this node offers nothing any more");
            }
        }
        Ok(())
    }
}

/// What was given, and for the rest what was measured.
fn offered(given: Given, measured: Capacity) -> Capacity {
    let Given { cpu_milli, memory_mib, gpu_devices } = given;
    Capacity {
        cpu_milli: cpu_milli.unwrap_or(measured.cpu_milli),
        memory_mib: memory_mib.unwrap_or(measured.memory_mib),
        gpu_devices: gpu_devices.unwrap_or(measured.gpu_devices),
        disk_free_mib: measured.disk_free_mib,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_goes_before_what_is_measured() {
        let measured =
            Capacity { cpu_milli: 8_000, memory_mib: 100, gpu_devices: 0, disk_free_mib: 7 };
        assert_eq!(offered(Given::default(), measured.clone()), measured);
        let given = Given { cpu_milli: Some(500), memory_mib: None, gpu_devices: Some(2) };
        let expected = Capacity { cpu_milli: 500, gpu_devices: 2, ..measured.clone() };
        assert_eq!(offered(given, measured), expected);
    }
}
