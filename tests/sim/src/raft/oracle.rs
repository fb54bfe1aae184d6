//! The one who sees everything: what every log holds, what is committed, what everybody was told; and
//! says what of it must not be.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;

use ringrift_agent::consensus::simulation::{
    self, Ballot, Content, Disk, EntryName, Logged, Standing,
};
use ringrift_agent::consensus::{Committed, Consensus};
use ringrift_core::id::Position;
use ringrift_core::queue::command::{Batch, Command};

use crate::message::{Entry, Replies};
use crate::observer::Observer;

/// A replica is compared with the observer's machine once in so many entries, and at the end.
const COMPARE_EVERY: u64 = 16;

/// What is known of one agent.
#[derive(Debug, Default)]
struct Known {
    life: u64,
    standing: Option<Standing>,
    /// Entries that it was seen to have applied.
    applied: u64,
    /// What its raft id had voted when this life began. What it votes in this life is on its disk
    /// some time before it shows.
    voted: Option<Ballot>,
}

/// A committed entry.
struct Settled {
    name: EntryName,
    /// Commands and replies; nothing for openraft's own entries.
    batch: Option<(Batch, Replies)>,
    /// Which of the commands somebody was told the answer of.
    told: Vec<bool>,
}

pub(crate) struct Oracle {
    pub(crate) observer: Observer,
    known: Vec<Known>,
    /// Every entry that was ever in a log: the one before it, and what it says.
    chain: BTreeMap<EntryName, (Option<EntryName>, u64)>,
    settled: Vec<Settled>,
    /// Who led under which name, and when the oracle saw it.
    leaders: BTreeSet<(u64, u64)>,
    /// The last vote of each raft id that was on a disk.
    votes: BTreeMap<u64, Ballot>,
    /// Voters and members as they are committed.
    voters: Vec<BTreeSet<u64>>,
    pub(crate) members: BTreeSet<u64>,
    /// Everybody who ever was a member.
    once_members: BTreeSet<u64>,
    /// Commands that were handed to an agent and not refused, and those that are committed.
    asked: BTreeMap<u64, u64>,
    carried: BTreeMap<u64, u64>,
    /// The last position that anybody was told.
    floor: u64,
    trace: DefaultHasher,
}

/// An agent and its disk, as the oracle looks at them.
pub(crate) struct Seen<'a> {
    pub(crate) host: usize,
    pub(crate) life: u64,
    /// Whether its raft core may stop: it says goodbye, or its disk fails.
    pub(crate) ends: bool,
    pub(crate) consensus: &'a Consensus,
    pub(crate) disk: &'a Disk,
}

