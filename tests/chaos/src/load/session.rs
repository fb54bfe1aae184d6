//! One client: it asks at its pace, in a session or outside of one, and writes everything down.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::Phase;
use super::door::{Door, Place};
use crate::clock::micros;
use crate::history::{Ask, Call, Outcome, Recorder, Stamp};

/// Times that one request is sent: with the pauses between them longer than any fault lasts.
const TRIES_MAX: u32 = 300;
/// Pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(150);
/// Of a hundred answers in doubt, after so many the client gives up.
const GIVES_UP_PERCENT: u32 = 8;
/// Of a hundred requests of a session, so many are sent again although they were answered.
const REPEATS_PERCENT: u32 = 6;
/// The word in the text of a refusal that ends a session.
const SESSION_GONE: &str = "SESSION_UNKNOWN";

#[derive(Debug, Clone, Copy)]
struct Session {
    id: u64,
    next: u64,
}

/// A client.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) number: u32,
    /// As which node it claims, and which owner it locks.
    pub(super) node: String,
    pub(super) random: StdRng,
    phase: watch::Receiver<Phase>,
    door: Arc<Door>,
    recorder: Arc<Recorder>,
    pace: Option<Interval>,
    session: Option<Session>,
}

impl Caller {
    pub(super) fn new(
        number: u32,
        door: Arc<Door>,
        recorder: Arc<Recorder>,
        phase: watch::Receiver<Phase>,
        pace: Duration,
        random: StdRng,
    ) -> Self {
        let pace = (!pace.is_zero()).then(|| {
            let mut pace = tokio::time::interval(pace);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        let node = format!("chaos-{number}");
        Self { number, node, random, phase, door, recorder, pace, session: None }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// With a chance of so many in a hundred.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// A span between two numbers of milliseconds.
    pub(super) fn span(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.random.random_range(least..=most))
    }

    /// Asks once, outside of any session.
    pub(super) async fn once(&mut self, ask: Ask) -> Outcome {
        self.send(&ask, None).await
    }

    /// Asks until there is an answer; for what may be repeated. Now and then it gives up.
    pub(super) async fn insist(&mut self, ask: Ask) -> Outcome {
        self.again_and_again(&ask, None).await
    }

    /// As [`Self::insist`], in a session. Now and then it repeats what was answered.
    pub(super) async fn in_session(&mut self, ask: Ask) -> Outcome {
        if self.session.is_none() {
            self.session = self.door.session().await.map(|id| Session { id, next: 1 });
        }
        let Some(session) = &mut self.session else { return self.send(&ask, None).await };
        let (session, seq) = (session.id, session.next);
        // Everything before was answered or given up.
        let place = Place { session, seq, acknowledged: seq };
        if let Some(session) = &mut self.session {
            session.next += 1;
        }
        let outcome = self.again_and_again(&ask, Some(place)).await;
        let gone = outcome.open().is_some_and(|text| text.contains(SESSION_GONE));
        if gone {
            self.session = None;
        } else if outcome.open().is_none() && self.chance(REPEATS_PERCENT) {
            self.send(&ask, Some(place)).await;
        }
        outcome
    }

    async fn again_and_again(&mut self, ask: &Ask, place: Option<Place>) -> Outcome {
        let mut outcome = self.send(ask, place).await;
        for _ in 1..TRIES_MAX {
            let Some(text) = outcome.open() else { return outcome };
            let gives_up = self.phase() == Phase::Work && self.chance(GIVES_UP_PERCENT);
            if gives_up || self.phase() == Phase::Over || text.contains(SESSION_GONE) {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
            outcome = self.send(ask, place).await;
        }
        outcome
    }

    async fn send(&mut self, ask: &Ask, place: Option<Place>) -> Outcome {
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        let sent = micros();
        let (way, outcome) = self.door.ask(&self.node, ask, place).await;
        self.recorder.record(Call {
            client: self.number,
            stamp: place.map(|place| Stamp { session: place.session, seq: place.seq }),
            way,
            sent,
            answered: micros(),
            ask: ask.clone(),
            outcome: outcome.clone(),
        });
        outcome
    }
}
