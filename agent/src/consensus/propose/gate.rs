//! Who may wait to be merged: a share of the room is for what keeps or ends work, so that a flood of
//! new work never ends the leases of work that is on its way.

use std::sync::Arc;

use ringrift_core::queue::command::Command;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::consensus::wire::ENTRY_BYTES_MAX;

/// Proposals that wait to be merged; further ones are refused as overload.
pub(super) const PROPOSALS_MAX: usize = 4_096;
/// Bytes of those proposals: many large ones must not fill the memory.
pub(super) const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of the proposals, those that only what keeps or ends work may add.
const PROPOSALS_RESERVED: usize = PROPOSALS_MAX / 4;
/// Of the bytes, those that only what keeps or ends work may take.
const BYTES_RESERVED: usize = BYTES_MAX / 4;

const _: () = assert!(ENTRY_BYTES_MAX <= BYTES_RESERVED && BYTES_RESERVED < BYTES_MAX);
const _: () = assert!(PROPOSALS_RESERVED < PROPOSALS_MAX);

/// What a proposal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It keeps or ends what is on its way already.
    Settle,
    /// It brings or takes work.
    Begin,
}

impl Purpose {
    /// Commands that go together have room together: one that begins makes all wait.
    pub(super) fn of(commands: &[Command]) -> Self {
        if commands.iter().all(settles) { Self::Settle } else { Self::Begin }
    }
}

/// Whether a command keeps or ends what is on its way, or lets time pass.
pub(crate) fn settles(command: &Command) -> bool {
    match command {
        Command::Start { .. }
        | Command::Heartbeat { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Release { .. }
        | Command::Cancel { .. }
        | Command::CancelArray { .. }
        | Command::CancelRun { .. }
        | Command::ExpireNode { .. }
        | Command::CloseSession { .. }
        // Its holder renews a lock by it.
        | Command::LockAcquire { .. }
        | Command::LockLeave { .. }
        | Command::LockRelease { .. }
        | Command::Tick
        | Command::InitCluster { .. }
        | Command::ChangeMembers { .. } => true,
        Command::AdvanceRun { advance, .. } => advance.enqueue.is_empty(),
        Command::InSession { command, .. } => settles(command),
        Command::Enqueue(_)
        | Command::EnqueueArray { .. }
        | Command::Claim(_)
        | Command::Redrive { .. }
        | Command::SetQueue { .. }
        | Command::RemoveQueue { .. }
        | Command::SetCapacity { .. }
        | Command::OpenSession
        | Command::SubmitRun { .. } => false,
    }
}

/// The entrance of the queue of proposals.
pub(super) struct Gate<T> {
    queue: mpsc::Sender<T>,
    common: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

impl<T> Gate<T> {
    pub(super) fn new() -> (Self, mpsc::Receiver<T>) {
        let (queue, waiting) = mpsc::channel(PROPOSALS_MAX);
        let common = Arc::new(Semaphore::new(BYTES_MAX - BYTES_RESERVED));
        let reserved = Arc::new(Semaphore::new(BYTES_RESERVED));
        (Self { queue, common, reserved }, waiting)
    }

    /// A share of the bytes, to be held until the proposal is answered; nothing when they are taken.
    pub(super) fn room(&self, bytes: usize, purpose: Purpose) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(bytes).ok();
        match purpose {
            Purpose::Begin => take(&self.common),
            Purpose::Settle => take(&self.common).or_else(|| take(&self.reserved)),
        }
    }

    /// Puts a proposal into the queue. Those that come at the same moment may take a few of the reserved
    /// places; there are many.
    pub(super) fn send(&self, waiting: T, purpose: Purpose) -> Result<(), TrySendError<T>> {
        if purpose == Purpose::Begin && self.queue.capacity() <= PROPOSALS_RESERVED {
            return Err(TrySendError::Full(waiting));
        }
        self.queue.try_send(waiting)
    }

    /// Whether so much waits that what begins may soon be refused.
    pub(super) fn is_crowded(&self) -> bool {
        self.queue.capacity() <= PROPOSALS_MAX / 2
            || self.common.available_permits() <= (BYTES_MAX - BYTES_RESERVED) / 2
    }
}

#[cfg(test)]
mod tests {
    use ringrift_core::id::{NodeId, SessionId};
    use ringrift_core::time::Span;

    use super::*;

    fn heartbeat() -> Command {
        let node: NodeId = "n".parse().unwrap();
        Command::Heartbeat { node, claims: Vec::new(), lease: Span::seconds(30) }
    }

    #[test]
    fn large_adds_leave_room_for_heartbeats() {
        let (gate, _waiting) = Gate::<()>::new();
        let adds: Vec<_> =
            std::iter::from_fn(|| gate.room(ENTRY_BYTES_MAX, Purpose::Begin)).collect();
        assert!(!adds.is_empty() && gate.is_crowded());
        let kept = gate.room(ENTRY_BYTES_MAX, Purpose::Settle);
        assert!(kept.is_some(), "whatever waits");
        assert!(gate.room(ENTRY_BYTES_MAX, Purpose::Begin).is_none());
    }

    #[test]
    fn many_adds_leave_places_for_heartbeats() {
        let (gate, _waiting) = Gate::new();
        while gate.send((), Purpose::Begin).is_ok() {}
        assert!(gate.is_crowded());
        for _ in 0..PROPOSALS_RESERVED {
            gate.send((), Purpose::Settle).unwrap();
        }
        assert!(gate.send((), Purpose::Settle).is_err(), "all have a bound");
    }

    #[test]
    fn a_proposal_that_begins_anything_has_no_claim_to_the_reserve() {
        let in_session = |command| Command::InSession {
            session: SessionId(1),
            seq: 1,
            acknowledged: 0,
            command: Box::new(command),
        };
        let adds = || Command::Enqueue(Vec::new());
        assert_eq!(Purpose::of(&[heartbeat(), in_session(heartbeat())]), Purpose::Settle);
        assert_eq!(Purpose::of(&[heartbeat(), adds()]), Purpose::Begin);
        assert_eq!(Purpose::of(&[in_session(adds())]), Purpose::Begin);
    }
}
