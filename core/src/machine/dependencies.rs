//! Items that wait for others to end.
//!
//! Who ends does not wake those that wait: one item may have many, and each may end in turn. It is
//! noted, and the passing of time tells them one by one, a bounded number with each command.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::{Machine, invalid};
use crate::id::WorkId;
use crate::limits;
use crate::queue::command::Refusal;
use crate::queue::item::{Cause, Item, NewItem, Predecessor, State};

impl Machine {
    /// Whether a request of a batch waits for what can still end well.
    pub(super) fn check_dependencies(&self, at: usize, request: &NewItem) -> Result<(), Refusal> {
        if request.after.len() > limits::DEPENDENCIES_MAX {
            let problem =
                format!("holds {} of at most {}", request.after.len(), limits::DEPENDENCIES_MAX);
            return Err(invalid(format!("items[{at}].after"), problem));
        }
        for (number, dependency) in request.after.iter().enumerate() {
            let field = || format!("items[{at}].after[{number}]");
            match dependency.on {
                Predecessor::Earlier(place) => {
                    if usize::try_from(place).is_ok_and(|place| place < at) {
                        continue;
                    }
                    let problem = format!("must name an earlier item of the batch, not {place}");
                    return Err(invalid(field(), problem));
                }
                Predecessor::Item(on) => {
                    if let Some((_, range)) = self.range_of(on) {
                        let problem = format!(
                            "names {on}, which is still one of array {} and was never claimed; only \
                             a claimed item of an array can be waited for",
                            range.array
                        );
                        return Err(invalid(field(), problem));
                    }
                    let item = self.item(on).ok_or(Refusal::UnknownWork(on))?;
                    let ended_badly =
                        item.state.ended().is_some() && !matches!(item.state, State::Completed(_));
                    if dependency.ok && ended_badly {
                        let problem =
                            format!("waits for {on}, which has ended as {}", item.status());
                        return Err(invalid(field(), problem));
                    }
                    self.check_dependents(&field(), on)?;
                }
            }
        }
        Ok(())
    }

    /// What a new item has to wait for, by number. `earlier` are the items of its batch so far.
    pub(super) fn awaited(request: &NewItem, earlier: &[(WorkId, bool)]) -> Box<[(WorkId, bool)]> {
        let mut awaited = BTreeMap::new();
        for dependency in &request.after {
            let on = match dependency.on {
                Predecessor::Item(on) => Some(on),
                Predecessor::Earlier(place) => usize::try_from(place)
                    .ok()
                    .and_then(|place| earlier.get(place))
                    .map(|(id, _)| *id),
            };
            if let Some(on) = on {
                *awaited.entry(on).or_insert(false) |= dependency.ok;
            }
        }
        awaited.into_iter().collect()
    }

    /// What of it has not ended.
    pub(super) fn open_dependencies(&self, awaited: &[(WorkId, bool)]) -> BTreeMap<WorkId, bool> {
        let unfinished = |id: WorkId| self.item(id).is_some_and(|i| i.state.ended().is_none());
        awaited.iter().copied().filter(|(on, _)| unfinished(*on)).collect()
    }

    /// Whether what a dead item waited for can still end well, or has. What was forgotten has, unless
    /// the item died of it.
    pub(super) fn check_awaited(&self, item: &Item) -> Result<(), Refusal> {
        for (on, ok) in &item.awaited {
            let died_of_it = matches!(
                item.state,
                State::Dead { cause: Cause::Dependency(cause), .. } if cause == *on
            );
            let how = match self.item(*on) {
                Some(first) if matches!(first.state, State::Completed(_)) => continue,
                Some(first) if first.state.ended().is_some() => first.status().as_str(),
                None if died_of_it => "forgotten",
                Some(_) | None => {
                    self.check_dependents("work_id", *on)?;
                    continue;
                }
            };
            if *ok {
                let problem = format!("waits for {on}, which had to complete and is {how}");
                return Err(invalid("work_id", problem));
            }
        }
        Ok(())
    }

    /// Whether one more may wait for an item.
    fn check_dependents(&self, field: &str, on: WorkId) -> Result<(), Refusal> {
        let waiting = self.index.waiting_for(on).map_or(0, |waiting| waiting.len());
        if waiting >= limits::DEPENDENTS_MAX {
            let problem = format!("would be one more than {waiting} that wait for {on}");
            return Err(invalid(field, problem));
        }
        Ok(())
    }

    /// Tells one item that waits of the end of another; false when there is nobody to tell.
    pub(super) fn tell_one(&mut self) -> bool {
        let Some(on) = self.index.resolvable.first().copied() else {
            return false;
        };
        let waiting = self.index.waiting_for(on).and_then(|waiting| waiting.first().copied());
        let Some(id) = waiting else {
            self.index.resolvable.remove(&on);
            return true;
        };
        self.tell(id, on);
        true
    }

    /// Tells all that wait for an item, before it is forgotten.
    pub(super) fn tell_all_of(&mut self, on: WorkId) {
        for _ in 0..limits::DEPENDENTS_MAX {
            let waiting = self.index.waiting_for(on).and_then(|waiting| waiting.first().copied());
            let Some(id) = waiting else {
                return;
            };
            self.tell(id, on);
        }
    }

    fn tell(&mut self, id: WorkId, on: WorkId) {
        let well = self.item(on).is_some_and(|i| matches!(i.state, State::Completed(_)));
        let Some(State::Blocked { open }) = self.item(id).map(|item| &item.state) else {
            return;
        };
        if !well && open.get(&on).is_some_and(|ok| *ok) {
            let how = self.item(on).map_or("forgotten", |item| item.status().as_str());
            let error = format!("{on}, which had to complete first, is {how}");
            self.bury(id, Cause::Dependency(on), error);
            return;
        }
        let now = self.facts.now;
        self.alter(id, |item| {
            let begin = item.created.after(item.request.delay);
            if let State::Blocked { open } = &mut item.state {
                open.remove(&on);
                if open.is_empty() {
                    item.state = if begin > now {
                        State::Delayed { until: begin }
                    } else {
                        State::Ready { since: now }
                    };
                }
            }
        });
        // To be changed, the item was taken out of the index: an end that nobody else waits for went
        // with it.
        if let Some(State::Blocked { open }) = self.item(id).map(|item| &item.state) {
            let has_ended =
                |on: &WorkId| self.item(*on).is_none_or(|item| item.state.ended().is_some());
            let ended: Vec<WorkId> = open.keys().copied().filter(has_ended).collect();
            self.index.resolvable.extend(ended);
        }
    }
}
