//! Adds: who asked for which item, one item for each name and key, numbered in the order of the log.
//! Sorts all operations to the items that they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ringrift_core::id::{Token, WorkId};

use super::clock::Clock;
use super::episode::ends;
use super::ops::{Known, Op, Window};
use super::{Kind, Verdict};
use crate::history::{Answer, Ask, Grant, Hold, NewItem};

/// Everything that is known of one item.
#[derive(Debug, Default)]
pub(super) struct Item<'a> {
    /// What was asked for, under its name.
    pub(super) spec: Option<&'a NewItem>,
    /// Where it was added.
    pub(super) added: Option<Window>,
    /// Somebody was told that it is there.
    pub(super) acknowledged: bool,
    /// Its claims by token, each with what it brought.
    pub(super) claims: BTreeMap<Token, &'a Grant>,
    /// What holders said of it, by token.
    pub(super) said: BTreeMap<Token, Vec<Op<'a>>>,
    pub(super) cancels: Vec<Op<'a>>,
    pub(super) looks: Vec<Op<'a>>,
}

impl Item<'_> {
    /// Whether an attempt may have been started under the token.
    pub(super) fn may_have_started(&self, token: Token) -> bool {
        let said = self.said.get(&token).map(Vec::as_slice).unwrap_or_default();
        let next = self.claims.range((Bound::Excluded(token), Bound::Unbounded)).next();
        let ended = said.iter().filter(|op| ends(op) && op.answer().is_some());
        let end = ended.map(|op| op.window.hi).chain(next.map(|(next, _)| next.index)).min();
        said.iter().any(|op| op.may_have_started(end.unwrap_or(u64::MAX)))
    }
}

pub(super) type Items<'a> = BTreeMap<WorkId, Item<'a>>;

/// Checks the adds, and sorts everything else to its item.
pub(super) fn check<'a>(ops: &[Op<'a>], clock: &Clock, verdict: &mut Verdict) -> Items<'a> {
    let mut adds = Adds::default();
    for op in ops {
        adds.take(op, verdict);
    }
    for op in ops {
        if let Some(Answer::Claimed(grants)) = op.answer() {
            for grant in grants {
                adds.granted(grant, op, verdict);
            }
        }
    }
    for op in ops {
        adds.sort(op);
    }
    adds.numbers(verdict);
    let Adds { items, names: _, possible: _ } = adds;
    for (id, item) in &items {
        begins_after_its_add(*id, item, clock, verdict);
        verdict.seen.items += u64::from(item.acknowledged);
    }
    items
}

#[derive(Default)]
struct Adds<'a> {
    items: Items<'a>,
    /// Names that were asked for, and which item has each.
    names: BTreeMap<&'a str, (&'a NewItem, Option<WorkId>)>,
    /// Of these, names of which at least one add may have been carried out.
    possible: BTreeSet<&'a str>,
}

impl<'a> Adds<'a> {
    fn take(&mut self, op: &Op<'a>, verdict: &mut Verdict) {
        let asked = match &op.call.ask {
            Ask::Add(items) => items,
            Ask::Complete { then, .. } => then,
            Ask::Claim { .. }
            | Ask::Start(_)
            | Ask::Heartbeat { .. }
            | Ask::Fail { .. }
            | Ask::Release(_)
            | Ask::Cancel(_)
            | Ask::Look(_)
            | Ask::Lock { .. }
            | Ask::Unlock { .. } => return,
        };
        for item in asked {
            self.names.entry(&item.name).or_insert((item, None));
            // A refusal may be that of a repeat.
            if !matches!(op.result, Known::Declined) {
                self.possible.insert(&item.name);
            }
        }
        if let Some(Answer::Added(added)) = op.answer() {
            for (item, (id, fresh)) in asked.iter().zip(added) {
                self.acknowledged(item, *id, *fresh, op.window, verdict);
            }
        }
        // The answer to a repeat names none.
        if let Some(Answer::Completed(then)) = op.answer() {
            for (item, id) in asked.iter().zip(then) {
                self.acknowledged(item, *id, true, op.window, verdict);
            }
        }
    }

