//! The one who sees everything: follows the committed log once, and holds against it what every
//! replica applies and what every client was told.

mod line;
mod told;

use std::collections::BTreeMap;

use ringrift_core::id::{GroupName, Position, QueueName, RunId, Token, WorkId};
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Batch, Command, Reply};
use ringrift_core::queue::item::{Item, NewItem, Payload, State, Status};

use self::line::{Granted, Line};
use self::told::Told;
use crate::message::{Applied, Entry, Replies};
use crate::replica::Replica;

/// Replicas are searched for broken invariants once in so many entries; the observer's own machine,
/// which equals them, after each.
const SEARCH_EVERY: u64 = 25;
/// The lock of the world.
pub(crate) const LOCK: &str = "lock";

#[derive(Debug, Default)]
pub(crate) struct Observer {
    machine: Machine,
    log: Vec<(Entry, Replies)>,
    /// By client and request: what was asked, and the last position that anybody had been told.
    asked: BTreeMap<(usize, u64), (Vec<Command>, u64)>,
    /// By entry: whose request it was answered to.
    answered: BTreeMap<u64, (usize, u64)>,
    /// The last position that anybody was told.
    floor: u64,
    last_grant: Option<Token>,
    /// The token of the last claim of each item.
    holders: BTreeMap<WorkId, Token>,
    /// Items that were completed, and under which token.
    effects: BTreeMap<WorkId, Token>,
    /// What was asked to exclude each other.
    groups: BTreeMap<WorkId, (QueueName, GroupName)>,
    line: Line,
    told: Told,
    /// Who led in each term.
    leaders: BTreeMap<u64, usize>,
    /// The version of the last planner's step of each run.
    steps: BTreeMap<RunId, u64>,
    /// Items that clients were told to be enqueued, by their payload: no two have the same.
    acknowledged: BTreeMap<Payload, WorkId>,
}

impl Observer {
    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Takes note of an entry that a replica applied.
    pub(crate) fn watch(&mut self, replica: &Replica, applied: &Applied) -> Result<(), String> {
        let Applied { index, entry, fed, replies } = applied;
        let id = replica.id;
        let at = usize::try_from(*index - 1).unwrap_or(usize::MAX);
        match self.log.get(at) {
            Some((known, known_replies)) => {
                if known != entry {
                    return Err(format!(
                        "replica {id} applied another entry {index} than was applied before"
                    ));
                }
                if known_replies != replies {
                    return Err(format!("replica {id} answered entry {index} in its own way"));
                }
            }
            None if at == self.log.len() => {
                // The batch as fed: what a mutation does to all replicas alike is not to be seen here.
                let position = Position { term: entry.term, index: *index };
                let own = self.commit(position, entry, fed)?;
                if own != *replies {
                    return Err(format!("replica {id} answered entry {index} in its own way"));
                }
                self.log.push((entry.clone(), replies.clone()));
            }
            None => return Err(format!("replica {id} skipped to entry {index}")),
        }
        Ok(())
    }

    /// A client asks.
    pub(crate) fn ask(&mut self, client: usize, request: u64, commands: &[Command]) {
        self.asked.insert((client, request), (commands.to_vec(), self.floor));
    }

    /// Holds an answer against the log: the entry at its position is what was asked, says what was
    /// answered, and came after everything that had been answered when it was asked.
    pub(crate) fn answer(
        &mut self,
        client: usize,
        request: u64,
        position: Position,
        replies: &Replies,
    ) -> Result<(), String> {
        let index = position.index;
        let Some((commands, floor)) = self.asked.get(&(client, request)) else {
            return Err(format!("client {client} was answered {request}, which it did not ask"));
        };
        if index <= *floor {
            return Err(format!("asked after {floor} was answered, and carried out at {index}"));
        }
        let at = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
        let is_it = |(entry, known): &(Entry, Replies)| {
            (entry.term, &entry.batch.commands, known) == (position.term, commands, replies)
        };
        if !self.log.get(at).is_some_and(is_it) {
            return Err(format!("{commands:?} was answered {replies:?}, and {index} is not that"));
        }
        // A network may deliver an answer twice.
        let first = *self.answered.entry(index).or_insert((client, request));
        if first != (client, request) {
            return Err(format!("{index} was answered to {first:?} and to {client}, {request}"));
        }
        self.floor = self.floor.max(index);
        Ok(())
    }

