//! A map from numbers to values whose copy costs next to nothing: a snapshot of a million items is
//! taken between two log entries.
//!
//! Values lie in pages of consecutive numbers. A copy shares the pages; whoever changes a value first
//! copies its page, which is a list of pointers, and that one value (copy on write). Numbers that are
//! handed out in order fill their pages, so the map is also smaller and shallower than a tree of
//! single values.

mod iter;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::iter::Iter;
use crate::id::{SessionId, WorkId};

/// Numbers of one page. A page alone costs half a kilobyte, so an old value that outlived its
/// neighbours wastes no more than that; a million values have 16,000 pages, whose pointers are copied
/// within a millisecond or two.
const PAGE: usize = 64;

/// What values can be numbered by.
pub trait Number: Copy {
    /// The plain number.
    fn to_u64(self) -> u64;
    /// The other way; only ever asked for what [`Self::to_u64`] gave.
    fn of_u64(number: u64) -> Self;
}

impl Number for u64 {
    fn to_u64(self) -> u64 {
        self
    }
    fn of_u64(number: u64) -> Self {
        number
    }
}

impl Number for u32 {
    fn to_u64(self) -> u64 {
        u64::from(self)
    }
    fn of_u64(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Number for WorkId {
    fn to_u64(self) -> u64 {
        self.0
    }
    fn of_u64(number: u64) -> Self {
        Self(number)
    }
}

impl Number for SessionId {
    fn to_u64(self) -> u64 {
        self.0
    }
    fn of_u64(number: u64) -> Self {
        Self(number)
    }
}

/// The values of [`PAGE`] consecutive numbers.
#[derive(Debug, PartialEq, Eq)]
struct Page<V> {
    slots: [Option<Arc<V>>; PAGE],
    /// Slots in use; a page without any is dropped.
    held: u64,
}

// Not derived: that would ask for `V: Clone`, and values are shared.
impl<V> Clone for Page<V> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), held: self.held }
    }
}

impl<V> Page<V> {
    const fn empty() -> Self {
        Self { slots: [const { None }; PAGE], held: 0 }
    }
}

/// Values by number, in the order of numbers.
#[derive(Debug, PartialEq, Eq)]
pub struct Pages<K, V> {
    pages: BTreeMap<u64, Arc<Page<V>>>,
    len: usize,
    keys: PhantomData<K>,
}

// Not derived: that would ask for `K: Clone` and `V: Clone`.
impl<K, V> Clone for Pages<K, V> {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), len: self.len, keys: PhantomData }
    }
}

impl<K, V> Default for Pages<K, V> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), len: 0, keys: PhantomData }
    }
}

/// The page and the slot of a number.
fn place(number: impl Number) -> (u64, usize) {
    let number = number.to_u64();
    // The remainder of so small a division fits every integer.
    (number / PAGE as u64, usize::try_from(number % PAGE as u64).unwrap_or(0))
}

impl<K: Number, V> Pages<K, V> {
    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a number.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let (page, slot) = place(*key);
        self.pages.get(&page)?.slots.get(slot)?.as_deref()
    }

    /// Whether the number has a value.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// All values in the order of their numbers.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::of(&self.pages)
    }

    /// All values in the order of their numbers, without these.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All numbers in order.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }

    /// The smallest number.
    #[must_use]
    pub fn first_key(&self) -> Option<K> {
        let (page, held) = self.pages.first_key_value()?;
        let slot = held.slots.iter().position(Option::is_some)?;
        Some(K::of_u64(page * PAGE as u64 + slot as u64))
    }

    /// The largest number.
    #[must_use]
    pub fn last_key(&self) -> Option<K> {
        let (page, held) = self.pages.last_key_value()?;
        let slot = held.slots.iter().rposition(Option::is_some)?;
        Some(K::of_u64(page * PAGE as u64 + slot as u64))
    }
}

impl<K: Number, V: Clone> Pages<K, V> {
    /// The value of a number, to be changed. It is copied first when a copy of the map shares it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (page, slot) = place(*key);
        let page = self.pages.get_mut(&page)?;
        // Not before it is known that there is something to change.
        page.slots.get(slot)?.as_ref()?;
        Arc::make_mut(page).slots.get_mut(slot)?.as_mut().map(Arc::make_mut)
    }

    /// Gives a number its value, and answers the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (page, slot) = place(key);
        let page = self.pages.entry(page).or_insert_with(|| Arc::new(Page::empty()));
        let page = Arc::make_mut(page);
        let before = page.slots.get_mut(slot)?.replace(Arc::new(value));
        if before.is_none() {
            page.held += 1;
            self.len += 1;
        }
        before.map(Arc::unwrap_or_clone)
    }

    /// Takes the value of a number away.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (number, slot) = place(*key);
        let page = self.pages.get_mut(&number)?;
        page.slots.get(slot)?.as_ref()?;
        let page = Arc::make_mut(page);
        let value = page.slots.get_mut(slot)?.take()?;
        page.held = page.held.saturating_sub(1);
        if page.held == 0 {
            self.pages.remove(&number);
        }
        self.len = self.len.saturating_sub(1);
        Some(Arc::unwrap_or_clone(value))
    }

    /// Takes the value of the smallest number away.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first_key()?;
        Some((key, self.remove(&key)?))
    }
}

impl<'a, K: Number, V> IntoIterator for &'a Pages<K, V> {
    type Item = (K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Number, V: Clone> Extend<(K, V)> for Pages<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, values: I) {
        for (key, value) in values {
            self.insert(key, value);
        }
    }
}

impl<K: Number + Serialize, V: Serialize> Serialize for Pages<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self {
            map.serialize_entry(&key, value)?;
        }
        map.end()
    }
}

impl<'de, K, V> Deserialize<'de> for Pages<K, V>
where
    K: Number + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for Reader<K, V>
where
    K: Number + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    type Value = Pages<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from numbers to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pages<K, V>, A::Error> {
        let mut pages = Pages::default();
        while let Some((key, value)) = map.next_entry()? {
            pages.insert(key, value);
        }
        Ok(pages)
    }
}

#[cfg(test)]
mod tests;
