//! Clients that use the queue as real ones do, and as bad ones do: they repeat, give up, fall asleep
//! with a claim in hand, and speak with tokens that they lost.

pub(crate) mod door;
mod lockers;
mod session;
mod words;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use ringrift_core::id::WorkId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::door::Door;
use self::session::Caller;
use self::worker::Worker;
use crate::clock;
use crate::history::{Answer, Ask, Outcome, Recorder};

/// Workers: enough that some are always on their way while others wait for an election.
const WORKERS: u32 = 24;
/// Tasks that take locks.
const LOCKERS: u32 = 4;
/// Connections to the leader that the workers share.
const DOORS: u32 = 3;
/// Items whose end is in doubt and that wait to be looked at; further ones are looked at in the end.
const DOUBTS_MAX: usize = 1_024;
/// Before it is looked at, what was in doubt has had its time to take effect.
const DOUBT_PAUSE: Duration = Duration::from_secs(2);
/// Looks that are taken in the end, of those that no doubt asks for.
const SAMPLE_MAX: usize = 400;
/// The end of all waiting for an answer, once everything is healed.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What the clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything.
    Work,
    /// Bring to an end what is there.
    Drain,
    /// Nothing more.
    Over,
}

/// An item whose end is in doubt, since its client gave up.
#[derive(Debug)]
struct Doubt {
    id: WorkId,
    since: Duration,
}

/// The clients of one run.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) recorder: Arc<Recorder>,
    addresses: Vec<String>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts the clients: at most `rate` calls a second, drawn from `seed`.
    ///
    /// # Errors
    /// When no client can be set up.
    pub(crate) fn start(addresses: &[String], rate: u32, seed: u64) -> Result<Self, String> {
        let (phase, watched) = watch::channel(Phase::Work);
        let recorder = Arc::new(Recorder::default());
        let mut tasks = JoinSet::new();
        let mut seeds = StdRng::seed_from_u64(seed);
        let doors = (0..DOORS).map(|number| Door::open(addresses, &format!("chaos-{number}")));
        let doors: Vec<_> = doors.map(|door| door.map(Arc::new)).collect::<Result<_, _>>()?;
        let pace = Duration::from_secs(1) * (WORKERS + LOCKERS) / rate.max(1);
        let (doubts, doubted) = mpsc::channel(DOUBTS_MAX);
        let door = |number: u32| Arc::clone(&doors[number as usize % doors.len()]);
        let mut caller = |number: u32| {
            let random = StdRng::seed_from_u64(seeds.random());
            Caller::new(number, door(number), Arc::clone(&recorder), watched.clone(), pace, random)
        };
        for number in 0..WORKERS {
            tasks.spawn(Worker::new(caller(number), doubts.clone()).run());
        }
        for number in WORKERS..WORKERS + LOCKERS {
            tasks.spawn(lockers::run(caller(number)));
        }
        tasks.spawn(resolve(caller(WORKERS + LOCKERS), doubted));
        Ok(Self { recorder, addresses: addresses.to_vec(), phase, tasks })
    }

    /// Ends the work: from now on what is there is brought to its end. Answers when nothing is left,
    /// or how much still is when the limit has passed.
    pub(crate) async fn drain(&self, limit: Duration) -> Result<(), String> {
        self.phase.send_replace(Phase::Drain);
        let door = Door::open(&self.addresses, "chaos-drain")?;
        let mut seen = "nothing".to_owned();
        let drained = tokio::time::timeout(limit, async {
            loop {
                match door.unfinished().await {
                    Ok(0) => return,
                    Ok(left) => seen = format!("{left} items"),
                    Err(problem) => seen = problem,
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        drained.await.map_err(|_late| format!("after {limit:?} not everything has ended: {seen}"))
    }

    /// Ends the clients, after their last answers.
    pub(crate) async fn stop(mut self) -> Arc<Recorder> {
        self.phase.send_replace(Phase::Over);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(ANSWER_LIMIT, ended).await.is_err() {
            self.tasks.abort_all();
        }
        self.recorder
    }
}

/// Looks at items whose end is in doubt, since their client gave up.
async fn resolve(mut caller: Caller, mut doubted: mpsc::Receiver<Doubt>) {
    while let Some(Doubt { id, since }) = doubted.recv().await {
        if caller.phase() == Phase::Over {
            // Whatever is left is looked at in the end.
            return;
        }
        tokio::time::sleep((since + DOUBT_PAUSE).saturating_sub(clock::now())).await;
        caller.insist(Ask::Look(id)).await;
    }
}

/// Looks at items in the end: all those of `open`, and a sample of `ended`.
///
/// # Errors
/// When a look is not answered in time.
pub(crate) async fn look_at(
    addresses: &[String],
    recorder: &Arc<Recorder>,
    open: &[WorkId],
    ended: &[WorkId],
) -> Result<(), String> {
    let door = Arc::new(Door::open(addresses, "chaos-look")?);
    let step = (ended.len() / SAMPLE_MAX).max(1);
    let ids = open.iter().chain(ended.iter().rev().step_by(step).take(SAMPLE_MAX));
    let (_phase, watched) = watch::channel(Phase::Drain);
    let random = StdRng::seed_from_u64(0);
    let number = WORKERS + LOCKERS + 1;
    let mut caller =
        Caller::new(number, door, Arc::clone(recorder), watched, Duration::ZERO, random);
    for id in ids {
        let looked = tokio::time::timeout(ANSWER_LIMIT, caller.insist(Ask::Look(*id))).await;
        if !matches!(looked, Ok(Outcome::Done(_, Answer::Seen(_)))) {
            return Err(format!("{id} could not be looked at: {looked:?}"));
        }
    }
    Ok(())
}
