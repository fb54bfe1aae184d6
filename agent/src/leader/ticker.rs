//! Lets time pass when something is due: leases end, delays end.

use std::time::Duration;

use ringrift_core::machine::Machine;
use ringrift_core::queue::command::Command;
use ringrift_core::time::{Moment, Span};

use crate::consensus::{Consensus, ProposeError};
use crate::leader::leads;

/// A tick lets pass everything that is due, so ticking more often would only fill the log.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// Proposes a tick whenever something is due. Returns when consensus has stopped.
pub(super) async fn tick_when_due(consensus: &Consensus) {
    let mut applied = consensus.applied();
    while leads(consensus).await {
        applied.borrow_and_update();
        match until_due(consensus.read(Machine::next_due), consensus.next_moment()) {
            Some(Duration::ZERO) => match consensus.propose(vec![Command::Tick]).await {
                Ok(_)
                | Err(
                    ProposeError::NotLeader { .. }
                    | ProposeError::Timeout
                    | ProposeError::Overloaded { .. },
                ) => {}
                Err(error @ (ProposeError::TooLarge { .. } | ProposeError::Stopped { .. })) => {
                    tracing::debug!(%error, "ticking ended");
                    return;
                }
            },
            // An item that is enqueued meanwhile may be due earlier.
            Some(wait) => {
                let _ = tokio::time::timeout(wait, applied.changed()).await;
            }
            None => {
                if applied.changed().await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(TICK_INTERVAL).await;
    }
}

/// How long to wait until something is due; nothing when nothing ever will be.
fn until_due(due: Option<Moment>, now: Moment) -> Option<Duration> {
    let Span(wait) = due?.since(now);
    Some(Duration::from_millis(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_ticked_at_once_and_the_rest_waited_for() {
        assert_eq!(until_due(None, Moment(5)), None);
        assert_eq!(until_due(Some(Moment(5)), Moment(5)), Some(Duration::ZERO));
        assert_eq!(until_due(Some(Moment(4)), Moment(5)), Some(Duration::ZERO));
        assert_eq!(until_due(Some(Moment(1_005)), Moment(5)), Some(Duration::from_secs(1)));
    }
}
