//! A queue under test: three nodes on this machine and a way to talk to them. The load generator
//! sees nothing but [`System`] and [`Client`], so that it treats all alike.

pub(crate) mod etcd;
pub(crate) mod nats;
mod nodes;
pub(crate) mod ours;
mod pool;
pub(crate) mod rabbitmq;

use std::path::PathBuf;
use std::time::Duration;

use ringrift_tests::agents::ClusterError;
use ringrift_tests::program::ProgramError;

use crate::clock;

/// Bytes of an item.
pub(crate) const PAYLOAD_BYTES: usize = 256;
/// Nodes of every system.
pub(crate) const NODES: usize = 3;
/// How long three nodes may take to agree: RabbitMQ boots three Erlang machines on one processor.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// A request that takes longer has failed. Longer than every election timeout of the peers, shorter
/// than the leases of claims.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node that was asked to leave may take.
pub(crate) const LEAVE_LIMIT: Duration = Duration::from_secs(60);

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An agent or their cluster.
    #[error(transparent)]
    Agents(#[from] ClusterError),
    /// A peer's process.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A request failed; whether it took effect is not known.
    #[error("{system}: {action}: {cause}")]
    Request {
        /// Which system.
        system: &'static str,
        /// What was asked.
        action: &'static str,
        /// What it answered.
        cause: String,
    },
    /// A condition did not come true in time.
    #[error("{system}: {condition} did not come true within {limit:?}; the last look saw {seen}")]
    TooLate {
        /// Which system.
        system: &'static str,
        /// What was waited for.
        condition: &'static str,
        /// For how long.
        limit: Duration,
        /// What was there instead.
        seen: String,
    },
    /// A file or folder.
    #[error("{action}: {cause}")]
    File {
        /// What was tried.
        action: String,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// A setting, a missing program or a broken report.
    #[error("{0}")]
    Setup(String),
}

impl Failure {
    /// A request failed with an error of a client library.
    pub(crate) fn request<E: std::fmt::Display>(
        system: &'static str,
        action: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |cause| Self::Request { system, action, cause: cause.to_string() }
    }

    /// The file system refused.
    pub(crate) fn file(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |cause| Self::File { action, cause }
    }
}

/// Where a system finds its programs and puts its data.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// An empty folder for the system's data and logs.
    pub(crate) dir: PathBuf,
    /// Folder of our own programs; the one of this program when absent.
    pub(crate) bin_dir: Option<PathBuf>,
    /// Folder of etcd and nats-server.
    pub(crate) peers_dir: PathBuf,
    /// Profile of our own timers.
    pub(crate) timing: String,
}

/// An item: 256 bytes of ASCII that begin with the time at which it was meant to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Payload(String);

/// Digits of the time at the front of an item.
const TIME_DIGITS: usize = 20;

impl Payload {
    /// An item that is meant to be sent at `intended`, by [`clock::now`].
    pub(crate) fn at(intended: Duration) -> Self {
        let mut text = format!("{:0TIME_DIGITS$}", intended.as_nanos());
        text.extend(std::iter::repeat_n('x', PAYLOAD_BYTES - TIME_DIGITS));
        Self(text)
    }

    /// `count` items that are sent now.
    pub(crate) fn now(count: usize) -> Vec<Self> {
        vec![Self::at(clock::now()); count]
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// When the item with these bytes was meant to be sent; zero when it is none of ours.
pub(crate) fn submitted(payload: &[u8]) -> Duration {
    let digits = payload.get(..TIME_DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
    Duration::from_nanos(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

/// A claimed item.
pub(crate) trait Held: Send + 'static {
    /// When it was meant to be sent, by [`clock::now`].
    fn submitted(&self) -> Duration;
}

/// A way to talk to a running system. One value serves all workers of a measurement; it survives the
/// death of any one node.
///
/// One item or many is the caller's choice: with one the client sends the plain request of its
/// system, with many it batches as that system does.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// What a worker holds.
    type Claim: Held;

    /// Adds items. Returns when a majority has them on disk.
    ///
    /// # Errors
    /// [`Failure::Request`]; the items may be there nevertheless.
    fn enqueue(&self, items: Vec<Payload>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Takes up to `at_most` items for this worker alone, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// [`Failure::Request`].
    fn claim(
        &self,
        at_most: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Self::Claim>, Failure>> + Send;

    /// Ends claimed items for good.
    ///
    /// # Errors
    /// [`Failure::Request`]; the items may have ended nevertheless.
    fn complete(
        &self,
        claims: Vec<Self::Claim>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Three nodes on this machine.
pub(crate) trait System: Sized {
    /// Its key in the report.
    const NAME: &'static str;
    /// How it is talked to.
    type Client: Client;
    /// Its processes.
    type Nodes: Nodes;

    /// Starts three nodes and waits until they are one cluster with an empty queue.
    async fn start(setup: &Setup) -> Result<Self, Failure>;

    /// Its version, as its program says.
    fn version(&self) -> String;

    /// How it is talked to, in words.
    fn transport(&self) -> String;

    /// A client that talks to the leader first and keeps up to `in_flight` items under way.
    async fn client(&self, in_flight: usize) -> Result<Self::Client, Failure>;

    /// The node that leads the queue.
    async fn leader(&self) -> Result<usize, Failure>;

    /// A number that grows with every election, where the system can tell.
    async fn term(&self) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// Waits until all nodes run, agree on a leader and hold what it holds: at least `items` items,
    /// where the system can tell.
    async fn settled(&self, items: u64) -> Result<(), Failure>;

    /// Its processes.
    fn nodes(&mut self) -> &mut Self::Nodes;

    /// Ends everything that [`Self::start`] started.
    async fn stop(mut self) -> Result<(), Failure> {
        for node in 0..NODES {
            self.nodes().kill(node).await?;
        }
        Ok(())
    }
}

/// The processes of a system, by number.
pub(crate) trait Nodes {
    /// SIGKILL.
    async fn kill(&mut self, node: usize) -> Result<(), Failure>;

    /// SIGTERM; returns when the node is gone.
    async fn leave(&mut self, node: usize) -> Result<(), Failure>;

    /// Starts a node again with its data.
    fn restart(&mut self, node: usize) -> Result<(), Failure>;

    /// The node's process while it runs.
    fn pid(&self, node: usize) -> Option<u32>;

    /// The node's log.
    fn log(&self, node: usize) -> PathBuf;
}

/// Looks until `look` finds something.
pub(crate) async fn wait_for<T, F>(
    system: &'static str,
    condition: &'static str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, String>>,
{
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let mut seen = "nothing".to_owned();
    let found = tokio::time::timeout(limit, async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(instead) => seen = instead,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    match found.await {
        Ok(found) => Ok(found),
        Err(_late) => Err(Failure::TooLate { system, condition, limit, seen }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_its_size_and_knows_when_it_was_sent() {
        let sent = Duration::from_nanos(123_456_789_012);
        let text = Payload::at(sent).into_text();
        assert_eq!(text.len(), PAYLOAD_BYTES);
        assert_eq!(submitted(text.as_bytes()), sent);
        assert_eq!(submitted(b"foreign"), Duration::ZERO);
    }
}
