//! Distributed locks, and the line before each of them.
//!
//! Who waits is a fact like who holds: the line survives the leader, and the lock goes to the first
//! of it in the very entry in which its holder gives it up or its time ends. So a lock that nobody
//! holds has no line.
//!
//! Whom the machine told of a hold is a fact too. A request whose caller has gone gives back a lock that
//! was granted to nobody else's knowledge. No shell could decide that: another request of the owner may
//! have been told by another leader, or be about to be. Here the order of the log decides: who was told
//! before keeps the lock, and who asks after it is answered as if it had never been granted.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::admission::{check_span, check_text};
use super::{Grants, Machine, invalid};
use crate::id::{LockName, Token};
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::lock::{Asker, Lock, Told, Waiter};
use crate::time::Span;

impl Machine {
    /// Takes a lock, renews it for the owner that holds it, who keeps the token, or stands in line
    /// for it.
    pub(super) fn acquire_lock(
        &mut self,
        name: &LockName,
        owner: &str,
        ttl: Span,
        wait: Option<Span>,
        asker: Asker,
        grants: &mut Grants,
    ) -> Result<Reply, Refusal> {
        check_text("owner", owner, limits::NAME_BYTES_MAX)?;
        check_span("ttl", ttl, limits::LOCK_TTL_MIN, limits::LOCK_TTL_MAX)?;
        if let Some(wait) = wait {
            check_span("wait", wait, limits::LOCK_WAIT_MIN, limits::LOCK_WAIT_MAX)?;
        }
        self.settle_lock(name, grants);
        let now = self.facts.now;
        let expires = now.after(ttl);
        let Some(held) = self.facts.locks.get_mut(name) else {
            if self.facts.locks.len() >= limits::LOCKS_MAX {
                let problem = format!("would be one more than the {} locks", limits::LOCKS_MAX);
                return Err(invalid("name", problem));
            }
            let (owner, token) = (owner.to_string(), grants.take());
            let told = Told::Only(asker);
            let lock = Lock { owner, token, acquired: now, expires, told, waiters: Vec::new() };
            self.put_lock(name, lock);
            return Ok(Reply::Locked { token, expires });
        };
        if held.owner == owner {
            // Another request of the owner was told that it holds the lock until then.
            let expires = expires.max(held.expires);
            held.told = held.told.and(asker);
            self.index.locks_due.remove(&(held.expires, name.clone()));
            self.index.locks_due.insert((expires, name.clone()));
            held.expires = expires;
            return Ok(Reply::Locked { token: held.token, expires });
        }
        match wait {
            Some(wait) => {
                let until = now.after(wait);
                self.stand_in_line(name, Waiter { owner: owner.to_string(), ttl, until })
            }
            None => Err(Refusal::LockHeld {
                name: name.clone(),
                owner: held.owner.clone(),
                expires: held.expires,
            }),
        }
    }

    /// Frees a lock that is held under this token.
    pub(super) fn release_lock(
        &mut self,
        name: &LockName,
        token: Token,
        grants: &mut Grants,
    ) -> Result<Reply, Refusal> {
        self.settle_lock(name, grants);
        if self.lock(name).is_none_or(|held| held.token != token) {
            return Err(Refusal::LockNotHeld { name: name.clone(), token });
        }
        self.pass_lock_on(name, grants);
        Ok(Reply::Done)
    }

    /// Takes an owner out of a lock's line, and the lock from it when none but this request can know of
    /// it. A repeat changes nothing.
    pub(super) fn leave_lock(
        &mut self,
        name: &LockName,
        owner: &str,
        asker: Option<Asker>,
        grants: &mut Grants,
    ) -> Result<Reply, Refusal> {
        // What was due before the owner left was granted before.
        self.settle_lock(name, grants);
        self.leave_line(name, owner);
        let held = self.lock(name).filter(|held| held.owner == owner);
        if held.zip(asker).is_some_and(|(held, asker)| held.told.nobody_but(asker)) {
            self.pass_lock_on(name, grants);
        }
        Ok(Reply::Done)
    }

