//! The duties of the leader, off its serving path: letting time pass, stepping planners, ending what
//! nodes hold that are gone, and keeping the voters alive.
//!
//! The tasks run on every agent and act only while it leads. What they propose may be lost or come
//! twice without harm: a tick only lets time pass, and a planner's step is valid for one version of
//! its run only.

mod missing;
mod planner;
mod ticker;
mod voters;

use tokio_util::sync::CancellationToken;

use crate::consensus::Consensus;
use crate::gossip::Gossip;

/// Does the leader's duties until `stop` is cancelled.
pub async fn run(consensus: Consensus, gossip: Gossip, stop: CancellationToken) {
    let duties = async {
        tokio::join!(
            go_on(&consensus),
            missing::expire_missing(&consensus, &gossip),
            voters::keep_voters(&consensus, &gossip)
        );
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = duties => tracing::debug!("the leader's duties ended, since consensus has stopped"),
    }
}

/// Lets time pass and steps planners: the duties that look at nothing but the machine.
pub(crate) async fn go_on(consensus: &Consensus) {
    tokio::join!(ticker::tick_when_due(consensus), planner::step_runs(consensus));
}

/// Waits until this agent leads; false when consensus has stopped.
async fn leads(consensus: &Consensus) -> bool {
    consensus.leadership().wait_for(|leadership| leadership.is_leader).await.is_ok()
}
