//! The world: replicas, clients, a network and faults between them, one step a millisecond. First
//! everything goes wrong; then the world heals, and all work must end.

use std::collections::BTreeMap;

use ringrift_core::machine::Machine;
use ringrift_core::run::{Outcome, Run, RunSpec};

use crate::chance::Chance;
use crate::client::Client;
use crate::fault::{Mutation, Network};
use crate::message::{Effects, Message};
use crate::observer::Observer;
use crate::replica::{REPLICAS, Replica};
use crate::scenario::Scenario;

/// So long things go wrong, in milliseconds.
const TROUBLE: u64 = 15_000;
/// After that, all work must have ended within this time: the sum of the longest backoffs of an item
/// with six attempts, and room.
const HEALING: u64 = 180_000;
/// Replicas and clients look around this often.
const PULSE: u64 = 10;
/// Fate looks around this often.
const FATE: u64 = 100;
pub(crate) const WORKERS: usize = 4;
/// One holds the lock; the order of one that waits would show nothing.
const OWNERS: usize = 3;
/// The world begins at some wall-clock time.
const BEGINNING: u64 = 1_000_000;
/// Messages on their way at once; more would be a storm, which is a bug.
const MESSAGES_MAX: usize = 100_000;

#[derive(Debug)]
struct Envelope {
    from: usize,
    to: usize,
    message: Message,
}

