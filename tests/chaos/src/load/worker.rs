//! A submitter and worker in one.

use std::collections::VecDeque;

use rand::RngExt as _;
use ringrift_core::id::WorkId;
use tokio::sync::mpsc;

use super::session::Caller;
use super::{Doubt, Phase};
use crate::clock;
use crate::history::{Answer, Ask, Grant, Hold, NewItem, Outcome};

/// A worker adds nothing while so many more of its items were added than it has claimed.
const AHEAD_MAX: u64 = 12;
/// Of what it added, a worker remembers so many: to add them again, to cancel them, to look at them.
const REMEMBERED_MAX: usize = 32;
/// The shortest and the longest lease, in milliseconds: several of the longest pauses of an election.
const LEASE_MS: (u64, u64) = (1_500, 6_000);
/// How long a claim may wait for work.
const WAIT_MS: u64 = 700;

pub(super) struct Worker {
    caller: Caller,
    doubts: mpsc::Sender<Doubt>,
    /// Numbers its items.
    named: u64,
    ahead: u64,
    keyed: VecDeque<NewItem>,
    added: VecDeque<WorkId>,
}

impl Worker {
    pub(super) fn new(caller: Caller, doubts: mpsc::Sender<Doubt>) -> Self {
        let (keyed, added) = (VecDeque::new(), VecDeque::new());
        Self { caller, doubts, named: 0, ahead: 0, keyed, added }
    }

    /// Works until the phase says that it is over.
    pub(super) async fn run(mut self) {
        loop {
            match self.caller.phase() {
                Phase::Work => self.turn().await,
                Phase::Drain => self.drain().await,
                Phase::Over => return,
            }
        }
    }

    async fn turn(&mut self) {
        if self.ahead < AHEAD_MAX && self.caller.chance(35) {
            self.add().await;
        } else if self.caller.chance(2) {
            self.meddle().await;
        } else {
            self.claim().await;
        }
    }

    fn item(&mut self) -> NewItem {
        self.named += 1;
        let name = format!("{}-{}", self.caller.number, self.named);
        let delay_ms =
            if self.caller.chance(10) { self.caller.random.random_range(100..=1_500) } else { 0 };
        let attempts_max = if self.caller.chance(10) { 1 } else { 4 };
        NewItem { name, key: None, delay_ms, attempts_max }
    }

    async fn add(&mut self) {
        let many = if self.caller.chance(20) { 3 } else { 1 };
        let mut items: Vec<_> = (0..many).map(|_| self.item()).collect();
        let outcome = match self.caller.random.random_range(0..3) {
            0 => self.caller.once(Ask::Add(items)).await,
            1 => self.caller.in_session(Ask::Add(items)).await,
            _ => {
                for item in &mut items {
                    item.key = Some(format!("key-{}", item.name));
                }
                if self.caller.chance(15)
                    && let Some(before) = self.keyed.pop_front()
                {
                    items = vec![before];
                } else {
                    self.keyed.extend(items.iter().cloned());
                    self.keyed.truncate(REMEMBERED_MAX);
                }
                self.caller.insist(Ask::Add(items)).await
            }
        };
        if let Outcome::Done(_, Answer::Added(added)) = outcome {
            self.ahead += added.len() as u64;
            self.added.extend(added.iter().map(|(id, _)| *id));
            let excess = self.added.len().saturating_sub(REMEMBERED_MAX);
            self.added.drain(..excess);
        }
    }

    /// Cancels an item, or looks at one.
    async fn meddle(&mut self) {
        let Some(id) = self.added.pop_front() else { return };
        if self.caller.chance(70) {
            self.caller.insist(Ask::Look(id)).await;
        } else if self.caller.insist(Ask::Cancel(id)).await.open().is_some() {
            self.doubt(id);
        }
    }

    async fn claim(&mut self) {
        let lease_ms = self.caller.random.random_range(LEASE_MS.0..=LEASE_MS.1);
        let outcome = match self.caller.random.random_range(0..10) {
            0..5 => self.caller.once(Ask::Claim { lease_ms, wait_ms: WAIT_MS }).await,
            5..8 => self.caller.once(Ask::Claim { lease_ms, wait_ms: 0 }).await,
            _ => self.caller.in_session(Ask::Claim { lease_ms, wait_ms: 0 }).await,
        };
        let Outcome::Done(_, Answer::Claimed(grants)) = outcome else { return };
        for grant in grants {
            self.ahead = self.ahead.saturating_sub(1);
            self.attempt(&grant, lease_ms).await;
        }
    }

    /// One attempt, with everything that goes wrong in practice.
    async fn attempt(&mut self, grant: &Grant, lease_ms: u64) {
        let hold = grant.hold;
        if self.caller.chance(3) {
            return;
        }
        let asleep = self.caller.chance(3);
        if self.caller.chance(75) {
            let started = self.caller.insist(Ask::Start(hold)).await;
            if matches!(started, Outcome::Refused(..)) && !self.caller.chance(20) {
                return;
            }
        }
        if asleep {
            let sleep = self.caller.span(lease_ms.saturating_sub(500), lease_ms + 1_500);
            tokio::time::sleep(sleep).await;
        } else if self.caller.chance(10) {
            tokio::time::sleep(self.caller.span(50, 900)).await;
        }
        if self.caller.chance(12) {
            let renewed = self.caller.insist(Ask::Heartbeat { hold, lease_ms }).await;
            if matches!(renewed, Outcome::Done(_, Answer::Renewed(false))) {
                return;
            }
        }
        self.end(hold).await;
        if self.caller.chance(3) {
            self.speak_out_of_turn(hold).await;
        }
    }

    async fn end(&mut self, hold: Hold) {
        let outcome = match self.caller.random.random_range(0..100) {
            0..8 => self.caller.in_session(Ask::Fail { hold, retry: true }).await,
            8..10 => self.caller.in_session(Ask::Fail { hold, retry: false }).await,
            10..16 => self.caller.in_session(Ask::Release(hold)).await,
            16..24 => {
                let then = vec![self.item()];
                self.caller.in_session(complete(hold, then)).await
            }
            _ => self.caller.insist(complete(hold, Vec::new())).await,
        };
        if outcome.open().is_some() {
            self.doubt(hold.item);
        }
    }

    /// Says something under a token that should be worth nothing any more.
    async fn speak_out_of_turn(&mut self, hold: Hold) {
        match self.caller.random.random_range(0..4) {
            0 => self.caller.insist(Ask::Start(hold)).await,
            1 => self.caller.insist(Ask::Heartbeat { hold, lease_ms: LEASE_MS.1 }).await,
            2 => self.caller.in_session(Ask::Fail { hold, retry: true }).await,
            _ => self.caller.insist(complete(hold, Vec::new())).await,
        };
    }

    async fn drain(&mut self) {
        let claim = Ask::Claim { lease_ms: LEASE_MS.0, wait_ms: WAIT_MS };
        let Outcome::Done(_, Answer::Claimed(grants)) = self.caller.once(claim).await else {
            return;
        };
        for grant in grants {
            let ended = self.caller.insist(complete(grant.hold, Vec::new())).await;
            if ended.open().is_some() {
                self.doubt(grant.hold.item);
            }
        }
    }

    fn doubt(&self, id: WorkId) {
        // When too many wait it is looked at in the end.
        let _ = self.doubts.try_send(Doubt { id, since: clock::now() });
    }
}

fn complete(hold: Hold, then: Vec<NewItem>) -> Ask {
    let result = serde_json::json!({ "under": hold.token.to_string() }).to_string();
    Ask::Complete { hold, result, then }
}