    /// Ends what is due of holds and waits, oldest first and each up to a bound.
    pub(super) fn elapse_locks(&mut self, grants: &mut Grants) {
        let now = self.facts.now;
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let due = self.index.locks_due.first().filter(|(due, _)| *due <= now);
            let Some((_, name)) = due.cloned() else {
                break;
            };
            self.pass_lock_on(&name, grants);
        }
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let due = self.index.waits_due.first().filter(|(until, _, _)| *until <= now);
            let Some((_, name, owner)) = due.cloned() else {
                break;
            };
            self.leave_line(&name, &owner);
        }
    }

    /// Brings one lock up to date. Whoever asks for it calls this first, so that what is said about
    /// it never depends on how far the bounded work of [`Self::elapse`] has come.
    fn settle_lock(&mut self, name: &LockName, grants: &mut Grants) {
        let now = self.facts.now;
        let Some(lock) = self.facts.locks.get(name) else {
            return;
        };
        if lock.expires <= now {
            self.pass_lock_on(name, grants);
            return;
        }
        let lapsed = lock.waiters.iter().filter(|waiter| waiter.until <= now);
        let lapsed: Vec<String> = lapsed.map(|waiter| waiter.owner.clone()).collect();
        for owner in lapsed {
            self.leave_line(name, &owner);
        }
    }

    /// Ends a hold: the first whose wait is not over gets the lock, or nobody holds it.
    fn pass_lock_on(&mut self, name: &LockName, grants: &mut Grants) {
        let now = self.facts.now;
        let Some(lock) = self.facts.locks.remove(name) else {
            return;
        };
        self.index.leave_lock(name, &lock);
        if !lock.waiters.is_empty() {
            self.line_moves();
        }
        let mut waiters = lock.waiters.into_iter().filter(|waiter| waiter.until > now);
        let Some(Waiter { owner, ttl, until: _ }) = waiters.next() else {
            return;
        };
        let (token, waiters) = (grants.take(), waiters.collect());
        let (expires, told) = (now.after(ttl), Told::Nobody);
        self.put_lock(name, Lock { owner, token, acquired: now, expires, told, waiters });
    }

    fn put_lock(&mut self, name: &LockName, lock: Lock) {
        self.index.enter_lock(name, &lock);
        self.facts.locks.insert(name.clone(), lock);
    }

    /// Puts an owner at the end of the line; one that stands there keeps its place. A place serves every
    /// request of its owner: none of them is given less than it asked for, neither of the wait nor of
    /// the hold, which its owner may release.
    fn stand_in_line(&mut self, name: &LockName, mut waiter: Waiter) -> Result<Reply, Refusal> {
        let in_all = self.index.waits_due.len();
        let Some(lock) = self.facts.locks.get_mut(name) else {
            return Err(invalid("name", "is held by nobody"));
        };
        let place = lock.waiters.iter().position(|other| other.owner == waiter.owner);
        let waiting = lock.waiters.len();
        let full = waiting >= limits::LOCK_WAITERS_MAX || in_all >= limits::LOCK_WAITERS_IN_ALL_MAX;
        if place.is_none() && full {
            let (waiting, in_all) = (waiting as u64, in_all as u64);
            return Err(Refusal::LockCrowded { name: name.clone(), waiting, in_all });
        }
        let position = place.unwrap_or(waiting);
        if let Some(known) = lock.waiters.get(position) {
            waiter.until = waiter.until.max(known.until);
            waiter.ttl = waiter.ttl.max(known.ttl);
            self.index.waits_due.remove(&(known.until, name.clone(), known.owner.clone()));
        }
        let until = waiter.until;
        self.index.waits_due.insert((until, name.clone(), waiter.owner.clone()));
        match lock.waiters.get_mut(position) {
            Some(known) => *known = waiter,
            None => lock.waiters.push(waiter),
        }
        Ok(Reply::LockQueued { position: u32::try_from(position).unwrap_or(u32::MAX), until })
    }

    /// Somebody is in line no longer; counted, so that who waits need look at nothing else.
    const fn line_moves(&mut self) {
        self.facts.lines_moved = self.facts.lines_moved.saturating_add(1);
    }

    fn leave_line(&mut self, name: &LockName, owner: &str) {
        let Some(lock) = self.facts.locks.get_mut(name) else {
            return;
        };
        if let Some(at) = lock.waiters.iter().position(|waiter| waiter.owner == owner) {
            let Waiter { owner, until, ttl: _ } = lock.waiters.remove(at);
            self.index.waits_due.remove(&(until, name.clone(), owner));
            self.line_moves();
        }
    }
}
