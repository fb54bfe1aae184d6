//! The model's locks.

use std::collections::BTreeSet;

use super::{Answer, HeldLock, Model};
use crate::id::Token;

impl Model {
    pub(super) fn lock(
        &mut self,
        name: &str,
        owner: &str,
        ttl: u64,
        wait: Option<u64>,
        asker: u64,
    ) -> Answer {
        if owner.is_empty()
            || !(100..=86_400_000).contains(&ttl)
            || wait.is_some_and(|wait| !(1..=300_000).contains(&wait))
        {
            return Answer::Refused("Invalid");
        }
        let expires = self.now + ttl;
        let Some(at) = self.locks.iter().position(|lock| lock.name == name) else {
            let token = self.grant();
            let (name, owner) = (name.to_owned(), owner.to_owned());
            let told = BTreeSet::from([asker]);
            self.locks.push(HeldLock { name, owner, token, expires, told, line: vec![] });
            return Answer::Locked(token, expires);
        };
        if self.locks[at].owner == owner {
            let lock = &mut self.locks[at];
            lock.expires = lock.expires.max(expires);
            lock.told.insert(asker);
            return Answer::Locked(lock.token, lock.expires);
        }
        let Some(wait) = wait else {
            return Answer::Refused("LockHeld");
        };
        let until = self.now + wait;
        let line = &mut self.locks[at].line;
        let place = match line.iter().position(|(other, _, _)| other == owner) {
            Some(place) => place,
            None => {
                line.push((owner.to_owned(), ttl, until));
                line.len() - 1
            }
        };
        let (_, longest, last) = &mut line[place];
        (*longest, *last) = (ttl.max(*longest), until.max(*last));
        Answer::Queued(u32::try_from(place).expect("few"), *last)
    }

    pub(super) fn leave(&mut self, name: &str, owner: &str, asker: Option<u64>) -> Answer {
        let Some(at) = self.locks.iter().position(|lock| lock.name == name) else {
            return Answer::Done;
        };
        let lock = &mut self.locks[at];
        lock.line.retain(|(other, _, _)| other != owner);
        let unknown = |asker| lock.told.iter().all(|told| *told == asker);
        if lock.owner == owner && asker.is_some_and(unknown) {
            self.next_owner(at);
        }
        Answer::Done
    }

    pub(super) fn release(&mut self, name: &str, token: Token) -> Answer {
        match self.locks.iter().position(|lock| lock.name == name && lock.token == token) {
            None => Answer::Refused("LockNotHeld"),
            Some(at) => {
                self.next_owner(at);
                Answer::Done
            }
        }
    }

    /// Waits end, and holds, the oldest first.
    pub(super) fn end_holds(&mut self) {
        let now = self.now;
        for lock in &mut self.locks {
            lock.line.retain(|(_, _, until)| *until > now);
        }
        loop {
            let ended = self.locks.iter().enumerate().filter(|(_, lock)| lock.expires <= now);
            let first = ended.min_by_key(|(_, lock)| (lock.expires, lock.name.clone()));
            let Some(at) = first.map(|(at, _)| at) else {
                return;
            };
            self.next_owner(at);
        }
    }

    fn next_owner(&mut self, at: usize) {
        if self.locks[at].line.is_empty() {
            self.locks.remove(at);
            return;
        }
        let (token, now) = (self.grant(), self.now);
        let lock = &mut self.locks[at];
        let (owner, ttl, _) = lock.line.remove(0);
        (lock.owner, lock.token, lock.expires) = (owner, token, now + ttl);
        lock.told.clear();
    }
}
