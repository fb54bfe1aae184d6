//! Owners of locks: they renew, release, let lapse, and release what they lost.

use rand::RngExt as _;

use super::Phase;
use super::session::Caller;
use crate::history::{Answer, Ask, Outcome};

/// Fewer than lockers, so that they meet.
const LOCKS: u32 = 2;
/// The shortest that HTTP takes, in milliseconds, and the longest that a run waits for.
const TTL_MS: (u64, u64) = (1_000, 3_000);

/// Takes locks until the phase says that the work is over.
pub(super) async fn run(mut caller: Caller) {
    while caller.phase() == Phase::Work {
        turn(&mut caller).await;
    }
}

async fn turn(caller: &mut Caller) {
    let name = format!("lock-{}", caller.random.random_range(0..LOCKS));
    let ttl_ms = caller.random.random_range(TTL_MS.0..=TTL_MS.1);
    let owner = caller.node.clone();
    let lock = Ask::Lock { name: name.clone(), owner, ttl_ms };
    let Outcome::Done(_, Answer::Locked { token, .. }) = caller.once(lock.clone()).await else {
        tokio::time::sleep(caller.span(50, 300)).await;
        return;
    };
    tokio::time::sleep(caller.span(10, ttl_ms / 3)).await;
    if caller.chance(20) {
        caller.once(lock).await;
    }
    if caller.chance(10) {
        tokio::time::sleep(caller.span(ttl_ms, ttl_ms + 500)).await;
    }
    if caller.chance(85) {
        caller.once(Ask::Unlock { name, token }).await;
    }
}
