use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What can be done to a map of numbers.
#[derive(Debug, Clone)]
enum Step {
    Insert(u64, u32),
    Change(u64, u32),
    Remove(u64),
    PopFirst,
    /// Takes a copy, which must stay as it is from then on.
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    // Three pages, and numbers far away from them.
    let key = prop_oneof![4 => 0..192_u64, 1 => (u64::MAX - 70)..=u64::MAX];
    prop_oneof![
        6 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
        4 => key.prop_map(Step::Remove),
        1 => Just(Step::PopFirst),
        1 => Just(Step::Copy),
    ]
}

fn listed(pages: &Pages<u64, u32>) -> Vec<(u64, u32)> {
    pages.iter().map(|(key, value)| (key, *value)).collect()
}

proptest! {
    #[test]
    fn it_does_what_a_tree_does_and_copies_never_change(
        steps in prop::collection::vec(step(), 0..400)
    ) {
        let (mut pages, mut tree) = (Pages::<u64, u32>::default(), BTreeMap::new());
        let mut copies = Vec::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    prop_assert_eq!(pages.insert(key, value), tree.insert(key, value));
                }
                Step::Change(key, value) => {
                    let (ours, theirs) = (pages.get_mut(&key), tree.get_mut(&key));
                    prop_assert_eq!(ours.is_some(), theirs.is_some());
                    for known in [ours, theirs].into_iter().flatten() {
                        *known = value;
                    }
                }
                Step::Remove(key) => prop_assert_eq!(pages.remove(&key), tree.remove(&key)),
                Step::PopFirst => prop_assert_eq!(pages.pop_first(), tree.pop_first()),
                Step::Copy => copies.push((pages.clone(), tree.clone())),
            }
            prop_assert_eq!(pages.len(), tree.len());
            prop_assert_eq!(pages.is_empty(), tree.is_empty());
            prop_assert_eq!(pages.first_key(), tree.keys().next().copied());
            prop_assert_eq!(pages.last_key(), tree.keys().next_back().copied());
        }
        copies.push((pages, tree));
        for (pages, tree) in copies {
            prop_assert_eq!(listed(&pages), tree.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            for key in 0..192 {
                prop_assert_eq!(pages.get(&key), tree.get(&key));
            }
            // Equal contents are equal maps, whatever their history.
            let mut again = Pages::default();
            again.extend(tree);
            prop_assert_eq!(&again, &pages);
            let text = serde_json::to_string(&pages).expect("a map");
            let read: Pages<u64, u32> = serde_json::from_str(&text).expect("the same map");
            prop_assert_eq!(read, pages);
        }
    }
}

#[test]
fn a_copy_shares_all_values_and_a_change_copies_only_its_own() {
    let mut pages = Pages::<u64, String>::default();
    pages.extend((0..1_000).map(|key| (key, key.to_string())));
    let copy = pages.clone();
    pages.get_mut(&500).expect("is there").push('!');
    let shared = |key: u64| {
        std::ptr::eq(
            &raw const pages.get(&key).unwrap()[..],
            &raw const copy.get(&key).unwrap()[..],
        )
    };
    let apart: Vec<_> = (0..1_000).filter(|key| !shared(*key)).collect();
    assert_eq!(apart, [500]);
    assert_eq!(copy.get(&500).map(String::as_str), Some("500"));
}
