//! One agent's core: the machine, and around it an ordered-log model of consensus. It keeps Raft's
//! rules (terms, votes, log matching, commitment on a majority in the leader's own term) and none of
//! its machinery, so that the machine meets every order of events that real consensus allows.

use std::collections::{BTreeMap, BTreeSet};

use ringrift_core::id::Position;
use ringrift_core::machine::Machine;
use ringrift_core::plan;
use ringrift_core::queue::command::{Batch, Command};
use ringrift_core::time::Moment;

use crate::chance::Chance;
use crate::fault::Mutation;
use crate::message::{Applied, Effects, Entry, Message};

/// Agents of the world.
pub(crate) const REPLICAS: usize = 3;
const MAJORITY: usize = REPLICAS / 2 + 1;
/// A leader speaks at least this often, in milliseconds.
const HEARTBEAT: u64 = 30;
/// Without a leader's word for so long a replica stands for election; plus as much again by chance.
const ELECTION: u64 = 150;
/// Entries of one message.
const APPEND_MAX: usize = 64;
/// A snapshot is written about once in so many entries.
const SNAPSHOT_EVERY: u64 = 60;

/// Entries that [`Mutation::LostTail`] loses.
const UNSYNCED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Follower,
    Candidate,
    Leader,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: usize,
    pub(crate) up: bool,
    /// Its wall clock is ahead of the world's by so much.
    pub(crate) clock_ahead: u64,
    mutation: Option<Mutation>,
    // On disk.
    term: u64,
    vote: Option<usize>,
    log: Vec<Entry>,
    snapshot: Option<(u64, String)>,
    // In memory.
    role: Role,
    leader: Option<usize>,
    votes: BTreeSet<usize>,
    election_at: u64,
    speak_at: u64,
    next: [u64; REPLICAS],
    matched: [u64; REPLICAS],
    commit: u64,
    pub(crate) applied: u64,
    pub(crate) machine: Machine,
    /// By log index: the term of the entry, the client and its request.
    waiting: BTreeMap<u64, (u64, usize, u64)>,
    /// Up to where the planners have looked.
    planned: u64,
    stamped: u64,
}

impl Replica {
    pub(crate) fn new(id: usize, mutation: Option<Mutation>, chance: &mut Chance) -> Self {
        Self {
            id,
            up: true,
            clock_ahead: chance.between(0, 2_000),
            mutation,
            term: 0,
            vote: None,
            log: Vec::new(),
            snapshot: None,
            role: Role::Follower,
            leader: None,
            votes: BTreeSet::new(),
            election_at: chance.between(1, ELECTION),
            speak_at: 0,
            next: [1; REPLICAS],
            matched: [0; REPLICAS],
            commit: 0,
            applied: 0,
            machine: Machine::default(),
            waiting: BTreeMap::new(),
            planned: 0,
            stamped: 0,
        }
    }

    pub(crate) const fn crash(&mut self) {
        self.up = false;
    }

    /// Starts again from what is on disk.
    pub(crate) fn restart(&mut self, now: u64, chance: &mut Chance) -> Result<(), String> {
        self.up = true;
        self.role = Role::Follower;
        self.leader = None;
        self.votes.clear();
        self.waiting.clear();
        (self.commit, self.applied, self.planned, self.stamped) = (0, 0, 0, 0);
        self.machine = Machine::default();
        if let Some((index, text)) = &self.snapshot {
            self.machine =
                serde_json::from_str(text).map_err(|error| format!("snapshot: {error}"))?;
            (self.commit, self.applied) = (*index, *index);
        }
        if self.mutation == Some(Mutation::LostTail) {
            let kept = self.log.len().saturating_sub(UNSYNCED);
            self.log.truncate(kept.max(usize::try_from(self.applied).unwrap_or(usize::MAX)));
        }
        self.election_at = now + ELECTION + chance.between(0, ELECTION);
        Ok(())
    }

    pub(crate) const fn clock(&self, now: u64) -> u64 {
        now + self.clock_ahead
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.leads_in().is_some()
    }

    /// The term in which it leads, if it does.
    pub(crate) fn leads_in(&self) -> Option<u64> {
        (self.up && self.role == Role::Leader).then_some(self.term)
    }

