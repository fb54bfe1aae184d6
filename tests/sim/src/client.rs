//! Those who ask: a submitter, workers, owners of a lock. None of them knows whether a request whose
//! answer is missing was carried out; all of them ask again.

use ringrift_core::id::{LockName, NodeId, SessionId, Token, WorkId};
use ringrift_core::queue::command::{Claim, Command, Refusal, Reply};
use ringrift_core::queue::item::{Item, NewItem, State};
use ringrift_core::queue::lock::Asker;
use ringrift_core::queue::tenant::QueueSettings;
use ringrift_core::time::Span;

use crate::chance::Chance;
use crate::fault::node_name;
use crate::message::{Message, Replies};
use crate::observer::{LOCK, Observer};
use crate::scenario::{Scenario, team};
use crate::world::WORKERS;

/// Without an answer for so long, in milliseconds, a request is sent again.
const PATIENCE: u64 = 400;
/// A worker renews its leases this often.
const BEAT: u64 = 350;
const LEASE: Span = Span(1_200);
/// Requests of one owner that are told apart.
const ASKERS: u64 = 3;
/// Items that a worker holds at once.
const HELD_MAX: usize = 3;

/// A request on its way, sent again until it is answered.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Replicas that may be asked.
    replicas: usize,
    target: usize,
    next_request: u64,
    pending: Option<(u64, Vec<Command>)>,
    /// When what is pending was asked first.
    asked_at: u64,
    resend_at: u64,
}

impl Caller {
    const fn new(replicas: usize) -> Self {
        Self { replicas, target: 0, next_request: 0, pending: None, asked_at: 0, resend_at: 0 }
    }

    fn ask(&mut self, now: u64, commands: Vec<Command>) -> (usize, Message) {
        self.next_request += 1;
        let request = self.next_request;
        self.pending = Some((request, commands.clone()));
        self.asked_at = now;
        self.resend_at = now + PATIENCE;
        (self.target, Message::Propose { request, commands })
    }

    /// Sends the same once more, elsewhere, when its time has come.
    fn insist(&mut self, now: u64) -> Option<(usize, Message)> {
        if now < self.resend_at {
            return None;
        }
        let (_, commands) = self.pending.take()?;
        self.target = (self.target + 1) % self.replicas;
        let asked_at = self.asked_at;
        let asked = self.ask(now, commands);
        self.asked_at = asked_at;
        Some(asked)
    }

    /// The question and its answers, when this message brings them.
    fn hear(&mut self, now: u64, message: Message) -> Option<(Vec<Command>, Replies)> {
        let current = self.pending.as_ref().map(|(request, _)| *request);
        match message {
            Message::Answered { request, position: _, replies } if Some(request) == current => {
                self.pending.take().map(|(_, commands)| (commands, replies))
            }
            Message::Redirected { request, leader } if Some(request) == current => {
                // One less, since insisting turns to the next.
                let leader = leader.unwrap_or((self.target + 1) % self.replicas);
                self.target = (leader + self.replicas - 1) % self.replicas;
                self.resend_at = now + 20;
                None
            }
            _ => None,
        }
    }
}

/// What a worker has in hand.
#[derive(Debug)]
struct Held {
    item: Item,
    token: Token,
    started: bool,
    done_at: u64,
}

/// What a submitter does, one after another.
#[derive(Debug, Clone)]
enum Step {
    Plain(Box<Command>),
    /// In the session, under a number.
    Numbered(u64, Vec<NewItem>),
}

#[derive(Debug)]
enum Part {
    Submitter { steps: Vec<Step>, next: usize, session: Option<SessionId> },
    Worker { node: NodeId, gpu: bool, held: Vec<Held>, beat_at: u64, asleep_until: u64 },
    Owner { name: LockName, owner: String, token: Option<Token>, rest_until: u64 },
}

#[derive(Debug)]
pub(crate) struct Client {
    caller: Caller,
    part: Part,
    /// Requests that were answered.
    pub(crate) answered: u64,
}

impl Client {
    const fn of(replicas: usize, part: Part) -> Self {
        Self { caller: Caller::new(replicas), part, answered: 0 }
    }

    /// Submits the runs and all batches, some of them twice.
    pub(crate) fn submitter(
        replicas: usize,
        scenario: &Scenario,
        chance: &mut Chance,
    ) -> Result<Self, String> {
        let settings =
            QueueSettings { weight: 2, max_running: Some(3), ..QueueSettings::default() };
        let mut steps = vec![
            Step::plain(Command::SetQueue { queue: team()?, settings }),
            Step::plain(Command::OpenSession),
        ];
        for (run, queue, spec) in &scenario.runs {
            let (run, queue, spec) = (run.clone(), queue.clone(), spec.clone());
            steps.push(Step::plain(Command::SubmitRun { run, queue, spec }));
        }
        for batch in &scenario.batches {
            let times = 1 + usize::from(chance.per_mille(250));
            steps.extend(vec![Step::plain(Command::Enqueue(batch.clone())); times]);
        }
        for (seq, batch) in (0..).zip(&scenario.unkeyed) {
            let times = 1 + usize::from(chance.per_mille(250));
            steps.extend(vec![Step::Numbered(seq, batch.clone()); times]);
        }
        Ok(Self::of(replicas, Part::Submitter { steps, next: 0, session: None }))
    }

