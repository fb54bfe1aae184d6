//! The lock and the line before it, as they follow from commands and replies: who comes first gets it
//! first, and nobody gets it while another one holds it.

use std::collections::BTreeSet;

use ringrift_core::id::Token;
use ringrift_core::queue::command::{Command, Refusal, Reply};
use ringrift_core::queue::lock::{Asker, Lock, Waiter};
use ringrift_core::time::{Moment, Span};

/// Who holds the lock.
#[derive(Debug)]
struct Hold {
    owner: String,
    /// Nothing until somebody was told: a lock that is handed on is granted without a reply.
    token: Option<Token>,
    expires: Moment,
    /// Requests of the owner that were told.
    told: BTreeSet<Asker>,
}

/// What a grant's token must exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Granted {
    /// Everything granted before.
    Now(Token),
    /// Everything granted before this entry.
    InThisEntry(Token),
}

/// The lock of the world; there is one.
#[derive(Debug, Default)]
pub(super) struct Line {
    held: Option<Hold>,
    /// Owner, time to live, end of the wait.
    waiting: Vec<(String, Span, Moment)>,
}

impl Line {
    /// Waits end, and then the hold.
    pub(super) fn pass_time(&mut self, now: Moment) {
        self.waiting.retain(|(_, _, until)| *until > now);
        if self.held.as_ref().is_some_and(|held| held.expires <= now) {
            self.hand_on(now);
        }
    }

    fn hand_on(&mut self, now: Moment) {
        self.held = None;
        if !self.waiting.is_empty() {
            let (owner, ttl, _) = self.waiting.remove(0);
            let (expires, told) = (now.after(ttl), BTreeSet::new());
            self.held = Some(Hold { owner, token: None, expires, told });
        }
    }

    /// Holds a reply against what it must be. Answers what it grants.
    pub(super) fn judge(
        &mut self,
        now: Moment,
        command: &Command,
        reply: &Result<Reply, Refusal>,
    ) -> Result<Option<Granted>, String> {
        match command {
            Command::LockAcquire { name: _, owner, ttl, wait, asker } => match reply {
                Ok(Reply::Locked { token, expires }) => {
                    self.locked(owner, *asker, *token, *expires)
                }
                Ok(Reply::LockQueued { position, until }) => {
                    let ends = wait.map(|wait| now.after(wait));
                    self.queued(owner, (*position, *until), *ttl, ends).map(|()| None)
                }
                Err(Refusal::LockHeld { owner: holder, .. }) if wait.is_none() => {
                    match &self.held {
                        Some(held) if held.owner == *holder && holder != owner => Ok(None),
                        held => Err(format!("{owner} was told of {holder}, but it is {held:?}")),
                    }
                }
                other => Err(format!("{command:?} was answered by {other:?}")),
            },
            Command::LockLeave { name: _, owner, asker } => {
                self.waiting.retain(|(other, _, _)| other != owner);
                let untold = |held: &Hold| {
                    held.owner == *owner
                        && held.told.iter().all(|told| Some(told) == asker.as_ref())
                };
                if asker.is_some() && self.held.as_ref().is_some_and(untold) {
                    self.hand_on(now);
                }
                Ok(None)
            }
            Command::LockRelease { name: _, token } => {
                let held = self.held.as_ref().and_then(|held| held.token) == Some(*token);
                match reply {
                    Ok(Reply::Done) if held => {
                        self.hand_on(now);
                        Ok(None)
                    }
                    Err(Refusal::LockNotHeld { .. }) if !held => Ok(None),
                    other => Err(format!("release under {token}, of {:?}: {other:?}", self.held)),
                }
            }
            _ => Ok(None),
        }
    }

    fn locked(
        &mut self,
        owner: &str,
        asker: Asker,
        token: Token,
        expires: Moment,
    ) -> Result<Option<Granted>, String> {
        let Some(held) = &mut self.held else {
            let (owner, told) = (owner.to_owned(), BTreeSet::from([asker]));
            self.held = Some(Hold { owner, token: Some(token), expires, told });
            return Ok(Some(Granted::Now(token)));
        };
        if held.owner != owner || held.token.is_some_and(|first| first != token) {
            return Err(format!("the lock of {held:?} was given to {owner} under {token}"));
        }
        if expires < held.expires {
            return Err(format!("{owner} was told of {expires:?}, and holds the lock as {held:?}"));
        }
        held.expires = expires;
        held.told.insert(asker);
        Ok(held.token.replace(token).is_none().then_some(Granted::InThisEntry(token)))
    }

    fn queued(
        &mut self,
        owner: &str,
        told: (u32, Moment),
        ttl: Span,
        ends: Option<Moment>,
    ) -> Result<(), String> {
        let Some(until) = ends else {
            return Err(format!("{owner} was put in line and did not want to wait"));
        };
        if self.held.as_ref().is_none_or(|held| held.owner == owner) {
            return Err(format!("{owner} must wait for a lock of {:?}", self.held));
        }
        // Nothing that was asked for is taken back by asking again.
        let mut known = self.waiting.iter_mut().enumerate();
        let (place, until) = match known.find(|(_, (other, _, _))| other == owner) {
            Some((place, (_, longest, last))) => {
                (*longest, *last) = (ttl.max(*longest), until.max(*last));
                (place, *last)
            }
            None => {
                self.waiting.push((owner.to_owned(), ttl, until));
                (self.waiting.len() - 1, until)
            }
        };
        let expected = (u32::try_from(place).unwrap_or(u32::MAX), until);
        if told == expected {
            return Ok(());
        }
        Err(format!("{owner} was told {told:?} of its place, which is {expected:?}"))
    }

    /// After an entry: the machine's lock is this one. Answers what was granted without a reply.
    pub(super) fn compare(&mut self, lock: Option<&Lock>) -> Result<Option<Granted>, String> {
        let (Some(held), Some(lock)) = (&mut self.held, lock) else {
            if self.held.is_none() && lock.is_none() {
                return Ok(None);
            }
            return Err(format!("the lock is {lock:?}, and must be {:?}", self.held));
        };
        let line = lock.waiters.iter().map(|Waiter { owner, ttl, until }| {
            // As they are kept here.
            (owner.clone(), *ttl, *until)
        });
        let same = held.owner == lock.owner
            && held.expires == lock.expires
            && held.token.is_none_or(|token| token == lock.token)
            && line.eq(self.waiting.iter().cloned());
        if !same {
            return Err(format!("the lock is {lock:?}, and must be {held:?}, {:?}", self.waiting));
        }
        let known = held.token.replace(lock.token);
        Ok(known.is_none().then_some(Granted::InThisEntry(lock.token)))
    }
}
