//! Snapshots on their way to a follower, over a connection that breaks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringrift_agent::consensus::Member;
use ringrift_core::queue::command::Command;
use ringrift_core::queue::item::Payload;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::*;

const MIB: u64 = 1024 * 1024;
/// One connection breaks after so many bytes.
const BREAKS_AFTER: u64 = 6 * MIB;

/// What passed towards the agent.
#[derive(Default)]
struct Passed {
    bytes: AtomicU64,
    broke: AtomicBool,
}

/// A way to `target` that breaks once.
async fn brittle_way(target: SocketAddr) -> (SocketAddr, Arc<Passed>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(Passed::default());
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let passed = Arc::clone(&counted);
            tokio::spawn(async move {
                if let Ok(called) = TcpStream::connect(target).await {
                    pass(caller, called, &passed).await;
                }
            });
        }
    });
    (address, passed)
}

async fn pass(caller: TcpStream, called: TcpStream, passed: &Passed) {
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_called, mut to_called) = called.into_split();
    let there = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut own: u64 = 0;
        while let Ok(read @ 1..) = from_caller.read(&mut buffer).await {
            own += read as u64;
            passed.bytes.fetch_add(read as u64, Ordering::SeqCst);
            if own > BREAKS_AFTER && !passed.broke.swap(true, Ordering::SeqCst) {
                return;
            }
            if to_called.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let back = tokio::io::copy(&mut from_called, &mut to_caller);
    // Whichever ends first takes the connection with it.
    tokio::select! {
        () = there => {}
        _ = back => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_where_its_connection_broke() {
    let agents = cluster(&["a"]).await;
    let leader = &agents[0].consensus;
    let mut last = None;
    for batch in 0..15 {
        let mut items = Vec::new();
        for number in 0..10 {
            let mut large = item(&format!("k{batch}.{number}"));
            large.payload = Payload::Opaque(format!("{:?}", "x".repeat(60_000)));
            items.push(large);
        }
        let committed = leader.propose(vec![Command::Enqueue(items)]).await.unwrap();
        last = Some(enqueued(&committed));
    }
    leader.compact().await.unwrap();
    eventually("the log is purged", || leader.status().purged.is_some()).await;
    let snapshot = agents[0].directory.path().join("raft/snapshots/current.snapshot");
    let size = std::fs::metadata(snapshot).unwrap().len();
    assert!(size > BREAKS_AFTER + MIB, "{size}");

    let late = Agent::fresh("b").await;
    let (way, passed) = brittle_way(late.consensus.raft_listen_address()).await;
    let member = Member { raft_address: way.to_string(), ..late.member() };
    leader.add_member(member).await.unwrap();
    eventually("it has the items", || has(&late, last.unwrap())).await;
    assert!(passed.broke.load(Ordering::SeqCst), "the connection broke");
    let sent = passed.bytes.load(Ordering::SeqCst);
    // From the beginning again it would be the size and six megabytes.
    assert!(sent < size + 3 * MIB, "{sent} bytes for a snapshot of {size}");
    assert!(sent >= size);
}
