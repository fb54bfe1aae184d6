//! What must hold after every entry, by name. Shared by the property tests and the simulator.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::events::Events;
use super::index::Index;
use super::{ArrayEnds, ArrayStatus, Machine};
use crate::id::{Token, WorkId};
use crate::limits;
use crate::queue::item::{Item, State};
use crate::queue::lock::{Lock, Waiter};
use crate::run::Run;

/// The newest events that are looked at: more than one entry of a simulation records.
const EVENTS_LOOKED_AT: usize = 64;

/// Broken invariants as they are found.
struct Findings(Vec<String>);

impl Findings {
    fn expect(&mut self, holds: bool, name: &str, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(format!("{name}: {}", detail()));
        }
    }
}

impl Machine {
    /// The broken invariants, each with what broke it; empty when the machine is sound. Costs a pass
    /// over everything: for tests and the simulator.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut findings = Findings(Vec::new());
        self.check_index(&mut findings);
        self.check_bounds(&mut findings);
        self.check_conservation(&mut findings);
        self.check_tokens(&mut findings);
        self.check_keys(&mut findings);
        for item in self.facts.items.values() {
            self.check_item(item, &mut findings);
        }
        for run in self.facts.runs.values() {
            self.check_run(run, &mut findings);
        }
        self.check_exclusion(&mut findings);
        self.check_arrays(&mut findings);
        self.check_locks(&mut findings);
        self.check_events(&mut findings);
        findings.0
    }

    fn check_index(&self, findings: &mut Findings) {
        let Index {
            counts,
            in_ranges,
            bytes,
            finished_bytes,
            dead_bytes,
            types,
            classes,
            due,
            stops_due,
            ranges_due,
            locks_due,
            waits_due,
            heard,
            answers,
            answer_ids,
            keys,
            forgotten,
            queues,
            groups,
            dependents,
            resolvable,
            arrays,
            nodes,
            runs,
            finished,
            dead,
            submitted,
            active,
            ended,
        } = Index::of(&self.facts);
        let kept = &self.index;
        let parts = [
            ("counts", kept.counts == counts),
            ("in_ranges", kept.in_ranges == in_ranges),
            ("bytes", kept.bytes == bytes),
            ("finished_bytes", kept.finished_bytes == finished_bytes),
            ("dead_bytes", kept.dead_bytes == dead_bytes),
            ("types", kept.types == types),
            ("classes", kept.classes == classes),
            ("due", kept.due == due),
            ("stops_due", kept.stops_due == stops_due),
            ("ranges_due", kept.ranges_due == ranges_due),
            ("locks_due", kept.locks_due == locks_due),
            ("waits_due", kept.waits_due == waits_due),
            ("heard", kept.heard == heard),
            ("answers", kept.answers == answers),
            ("answer_ids", kept.answer_ids == answer_ids),
            ("keys", kept.keys == keys),
            ("forgotten", kept.forgotten == forgotten),
            ("queues", kept.queues == queues),
            ("groups", kept.groups == groups),
            ("dependents", kept.dependents == dependents),
            ("resolvable", kept.resolvable == resolvable),
            ("arrays", kept.arrays == arrays),
            ("nodes", kept.nodes == nodes),
            ("runs", kept.runs == runs),
            ("finished", kept.finished == finished),
            ("dead", kept.dead == dead),
            ("submitted", kept.submitted == submitted),
            ("active", kept.active == active),
            ("ended", kept.ended == ended),
        ];
        for (part, same) in parts {
            findings.expect(same, "index follows facts", || {
                format!("{part} differs from what the facts say")
            });
        }
    }

    fn check_bounds(&self, findings: &mut Findings) {
        let records = usize::try_from(self.records()).unwrap_or(usize::MAX);
        let records_max = self.bounds.records.saturating_add(self.bounds.follow_ups);
        let records_max = usize::try_from(records_max).unwrap_or(usize::MAX);
        let bounds = [
            ("unfinished items", records, records_max),
            ("dead items", self.index.dead.len(), limits::ITEMS_DEAD_MAX),
            ("arrays", self.facts.arrays.len(), limits::ARRAYS_MAX),
            ("queues", self.facts.queues.len(), limits::QUEUES_MAX + 1),
            ("nodes", self.facts.capacities.len(), limits::NODES_MAX),
            ("sessions", self.facts.sessions.len(), limits::SESSIONS_MAX),
            ("answers", self.index.answers, limits::ANSWERS_MAX),
            // One more request was carried out when there was room for one number.
            (
                "numbers in answers",
                self.index.answer_ids,
                limits::ANSWER_IDS_MAX + limits::HEARTBEAT_CLAIMS_MAX,
            ),
            ("finished items", self.index.finished.len(), limits::ITEMS_FINISHED_MAX),
            ("forgotten keys", self.facts.forgotten.len(), limits::KEYS_MAX),
            ("classes", self.index.classes, limits::CLASSES_MAX),
            ("locks", self.facts.locks.len(), limits::LOCKS_MAX),
            ("owners in line", self.index.waits_due.len(), limits::LOCK_WAITERS_IN_ALL_MAX),
            ("events", self.facts.events.kept.len(), limits::EVENTS_MAX),
            ("runs", self.facts.runs.len(), limits::RUNS_MAX),
        ];
        let (bytes, most) =
            (self.index.bytes, self.bounds.bytes.saturating_add(self.bounds.follow_up_bytes));
        findings.expect(bytes <= most, "bounds", || format!("{bytes} bytes of at most {most}"));
        for (what, held, most) in bounds {
            findings.expect(held <= most, "bounds", || format!("{held} {what} of at most {most}"));
        }
    }

    /// No item appears from nowhere or disappears.
    fn check_conservation(&self, findings: &mut Findings) {
        let totals = self.facts.totals;
        let ended = totals.completed + totals.dead + totals.cancelled;
        let unfinished = self.index.counts.unfinished();
        findings.expect(totals.enqueued == unfinished + ended, "conservation", || {
            format!("{} enqueued, {unfinished} unfinished, {ended} ended", totals.enqueued)
        });
    }

    /// At most one right is granted under one token, by an entry that was applied.
    fn check_tokens(&self, findings: &mut Findings) {
        let leases = self.facts.items.values().filter_map(|item| match &item.state {
            State::Claimed(lease) => Some(lease.token),
            State::Completed(completion) => Some(completion.token),
            State::Delayed { .. }
            | State::Blocked { .. }
            | State::Ready { .. }
            | State::Dead { .. }
            | State::Cancelled { .. } => None,
        });
        let stops = self.facts.stops.values().map(|stop| stop.token);
        let leases = leases.chain(stops);
        let mut seen: BTreeSet<Token> = BTreeSet::new();
        for token in leases.chain(self.facts.locks.values().map(|lock| lock.token)) {
            findings.expect(seen.insert(token), "tokens are unique", || format!("{token} twice"));
            let applied = self.facts.applied;
            findings.expect(
                (token.term, token.index) <= (applied.term, applied.index),
                "tokens come from applied entries",
                || format!("{token} is beyond {applied:?}"),
            );
        }
    }

    fn check_keys(&self, findings: &mut Findings) {
        let of_arrays = self.facts.arrays.values().filter(|array| array.request.key.is_some());
        let of_items = self.facts.items.values().filter(|item| item.request.key.is_some());
        let keyed = of_items.count() + of_arrays.count();
        findings.expect(keyed == self.index.keys.len(), "one item for each key", || {
            format!("{keyed} items share {} keys", self.index.keys.len())
        });
        for (queue, key) in self.index.forgotten.iter() {
            let kept = self.index.keys.get(queue, key).is_some();
            findings.expect(!kept, "one item for each key", || {
                format!("{key:?} is both remembered and forgotten")
            });
        }
    }

    /// Nothing is given away twice: not a group, not a device, not a processor. What is being stopped
    /// has them too.
    fn check_exclusion(&self, findings: &mut Findings) {
        for (id, _) in &self.facts.stops {
            let ended = self.item(id).is_none_or(|item| item.state.ended().is_some());
            findings.expect(ended, "what is stopped has ended", || format!("{id}"));
        }
        for ((queue, group), of_group) in &self.index.groups {
            findings.expect(of_group.held <= 1, "groups exclude", || {
                format!("{} of group {group} of queue {queue} are held", of_group.held)
            });
        }
        for (node, of_node) in &self.index.nodes {
            let capacity = self.capacity(node);
            let fits = capacity.map_or(of_node.reserved.is_nothing(), |c| of_node.reserved.fits(c));
            findings.expect(fits, "shares fit their node", || {
                format!("{node} has {capacity:?}, reserved are {:?}", of_node.reserved)
            });
        }
    }

    /// Nobody waits for what it holds, twice, or longer than it may. That nobody waits for a free lock
    /// follows from where the line is kept.
    fn check_locks(&self, findings: &mut Findings) {
        let now = self.facts.now;
        for (name, lock) in &self.facts.locks {
            let Lock { owner, token: _, acquired, expires, told: _, waiters } = lock;
            findings.expect(*acquired <= now && acquired <= expires, "a hold has a time", || {
                format!("{name} is held from {acquired:?} to {expires:?}")
            });
            findings.expect(waiters.len() <= limits::LOCK_WAITERS_MAX, "bounds", || {
                format!("{} wait for {name}", waiters.len())
            });
            let mut seen = BTreeSet::from([owner.as_str()]);
            for Waiter { owner, ttl: _, until } in waiters {
                findings.expect(seen.insert(owner), "one place in line", || {
                    format!("{owner} waits for {name} more than once, or holds it")
                });
                findings.expect(*until <= now.after(limits::LOCK_WAIT_MAX), "bounds", || {
                    format!("{owner} waits for {name} until {until:?}")
                });
            }
        }
    }

    /// Numbers without gaps, up to the last, in the order of time. Events never change, so a look at
    /// the newest of them after every entry is a look at all.
    fn check_events(&self, findings: &mut Findings) {
        let Events { kept, last } = &self.facts.events;
        let (first, now) = (self.facts.events.first_kept(), self.facts.now);
        let next = first.saturating_add(kept.len() as u64);
        findings.expect(next == last.saturating_add(1), "events have no gaps", || {
            format!("{} from {first}, the last is {last}", kept.len())
        });
        let mut after = now;
        for seq in (first..=*last).rev().take(EVENTS_LOOKED_AT) {
            let recorded = kept.get(&seq);
            let sound = recorded.is_some_and(|event| event.seq == seq && event.at <= after);
            findings.expect(sound, "events are in order", || {
                format!("{recorded:?} as {seq}, before {after:?}")
            });
            after = recorded.map_or(after, |event| event.at);
        }
    }

    fn check_arrays(&self, findings: &mut Findings) {
        let mut left: BTreeMap<WorkId, u64> = BTreeMap::new();
        for (first, range) in &self.facts.ranges {
            *left.entry(range.array).or_default() += range.len(*first);
        }
        for element in self.facts.items.values().filter_map(|item| item.element()) {
            *left.entry(element.array).or_default() += 1;
        }
        for (id, array) in &self.facts.arrays {
            let found = left.remove(id).unwrap_or_default();
            findings.expect(found == u64::from(array.left), "arrays are counted", || {
                format!("{found} items of array {id}, which says {}", array.left)
            });
            let status = self.array(*id);
            let whole = status.map(|ArrayStatus { count: _, unclaimed, outstanding, ended }| {
                let ArrayEnds { completed, dead, cancelled } = ended;
                let ended = [completed, dead, cancelled].map(u64::from);
                unclaimed + outstanding + ended.iter().sum::<u64>()
            });
            findings.expect(whole == Some(array.count.into()), "arrays are whole", || {
                format!("{status:?} of array {id}")
            });
        }
        findings.expect(left.is_empty(), "arrays are counted", || format!("no array for {left:?}"));
    }

    fn check_item(&self, item: &Item, findings: &mut Findings) {
        let Item {
            id,
            request,
            awaited,
            state,
            attempts,
            deliveries,
            claims_lost,
            created,
            last_error: _,
            last_node,
        } = item;
        let now = self.facts.now;
        findings.expect(id.0 <= self.facts.totals.enqueued, "numbers are given in order", || {
            format!("{id} after {}", self.facts.totals.enqueued)
        });
        findings.expect(
            *attempts <= request.attempts_max && attempts <= deliveries,
            "attempts are bounded",
            || format!("{id}: {attempts} attempts, {deliveries} deliveries"),
        );
        let most = if matches!(state, State::Dead { .. }) { 0 } else { 1 };
        findings.expect(
            claims_lost + most <= self.bounds.claims_lost && claims_lost <= deliveries,
            "lost claims are bounded",
            || format!("{id}: {claims_lost} claims lost of {deliveries}"),
        );
        findings.expect(*created <= now, "nothing is of the future", || format!("{id} created"));
        if let State::Blocked { open } = state {
            let told = |one: (&WorkId, &bool)| awaited.contains(&(*one.0, *one.1));
            findings.expect(open.iter().all(told), "waits are known", || format!("{id}: {open:?}"));
        }
        let run = item.origin().and_then(|origin| self.run(&origin.run));
        let is_its_own =
            |run: &Run| request.queue == run.queue && request.needs == run.spec.needs();
        findings.expect(run.is_none_or(is_its_own), "a run's items are where it says", || {
            format!("{id} is in {} and needs {:?}", request.queue, request.needs)
        });
        let used_up = *attempts >= request.attempts_max;
        match state {
            State::Delayed { .. } | State::Blocked { .. } | State::Ready { .. } => {
                findings.expect(!used_up, "no attempt beyond the last", || format!("{id} waits"));
            }
            State::Claimed(lease) => {
                findings.expect(last_node.as_ref() == Some(&lease.node), "one holder", || {
                    format!("{id} is held by {} but was last given to {last_node:?}", lease.node)
                });
                let sound = match lease.started {
                    Some(started) => *attempts >= 1 && started <= now,
                    None => !used_up,
                };
                findings.expect(sound, "no attempt beyond the last", || format!("{id} is held"));
            }
            State::Completed(completion) => {
                let at = completion.at;
                findings.expect(at <= now, "nothing is of the future", || format!("{id} ended"));
                findings.expect(*attempts >= 1, "who completes has started", || format!("{id}"));
            }
            State::Dead { at, .. } | State::Cancelled { at } => {
                findings.expect(*at <= now, "nothing is of the future", || format!("{id} ended"));
            }
        }
    }

    fn check_run(&self, run: &Run, findings: &mut Findings) {
        let id = &run.id;
        findings.expect(run.ended.is_some() == run.outcome.is_some(), "a run ends once", || {
            format!("{id}: ended {:?} with {:?}", run.ended, run.outcome)
        });
        let has_queue = self.check_room(&run.queue, 0).is_ok();
        findings.expect(run.ended.is_some() || has_queue, "a run keeps its queue", || {
            format!("{id} is active, but there is no queue {}", run.queue)
        });
        let outstanding = self.run_items(id).outstanding;
        findings.expect(outstanding <= u64::from(limits::RUN_OUTSTANDING_MAX), "bounds", || {
            format!("{id} has {outstanding} outstanding items")
        });
        findings.expect(run.ended.is_none() || outstanding == 0, "the end ends all", || {
            format!("{id} has ended with {outstanding} outstanding items")
        });
        findings.expect(
            run.fallen.len() as u64 <= run.failures_count
                && run.failures.len() <= limits::RUN_FAILURES_KEPT,
            "failures are counted",
            || format!("{id}: {} fallen of {}", run.fallen.len(), run.failures_count),
        );
        let mut brought = BTreeSet::new();
        for (index, pair) in run.ledger.pairs.iter().flatten() {
            findings.expect(pair.games.iter().all(|g| g.score.is_ok()), "pairs are scored", || {
                format!("{id}: pair {index}")
            });
            findings.expect(brought.insert(pair.work_id), "an item brings one pair", || {
                format!("{id}: {} twice", pair.work_id)
            });
        }
    }
}
