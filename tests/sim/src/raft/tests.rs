//! Tests of the world over consensus: seeds hold, seeds repeat, planted bugs are caught.

use crate::raft::Bug;
use crate::{Game, Seeds, play_all, play_raft};

/// Seeds within which each planted bug must be seen.
const CAUGHT_WITHIN: u64 = 60;

#[test]
fn seeds_hold() {
    let game = Game::Raft { bug: None, again: 0 };
    let played = play_all(Seeds { first: 0, end: 12 }, game);
    let failed: Vec<_> = played.iter().filter(|played| played.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let operations: u64 = played.iter().map(|played| played.operations).sum();
    assert!(operations > 12 * 200, "{operations} operations show nothing");
}

#[test]
fn a_seed_decides_everything() {
    for seed in [3, 4] {
        let ((first, one), (second, other)) = (play_raft(seed, None), play_raft(seed, None));
        assert_eq!(first.operations, second.operations, "seed {seed}");
        assert_eq!(one, other, "seed {seed}");
    }
}

/// A test of the test: what is broken on purpose must be seen.
#[test]
fn planted_bugs_are_caught() {
    for bug in Bug::ALL {
        let caught = (0..CAUGHT_WITHIN).find_map(|seed| play_raft(seed, Some(bug)).0.failure);
        assert!(caught.is_some(), "{} went unseen", bug.name());
    }
}