fn digest(thing: impl std::hash::Hash) -> u64 {
    // Without keys: the same in every run.
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

fn digest_of(command: &Command) -> u64 {
    digest(format!("{command:?}"))
}

impl Oracle {
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            observer: Observer::default(),
            known: (0..hosts).map(|_| Known::default()).collect(),
            chain: BTreeMap::new(),
            settled: Vec::new(),
            leaders: BTreeSet::new(),
            votes: BTreeMap::new(),
            voters: Vec::new(),
            members: BTreeSet::new(),
            once_members: BTreeSet::new(),
            asked: BTreeMap::new(),
            carried: BTreeMap::new(),
            floor: 0,
            trace: DefaultHasher::new(),
        }
    }

    /// A number that two equal lives share.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// The last position that anybody was told.
    pub(crate) const fn floor(&self) -> u64 {
        self.floor
    }

    /// Entries that are committed.
    pub(crate) fn length(&self) -> u64 {
        self.settled.len() as u64
    }

    pub(crate) fn voters(&self) -> impl Iterator<Item = u64> {
        self.voters.iter().flatten().copied()
    }

    pub(crate) fn was_member(&self, raft_id: u64) -> bool {
        self.once_members.contains(&raft_id)
    }

    /// Whether the voters are not about to change.
    pub(crate) fn is_stable(&self) -> bool {
        self.voters.len() == 1
    }

    /// Takes note of what came into a log.
    fn read_log(&mut self, disk: &Disk) -> Result<(), String> {
        for logged in disk.take_news() {
            if !self.is_known(&logged)? {
                let says = digest(&logged.bytes[..]);
                self.chain.insert(logged.name, (logged.previous, says));
            }
        }
        Ok(())
    }

    /// What is in a log when its agent starts is what was written there, in that order.
    fn read_again(&self, disk: &Disk) -> Result<(), String> {
        for logged in disk.entries() {
            if !self.is_known(&logged)? {
                return Err(format!("a log holds {:?}, which nobody wrote", logged.name));
            }
        }
        Ok(())
    }

    /// Whether an entry was in a log before; it says the same in each, and follows the same.
    fn is_known(&self, logged: &Logged) -> Result<bool, String> {
        let Logged { name, previous, bytes } = logged;
        let Some((before, known)) = self.chain.get(name) else {
            return Ok(false);
        };
        let other_before = previous.is_some() && before.is_some() && previous != before;
        if *known != digest(&bytes[..]) || other_before {
            return Err(format!("two logs differ in or before {name:?}"));
        }
        Ok(true)
    }

    /// Looks at an agent after a step. `keeps` says how many of these voters have an entry on disk.
    pub(crate) fn look(
        &mut self,
        now: u64,
        seen: &Seen<'_>,
        keeps: &dyn Fn(&BTreeSet<u64>, EntryName) -> usize,
    ) -> Result<(), String> {
        self.read_log(seen.disk)?;
        let standing = simulation::look(seen.consensus);
        let voted = self.votes.get(&standing.raft_id).copied();
        if self.known[seen.host].life != seen.life {
            self.read_again(seen.disk)?;
            self.known[seen.host] = Known { life: seen.life, voted, ..Known::default() };
        }
        if let Some(promised) = seen.disk.promised().filter(|promised| voted < Some(*promised)) {
            self.votes.insert(standing.raft_id, promised);
        }
        let known = &mut self.known[seen.host];
        if known.standing.as_ref() == Some(&standing) {
            return Ok(());
        }
        let before = known.standing.replace(standing.clone());
        let voted = known.voted;
        self.trace.write_u64(now);
        self.trace.write_usize(seen.host);
        self.trace.write_u64(digest(format!("{standing:?}")));
        if let Some(cause) = &standing.stopped {
            if !seen.ends {
                return Err(format!("the raft core of host {} stopped: {cause}", seen.host));
            }
            // What it applied before it stopped is applied, and may have been answered.
            return self.follow(&standing, seen, keeps);
        }
        let failed = |what: &str| Err(format!("host {}: {what}: {standing:?}", seen.host));
        if Some(standing.vote) < voted {
            return failed("it forgot a vote");
        }
        let Standing { committed, snapshot, purged, last, .. } = &standing;
        let index = |name: &Option<EntryName>| name.map_or(0, |name| name.index);
        // What is applied is committed already, which shows in the metrics a moment later: that it is
        // on a majority's disks is looked at where it is applied.
        if index(committed) > (*last).max(index(snapshot)) || index(purged) > index(snapshot) {
            return failed("its ends are out of order");
        }
        if let Some(before) = before {
            let back = before.vote > standing.vote
                || before.applied > standing.applied
                || before.committed > standing.committed;
            if back {
                return failed("something went back");
            }
        }
        if standing.leads {
            self.crown(&standing, seen)?;
        }
        self.follow(&standing, seen, keeps)
    }

    /// A leader has everything that was committed before it.
    fn crown(&mut self, standing: &Standing, seen: &Seen<'_>) -> Result<(), String> {
        let Ballot { term, leader, elected: _ } = standing.vote;
        if !self.leaders.insert((term, leader)) {
            return Ok(());
        }
        if leader != standing.raft_id {
            return Err(format!("host {} leads under another's name {leader:x}", seen.host));
        }
        let Some(last) = self.settled.last().map(|settled| settled.name) else {
            return Ok(());
        };
        let own = seen.disk.entry(last.index).map(|entry| entry.name);
        let covered = seen.disk.purged().is_some_and(|purged| purged.index >= last.index);
        if own == Some(last) || covered || (last.term, last.leader) > (term, leader) {
            return Ok(());
        }
        Err(format!("host {} leads in term {term} without {last:?}, it has {own:?}", seen.host))
    }

    /// What it has applied is what everybody applies.
    fn follow(
        &mut self,
        standing: &Standing,
        seen: &Seen<'_>,
        keeps: &dyn Fn(&BTreeSet<u64>, EntryName) -> usize,
    ) -> Result<(), String> {
        let Some(applied) = standing.applied else {
            return Ok(());
        };
        let host = seen.host;
        let from = self.known[host].applied;
        for index in from..=applied.index {
            let own = seen.disk.entry(index);
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            match (self.settled.get(at), own) {
                (Some(settled), Some(own)) if settled.name != own.name => {
                    let (name, known) = (own.name, settled.name);
                    return Err(format!("host {host} applied {name:?}, others {known:?}"));
                }
                // What it no longer has came, or went, with a snapshot.
                (Some(_), _) => {}
                (None, Some(own)) => self.settle(&own, standing, keeps)?,
                (None, None) => {
                    return Err(format!("host {host} applied {index}, which nobody has"));
                }
            }
        }
        self.known[host].applied = applied.index + 1;
        if applied.index + 1 == self.length() && applied.index.is_multiple_of(COMPARE_EVERY) {
            self.compare(seen)?;
        }
        Ok(())
    }

    /// An entry was applied for the first time.
    fn settle(
        &mut self,
        entry: &Logged,
        standing: &Standing,
        keeps: &dyn Fn(&BTreeSet<u64>, EntryName) -> usize,
    ) -> Result<(), String> {
        let name = entry.name;
        let on_majority = |voters: &Vec<BTreeSet<u64>>| {
            !voters.is_empty() && voters.iter().all(|set| keeps(set, name) * 2 > set.len())
        };
        // The voters may have changed since it was committed.
        if !on_majority(&standing.voters) && !self.voters.is_empty() && !on_majority(&self.voters) {
            return Err(format!("{name:?} was applied and is not on a majority's disks"));
        }
        let index = name.index;
        let content = entry.content().map_err(|error| error.to_string())?;
        let batch = match content {
            Content::Blank => None,
            Content::Membership { voters, members } => {
                self.voters = voters;
                self.once_members.extend(&members);
                self.members = members;
                None
            }
            Content::Batch(batch) => {
                for command in &batch.commands {
                    *self.carried.entry(digest_of(command)).or_default() += 1;
                    self.was_asked(command)?;
                }
                let position = Position { term: name.term, index };
                let entry = Entry { term: name.term, batch: batch.clone() };
                let replies = self.observer.commit(position, &entry, &batch)?;
                Some((batch, replies))
            }
        };
        let told = vec![false; batch.as_ref().map_or(0, |(batch, _)| batch.commands.len())];
        self.settled.push(Settled { name, batch, told });
        Ok(())
    }

    /// Nothing is committed that nobody asked for, nor more often than it was asked for.
    fn was_asked(&self, command: &Command) -> Result<(), String> {
        match command {
            // The leader's own duties, and what consensus writes down for itself.
            Command::Tick
            | Command::AdvanceRun { .. }
            | Command::InitCluster { .. }
            | Command::ChangeMembers { .. } => Ok(()),
            command => {
                let which = digest_of(command);
                let of = |counts: &BTreeMap<u64, u64>| counts.get(&which).copied().unwrap_or(0);
                let (carried, asked) = (of(&self.carried), of(&self.asked));
                if carried <= asked {
                    return Ok(());
                }
                Err(format!("{command:?} was carried out {carried} times, and asked for {asked}"))
            }
        }
    }

    /// Commands are handed to an agent.
    pub(crate) fn ask(&mut self, commands: &[Command]) {
        for command in commands {
            *self.asked.entry(digest_of(command)).or_default() += 1;
        }
    }

    /// An agent said that it did not carry them out.
    pub(crate) fn refuse(&mut self, commands: &[Command]) -> Result<(), String> {
        for command in commands {
            let asked = self.asked.entry(digest_of(command)).or_default();
            *asked = asked.saturating_sub(1);
        }
        commands.iter().try_for_each(|command| self.was_asked(command))
    }

    /// An agent answered commands that were handed to it when `floor` was the last known position.
    pub(crate) fn answer(
        &mut self,
        floor: u64,
        commands: &[Command],
        committed: &Committed,
    ) -> Result<(), String> {
        let Committed { position, replies } = committed;
        let index = position.index;
        if index <= floor {
            return Err(format!("asked after {floor} was answered, and carried out at {index}"));
        }
        self.floor = self.floor.max(index);
        self.trace.write_u64(index);
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(settled) = self.settled.get_mut(at) else {
            return Err(format!("{index} was answered before anybody applied it"));
        };
        let Some((batch, known)) =
            settled.batch.as_ref().filter(|_| settled.name.term == position.term)
        else {
            return Err(format!("{position:?} was answered, but {:?} is there", settled.name));
        };
        let count = commands.len();
        let fits = |from: &usize| {
            let range = *from..*from + count;
            batch.commands.get(range.clone()) == Some(commands)
                && known.get(range.clone()) == Some(&replies[..])
                && settled.told.get(range).is_some_and(|told| told.iter().all(|told| !told))
        };
        let Some(from) = (0..batch.commands.len()).find(fits) else {
            return Err(format!("{commands:?} was answered {replies:?}, and {index} is not that"));
        };
        settled.told.iter_mut().skip(from).take(count).for_each(|told| *told = true);
        Ok(())
    }

    /// A barrier that began when `floor` was the last known position has let a reader look at `read`.
    pub(crate) fn read(&mut self, floor: u64, read: u64) -> Result<(), String> {
        if read < floor {
            return Err(format!("a read showed {read} after {floor} had been answered"));
        }
        // Whoever reads after this must see as much.
        self.floor = self.floor.max(read);
        Ok(())
    }

    /// A replica that is as far as the observer equals it.
    pub(crate) fn compare(&self, seen: &Seen<'_>) -> Result<(), String> {
        simulation::replica(seen.consensus, |applied, machine| {
            let same_place = applied.map(|name| name.index + 1) == Some(self.length());
            if same_place && machine != self.observer.machine() {
                return Err(format!("the replica of host {} differs at {applied:?}", seen.host));
            }
            Ok(())
        })
    }
}
