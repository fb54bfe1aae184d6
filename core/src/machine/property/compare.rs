//! What can be seen of locks and events, held against the model.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::Pairing;
use crate::event::Recorded;
use crate::machine::model::HeldLock;
use crate::queue::lock::{Asker, Told};
use crate::time::Moment;

impl Pairing {
    pub(super) fn compare_events(&self) -> Result<(), TestCaseError> {
        let page = self.machine.events(0, usize::MAX, &BTreeSet::new());
        let told = (1..).zip(&self.model.events).map(|(seq, (at, event))| {
            let (at, event) = (Moment(*at), event.clone());
            Recorded { seq, at, event }
        });
        prop_assert_eq!(
            page.events.into_iter().cloned().collect::<Vec<_>>(),
            told.collect::<Vec<_>>()
        );
        let last = self.model.events.len() as u64;
        prop_assert_eq!((page.first_kept, page.gap, page.next), (1, false, last));
        Ok(())
    }

    pub(super) fn compare_locks(&self) -> Result<(), TestCaseError> {
        let held = self.machine.facts.locks.iter().map(|(name, lock)| HeldLock {
            name: name.to_string(),
            owner: lock.owner.clone(),
            token: lock.token,
            expires: lock.expires.0,
            // Compared below.
            told: BTreeSet::new(),
            line: lock.waiters.iter().map(|w| (w.owner.clone(), w.ttl.0, w.until.0)).collect(),
        });
        let mut expected = self.model.locks.clone();
        expected.sort_by(|one, other| one.name.cmp(&other.name));
        let told = expected.iter_mut().map(|lock| {
            match Vec::from_iter(std::mem::take(&mut lock.told))[..] {
                [] => Told::Nobody,
                [one] => Told::Only(Asker(one)),
                _ => Told::Several,
            }
        });
        let told: Vec<_> = told.collect();
        let held_told = self.machine.facts.locks.values().map(|lock| lock.told);
        prop_assert_eq!(held_told.collect::<Vec<_>>(), told);
        prop_assert_eq!(held.collect::<Vec<_>>(), expected);
        Ok(())
    }
}