    fn acknowledged(
        &mut self,
        spec: &'a NewItem,
        id: WorkId,
        fresh: bool,
        window: Window,
        verdict: &mut Verdict,
    ) {
        self.name(&spec.name, id, verdict);
        let item = self.items.entry(id).or_default();
        item.acknowledged = true;
        item.spec.get_or_insert(spec);
        if !fresh {
            return;
        }
        if item.added.is_some() {
            let text = format!("{id} ({}) was added as a new item twice", spec.name);
            verdict.find(Kind::Doubled, text);
        }
        item.added = Some(window);
    }

    fn granted(&mut self, grant: &'a Grant, op: &Op<'a>, verdict: &mut Verdict) {
        let Hold { item: id, token } = grant.hold;
        self.name(&grant.name, id, verdict);
        let spec = self.names.get(grant.name.as_str()).map(|(spec, _)| *spec);
        if spec.is_none() {
            let text =
                format!("{id} was claimed under the name {:?}, which nobody asked for", grant.name);
            verdict.find(Kind::Order, text);
        }
        if spec.is_some() && !self.possible.contains(grant.name.as_str()) {
            let text =
                format!("{id} was claimed as {:?}, and every add of it was refused", grant.name);
            verdict.find(Kind::Order, text);
        }
        let item = self.items.entry(id).or_default();
        item.spec = item.spec.or(spec);
        verdict.seen.claims += 1;
        if item.claims.insert(token, grant).is_some() {
            let text = format!("two claims of {id} were given the token {token}");
            verdict.find(Kind::Doubled, text);
        }
        if !(op.window.lo..=op.window.hi).contains(&token.index) {
            let text = format!(
                "the claim of {id} under {token} was asked for and answered between {} and {}",
                op.window.lo, op.window.hi
            );
            verdict.find(Kind::Order, text);
        }
    }

    fn name(&mut self, name: &str, id: WorkId, verdict: &mut Verdict) {
        let Some((_, known)) = self.names.get_mut(name) else { return };
        let first = *known.get_or_insert(id);
        if first != id {
            let text = format!("{name} was asked for once and is there twice: {first} and {id}");
            verdict.find(Kind::Doubled, text);
        }
    }

    fn sort(&mut self, op: &Op<'a>) {
        let hold = match &op.call.ask {
            Ask::Start(hold)
            | Ask::Release(hold)
            | Ask::Heartbeat { hold, .. }
            | Ask::Complete { hold, .. }
            | Ask::Fail { hold, .. } => hold,
            Ask::Cancel(id) => return self.items.entry(*id).or_default().cancels.push(*op),
            Ask::Look(id) => return self.items.entry(*id).or_default().looks.push(*op),
            Ask::Add(_) | Ask::Claim { .. } | Ask::Lock { .. } | Ask::Unlock { .. } => return,
        };
        self.items.entry(hold.item).or_default().said.entry(hold.token).or_default().push(*op);
    }

    /// Items are numbered as the log adds them.
    fn numbers(&self, verdict: &mut Verdict) {
        let mut highest = (0, WorkId(0));
        for (id, item) in &self.items {
            let Some(window) = item.added else { continue };
            if window.hi < highest.0 {
                let text = format!(
                    "{id} was added by index {} and {} not before {}, against their numbers",
                    window.hi, highest.1, highest.0
                );
                verdict.find(Kind::Order, text);
            }
            highest = highest.max((window.lo, *id));
        }
    }
}

fn begins_after_its_add(id: WorkId, item: &Item<'_>, clock: &Clock, verdict: &mut Verdict) {
    let (Some(added), Some((token, grant)), Some(spec)) =
        (item.added, item.claims.first_key_value(), item.spec)
    else {
        return;
    };
    if token.index < added.lo {
        let text = format!("{id} was claimed at {} and added not before {}", token.index, added.lo);
        verdict.find(Kind::Order, text);
    }
    let earliest = clock.at_least(added.lo).saturating_add(spec.delay_ms);
    let claimed = clock.at_most(token.index);
    if spec.delay_ms > 0 && claimed < earliest {
        let text = format!(
            "{id} was to wait {} ms and was claimed {} ms too early",
            spec.delay_ms,
            earliest - claimed
        );
        verdict.find(Kind::Order, text);
    }
    if grant.attempts_max != spec.attempts_max {
        let text = format!(
            "{id} was asked for with {} attempts and has {}",
            spec.attempts_max, grant.attempts_max
        );
        verdict.find(Kind::Order, text);
    }
}