    fn last(&self) -> (u64, u64) {
        (self.log.last().map_or(0, |entry| entry.term), self.log.len() as u64)
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        if index == 0 {
            return Some(0);
        }
        let at = usize::try_from(index).ok()?.checked_sub(1)?;
        self.log.get(at).map(|entry| entry.term)
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.id;
        (0..REPLICAS).filter(move |other| *other != own)
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: u64, chance: &mut Chance, effects: &mut Effects) {
        if self.role == Role::Leader {
            self.lead(now, effects);
        } else if now >= self.election_at {
            self.term += 1;
            self.role = Role::Candidate;
            self.vote = Some(self.id);
            self.leader = None;
            self.votes = BTreeSet::from([self.id]);
            self.election_at = now + ELECTION + chance.between(0, ELECTION);
            let (term, last) = (self.term, self.last());
            effects.sent.extend(self.others().map(|to| (to, Message::AskVote { term, last })));
        }
    }

    /// The leader's duties: heartbeats, time, planners.
    fn lead(&mut self, now: u64, effects: &mut Effects) {
        let due = self.machine.next_due().is_some_and(|due| due.0 <= self.clock(now));
        let idle = self.log.len() as u64 == self.applied;
        if due && idle {
            self.append(now, vec![Command::Tick], effects);
        }
        // Not only when idle: a step may be overtaken by a result, and is refused then.
        if self.planned < self.applied {
            self.planned = self.applied;
            let steps: Vec<_> = self
                .machine
                .active_runs()
                .filter_map(|run| {
                    let (id, version) = (run.id.clone(), run.version);
                    let advance = plan::plan(run, self.machine.room_for(run))?;
                    Some(Command::AdvanceRun { run: id, version, advance })
                })
                .collect();
            if !steps.is_empty() {
                self.append(now, steps, effects);
            }
        }
        if now >= self.speak_at {
            self.speak(now, effects);
        }
    }

    fn speak(&mut self, now: u64, effects: &mut Effects) {
        self.speak_at = now + HEARTBEAT;
        for to in self.others() {
            let previous = self.next[to] - 1;
            let from = usize::try_from(previous).unwrap_or(usize::MAX);
            let entries = self.log.iter().skip(from).take(APPEND_MAX).cloned().collect();
            let previous = (self.term_at(previous).unwrap_or(0), previous);
            let (term, commit) = (self.term, self.commit);
            effects.sent.push((to, Message::Append { term, previous, entries, commit }));
        }
    }

    /// Stamps an entry and writes it to the own log.
    fn append(&mut self, now: u64, commands: Vec<Command>, effects: &mut Effects) -> u64 {
        self.stamped = self.stamped.max(self.clock(now)).max(self.machine.now().0);
        let batch = Batch { now: Moment(self.stamped), commands };
        self.log.push(Entry { term: self.term, batch });
        let index = self.log.len() as u64;
        self.matched[self.id] = index;
        self.advance_commit(now, effects);
        self.speak(now, effects);
        index
    }

    pub(crate) fn receive(
        &mut self,
        now: u64,
        from: usize,
        message: Message,
        chance: &mut Chance,
        effects: &mut Effects,
    ) {
        match message {
            Message::AskVote { term, last } => {
                self.see_term(term);
                let granted = self.grants_vote(term, from, last);
                if granted {
                    self.vote = Some(from);
                    self.election_at = now + ELECTION + chance.between(0, ELECTION);
                }
                let term = self.term;
                effects.sent.push((from, Message::Vote { term, granted }));
            }
            Message::Vote { term, granted } => {
                self.see_term(term);
                if granted && term == self.term && self.role == Role::Candidate {
                    self.votes.insert(from);
                    if self.votes.len() >= MAJORITY {
                        self.take_over(now, effects);
                    }
                }
            }
            Message::Append { term, previous, entries, commit } => {
                self.see_term(term);
                let mut matched = None;
                if term == self.term {
                    self.role = Role::Follower;
                    self.leader = Some(from);
                    self.election_at = now + ELECTION + chance.between(0, ELECTION);
                    matched = self.accept(previous, entries);
                }
                if let Some(matched) = matched {
                    self.commit = self.commit.max(commit.min(matched));
                    self.apply_committed(now, effects);
                }
                let (term, length) = (self.term, self.log.len() as u64);
                let heard = Message::Appended { term, matched, length };
                effects.sent.push((from, heard));
            }
            Message::Appended { term, matched, length } => {
                self.see_term(term);
                if self.role == Role::Leader && term == self.term {
                    self.hear_follower(now, from, matched, length, effects);
                }
            }
            Message::Propose { request, commands } => {
                let answer = self.propose(now, from, request, commands, effects);
                effects.sent.extend(answer.map(|answer| (from, answer)));
            }
            // For clients.
            Message::Answered { .. } | Message::Redirected { .. } => {}
        }
    }

