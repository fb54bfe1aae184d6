//! From the machine's replies to the model's.

use super::Answer;
use crate::queue::command::{Refusal, Reply};
use crate::queue::item::State;

impl From<&Result<Reply, Refusal>> for Answer {
    fn from(result: &Result<Reply, Refusal>) -> Self {
        match result {
            Ok(Reply::Enqueued(ids)) => {
                Self::Enqueued(ids.iter().map(|(id, fresh)| (id.0, *fresh)).collect())
            }
            Ok(Reply::Claimed(items)) => Self::Claimed(
                items
                    .iter()
                    .map(|item| match &item.state {
                        State::Claimed(lease) => {
                            let (attempts, deliveries) = (item.attempts, item.deliveries);
                            (item.id.0, lease.token, lease.deadline.0, attempts, deliveries)
                        }
                        other => panic!("a claim answered an item that is {other:?}"),
                    })
                    .collect(),
            ),
            Ok(Reply::Renewed { renewed, lost }) => {
                Self::Renewed(*renewed, lost.iter().map(|id| id.0).collect())
            }
            Ok(Reply::Failed { retry_at }) => Self::RetryAt(retry_at.map(|at| at.0)),
            Ok(Reply::Locked { token, expires }) => Self::Locked(*token, expires.0),
            Ok(Reply::LockQueued { position, until }) => Self::Queued(*position, until.0),
            Ok(Reply::RunAccepted { fresh }) => Self::Run(*fresh),
            Ok(Reply::Ticked { expired }) => Self::Ticked(*expired),
            Ok(Reply::Completed { then }) => {
                Self::Completed(then.iter().map(|(id, fresh)| (id.0, *fresh)).collect())
            }
            Ok(Reply::SessionOpened(id)) => Self::Session(id.0),
            Ok(Reply::Done) => Self::Done,
            Err(refusal) => Self::Refused(match refusal {
                Refusal::UnknownQueue(_) => "UnknownQueue",
                Refusal::QueueInUse { .. } => "QueueInUse",
                Refusal::QueueFull { .. } => "QueueFull",
                Refusal::UnknownSession(_) => "UnknownSession",
                Refusal::SessionStale { .. } => "SessionStale",
                Refusal::SessionFull { .. } => "SessionFull",
                Refusal::TooManySessions(_) => "TooManySessions",
                Refusal::UnknownWork(_) => "UnknownWork",
                Refusal::Fenced { .. } => "Fenced",
                Refusal::Ended { .. } => "Ended",
                Refusal::Full { .. } => "Full",
                Refusal::TooHeavy { .. } => "TooHeavy",
                Refusal::TooManyKinds { .. } => "TooManyKinds",
                Refusal::KeyConflict { .. } => "KeyConflict",
                Refusal::Invalid { .. } => "Invalid",
                Refusal::LockHeld { .. } => "LockHeld",
                Refusal::LockCrowded { .. } => "LockCrowded",
                Refusal::LockNotHeld { .. } => "LockNotHeld",
                Refusal::UnknownRun(_) => "UnknownRun",
                Refusal::RunConflict(_) => "RunConflict",
                Refusal::StaleRun { .. } => "StaleRun",
                Refusal::RunEnded(_) => "RunEnded",
                Refusal::TooManyRuns(_) => "TooManyRuns",
            }),
        }
    }
}
