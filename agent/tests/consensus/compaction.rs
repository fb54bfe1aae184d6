//! When a snapshot comes: by the bytes of the log, whichever life of the agent wrote them.

use ringrift_core::queue::command::Command;
use ringrift_core::queue::item::Payload;

use crate::harness::*;

/// Entries of one life. Together they are less than what is worth a snapshot (64 MiB), twice that more.
const ENTRIES: usize = 80;
/// Items of an entry, and bytes of each.
const ITEMS: usize = 10;
const ITEM_BYTES: usize = 60_000;

async fn write_log(agents: &[Agent], life: usize) {
    let leader = leader_of(agents).await;
    for entry in 0..ENTRIES {
        let large = |number| {
            let mut large = item(&format!("k{life}.{entry}.{number}"));
            large.payload = Payload::Opaque(format!("{:?}", "x".repeat(ITEM_BYTES)));
            large
        };
        let items = (0..ITEMS).map(large).collect();
        leader.consensus.propose(vec![Command::Enqueue(items)]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grew_in_two_lives_gets_its_snapshot() {
    let mut agents = cluster(&["a"]).await;
    write_log(&agents, 0).await;
    assert_eq!(agents[0].consensus.status().snapshot, None, "one life writes too little");
    let agent = agents.remove(0).restarted().await;
    let agents = [agent];
    write_log(&agents, 1).await;
    eventually("there is a snapshot", || agents[0].consensus.status().snapshot.is_some()).await;
}