    /// Applies what is committed, and judges the replies.
    pub(crate) fn commit(
        &mut self,
        position: Position,
        entry: &Entry,
        fed: &Batch,
    ) -> Result<Replies, String> {
        let before = self.last_grant;
        let replies = self.machine.apply(position, fed);
        sound(&self.machine, "the observer", position.index)?;
        self.line.pass_time(self.machine.now());
        self.judge(before, &entry.batch.commands, &replies)?;
        let lock = LOCK.parse().ok().and_then(|name| self.machine.lock(&name));
        let granted = self.line.compare(lock)?;
        self.grant_of_lock(before, granted)?;
        self.told.read(&self.machine)?;
        self.note_groups(&entry.batch.commands, &replies);
        self.exclusive()?;
        Ok(replies)
    }

    /// Takes note of who leads.
    pub(crate) fn see_leader(&mut self, replica: &Replica) -> Result<(), String> {
        let Some(term) = replica.leads_in() else {
            return Ok(());
        };
        match *self.leaders.entry(term).or_insert(replica.id) {
            first if first == replica.id => Ok(()),
            first => Err(format!("replicas {first} and {} both led in term {term}", replica.id)),
        }
    }

    /// Compares a replica with the observer's machine, if both are at the same entry.
    pub(crate) fn compare(&self, replica: &Replica) -> Result<(), String> {
        if replica.applied == self.log.len() as u64 && replica.machine != self.machine {
            return Err(format!("replica {} differs at entry {}", replica.id, replica.applied));
        }
        if replica.applied.is_multiple_of(SEARCH_EVERY) {
            sound(&replica.machine, &format!("replica {}", replica.id), replica.applied)?;
        }
        Ok(())
    }

