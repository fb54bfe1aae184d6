//! The model's sessions.

use std::collections::BTreeMap;

use super::{Answer, Model, Standing};
use crate::id::SessionId;
use crate::queue::command::Command;

/// Every answer that was given is kept; what the client has acknowledged counts as dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    opened: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug, Clone)]
struct Open {
    heard: u64,
    floor: u64,
    answers: BTreeMap<u64, Answer>,
}

impl Sessions {
    pub(super) fn end_silent(&mut self, now: u64) {
        self.open.retain(|_, session| session.heard + 600_000 > now);
    }
}

impl Model {
    pub(super) fn open_session(&mut self) -> Answer {
        self.sessions.opened += 1;
        let session = Open { heard: self.now, floor: 0, answers: BTreeMap::new() };
        self.sessions.open.insert(self.sessions.opened, session);
        Answer::Session(self.sessions.opened)
    }

    pub(super) fn close_session(&mut self, id: SessionId) -> Answer {
        self.sessions.open.remove(&id.0);
        Answer::Done
    }

    pub(super) fn in_session(
        &mut self,
        id: SessionId,
        seq: u64,
        acknowledged: u64,
        command: &Command,
        expired: u32,
    ) -> Answer {
        if acknowledged > seq || matches!(command, Command::InSession { .. }) {
            return Answer::Refused("Invalid");
        }
        let now = self.now;
        let Some(session) = self.sessions.open.get_mut(&id.0) else {
            return Answer::Refused("UnknownSession");
        };
        session.heard = now;
        session.floor = session.floor.max(acknowledged);
        if seq < session.floor {
            return Answer::Refused("SessionStale");
        }
        let kept = session.answers.range(session.floor..).count();
        let full = kept >= self.bounds.session_answers;
        match session.answers.get(&seq).cloned() {
            Some(Answer::Claimed(claims)) => Answer::Claimed(self.still_held(&claims)),
            Some(answer) => answer,
            None if full && !goes_on(command) => Answer::Refused("SessionFull"),
            None => {
                let answer = self.carry_out(command, expired);
                if let Some(session) = self.sessions.open.get_mut(&id.0).filter(|_| !full) {
                    session.answers.insert(seq, answer.clone());
                }
                answer
            }
        }
    }

    /// Of these claims those that stand, as they stand now.
    fn still_held(
        &self,
        claims: &[(u64, crate::id::Token, u64, u32, u32)],
    ) -> Vec<(u64, crate::id::Token, u64, u32, u32)> {
        let held = claims.iter().filter_map(|(id, granted, ..)| {
            let row = self.rows.iter().find(|row| row.id == *id)?;
            match &row.standing {
                Standing::Held { token, deadline, .. } if token == granted => {
                    Some((*id, *token, *deadline, row.attempts, row.deliveries))
                }
                _ => None,
            }
        });
        held.collect()
    }
}

/// Whether work could not end or be kept without it.
fn goes_on(command: &Command) -> bool {
    use Command::{Cancel, CancelArray, CancelRun, Complete, Fail, Heartbeat, Release, Start};
    matches!(
        command,
        Complete { .. }
            | Fail { .. }
            | Release { .. }
            | Start { .. }
            | Heartbeat { .. }
            | Cancel { .. }
            | CancelArray { .. }
            | CancelRun { .. }
    )
}
