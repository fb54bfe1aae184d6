//! Waiting for a lock, on the leader.
//!
//! The line itself is replicated; a request that waits only watches the log until its owner stands in
//! line no longer, and asks again. So nobody is told that it holds a lock but by an entry, and the
//! machine knows whom a request whose caller has gone may take it from. When leadership goes, the
//! request goes to the new leader, where its owner has kept its place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use ringrift_core::id::{LockName, Token};
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Command, Reply};
use ringrift_core::queue::lock::Asker;
use ringrift_core::time::{Moment, Span};
use ringrift_wire::problem::Code;

use crate::http::failure::Failure;
use crate::http::{App, convert, observe};

/// Times that one request asks: for a place in line, and for the lock when its turn has come. It loses
/// its place when another request of the same owner gives up, and two that do so in turn must not go on
/// for ever.
const ASKS_MAX: u32 = 8;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) name: LockName,
    pub(super) owner: String,
    pub(super) ttl: Span,
    /// The request.
    pub(super) asker: Asker,
}

/// The token of a lock that is held, and when it frees itself.
type Held = (Token, Moment);

impl Wish {
    fn acquire(&self, wait: Option<Span>) -> Command {
        let Self { name, owner, ttl, asker } = self.clone();
        Command::LockAcquire { name, owner, ttl, wait, asker }
    }

    fn leave(&self, asker: Option<Asker>) -> Command {
        Command::LockLeave { name: self.name.clone(), owner: self.owner.clone(), asker }
    }

    fn is_in_line(&self, machine: &Machine) -> bool {
        let lock = machine.lock(&self.name);
        lock.is_some_and(|lock| lock.waiters.iter().any(|waiter| waiter.owner == self.owner))
    }
}

/// Why a request waits no longer.
enum End {
    /// The owner is no longer in line: its turn has come, or it lost its place.
    Out,
    /// It has waited as long as it wanted to.
    Late,
}

/// Requests in line here, by lock and owner: bounded as all requests in progress are.
#[derive(Debug)]
pub(crate) struct Waits {
    /// Begins anywhere, so that no two agents have the same at a time.
    next_asker: AtomicU64,
    waiting: Mutex<BTreeMap<(LockName, String), usize>>,
}

impl Waits {
    pub(crate) fn new(chance: u64) -> Self {
        Self { next_asker: AtomicU64::new(chance), waiting: Mutex::default() }
    }

    /// Tells one request from all others.
    pub(super) fn asker(&self) -> Asker {
        Asker(self.next_asker.fetch_add(1, Ordering::Relaxed))
    }

    fn begin(&self, wish: &Wish) {
        *self.lock().entry((wish.name.clone(), wish.owner.clone())).or_default() += 1;
    }

    /// Answers whether it was the last of its owner.
    fn end(&self, wish: &Wish) -> bool {
        let mut waits = self.lock();
        let of_owner = (wish.name.clone(), wish.owner.clone());
        if let Some(count) = waits.get_mut(&of_owner).filter(|count| **count > 1) {
            *count -= 1;
            return false;
        }
        waits.remove(&of_owner);
        true
    }

    /// Whether no other request of this owner waits.
    fn is_alone(&self, wish: &Wish) -> bool {
        self.lock().get(&(wish.name.clone(), wish.owner.clone())).is_none_or(|count| *count <= 1)
    }

    // Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(LockName, String), usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in line. When its caller goes away, and it is dropped before it ended, the owner leaves
/// the line, unless it has asked again meanwhile. A lock that it was just granted is given back, also
/// when the entry that does so is still on its way: proposals keep their order.
struct Place {
    app: Arc<App>,
    wish: Wish,
    ended: bool,
}

impl Place {
    fn new(app: &Arc<App>, wish: Wish) -> Self {
        app.lock_waits.begin(&wish);
        Self { app: Arc::clone(app), wish, ended: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let last = self.app.lock_waits.end(&self.wish);
        if self.ended || !last {
            return;
        }
        let (app, leave) = (Arc::clone(&self.app), self.wish.leave(Some(self.wish.asker)));
        // When that fails, the wait ends by itself at its time, and so does the hold.
        tokio::spawn(async move { app.commit(leave).await.map(drop) });
    }
}

/// Takes a lock, waiting for it as long as asked.
pub(super) async fn take(app: &Arc<App>, wish: Wish, wait: Duration) -> Result<Held, Failure> {
    if wait.is_zero() {
        return locked(app.commit(wish.acquire(None)).await?);
    }
    let _waiting = match observe::place_to_wait(app) {
        Ok(waiting) => waiting,
        Err(full) => {
            // Only a lock that another owner holds is waited for.
            let taken = app.commit(wish.acquire(None)).await.and_then(locked);
            return taken.map_err(|failure| if is_held(&failure) { full } else { failure });
        }
    };
    let mut place = Place::new(app, wish);
    let outcome = wait_for(app, &place.wish, wait).await;
    place.ended = !leaves(&outcome);
    outcome
}

fn is_held(failure: &Failure) -> bool {
    matches!(failure, Failure::Problem(problem) if problem.code == Code::LockHeld)
}

/// Whether the owner must be taken out of the line: nobody knows whether it stands there or was granted
/// the lock, and no request watches any more.
fn leaves(outcome: &Result<Held, Failure>) -> bool {
    match outcome {
        Ok(_) | Err(Failure::NotLeader) => false,
        Err(Failure::Problem(problem)) => problem.code == Code::CommitTimeout,
    }
}

async fn wait_for(app: &App, wish: &Wish, wait: Duration) -> Result<Held, Failure> {
    let begun = app.clock.monotonic();
    for _ in 0..ASKS_MAX {
        let left = wait.saturating_sub(app.clock.monotonic().saturating_sub(begun));
        let span = Span(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        if span == Span::default() {
            break;
        }
        match app.commit(wish.acquire(Some(span))).await? {
            Reply::LockQueued { .. } => {}
            reply => return locked(reply),
        }
        match watch(app, wish, left).await? {
            End::Out => {}
            End::Late => break,
        }
    }
    if !app.lock_waits.is_alone(wish) {
        return locked(app.commit(wish.acquire(None)).await?);
    }
    // In one step: what was granted before it is answered, and nothing can be granted after it.
    locked(app.commit_all(vec![wish.acquire(None), wish.leave(None)]).await?)
}

/// Looks at the machine whenever a line has moved, until the wait has an end.
async fn watch(app: &App, wish: &Wish, left: Duration) -> Result<End, Failure> {
    let replica = app.replica()?;
    let (mut lines, mut leadership) = (replica.lines_moved(), replica.leadership());
    let late = tokio::time::sleep(left);
    tokio::pin!(late);
    // Ends with the wait.
    loop {
        lines.borrow_and_update();
        if !leadership.borrow_and_update().is_leader {
            return Err(Failure::NotLeader);
        }
        if !replica.read(|machine| wish.is_in_line(machine)) {
            return Ok(End::Out);
        }
        let there = tokio::select! {
            changed = lines.changed() => changed.is_ok(),
            changed = leadership.changed() => changed.is_ok(),
            () = &mut late => return Ok(End::Late),
            () = app.stopping.cancelled() => false,
        };
        if !there {
            return Err(stopping(wish));
        }
    }
}

fn stopping(wish: &Wish) -> Failure {
    let Wish { name, owner, ttl: _, asker: _ } = wish;
    let text = format!(
        "the agent is stopping; {owner} keeps its place before lock {name} if it asks again"
    );
    Failure::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text).retry_after(1)
}

fn locked(reply: Reply) -> Result<Held, Failure> {
    match reply {
        Reply::Locked { token, expires } => Ok((token, expires)),
        other => Err(convert::unexpected(&other)),
    }
}
