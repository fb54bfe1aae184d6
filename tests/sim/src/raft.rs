//! A world over the real consensus: every agent runs openraft and our adapters of it as it does in
//! production, in a runtime of its own whose clock the world moves, on a network and a disk that the
//! seed decides. First everything goes wrong; then the world heals, and all work must end.
//!
//! [`host`] is one agent, [`net`] and [`socket`] are what is between them, [`fate`] is what goes wrong,
//! [`operator`] is who acts on it, and [`oracle`] is who sees everything.

mod bug;
mod fate;
mod host;
mod net;
mod operator;
mod oracle;
mod socket;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use ringrift_agent::consensus::simulation::{self, Disk, EntryName, Standing};
use ringrift_agent::consensus::{Committed, Member, ProposeError, Timing};
use ringrift_core::queue::command::Command;

pub(crate) use self::bug::Bug;
use self::fate::{Fate, fair_weather};
use self::host::{Host, Outbox, Settings};
use self::net::Net;
use self::operator::Operator;
use self::oracle::{Oracle, Seen};
use crate::chance::Chance;
use crate::client::Client;
use crate::message::Message;
use crate::panics;
use crate::scenario::Scenario;
use crate::world::{self, WORKERS};

/// So long things go wrong, in milliseconds.
const TROUBLE: u64 = 8_000;
/// A cluster comes together within this.
const FOUNDING: u64 = 20_000;
/// Afterwards somebody must lead within this: the longest election, after the longest pause of a
/// connection that was cut.
const LEADERLESS_MAX: u64 = 5_000;
/// A request that waits for longer than this in a healed world was forgotten: what agents do about an
/// unknown outcome takes five seconds.
const UNANSWERED_MAX: u64 = 8_000;
/// After healing all work must have ended within this time: the sum of the longest backoffs of an item
/// with six attempts, and room.
const HEALING: u64 = 180_000;
/// When nobody asks for anything any more, all replicas are the same within this: who sends the last
/// part of a snapshot waits a minute for an answer that the network let vanish.
const SETTLING: u64 = 75_000;
/// Clients look around this often.
const PULSE: u64 = 10;
/// Fate looks around this often.
const FATE: u64 = 100;
/// A reader looks at some agent this often.
const READING: u64 = 30;
/// One holds the lock; the order of one that waits would show nothing.
const OWNERS: usize = 3;
/// The world begins at some wall-clock time.
const BEGINNING: u64 = 1_000_000;

/// A message between a client and an agent.
enum Mail {
    ToHost { host: usize, client: usize, request: u64, commands: Vec<Command> },
    ToClient { client: usize, message: Message },
}

/// What an agent said.
enum Told {
    Proposed {
        client: usize,
        request: u64,
        /// The last position that was known when it was asked.
        floor: u64,
        commands: Vec<Command>,
        outcome: Result<Committed, ProposeError>,
    },
    Read {
        floor: u64,
        read: u64,
    },
    /// The operator's request for this host is done; its disk was lost if a voter.
    Changed {
        host: usize,
        wiped_voter: bool,
    },
    /// This life of a host has ended in good order.
    Left {
        host: usize,
        life: u64,
    },
}