    fn grants_vote(&self, term: u64, candidate: usize, last: (u64, u64)) -> bool {
        term == self.term
            && self.vote.is_none_or(|vote| vote == candidate)
            && self.role == Role::Follower
            && last >= self.last()
    }

    /// Takes a client's request in. The answer follows when its entry is applied, or at once.
    fn propose(
        &mut self,
        now: u64,
        client: usize,
        request: u64,
        commands: Vec<Command>,
        effects: &mut Effects,
    ) -> Option<Message> {
        if self.role != Role::Leader {
            let leader = self.leader;
            return Some(Message::Redirected { request, leader });
        }
        let index = self.append(now, commands, effects);
        if index > self.applied {
            self.waiting.insert(index, (self.term, client, request));
            return None;
        }
        // Only a mutation applies at once.
        let applied = effects.applied.last();
        let replies = applied.map_or_else(Vec::new, |applied| applied.replies.clone());
        let position = Position { term: self.term, index };
        Some(Message::Answered { request, position, replies })
    }

    fn see_term(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.role = Role::Follower;
            self.leader = None;
        }
    }

    fn take_over(&mut self, now: u64, effects: &mut Effects) {
        self.role = Role::Leader;
        self.leader = Some(self.id);
        self.next = [self.log.len() as u64 + 1; REPLICAS];
        self.matched = [0; REPLICAS];
        self.planned = 0;
        // An entry of its own term, so that those of earlier terms are committed with it.
        self.append(now, Vec::new(), effects);
    }

    /// Adds a leader's entries behind a place where both logs agree, and answers how far they do.
    fn accept(&mut self, previous: (u64, u64), entries: Vec<Entry>) -> Option<u64> {
        let (term, index) = previous;
        if self.term_at(index) != Some(term) {
            return None;
        }
        let mut matched = index;
        for entry in entries {
            matched += 1;
            if self.term_at(matched) != Some(entry.term) {
                self.log.truncate(usize::try_from(matched - 1).unwrap_or(usize::MAX));
                self.log.push(entry);
            }
        }
        Some(matched)
    }

    fn hear_follower(
        &mut self,
        now: u64,
        from: usize,
        matched: Option<u64>,
        length: u64,
        effects: &mut Effects,
    ) {
        if let Some(matched) = matched {
            self.matched[from] = self.matched[from].max(matched);
            self.next[from] = self.matched[from] + 1;
            self.advance_commit(now, effects);
        } else {
            let back = self.next[from].saturating_sub(1).min(length + 1);
            self.next[from] = back.max(self.matched[from] + 1).max(1);
        }
    }

    fn advance_commit(&mut self, now: u64, effects: &mut Effects) {
        let mut matched = self.matched;
        matched.sort_unstable();
        let on_majority = if self.mutation == Some(Mutation::ApplyBeforeMajority) {
            self.matched[self.id]
        } else {
            matched[REPLICAS - MAJORITY]
        };
        if on_majority > self.commit && self.term_at(on_majority) == Some(self.term) {
            self.commit = on_majority;
            self.apply_committed(now, effects);
        }
    }

    fn apply_committed(&mut self, now: u64, effects: &mut Effects) {
        while self.applied < self.commit {
            let at = usize::try_from(self.applied).unwrap_or(usize::MAX);
            let Some(entry) = self.log.get(at).cloned() else {
                return;
            };
            self.applied += 1;
            let index = self.applied;
            let clock = self.clock(now);
            let fed = match self.mutation {
                Some(mutation) => mutation.distort(&self.machine, &entry.batch, clock),
                None => entry.batch.clone(),
            };
            let position = Position { term: entry.term, index };
            let replies = self.machine.apply(position, &fed);
            if let Some((term, client, request)) = self.waiting.remove(&index) {
                // Another leader's entry may have come to this place: then the outcome is unknown.
                let own = term == entry.term && self.role == Role::Leader;
                if own || self.mutation == Some(Mutation::ForeignAnswer) {
                    let replies = replies.clone();
                    effects.sent.push((client, Message::Answered { request, position, replies }));
                }
            }
            effects.applied.push(Applied { index, entry, fed, replies });
            if index.is_multiple_of(SNAPSHOT_EVERY + self.id as u64) {
                self.snapshot =
                    serde_json::to_string(&self.machine.freeze()).ok().map(|text| (index, text));
            }
        }
    }
}
