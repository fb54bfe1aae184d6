//! Distributed locks.

use alloc::format;
use alloc::string::ToString;

use super::admission::{check_span, check_text};
use super::{Grants, Machine, invalid};
use crate::id::{LockName, Token};
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::lock::Lock;
use crate::time::Span;

impl Machine {
    /// Takes a lock, or renews it for the owner that holds it, who keeps the token.
    pub(super) fn acquire_lock(
        &mut self,
        name: &LockName,
        owner: &str,
        ttl: Span,
        grants: &mut Grants,
    ) -> Result<Reply, Refusal> {
        check_text("owner", owner, limits::NAME_BYTES_MAX)?;
        check_span("ttl", ttl, limits::LOCK_TTL_MIN, limits::LOCK_TTL_MAX)?;
        let now = self.facts.now;
        let expires = now.after(ttl);
        let (token, acquired) = match self.lock(name) {
            Some(held) if held.owner != owner => {
                return Err(Refusal::LockHeld {
                    name: name.clone(),
                    owner: held.owner.clone(),
                    expires: held.expires,
                });
            }
            Some(held) => (held.token, held.acquired),
            None => {
                // The lock may be there still, lapsed and not yet swept: then it makes no new one.
                if self.facts.locks.len() >= limits::LOCKS_MAX
                    && !self.facts.locks.contains_key(name)
                {
                    let problem = format!("would be one more than the {} locks", limits::LOCKS_MAX);
                    return Err(invalid("name", problem));
                }
                (grants.take(), now)
            }
        };
        self.free_lock(name);
        self.index.locks_due.insert((expires, name.clone()));
        let lock = Lock { owner: owner.to_string(), token, acquired, expires };
        self.facts.locks.insert(name.clone(), lock);
        Ok(Reply::Locked { token, expires })
    }

    /// Frees a lock that is held under this token.
    pub(super) fn release_lock(&mut self, name: &LockName, token: Token) -> Result<Reply, Refusal> {
        if self.lock(name).is_none_or(|held| held.token != token) {
            return Err(Refusal::LockNotHeld { name: name.clone(), token });
        }
        self.free_lock(name);
        Ok(Reply::Done)
    }

    /// Frees a lock, whoever holds it.
    pub(super) fn free_lock(&mut self, name: &LockName) {
        if let Some(lock) = self.facts.locks.remove(name) {
            self.index.locks_due.remove(&(lock.expires, name.clone()));
        }
    }
}