    pub(crate) fn worker(replicas: usize, number: usize) -> Result<Self, String> {
        let (node, held) = (node_name(number)?, Vec::new());
        let gpu = number.is_multiple_of(2);
        let part = Part::Worker { node, gpu, held, beat_at: 0, asleep_until: 0 };
        Ok(Self::of(replicas, part))
    }

    pub(crate) fn owner(replicas: usize, number: usize) -> Result<Self, String> {
        let name = LOCK.parse().map_err(|error| format!("bad name: {error}"))?;
        let owner = format!("owner-{number}");
        Ok(Self::of(replicas, Part::Owner { name, owner, token: None, rest_until: 0 }))
    }

    /// True when a submitter has been told that all of its requests were carried out.
    pub(crate) fn is_finished(&self) -> bool {
        match &self.part {
            Part::Submitter { steps, next, session: _ } => *next >= steps.len(),
            Part::Worker { .. } | Part::Owner { .. } => true,
        }
    }

    /// Since when it waits for an answer, if it does.
    pub(crate) fn waits_since(&self) -> Option<u64> {
        let awake_since = match &self.part {
            Part::Worker { asleep_until, .. } => *asleep_until,
            Part::Submitter { .. } | Part::Owner { .. } => 0,
        };
        self.caller.pending.as_ref().map(|_| self.caller.asked_at.max(awake_since))
    }

    /// A worker that stands still for a while and then goes on as if nothing had happened.
    pub(crate) const fn pause(&mut self, until: u64) {
        if let Part::Worker { asleep_until, .. } = &mut self.part {
            *asleep_until = until;
        }
    }

    /// A worker that starts anew and knows nothing of what it held.
    pub(crate) fn crash(&mut self) {
        if let Part::Worker { held, .. } = &mut self.part {
            held.clear();
            self.caller.pending = None;
        }
    }

    pub(crate) fn wake(
        &mut self,
        now: u64,
        chance: &mut Chance,
        scenario: &Scenario,
    ) -> Result<Option<(usize, Message)>, String> {
        if matches!(&self.part, Part::Worker { asleep_until, .. } if now < *asleep_until) {
            return Ok(None);
        }
        if self.caller.pending.is_some() {
            return Ok(self.caller.insist(now));
        }
        let command = match &mut self.part {
            Part::Submitter { steps, next, session } => {
                steps.get(*next).and_then(|step| step.command(*session)).map(|it| vec![it])
            }
            Part::Worker { node, gpu, held, beat_at, asleep_until: _ } => {
                work(now, node, *gpu, held, beat_at, chance, scenario)?
            }
            Part::Owner { name, owner, token, rest_until } => (now >= *rest_until)
                .then(|| if chance.per_mille(30) { rumour(chance) } else { None })
                .map(|rumour| rumour.unwrap_or_else(|| lock(name, owner, *token, chance))),
        };
        Ok(command.map(|commands| self.caller.ask(now, commands)))
    }

    pub(crate) fn hear(
        &mut self,
        now: u64,
        message: Message,
        chance: &mut Chance,
        observer: &mut Observer,
    ) -> Result<(), String> {
        let Some((commands, replies)) = self.caller.hear(now, message) else {
            return Ok(());
        };
        self.answered += 1;
        for (command, reply) in commands.iter().zip(&replies) {
            match &mut self.part {
                Part::Submitter { next, session, .. } => {
                    *next += 1;
                    if let Ok(Reply::SessionOpened(id)) = reply {
                        *session = Some(*id);
                    }
                    acknowledge(command, reply, observer)?;
                }
                Part::Worker { held, .. } => learn(now, held, command, reply, chance)?,
                Part::Owner { token, rest_until, .. } => {
                    *token = match reply {
                        Ok(Reply::Locked { token, .. }) => Some(*token),
                        Ok(_) | Err(_) => None,
                    };
                    *rest_until = now + chance.between(100, 1_500);
                }
            }
        }
        Ok(())
    }
}

impl Step {
    fn plain(command: Command) -> Self {
        Self::Plain(Box::new(command))
    }

    /// What is asked; nothing while there is no session to ask in.
    fn command(&self, session: Option<SessionId>) -> Option<Command> {
        match self {
            Self::Plain(command) => Some((**command).clone()),
            Self::Numbered(seq, items) => Some(Command::InSession {
                session: session?,
                seq: *seq,
                acknowledged: *seq,
                command: Box::new(Command::Enqueue(items.clone())),
            }),
        }
    }
}

fn acknowledge(
    command: &Command,
    reply: &Result<Reply, Refusal>,
    observer: &mut Observer,
) -> Result<(), String> {
    match (command, reply) {
        (Command::Enqueue(items), Ok(Reply::Enqueued(ids))) => {
            let mut told = items.iter().zip(ids);
            told.try_for_each(|(item, (id, _))| observer.acknowledge(item, *id))
        }
        (Command::InSession { command, .. }, reply) => acknowledge(command, reply, observer),
        (Command::SubmitRun { .. }, Ok(Reply::RunAccepted { .. }))
        | (Command::SetQueue { .. }, Ok(Reply::Done))
        | (Command::OpenSession, Ok(Reply::SessionOpened(_))) => Ok(()),
        (command, reply) => Err(format!("{command:?} was answered by {reply:?}")),
    }
}

