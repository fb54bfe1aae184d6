//! Three of our own agents. How they are talked to is a [`Transport`] of its own.

mod http;
mod stream;

use std::marker::PhantomData;
use std::path::PathBuf;

use ringrift_tests::agents::{Binaries, Cluster};
use ringrift_wire::status::RaftStatus;

pub(crate) use self::http::Http;
pub(crate) use self::stream::Stream;
use super::nodes::beginning_with;
use super::{Client, Failure, NODES, Nodes, SETTLE_LIMIT, Setup, System, wait_for};

const OURS: &str = "ours";

/// One of the agents' interfaces for clients.
pub(crate) trait Transport: Client {
    /// Its name in the report.
    const NAME: &'static str;

    /// A client of the agents that serve HTTP at `addresses`, the leader's first, with up to
    /// `in_flight` requests under way.
    async fn connect(addresses: &[String], in_flight: usize) -> Result<Self, Failure>;
}

/// Three agents.
#[derive(Debug)]
pub(crate) struct Agents<T> {
    cluster: Cluster,
    version: String,
    transport: PhantomData<T>,
}

impl<T: Transport> System for Agents<T> {
    const NAME: &'static str = OURS;
    type Client = T;
    type Nodes = Cluster;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let binaries = Binaries::locate(setup.bin_dir.clone())?;
        // No slots: the agents run no work of their own, all claims come from the bench.
        let timing = ["--consensus-profile".to_owned(), setup.timing.clone()];
        let cluster = Cluster::start_with(binaries, &setup.dir, NODES, 0, &timing)?;
        cluster.wait_until_agreed(NODES, SETTLE_LIMIT).await?;
        let version = cluster.client().map_err(Failure::request(OURS, "status"))?.status().await;
        let version = version.map_err(Failure::request(OURS, "status"))?.version;
        Ok(Self { cluster, version, transport: PhantomData })
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn transport(&self) -> String {
        T::NAME.to_owned()
    }

    async fn client(&self, in_flight: usize) -> Result<T, Failure> {
        let addresses = beginning_with(self.leader().await?, &self.cluster.addresses());
        T::connect(&addresses, in_flight).await
    }

    async fn leader(&self) -> Result<usize, Failure> {
        wait_for(OURS, "a leader", SETTLE_LIMIT, || async {
            let leader = self.cluster.leader().await.map_err(|error| error.to_string())?;
            leader.ok_or_else(|| "none".to_owned())
        })
        .await
    }

    async fn term(&self) -> Result<Option<u64>, Failure> {
        let client = self.cluster.client().map_err(Failure::request(OURS, "status"))?;
        let status = client.get::<RaftStatus>("/raft/status").await;
        Ok(Some(status.map_err(Failure::request(OURS, "status"))?.term))
    }

    async fn settled(&self, items: u64) -> Result<(), Failure> {
        self.cluster.wait_until_agreed(NODES, SETTLE_LIMIT).await?;
        wait_for(OURS, "every replica holds the items", SETTLE_LIMIT, || async {
            for agent in &self.cluster.agents {
                let held = http::replica_items(&agent.http).await?;
                if held < items {
                    return Err(format!("{} holds {held} of {items}", agent.node_id));
                }
            }
            Ok(())
        })
        .await
    }

    fn nodes(&mut self) -> &mut Cluster {
        // Ending them by SIGKILL spares the last agents of a cluster the attempt to hand over.
        &mut self.cluster
    }
}

impl Nodes for Cluster {
    async fn kill(&mut self, node: usize) -> Result<(), Failure> {
        self.agents[node].kill().await;
        Ok(())
    }

    async fn leave(&mut self, node: usize) -> Result<(), Failure> {
        if self.agents[node].stop().await {
            return Ok(());
        }
        let name = &self.agents[node].node_id;
        Err(Failure::Setup(format!("{name} did not leave by itself and was killed")))
    }

    fn restart(&mut self, node: usize) -> Result<(), Failure> {
        Ok(Self::restart(self, node)?)
    }

    fn pid(&self, node: usize) -> Option<u32> {
        self.agents[node].pid()
    }

    fn log(&self, node: usize) -> PathBuf {
        self.agents[node].log.clone()
    }
}
