//! The events as a consumer reads them, held against what happened: none is missing, none is there
//! twice.

use std::collections::{BTreeMap, BTreeSet};

use ringrift_core::event::Event;
use ringrift_core::id::{RunId, WorkId};
use ringrift_core::machine::Machine;
use ringrift_core::queue::item::{Item, State, Status};

#[derive(Debug, Default)]
pub(super) struct Told {
    /// The consumer's cursor.
    cursor: u64,
    died: BTreeSet<WorkId>,
    ended: BTreeMap<WorkId, Status>,
    submitted: BTreeSet<RunId>,
    runs_ended: BTreeSet<RunId>,
    term: u64,
}

impl Told {
    /// Reads on after an entry.
    pub(super) fn read(&mut self, machine: &Machine) -> Result<(), String> {
        let page = machine.events(self.cursor, usize::MAX, &BTreeSet::new());
        if page.gap {
            return Err(format!("events after {} are forgotten already", self.cursor));
        }
        for recorded in &page.events {
            self.cursor += 1;
            if recorded.seq != self.cursor {
                return Err(format!("event {} in the place of {}", recorded.seq, self.cursor));
            }
            if recorded.at != machine.now() {
                return Err(format!("{recorded:?} is not of this entry, at {:?}", machine.now()));
            }
            self.note(&recorded.event)?;
        }
        if page.next != self.cursor || self.term != machine.applied().term {
            let (next, term) = (page.next, machine.applied().term);
            return Err(format!("the cursor is {next}, the term {term}, but {self:?}"));
        }
        // Nobody gives dead items new attempts here.
        let (died, dead) = (self.died.len() as u64, machine.totals().dead);
        if died != dead {
            return Err(format!("{died} deaths were told of, {dead} items died"));
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Result<(), String> {
        let fresh = match event {
            Event::ItemDied { work_id, .. } => self.died.insert(*work_id),
            Event::ItemEnded { work_id, status, .. } => {
                self.ended.insert(*work_id, *status).is_none()
            }
            Event::RunSubmitted { run, .. } => self.submitted.insert(run.clone()),
            Event::RunEnded { run, .. } => {
                self.submitted.contains(run) && self.runs_ended.insert(run.clone())
            }
            Event::TermBegan { term } => {
                let later = *term > self.term;
                self.term = *term;
                later
            }
            Event::NodeGone { .. }
            | Event::QueueSet { .. }
            | Event::QueueRemoved { .. }
            | Event::ArrayCancelled { .. }
            | Event::MembersChanged { .. }
            | Event::ClusterNamed { .. } => true,
        };
        if fresh { Ok(()) } else { Err(format!("{event:?} was told of twice, or too early")) }
    }

    /// At the end: whoever was to be told was told, of what is so.
    pub(super) fn conclude<'a>(
        &self,
        machine: &Machine,
        mut items: impl Iterator<Item = &'a Item>,
    ) -> Result<(), String> {
        for run in machine.runs() {
            let told = (self.submitted.contains(&run.id), self.runs_ended.contains(&run.id));
            if told != (true, run.ended.is_some()) {
                return Err(format!("of run {} it was told {told:?}", run.id));
            }
        }
        items.try_for_each(|item| {
            let wanted = item.request.notify.then(|| item.status());
            let told = self.ended.get(&item.id).copied();
            let dead = matches!(item.state, State::Dead { .. });
            if told == wanted && self.died.contains(&item.id) == dead {
                return Ok(());
            }
            Err(format!("{} is {}, and was told to be {told:?}", item.id, item.status()))
        })
    }
}
