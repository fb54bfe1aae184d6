//! What one read brought: commands that go to the log together, and who gets which reply.

use std::sync::Arc;
use std::time::Duration;

use ringrift_core::id::Position;
use ringrift_core::limits::BATCH_ITEMS_MAX;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{self, Command, Refusal, Reply};
use ringrift_wire::problem::Code;
use ringrift_wire::stream::message::{Answer, Outcome, Refused, Response};

use super::convert;
use super::greet::refused;
use crate::claims::{Granted, Unserved, WAITERS_MAX};
use crate::consensus::{Committed, ProposeError};
use crate::http::failure::Failure;
use crate::http::{App, task};

/// Bytes of requests that one proposal carries; a larger request goes alone. Small enough that many
/// streams share an entry.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Commands that are proposed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    commands: Vec<Command>,
    slots: Vec<Slot>,
    /// Items and commands, as the log's entries count them.
    weight: usize,
    bytes: usize,
}

/// The request that some of the commands came from.
#[derive(Debug)]
pub(super) struct Slot {
    number: u64,
    kind: Kind,
}

/// What a request asked for, as far as its answer depends on it.
#[derive(Debug)]
pub(super) enum Kind {
    Add,
    /// With what is needed again when there is nothing and it waits.
    Claim(Option<Box<(command::Claim, Duration)>>),
    Start,
    Heartbeat,
    /// One outcome for each completion: of the next command, or a refusal of its own.
    Complete(Vec<Option<Refused>>),
    Fail,
    OpenSession,
}

/// What came of a batch or of a claim that waited.
#[derive(Debug)]
pub(super) enum Finished {
    Batch {
        slots: Vec<Slot>,
        outcome: Result<Committed, ProposeError>,
    },
    /// Nothing when it waited in vain.
    Claim {
        number: u64,
        outcome: Option<Result<Granted, Unserved>>,
    },
}

/// What is to be done about a request that a batch has come back with.
#[derive(Debug)]
pub(super) enum Next {
    Respond(Response),
    /// There was nothing, and it waits.
    Wait {
        number: u64,
        claim: command::Claim,
        wait: Duration,
    },
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a request of so many items or commands and bytes fits.
    pub(super) fn fits(&self, weight: usize, bytes: usize) -> bool {
        self.commands.is_empty()
            || (self.weight.saturating_add(weight) <= BATCH_ITEMS_MAX
                && self.bytes.saturating_add(bytes) <= BATCH_BYTES_MAX)
    }

