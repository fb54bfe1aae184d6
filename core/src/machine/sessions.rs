//! Sessions: a request that comes twice is carried out once and answered twice.

use alloc::vec::Vec;

use super::{Grants, Machine, invalid};
use crate::id::SessionId;
use crate::limits;
use crate::queue::command::{Command, Refusal, Reply};
use crate::queue::item::State;
use crate::queue::session::{Answer, Session};

impl Machine {
    /// Opens a session.
    pub(super) fn open_session(&mut self) -> Result<Reply, Refusal> {
        if self.facts.sessions.len() >= limits::SESSIONS_MAX {
            return Err(Refusal::TooManySessions(self.facts.sessions.len() as u64));
        }
        self.facts.totals.sessions += 1;
        let id = SessionId(self.facts.totals.sessions);
        let heard = self.facts.now;
        self.facts.sessions.insert(id, Session { heard, ..Session::default() });
        self.index.heard.insert((heard, id));
        Ok(Reply::SessionOpened(id))
    }

    /// Ends a session and forgets its answers.
    pub(super) fn drop_session(&mut self, id: SessionId) {
        if let Some(session) = self.facts.sessions.remove(&id) {
            self.index.heard.remove(&(session.heard, id));
            self.forget_answers(session.answers.values());
        }
    }

    /// Carries a session's command out, unless that was done before: then the first answer is given
    /// again.
    pub(super) fn in_session(
        &mut self,
        id: SessionId,
        seq: u64,
        acknowledged: u64,
        command: &Command,
        expired: u32,
        grants: &mut Grants,
    ) -> Result<Reply, Refusal> {
        if matches!(command, Command::InSession { .. }) {
            return Err(invalid("command", "must not itself be one of a session"));
        }
        if acknowledged > seq {
            return Err(invalid("acknowledged", "must be at most the request's own number"));
        }
        self.hear(id, acknowledged)?;
        let session = self.facts.sessions.get(&id).ok_or(Refusal::UnknownSession(id))?;
        if let Some(answer) = session.answers.get(&seq) {
            return self.tell_again(answer);
        }
        if seq < session.floor {
            return Err(Refusal::SessionStale { session: id, seq, floor: session.floor });
        }
        let full = session.answers.len() >= self.bounds.session_answers
            || self.index.answers >= limits::ANSWERS_MAX
            || self.index.answer_ids >= limits::ANSWER_IDS_MAX;
        // What ends or keeps work is carried out all the same: its token makes a repeat harmless, so
        // its answer need not be kept.
        if full && !command.ends_or_keeps_work() {
            let kept = session.answers.len() as u64;
            return Err(Refusal::SessionFull { session: id, kept });
        }
        let answer = self.carry_out(command, expired, grants);
        if full {
            return answer;
        }
        let kept = match &answer {
            Ok(Reply::Claimed(items)) => Answer::Claimed(
                items
                    .iter()
                    .filter_map(|item| match &item.state {
                        State::Claimed(lease) => Some((item.id, lease.token)),
                        _ => None,
                    })
                    .collect(),
            ),
            told => Answer::Told(told.clone()),
        };
        // The command may have been the end of this very session.
        if let Some(session) = self.facts.sessions.get_mut(&id) {
            self.index.answers += 1;
            self.index.answer_ids += kept.ids();
            session.answers.insert(seq, kept);
        }
        answer
    }

    /// Notes that a client is alive, and drops the answers that it has.
    fn hear(&mut self, id: SessionId, acknowledged: u64) -> Result<(), Refusal> {
        let now = self.facts.now;
        let session = self.facts.sessions.get_mut(&id).ok_or(Refusal::UnknownSession(id))?;
        self.index.heard.remove(&(session.heard, id));
        self.index.heard.insert((now, id));
        session.heard = now;
        if acknowledged > session.floor {
            session.floor = acknowledged;
            let kept = session.answers.split_off(&acknowledged);
            let dropped = core::mem::replace(&mut session.answers, kept);
            self.forget_answers(dropped.values());
        }
        Ok(())
    }

    fn forget_answers<'a>(&mut self, answers: impl Iterator<Item = &'a Answer>) {
        for answer in answers {
            self.index.answers = self.index.answers.saturating_sub(1);
            self.index.answer_ids = self.index.answer_ids.saturating_sub(answer.ids());
        }
    }

    fn tell_again(&self, answer: &Answer) -> Result<Reply, Refusal> {
        match answer {
            Answer::Told(told) => told.clone(),
            Answer::Claimed(claims) => {
                let held = claims.iter().filter_map(|(id, token)| {
                    let item = self.item(*id)?;
                    match &item.state {
                        State::Claimed(lease) if lease.token == *token => Some(item.clone()),
                        _ => None,
                    }
                });
                Ok(Reply::Claimed(held.collect::<Vec<_>>()))
            }
        }
    }
}
