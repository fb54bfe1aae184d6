//! A backup of a running cluster, and the cluster that begins from it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use ringrift_agent::consensus::restore::{RestoreError, restore};
use ringrift_agent::consensus::{Backup, Consensus, MembershipError, Part};
use ringrift_core::id::Token;
use ringrift_core::queue::command::{Claim, Command, Reply};
use ringrift_core::queue::item::State;
use ringrift_core::time::Span;
use ringrift_wire::backup::{self, BLOCK_BYTES_MAX, Head};

use crate::harness::{open as open_agent, *};

fn write(mut backup: Backup, to: &Path, node_id: &str) {
    let head = Head {
        cluster_id: backup.cluster_id.clone(),
        node_id: node_id.to_owned(),
        term: backup.position.term,
        index: backup.position.index,
        created_ms: 0,
        version: "test".to_owned(),
    };
    let mut content = Vec::new();
    backup.file.read_to_end(&mut content).unwrap();
    assert_eq!(content.len() as u64, backup.bytes);
    let mut file = File::create(to).unwrap();
    file.write_all(&backup::begin(&head).unwrap()).unwrap();
    for block in content.chunks(BLOCK_BYTES_MAX) {
        file.write_all(&backup::block(block)).unwrap();
    }
    file.write_all(&backup::end(content.len() as u64)).unwrap();
}

async fn claim(consensus: &Consensus) -> Token {
    let claim = Claim {
        node: "worker".parse().unwrap(),
        capabilities: Default::default(),
        labels: Default::default(),
        work_types: Default::default(),
        limit: 1,
        lease: Span::seconds(600),
    };
    let committed = consensus.propose(vec![Command::Claim(claim)]).await.unwrap();
    match committed.replies.as_slice() {
        [Ok(Reply::Claimed(items))] => match &items[0].state {
            State::Claimed(lease) => lease.token,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_begins_from_a_backup_with_greater_tokens_and_without_strays() {
    let agents = cluster(&["a", "b", "c"]).await;
    let leader = &agents[0].consensus;
    let mut ids = Vec::new();
    for number in 0..20 {
        let committed = leader.propose(enqueue(&format!("k{number}"))).await.unwrap();
        ids.push(enqueued(&committed));
    }
    let before = claim(leader).await;
    let upto = leader.barrier().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup");
    // From a follower: it is in step, and says where it is.
    let last = *ids.last().unwrap();
    eventually("c has all", || has(&agents[2], last)).await;
    eventually("c has the claim", || *agents[2].consensus.applied().borrow() >= upto.index).await;
    let taken = agents[2].consensus.backup().await.unwrap();
    assert!(taken.position >= upto, "{:?}", taken.position);
    let position = taken.position;
    write(taken, &file, "c");
    // The old cluster goes on, and grants what the backup knows nothing of.
    let later = claim(leader).await;

    let directory = tempfile::tempdir().unwrap();
    let name = "r".parse().unwrap();
    let open = || File::open(&file).unwrap();
    let same = restore(open(), &place.path().join("same"), &name, "test");
    assert!(matches!(same, Err(RestoreError::Machine(_))), "the old name: {same:?}");
    let restored = restore(open(), directory.path(), &name, "another").unwrap();
    assert_eq!((restored.position, restored.unfinished), (position, 20));

    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut begun = Agent {
        name: "r".to_owned(),
        consensus: open_agent("r", directory.path(), anywhere).await,
        directory,
    };
    for _ in 0..2 {
        let alone = std::slice::from_ref(&begun);
        leader_of(alone).await;
        assert!(ids.iter().all(|id| has(&begun, *id)));
        let after = claim(&begun.consensus).await;
        assert!(after > later && after > before, "{after} {later} {before}");
        assert!(begun.consensus.status().term > position.term);
        begun = begun.restarted().await;
    }
    leader_of(std::slice::from_ref(&begun)).await;

    // An agent of the old cluster is not one of the new, and the other way round.
    let stray = begun.consensus.add_member(agents[1].member()).await.unwrap_err();
    assert!(matches!(stray, MembershipError::Unreachable { .. }), "{stray:?}");
    assert!(stray.to_string().contains("belongs to cluster"), "{stray}");
    let stray = leader.add_member(begun.member()).await.unwrap_err();
    assert!(stray.to_string().contains("belongs to cluster"), "{stray}");
    // The new one grows with fresh agents.
    let fresh = Agent::fresh("s").await;
    assert_eq!(begun.consensus.add_member(fresh.member()).await.unwrap(), Part::Voter);
    eventually("it has the work", || ids.iter().all(|id| has(&fresh, *id))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_leaves_nothing_that_starts() {
    let agents = cluster(&["a"]).await;
    let id = enqueued(&agents[0].consensus.propose(enqueue("k")).await.unwrap());
    assert!(has(&agents[0], id));
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup");
    let taken = agents[0].consensus.backup().await.unwrap();
    let busy = agents[0].consensus.backup().await;
    assert!(busy.is_err(), "one at a time");
    write(taken, &file, "a");
    agents[0].consensus.backup().await.unwrap();

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&file, &bytes).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let name = "r".parse().unwrap();
    let refused = restore(File::open(&file).unwrap(), directory.path(), &name, "another");
    assert!(matches!(refused, Err(RestoreError::Backup(_))), "{refused:?}");
    assert!(!directory.path().join("raft").exists());
    let unfinished = directory.path().join("raft.restoring");
    assert!(unfinished.exists(), "an agent refuses to start beside it");
}