    /// What no reply may say, judged from commands and replies alone.
    fn judge(
        &mut self,
        before: Option<Token>,
        commands: &[Command],
        replies: &Replies,
    ) -> Result<(), String> {
        for (command, reply) in commands.iter().zip(replies) {
            let granted = self.line.judge(self.machine.now(), command, reply)?;
            self.grant_of_lock(before, granted)?;
            let Ok(reply) = reply else { continue };
            match (command, reply) {
                (_, Reply::Claimed(items)) => {
                    for item in items {
                        let State::Claimed(lease) = &item.state else {
                            return Err(format!("{} was claimed but is not", item.id));
                        };
                        self.grant(lease.token)?;
                        self.holders.insert(item.id, lease.token);
                        if self.effects.contains_key(&item.id) {
                            return Err(format!("{} was claimed after its completion", item.id));
                        }
                    }
                }
                (Command::Start { work_id, token } | Command::Fail { work_id, token, .. }, _) => {
                    self.is_holder(*work_id, *token)?;
                }
                (Command::Complete { work_id, token, .. }, _) => {
                    self.is_holder(*work_id, *token)?;
                    let first = *self.effects.entry(*work_id).or_insert(*token);
                    if first != *token {
                        return Err(format!("{work_id} took effect under {first} and {token}"));
                    }
                }
                // A rumour may take any item from its holder.
                (Command::ExpireNode { .. }, _) => {}
                (Command::AdvanceRun { run, version, .. }, _) => {
                    let last = self.steps.insert(run.clone(), *version);
                    if last.is_some_and(|last| last >= *version) {
                        return Err(format!("run {run} took two steps from version {version}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note_groups(&mut self, commands: &[Command], replies: &Replies) {
        for (command, reply) in commands.iter().zip(replies) {
            let command = match command {
                Command::InSession { command, .. } => command,
                command => command,
            };
            if let (Command::Enqueue(items), Ok(Reply::Enqueued(ids))) = (command, reply) {
                let grouped = items.iter().zip(ids).filter_map(|(item, (id, _))| {
                    Some((*id, (item.queue.clone(), item.group.clone()?)))
                });
                self.groups.extend(grouped);
            }
        }
    }

    /// At most one item of a group is held.
    fn exclusive(&self) -> Result<(), String> {
        let mut held: BTreeMap<_, WorkId> = BTreeMap::new();
        for (id, group) in &self.groups {
            let item = self.machine.item(*id);
            if item.is_some_and(|item| matches!(item.state, State::Claimed(_)))
                && let Some(other) = held.insert(group, *id)
            {
                return Err(format!("{other} and {id} of {group:?} are held at once"));
            }
        }
        Ok(())
    }

    /// A lock that was handed on in the midst of an entry has a token from there, which is told later.
    fn grant_of_lock(
        &mut self,
        before: Option<Token>,
        granted: Option<Granted>,
    ) -> Result<(), String> {
        match granted {
            None => Ok(()),
            Some(Granted::Now(token)) => self.grant(token),
            Some(Granted::InThisEntry(token)) if before >= Some(token) => {
                Err(format!("token {token} of the lock does not exceed {before:?}"))
            }
            Some(Granted::InThisEntry(token)) => {
                self.last_grant = self.last_grant.max(Some(token));
                Ok(())
            }
        }
    }

    fn grant(&mut self, token: Token) -> Result<(), String> {
        if self.last_grant.is_some_and(|last| last >= token) {
            return Err(format!("token {token} does not exceed {:?}", self.last_grant));
        }
        self.last_grant = Some(token);
        Ok(())
    }

    fn is_holder(&self, id: WorkId, token: Token) -> Result<(), String> {
        match self.holders.get(&id) {
            Some(last) if *last == token => Ok(()),
            last => Err(format!("{id} was changed under {token}, but the last claim is {last:?}")),
        }
    }

    /// Takes note of what a client was told.
    pub(crate) fn acknowledge(&mut self, item: &NewItem, id: WorkId) -> Result<(), String> {
        let payload = &item.payload;
        let first = *self.acknowledged.entry(payload.clone()).or_insert(id);
        if first != id {
            return Err(format!("{payload:?} was acknowledged as {first} and as {id}"));
        }
        self.kept(payload, id)
    }

    fn kept(&self, payload: &Payload, id: WorkId) -> Result<(), String> {
        match self.machine.item(id).map(|item| &item.request.payload) {
            Some(kept) if kept == payload => Ok(()),
            kept => Err(format!("{id} was acknowledged for {payload:?}, but holds {kept:?}")),
        }
    }

    /// At the end: nothing acknowledged is lost or unfinished, and nothing is there twice.
    pub(crate) fn conclude(&self) -> Result<(), String> {
        let (totals, told) = (self.machine.totals(), self.acknowledged.len() as u64);
        if totals.enqueued - totals.planned != told {
            let submitted = totals.enqueued - totals.planned;
            return Err(format!("{submitted} items were enqueued for {told} that were submitted"));
        }
        for (key, id) in &self.acknowledged {
            self.kept(key, *id)?;
            let status = self.machine.item(*id).map(Item::status);
            if !matches!(status, Some(Status::Completed | Status::Dead)) {
                return Err(format!("acknowledged {id} ended as {status:?}"));
            }
        }
        let items = self.acknowledged.values().filter_map(|id| self.machine.item(*id));
        self.told.conclude(&self.machine, items)
    }
}

fn sound(machine: &Machine, whose: &str, index: u64) -> Result<(), String> {
    match machine.violations().first() {
        Some(violation) => Err(format!("{whose} broke at entry {index}: {violation}")),
        None => Ok(()),
    }
}