/// What a worker asks next.
fn work(
    now: u64,
    node: &NodeId,
    gpu: bool,
    held: &mut [Held],
    beat_at: &mut u64,
    chance: &mut Chance,
    scenario: &Scenario,
) -> Result<Option<Vec<Command>>, String> {
    if !held.is_empty() && now >= *beat_at {
        *beat_at = now + BEAT;
        let claims = held.iter().map(|held| (held.item.id, held.token)).collect();
        return Ok(Some(vec![Command::Heartbeat { node: node.clone(), claims, lease: LEASE }]));
    }
    if let Some(held) = held.iter().find(|held| !held.started) {
        let (work_id, token) = (held.item.id, held.token);
        return Ok(Some(vec![Command::Start { work_id, token }]));
    }
    if let Some(done) = held.iter().find(|held| now >= held.done_at) {
        if chance.per_mille(60) {
            let (work_id, token) = (done.item.id, done.token);
            let (error, retry) = ("exit status 1".to_owned(), chance.per_mille(900));
            return Ok(Some(vec![Command::Fail { work_id, token, error, retry }]));
        }
        return Ok(Some(vec![scenario.completion(&done.item)?]));
    }
    let room = HELD_MAX - held.len().min(HELD_MAX);
    if room == 0 || !chance.per_mille(200) {
        return Ok(None);
    }
    Ok(Some(vec![Command::Claim(Claim {
        node: node.clone(),
        capabilities: gpu.then(|| "gpu".to_owned()).into_iter().collect(),
        labels: Default::default(),
        work_types: Default::default(),
        limit: u32::try_from(room).unwrap_or(1),
        lease: LEASE,
    })]))
}

/// What a worker makes of an answer.
fn learn(
    now: u64,
    held: &mut Vec<Held>,
    command: &Command,
    reply: &Result<Reply, Refusal>,
    chance: &mut Chance,
) -> Result<(), String> {
    let mut forget = |id: WorkId, token: Token| {
        held.retain(|held| (held.item.id, held.token) != (id, token));
    };
    match (command, reply) {
        (Command::Claim(_), Ok(Reply::Claimed(items))) => {
            for item in items {
                let State::Claimed(lease) = &item.state else {
                    return Err(format!("{} was handed out as {}", item.id, item.status()));
                };
                let done_at = now + chance.between(20, 1_600);
                let (item, token) = (item.clone(), lease.token);
                held.push(Held { item, token, started: false, done_at });
            }
        }
        (Command::Start { work_id, token }, Ok(_)) => {
            let same = |held: &&mut Held| (held.item.id, held.token) == (*work_id, *token);
            if let Some(held) = held.iter_mut().find(same) {
                held.started = true;
            }
        }
        (Command::Heartbeat { claims, .. }, Ok(Reply::Renewed { lost, .. })) => {
            // Some workers do not listen, and go on with what is no longer theirs.
            if chance.per_mille(500) {
                let gone = claims.iter().filter(|(id, _)| lost.contains(id));
                gone.for_each(|(id, token)| forget(*id, *token));
            }
        }
        (Command::Start { work_id, token }, Err(refusal))
        | (
            Command::Complete { work_id, token, .. } | Command::Fail { work_id, token, .. },
            Err(refusal),
        ) => match refusal {
            Refusal::Fenced { .. } => forget(*work_id, *token),
            other => return Err(format!("{command:?} was refused: {other}")),
        },
        (
            Command::Complete { work_id, token, .. } | Command::Fail { work_id, token, .. },
            Ok(_),
        ) => {
            forget(*work_id, *token);
        }
        (command, reply) => return Err(format!("{command:?} was answered by {reply:?}")),
    }
    Ok(())
}

/// Somebody says that a node is gone, and is often wrong.
fn rumour(chance: &mut Chance) -> Option<Vec<Command>> {
    let node = node_name(1 + chance.below(WORKERS)).ok()?;
    Some(vec![Command::ExpireNode { node }])
}

/// What an owner of the lock asks next.
fn lock(name: &LockName, owner: &str, token: Option<Token>, chance: &mut Chance) -> Vec<Command> {
    let name = name.clone();
    vec![match token {
        Some(token) if chance.per_mille(400) => Command::LockRelease { name, token },
        None if chance.per_mille(100) => {
            let asker = chance.per_mille(500).then(|| Asker(chance.between(1, ASKERS)));
            Command::LockLeave { name, owner: owner.to_owned(), asker }
        }
        Some(_) | None => {
            let (owner, ttl) = (owner.to_owned(), Span(1_000));
            let wait = chance.per_mille(700).then(|| Span(chance.between(200, 4_000)));
            let asker = Asker(chance.between(1, ASKERS));
            Command::LockAcquire { name, owner, ttl, wait, asker }
        }
    }]
}
