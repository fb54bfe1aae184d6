//! Walking through the pages.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map;
use alloc::sync::Arc;
use core::iter::Enumerate;
use core::marker::PhantomData;
use core::slice;

use super::{Number, PAGE, Page};

type Slots<'a, V> = Enumerate<slice::Iter<'a, Option<Arc<V>>>>;

/// The values of a [`super::Pages`] with their numbers, in order.
#[derive(Debug)]
pub struct Iter<'a, K, V> {
    pages: btree_map::Iter<'a, u64, Arc<Page<V>>>,
    /// The number of the first slot of the page that is being walked through, and its rest.
    slots: Option<(u64, Slots<'a, V>)>,
    keys: PhantomData<K>,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn of(pages: &'a BTreeMap<u64, Arc<Page<V>>>) -> Self {
        Self { pages: pages.iter(), slots: None, keys: PhantomData }
    }
}

impl<'a, K: Number, V> Iterator for Iter<'a, K, V> {
    type Item = (K, &'a V);

    fn next(&mut self) -> Option<(K, &'a V)> {
        loop {
            if let Some((first, slots)) = &mut self.slots
                && let Some((slot, value)) =
                    slots.find_map(|(slot, value)| Some((slot, value.as_deref()?)))
            {
                return Some((K::of_u64(*first + slot as u64), value));
            }
            let (page, held) = self.pages.next()?;
            self.slots = Some((page * PAGE as u64, held.slots.iter().enumerate()));
        }
    }
}