    pub(super) fn push(
        &mut self,
        number: u64,
        kind: Kind,
        weight: usize,
        commands: impl IntoIterator<Item = Command>,
        bytes: usize,
    ) {
        self.weight = self.weight.saturating_add(weight.max(1));
        self.slots.push(Slot { number, kind });
        self.commands.extend(commands);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Proposes the batch.
    pub(super) async fn carry_out(self, app: Arc<App>) -> Finished {
        let Self { commands, slots, weight: _, bytes: _ } = self;
        let outcome = match &app.consensus {
            Some(consensus) if commands.is_empty() => {
                Ok(Committed { position: consensus.read(Machine::applied), replies: Vec::new() })
            }
            Some(consensus) => consensus.propose(commands).await,
            None => Err(ProposeError::NotLeader { leader: None }),
        };
        app.metrics.count_proposal(&outcome);
        Finished::Batch { slots, outcome }
    }

    /// Answers all requests that nothing was proposed, and why.
    pub(super) fn give_up(self, error: ProposeError) -> Finished {
        Finished::Batch { slots: self.slots, outcome: Err(error) }
    }
}

/// What came of a claim that waited, as its claimer gets it.
pub(super) fn waited(
    app: &App,
    number: u64,
    outcome: Option<Result<Granted, Unserved>>,
) -> Response {
    match outcome {
        None => {
            let outcome = Outcome::Done(Answer::Claimed(Vec::new()));
            Response { number, position: app.position(), outcome }
        }
        Some(Ok(Granted { position, items })) => {
            let answer = convert::claimed(items, |item| rendered(app, item));
            Response { number, position, outcome: settled(answer) }
        }
        Some(Err(Unserved::Propose(error))) => {
            Response { number, position: app.position(), outcome: unproposed(error) }
        }
        Some(Err(Unserved::Refused(refusal))) => {
            let refused = convert::of_machine(refusal.into());
            Response { number, position: app.position(), outcome: Outcome::Refused(refused) }
        }
        Some(Err(Unserved::Crowded)) => {
            let error = format!("{WAITERS_MAX} claims wait for work already; retry later");
            let outcome = Outcome::Refused(overloaded(error));
            Response { number, position: app.position(), outcome }
        }
    }
}

/// Gives each request of a batch its replies.
pub(super) fn distribute(
    app: &App,
    slots: Vec<Slot>,
    outcome: Result<Committed, ProposeError>,
    mut then: impl FnMut(Next),
) {
    let Committed { position, replies } = match outcome {
        Ok(committed) => committed,
        Err(error) => {
            let position = app.position();
            for Slot { number, kind: _ } in slots {
                let outcome = unproposed(error.clone());
                then(Next::Respond(Response { number, position, outcome }));
            }
            return;
        }
    };
    let mut replies = replies.into_iter();
    for Slot { number, kind } in slots {
        let next = answer(app, kind, position, number, &mut replies);
        then(next);
    }
}

type Replies = std::vec::IntoIter<Result<Reply, Refusal>>;

fn answer(app: &App, kind: Kind, position: Position, number: u64, replies: &mut Replies) -> Next {
    let mut reply = || {
        let missing = || refused(Code::Internal, "the machine gave no reply".to_owned());
        replies.next().ok_or_else(missing)?.map_err(|refusal| convert::of_machine(refusal.into()))
    };
    let answer = match kind {
        Kind::Add => reply().and_then(convert::added),
        Kind::Start => reply().and_then(convert::done).map(|()| Answer::Started),
        Kind::Heartbeat => reply().and_then(convert::renewed),
        Kind::Fail => reply().and_then(convert::failed),
        Kind::OpenSession => reply().and_then(convert::opened),
        Kind::Complete(outcomes) => {
            let outcomes = outcomes.into_iter().map(|own| match own {
                Some(refused) => Some(refused),
                None => reply().and_then(convert::done).err(),
            });
            Ok(Answer::Completed(outcomes.collect()))
        }
        Kind::Claim(again) => match (reply(), again) {
            (Ok(Reply::Claimed(items)), Some(again)) if items.is_empty() => {
                let (claim, wait) = *again;
                return Next::Wait { number, claim, wait };
            }
            (Ok(Reply::Claimed(items)), _) => convert::claimed(items, |item| rendered(app, item)),
            (Ok(other), _) => Err(convert::unexpected(&other)),
            (Err(refused), _) => Err(refused),
        },
    };
    Next::Respond(Response { number, position, outcome: settled(answer) })
}

fn rendered(app: &App, item: &ringrift_core::queue::item::Item) -> String {
    let read = |machine: &Machine| task::render(machine, item).to_string();
    app.consensus.as_ref().map(|consensus| consensus.read(read)).unwrap_or_default()
}

fn settled(answer: Result<Answer, Refused>) -> Outcome {
    answer.map_or_else(Outcome::Refused, Outcome::Done)
}

fn unproposed(error: ProposeError) -> Outcome {
    match error {
        ProposeError::NotLeader { leader } => {
            Outcome::NotLeader { leader: leader.map(|leader| leader.http_address) }
        }
        other @ (ProposeError::Timeout
        | ProposeError::Overloaded { .. }
        | ProposeError::TooLarge { .. }
        | ProposeError::Stopped { .. }) => {
            Outcome::Refused(convert::of_failure(Failure::from(other)))
        }
    }
}

/// Milliseconds after which an overloaded agent is worth another try.
const OVERLOADED_RETRY_MS: u64 = 50;

pub(super) fn overloaded(error: String) -> Refused {
    Refused { retry_after_ms: Some(OVERLOADED_RETRY_MS), ..refused(Code::Backpressure, error) }
}