pub(crate) struct World {
    chance: Chance,
    bug: Option<Bug>,
    now: u64,
    scenario: Scenario,
    fate: Fate,
    hosts: Vec<Host>,
    /// The raft id that each host had last.
    raft_ids: Vec<Option<u64>>,
    /// Disks that were lost, by the raft id that was on them.
    graves: Vec<(u64, Disk)>,
    net: Net,
    weather: net::Weather,
    clients: Vec<Client>,
    /// By arrival, then by sending.
    mail: BTreeMap<(u64, u64), Mail>,
    posted: u64,
    told: Outbox<Told>,
    operator: Operator,
    oracle: Oracle,
    panics: u64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Result<Self, String> {
        panics::count();
        let mut chance = Chance::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x4a57);
        let scenario = Scenario::new(seed, &mut chance)?;
        let count = 3 + chance.below(3);
        let weather = fate::weather(&mut chance);
        let net = Net::new(count, chance.next(), fair_weather());
        let settings = Settings {
            timing: if chance.per_mille(600) { Timing::fast() } else { Timing::safe() },
            snapshot_entries: [20, 60, 400][chance.below(3)],
            tail_entries: [0, 5, 50][chance.below(3)],
            planted: bug.and_then(Bug::planted),
        };
        let mut hosts = Vec::new();
        for id in 0..count {
            // Clocks are given out for ever; they are eight bytes each.
            let wall: &'static AtomicU64 = Box::leak(Box::default());
            let own = Chance::new(chance.next());
            hosts.push(Host::new(id, settings, net.clone(), wall, own)?);
        }
        Ok(Self {
            fate: Fate::new(&mut chance),
            chance,
            bug,
            now: BEGINNING,
            scenario,
            raft_ids: vec![None; count],
            graves: Vec::new(),
            net,
            weather,
            clients: Vec::new(),
            mail: BTreeMap::new(),
            posted: 0,
            told: Outbox::default(),
            operator: Operator::new(count),
            oracle: Oracle::new(count),
            panics: panics::on_this_thread(),
            hosts,
        })
    }

    /// Requests that clients had answered.
    pub(crate) fn operations(&self) -> u64 {
        self.clients.iter().map(|client| client.answered).sum()
    }

    /// A number that two equal lives share.
    pub(crate) fn trace(&self) -> u64 {
        self.oracle.trace() ^ self.net.carried()
    }

    /// Whether the gauntlet came to a verdict.
    pub(crate) fn has_verdict(&self) -> bool {
        world::has_verdict(self.oracle.observer.machine())
    }

    /// Lives through trouble and healing; the error says what broke, and when.
    pub(crate) fn play(&mut self) -> Result<(), String> {
        let lived = self.live();
        lived.map_err(|error| format!("at {} ms: {error}", self.now - BEGINNING))
    }

    fn live(&mut self) -> Result<(), String> {
        self.found()?;
        let count = self.hosts.len();
        self.clients.push(Client::submitter(count, &self.scenario, &mut self.chance)?);
        for number in 0..WORKERS {
            self.clients.push(Client::worker(count, number)?);
        }
        for number in 0..OWNERS {
            self.clients.push(Client::owner(count, number)?);
        }
        self.net.set_weather(self.weather);
        let until = self.now + TROUBLE;
        while self.now < until {
            if self.now.is_multiple_of(FATE) {
                self.strike()?;
            }
            self.step()?;
            self.serve_clients()?;
        }
        self.heal()?;
        self.finish_work()?;
        self.settle()?;
        self.conclude()
    }

    /// One agent founds the cluster, and the others join it.
    fn found(&mut self) -> Result<(), String> {
        for host in &mut self.hosts {
            host.start(self.now)?;
        }
        let until = self.now + FOUNDING;
        while self.now < until {
            self.step()?;
            if self.is_together() {
                return Ok(());
            }
        }
        Err("the cluster did not come together".to_owned())
    }

    /// Whether all hosts take part, three of them as voters.
    fn is_together(&self) -> bool {
        let part = |id: &Option<u64>| id.is_some_and(|id| self.oracle.members.contains(&id));
        self.is_whole() && self.raft_ids.iter().all(part)
    }

    /// Whether every voter still has its disk.
    fn is_whole(&self) -> bool {
        let voters: BTreeSet<u64> = self.oracle.voters().collect();
        let here = |voter: &u64| self.raft_ids.contains(&Some(*voter));
        self.oracle.is_stable() && voters.len() == 3 && voters.iter().all(here)
    }

    fn heal(&mut self) -> Result<(), String> {
        self.operator.calm();
        self.net.join();
        self.weather = fair_weather();
        self.net.set_weather(self.weather);
        for host in &mut self.hosts {
            host.wake();
            (host.hangs_until, host.full_until, host.flush_max) = (0, 0, 2);
        }
        let until = self.now + LEADERLESS_MAX;
        while self.now < until {
            self.step()?;
            self.serve_clients()?;
            if self.leader().is_some() {
                return Ok(());
            }
        }
        Err(format!("nobody leads after healing: {:?}", self.standings()))
    }

    fn finish_work(&mut self) -> Result<(), String> {
        let begun = self.now;
        while self.now < begun + HEALING {
            self.step()?;
            self.serve_clients()?;
            if self.now.is_multiple_of(FATE) {
                self.is_answered(begun)?;
                let machine = self.oracle.observer.machine();
                let over = self.clients.iter().all(Client::is_finished)
                    && machine.counts().unfinished() == 0
                    && machine.active_runs().next().is_none();
                if over {
                    return Ok(());
                }
            }
        }
        let counts = self.oracle.observer.machine().counts();
        Err(format!("work did not end after healing: {counts:?}"))
    }

    /// Nobody waits for ever.
    fn is_answered(&self, healed: u64) -> Result<(), String> {
        for (number, client) in self.clients.iter().enumerate() {
            let since = client.waits_since().map(|since| since.max(healed));
            if since.is_some_and(|since| self.now > since + UNANSWERED_MAX) {
                return Err(format!("client {number} was not answered after healing"));
            }
        }
        Ok(())
    }

    /// Nobody asks any more; all replicas become the same.
    fn settle(&mut self) -> Result<(), String> {
        self.mail.clear();
        let until = self.now + SETTLING;
        while self.now < until {
            self.step()?;
            let last = self.oracle.length();
            let same = |host: &Host| {
                let there = host.consensus().map(|consensus| *consensus.applied().borrow() + 1);
                there == Some(last)
            };
            if self.now.is_multiple_of(FATE) && self.is_together() && self.hosts.iter().all(same) {
                return Ok(());
            }
        }
        Err(format!("the agents did not come together after healing: {:?}", self.standings()))
    }

    /// What each host says of itself, for people.
    fn standings(&self) -> Vec<Option<Standing>> {
        self.hosts.iter().map(|host| host.consensus().map(simulation::look)).collect()
    }

    fn conclude(&self) -> Result<(), String> {
        self.oracle.observer.conclude()?;
        for host in &self.hosts {
            let consensus = host.consensus().ok_or("an agent is down at the end")?;
            let (id, life, disk) = (host.id, host.life, &host.disk);
            self.oracle.compare(&Seen { host: id, life, ends: false, consensus, disk })?;
        }
        let machine = self.oracle.observer.machine();
        for (id, _, _) in &self.scenario.runs {
            let run = machine.run(id).ok_or_else(|| format!("run {id} is lost"))?;
            world::concluded(run, &self.scenario)?;
        }
        Ok(())
    }

    /// One millisecond passes.
    fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        let now = self.now;
        self.net.deliver(now);
        for host in &mut self.hosts {
            host.turn_disk(now);
            host.step(now)?;
        }
        self.look()?;
        for told in host::take(&self.told) {
            self.hear(told)?;
        }
        self.supervise()?;
        let panics = panics::on_this_thread();
        if panics > self.panics { Err("an agent's task panicked".to_owned()) } else { Ok(()) }
    }

    /// Holds what every agent knows against what must be.
    fn look(&mut self) -> Result<(), String> {
        let Self { hosts, graves, raft_ids, oracle, now, .. } = self;
        for host in hosts.iter() {
            let Some(consensus) = host.consensus() else {
                continue;
            };
            raft_ids[host.id].get_or_insert_with(|| simulation::look(consensus).raft_id);
        }
        let disks: Vec<(u64, &Disk)> = (hosts.iter().zip(raft_ids.iter()))
            .filter_map(|(host, id)| id.map(|id| (id, &host.disk)))
            .chain(graves.iter().map(|(id, disk)| (*id, disk)))
            .collect();
        let keeps = |voters: &BTreeSet<u64>, name: EntryName| {
            let kept = disks.iter().filter(|(id, disk)| voters.contains(id) && disk.keeps(name));
            kept.map(|(id, _)| id).collect::<BTreeSet<_>>().len()
        };
        for host in hosts.iter() {
            let Some(consensus) = host.consensus() else {
                continue;
            };
            let ends = host.leaving || host.disk.is_broken();
            let (host, life, disk) = (host.id, host.life, &host.disk);
            let seen = Seen { host, life, ends, consensus, disk };
            oracle.look(*now, &seen, &keeps)?;
        }
        Ok(())
    }

    /// The host that leads in the highest term.
    fn leader(&self) -> Option<usize> {
        let leads = |host: &Host| {
            let leadership = host.consensus()?.leadership();
            let leadership = leadership.borrow();
            leadership.is_leader.then_some((leadership.term, host.id))
        };
        self.hosts.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    fn host_of(&self, member: &Member) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == member.node_id)
    }

    fn hear(&mut self, told: Told) -> Result<(), String> {
        match told {
            Told::Proposed { client, request, floor, commands, outcome } => {
                let message = match outcome {
                    Ok(committed) => {
                        self.oracle.answer(floor, &commands, &committed)?;
                        let Committed { position, replies } = committed;
                        Message::Answered { request, position, replies }
                    }
                    Err(ProposeError::NotLeader { leader }) => {
                        self.oracle.refuse(&commands)?;
                        let leader = leader.and_then(|leader| self.host_of(&leader));
                        Message::Redirected { request, leader }
                    }
                    Err(ProposeError::Overloaded { .. } | ProposeError::TooLarge { .. }) => {
                        self.oracle.refuse(&commands)?;
                        return Ok(());
                    }
                    // Nobody knows what became of it.
                    Err(ProposeError::Timeout | ProposeError::Stopped { .. }) => return Ok(()),
                };
                self.post(Mail::ToClient { client, message });
                Ok(())
            }
            Told::Read { floor, read } => self.oracle.read(floor, read),
            Told::Changed { host, wiped_voter } => {
                self.operator.note(host, wiped_voter);
                Ok(())
            }
            Told::Left { host, life } => self.see_off(host, life),
        }
    }

    fn post(&mut self, mail: Mail) {
        if self.chance.per_mille(self.weather.losses) {
            return;
        }
        self.posted += 1;
        let at = self.now + self.chance.between(1, 1 + self.weather.latency_max);
        self.mail.insert((at, self.posted), mail);
    }

    fn serve_clients(&mut self) -> Result<(), String> {
        let now = self.now;
        while let Some(next) = self.mail.first_entry().filter(|next| next.key().0 <= now) {
            match next.remove() {
                Mail::ToHost { host, client, request, commands } => {
                    self.propose(host, client, request, commands);
                }
                Mail::ToClient { client, message } => {
                    let observer = &mut self.oracle.observer;
                    self.clients[client].hear(now, message, &mut self.chance, observer)?;
                }
            }
        }
        if now.is_multiple_of(READING) {
            self.read();
        }
        if !now.is_multiple_of(PULSE) {
            return Ok(());
        }
        for client in 0..self.clients.len() {
            let asked = self.clients[client].wake(now, &mut self.chance, &self.scenario)?;
            if let Some((host, Message::Propose { request, commands })) = asked {
                self.post(Mail::ToHost { host, client, request, commands });
            }
        }
        Ok(())
    }

    /// Hands a client's commands to an agent.
    fn propose(&mut self, host: usize, client: usize, request: u64, commands: Vec<Command>) {
        let Some(consensus) = self.hosts[host].consensus().cloned() else {
            return;
        };
        let distort = |command| match self.bug {
            Some(bug) => bug.distort(command),
            None => command,
        };
        let commands: Vec<Command> = commands.into_iter().map(distort).collect();
        self.oracle.ask(&commands);
        let (floor, told) = (self.oracle.floor(), Outbox::clone(&self.told));
        let twice = self.bug == Some(Bug::DoubleProposal);
        self.hosts[host].run(async move {
            if twice {
                let _ = consensus.propose(commands.clone()).await;
            }
            let outcome = consensus.propose(commands.clone()).await;
            host::put(&told, Told::Proposed { client, request, floor, commands, outcome });
        });
    }

    /// Somebody reads at some agent.
    fn read(&mut self) {
        let host = self.chance.below(self.hosts.len());
        let Some(consensus) = self.hosts[host].consensus().cloned() else {
            return;
        };
        let (floor, told) = (self.oracle.floor(), Outbox::clone(&self.told));
        let waits = self.bug != Some(Bug::NoBarrier);
        self.hosts[host].run(async move {
            let may_read = if waits {
                consensus.barrier().await.is_ok()
            } else {
                consensus.leadership().borrow().is_leader
            };
            if may_read {
                let read = simulation::replica(&consensus, |applied, _| applied);
                let read = read.map_or(0, |name| name.index);
                host::put(&told, Told::Read { floor, read });
            }
        });
    }
}