#[derive(Debug)]
pub(crate) struct World {
    chance: Chance,
    now: u64,
    scenario: Result<Scenario, String>,
    replicas: Vec<Replica>,
    clients: Vec<Client>,
    network: Network,
    /// By arrival, then by sending.
    mail: BTreeMap<(u64, u64), Envelope>,
    sent: u64,
    /// When each replica that is down comes back.
    restarts: [Option<u64>; REPLICAS],
    /// Until when each replica stands still. What is sent to it waits for it.
    paused: [u64; REPLICAS],
    /// A replica that is cut off and joined again and again, and until when.
    flapping: Option<(usize, u64)>,
    observer: Observer,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5157);
        let scenario = Scenario::new(seed, &mut chance);
        let replicas = (0..REPLICAS).map(|id| Replica::new(id, mutation, &mut chance)).collect();
        let network = Network {
            loss: [0, 20, 100][chance.below(3)],
            duplicates: [0, 50][chance.below(2)],
            stragglers: [0, 20][chance.below(2)],
            cut: Default::default(),
        };
        Self {
            chance,
            now: BEGINNING,
            scenario,
            replicas,
            clients: Vec::new(),
            network,
            mail: BTreeMap::new(),
            sent: 0,
            restarts: [None; REPLICAS],
            paused: [0; REPLICAS],
            flapping: None,
            observer: Observer::default(),
        }
    }

    /// Requests that clients had answered.
    pub(crate) fn operations(&self) -> u64 {
        self.clients.iter().map(|client| client.answered).sum()
    }

    /// Whether the gauntlet came to a verdict, rather than to a pair that could not be played.
    pub(crate) fn has_verdict(&self) -> bool {
        has_verdict(self.observer.machine())
    }

    /// Lives through trouble and healing; the error says what broke, and when.
    pub(crate) fn play(&mut self) -> Result<(), String> {
        let scenario = self.scenario.clone()?;
        self.clients.push(Client::submitter(REPLICAS, &scenario, &mut self.chance)?);
        for number in 0..WORKERS {
            self.clients.push(Client::worker(REPLICAS, number)?);
        }
        for number in 0..OWNERS {
            self.clients.push(Client::owner(REPLICAS, number)?);
        }
        let lived = self.live(&scenario);
        lived.map_err(|error| format!("at {} ms: {error}", self.now - BEGINNING))
    }

    fn live(&mut self, scenario: &Scenario) -> Result<(), String> {
        while self.now < BEGINNING + TROUBLE {
            if self.now.is_multiple_of(FATE) {
                self.fate();
            }
            self.step(scenario)?;
        }
        self.heal();
        while self.now < BEGINNING + TROUBLE + HEALING {
            self.step(scenario)?;
            if self.now.is_multiple_of(FATE) && self.is_settled() {
                return self.conclude(scenario);
            }
        }
        let counts = self.observer.machine().counts();
        Err(format!("work did not end after healing: {counts:?}"))
    }

    fn step(&mut self, scenario: &Scenario) -> Result<(), String> {
        self.now += 1;
        for id in 0..REPLICAS {
            if self.restarts[id].is_some_and(|at| at <= self.now) {
                self.restarts[id] = None;
                self.replicas[id].restart(self.now, &mut self.chance)?;
            }
        }
        while let Some(next) = self.mail.first_entry().filter(|next| next.key().0 <= self.now) {
            let envelope = next.remove();
            self.deliver(envelope)?;
        }
        if !self.now.is_multiple_of(PULSE) {
            return Ok(());
        }
        for id in 0..REPLICAS {
            if self.replicas[id].up && self.paused[id] <= self.now {
                let mut effects = Effects::default();
                self.replicas[id].tick(self.now, &mut self.chance, &mut effects);
                self.carry_out(id, effects)?;
            }
        }
        for number in 0..self.clients.len() {
            let asked = self.clients[number].wake(self.now, &mut self.chance, scenario)?;
            if let Some((to, message)) = asked {
                if let Message::Propose { request, commands } = &message {
                    self.observer.ask(number, *request, commands);
                }
                self.send(REPLICAS + number, to, message)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, envelope: Envelope) -> Result<(), String> {
        let Envelope { from, to, message } = envelope;
        if to >= REPLICAS {
            if let Message::Answered { request, position, replies } = &message {
                self.observer.answer(to - REPLICAS, *request, *position, replies)?;
            }
            let client = &mut self.clients[to - REPLICAS];
            return client.hear(self.now, message, &mut self.chance, &mut self.observer);
        }
        if !self.replicas[to].up {
            return Ok(());
        }
        if self.paused[to] > self.now {
            // Behind what waits there already.
            self.sent += 1;
            let envelope = Envelope { from, to, message };
            self.mail.insert((self.paused[to], self.sent), envelope);
            return Ok(());
        }
        let mut effects = Effects::default();
        self.replicas[to].receive(self.now, from, message, &mut self.chance, &mut effects);
        self.carry_out(to, effects)
    }

    fn carry_out(&mut self, id: usize, effects: Effects) -> Result<(), String> {
        let Effects { sent, applied } = effects;
        self.observer.see_leader(&self.replicas[id])?;
        for applied in &applied {
            self.observer.watch(&self.replicas[id], applied)?;
        }
        if !applied.is_empty() {
            self.observer.compare(&self.replicas[id])?;
        }
        sent.into_iter().try_for_each(|(to, message)| self.send(id, to, message))
    }

    fn send(&mut self, from: usize, to: usize, message: Message) -> Result<(), String> {
        if from < REPLICAS && to < REPLICAS && self.network.cut[from][to] {
            return Ok(());
        }
        for at in self.network.carry(&mut self.chance, self.now) {
            self.sent += 1;
            let message = message.clone();
            self.mail.insert((at, self.sent), Envelope { from, to, message });
        }
        if self.mail.len() > MESSAGES_MAX {
            return Err(format!("{} messages are on their way", self.mail.len()));
        }
        Ok(())
    }

    /// Something goes wrong, or becomes right again.
    fn fate(&mut self) {
        self.flap();
        let (now, chance) = (self.now, &mut self.chance);
        let id = chance.below(REPLICAS);
        let leader = self.replicas.iter().position(Replica::is_leader);
        // Leaders are the interesting ones.
        let victim = leader.filter(|_| chance.per_mille(500)).unwrap_or(id);
        match chance.between(0, 99) {
            0..=3 if self.replicas[victim].up => {
                self.replicas[victim].crash();
                self.paused[victim] = 0;
                // A quick restart comes back into the same election.
                let down = if chance.per_mille(500) { 60 } else { 3_000 };
                self.restarts[victim] = Some(now + chance.between(5, down));
            }
            4..=6 => self.network.isolate(chance, victim),
            7..=12 => self.network.join(),
            13 => self.replicas[id].clock_ahead = chance.between(0, 6_000),
            14..=16 => {
                let worker = 1 + chance.below(WORKERS);
                let until = now + chance.between(500, 5_000);
                self.clients[worker].pause(until);
            }
            17..=18 => self.clients[1 + chance.below(WORKERS)].crash(),
            19..=20 => self.paused[victim] = now + chance.between(50, 3_000),
            21..=22 => self.network.bridge(id),
            23 => self.flapping = Some((victim, now + chance.between(800, 3_000))),
            _ => {}
        }
    }

    fn flap(&mut self) {
        let Some((replica, until)) = self.flapping else {
            return;
        };
        self.network.join();
        if self.now >= until {
            self.flapping = None;
        } else if self.chance.per_mille(600) {
            self.network.isolate(&mut self.chance, replica);
        }
    }

    fn heal(&mut self) {
        self.network = Network::default();
        self.flapping = None;
        self.paused = [0; REPLICAS];
        for restart in &mut self.restarts {
            *restart = restart.map(|_| self.now);
        }
    }

    fn is_settled(&self) -> bool {
        let machine = self.observer.machine();
        let applied = machine.applied().index;
        self.clients.iter().all(Client::is_finished)
            && machine.counts().unfinished() == 0
            && machine.active_runs().next().is_none()
            && self.replicas.iter().all(|replica| replica.applied == applied)
    }

    fn conclude(&self, scenario: &Scenario) -> Result<(), String> {
        self.observer.conclude()?;
        let machine = self.observer.machine();
        for replica in &self.replicas {
            if replica.machine != *machine {
                return Err(format!("replica {} differs at the end", replica.id));
            }
            again(&replica.machine)?;
        }
        for (id, _, _) in &scenario.runs {
            let run = machine.run(id).ok_or_else(|| format!("run {id} is lost"))?;
            concluded(run, scenario)?;
        }
        Ok(())
    }
}

/// Whether a run came to a verdict.
pub(crate) fn has_verdict(machine: &Machine) -> bool {
    machine.runs().any(|run| matches!(run.outcome, Some(Outcome::Verdict(_))))
}

/// A snapshot of the machine is the machine.
fn again(machine: &Machine) -> Result<(), String> {
    let text = serde_json::to_string(&machine.freeze()).map_err(|error| error.to_string())?;
    let restored: Machine = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if restored == *machine { Ok(()) } else { Err("a snapshot reads back otherwise".to_owned()) }
}

/// Whether a run ended as it may.
pub(crate) fn concluded(run: &Run, scenario: &Scenario) -> Result<(), String> {
    let failed = |wanted: &str| matches!(&run.outcome, Some(Outcome::Failed { reason, .. }) if reason == wanted);
    let fair = match &run.spec {
        RunSpec::Job(spec) => {
            let all = run.ledger.tasks_done == spec.completions;
            failed("TasksFailed") || (run.outcome == Some(Outcome::Succeeded) && all)
        }
        // Trouble may use up a pair's replays, but it may not change a verdict.
        RunSpec::Gauntlet(_) | RunSpec::Tournament(_) => {
            failed("PairUnplayable") || run.outcome == scenario.undisturbed()?
        }
    };
    if fair { Ok(()) } else { Err(format!("run {} ended as {:?}", run.id, run.outcome)) }
}
