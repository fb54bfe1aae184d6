//! A snapshot as its sender sees it, which asks again before it was answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::consensus::network::link::Link;
use crate::consensus::wire::{Blob, Purpose, Request};
use crate::consensus::{Consensus, ConsensusConfig, Timing, VoterPolicy};

const PATIENCE: Duration = Duration::from_secs(60);

async fn agent(name: &str, directory: &TempDir) -> Consensus {
    let config = ConsensusConfig {
        node_id: name.parse().unwrap(),
        data_dir: directory.path().to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        raft_address: "127.0.0.1:0".to_owned(),
        http_address: format!("{name}.invalid:8770"),
        timing: Timing::safe(),
        voters: VoterPolicy::default(),
        zone: None,
    };
    Consensus::open(config, Clock::start()).await.unwrap()
}

/// A connection of its own, for snapshots.
fn link(source: &Consensus, target: &Consensus) -> Arc<Link> {
    let (caller, address) = (Arc::clone(&source.inner.caller), target.raft_listen_address());
    Arc::new(Link::new(caller, target.inner.raft_id, address.to_string(), Purpose::Snapshot))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_being_installed_or_is_there_is_not_sent_again() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, target) = (agent("a", &here).await, agent("b", &there).await);
    source.initialize("test".to_owned()).await.unwrap();
    source.compact().await.unwrap();
    let Snapshot { meta, snapshot } = source.inner.snapshots.current().unwrap().unwrap();
    let bytes = std::fs::read(&snapshot.path).unwrap();
    let (half, total) = (bytes.len() / 2, bytes.len() as u64);
    let vote = source.inner.raft.metrics().borrow_watched().vote;
    let begin = Request::SnapshotBegin(SnapshotBegin { meta: meta.clone(), total });
    let part = |offset: usize, data: &[u8]| {
        let (meta, offset, data) = (meta.clone(), offset as u64, Blob(data.to_vec()));
        Request::SnapshotPart(SnapshotPart { vote, meta, offset, total, data })
    };

    let (one, other) = (link(&source, &target), link(&source, &target));
    let begun = one.call(&begin, PATIENCE).await.unwrap();
    assert!(matches!(begun, Response::SnapshotBegun(0)), "{begun:?}");
    let more = one.call(&part(0, &bytes[..half]), PATIENCE).await.unwrap();
    assert!(matches!(more, Response::SnapshotPart(None)), "{more:?}");
    let last = part(half, &bytes[half..]);
    let installed = tokio::spawn(async move { one.call(&last, PATIENCE).await.unwrap() });
    let mut arrived = 0;
    while arrived < total {
        arrived = match other.call(&begin, PATIENCE).await.unwrap() {
            Response::SnapshotBegun(arrived) => arrived,
            response => panic!("{response:?}"),
        };
        assert!(arrived > 0, "the transfer would begin again");
    }
    let installed = installed.await.unwrap();
    assert!(matches!(installed, Response::SnapshotPart(Some(_))), "{installed:?}");
    // Nothing is left to send but the question.
    let known = other.call(&part(bytes.len(), &[]), PATIENCE).await.unwrap();
    let Response::SnapshotPart(Some(known)) = known else { panic!("{known:?}") };
    assert_eq!(known.vote, vote);
    assert_eq!(target.read(|machine| machine.cluster_id().to_owned()), "test");
}
