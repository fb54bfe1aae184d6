//! The model's locks.

use super::{Answer, HeldLock, Model};
use crate::id::Token;

impl Model {
    pub(super) fn lock(&mut self, name: &str, owner: &str, ttl: u64) -> Answer {
        if owner.is_empty() || !(100..=86_400_000).contains(&ttl) {
            return Answer::Refused("Invalid");
        }
        let expires = self.now + ttl;
        if let Some(lock) = self.locks.iter_mut().find(|lock| lock.name == name) {
            if lock.owner != owner {
                return Answer::Refused("LockHeld");
            }
            lock.expires = expires;
            return Answer::Locked(lock.token, expires);
        }
        let token = self.grant();
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.locks.push(HeldLock { name, owner, token, expires });
        Answer::Locked(token, expires)
    }

    pub(super) fn release(&mut self, name: &str, token: Token) -> Answer {
        let held = self.locks.len();
        self.locks.retain(|lock| lock.name != name || lock.token != token);
        if self.locks.len() < held { Answer::Done } else { Answer::Refused("LockNotHeld") }
    }
}
