//! Tests of the simulator itself: seeds hold, seeds repeat, planted bugs are caught.

use crate::fault::Mutation;
use crate::{CONSENSUS_EVERY, Game, Seeds, parse_seeds, play, play_all};

#[test]
fn seeds_hold() {
    let played = play_all(Seeds { first: 0, end: 40 }, Game::Model(None));
    let failed: Vec<_> = played.iter().filter(|played| played.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let operations: u64 = played.iter().map(|played| played.operations).sum();
    assert!(operations > 40 * 200, "{operations} operations show nothing");
    let verdicts = played.iter().filter(|played| played.verdict).count();
    assert!(verdicts > 30, "only {verdicts} of 40 gauntlets came to a verdict");
}

/// A seed that is played in both worlds, and one that is played in the model's alone.
#[test]
fn both_worlds_are_played() {
    let played = play_all(Seeds { first: CONSENSUS_EVERY, end: CONSENSUS_EVERY + 2 }, Game::Queue);
    let over: Vec<_> = played.iter().map(|played| played.consensus).collect();
    assert_eq!(over, [true, false]);
    assert!(played.iter().all(|played| played.failure.is_none()), "{played:#?}");
}

#[test]
fn a_seed_decides_everything() {
    let (first, second) = (play(7, None), play(7, None));
    assert_eq!(first.operations, second.operations);
    let mutation = Some(Mutation::ApplyBeforeMajority);
    assert_eq!(play(3, mutation).failure, play(3, mutation).failure);
}

/// A test of the test: what is broken on purpose must be seen.
#[test]
fn planted_bugs_are_caught() {
    for mutation in [
        Mutation::NoTokenCheck,
        Mutation::ApplyBeforeMajority,
        Mutation::LocalClock,
        Mutation::NoKeys,
        Mutation::NoSessions,
        Mutation::NoGroups,
        Mutation::LostTail,
        Mutation::NoVersionCheck,
        Mutation::ForgetfulLine,
        Mutation::ForeignAnswer,
    ] {
        let caught = (0..300).find_map(|seed| play(seed, Some(mutation)).failure);
        assert!(caught.is_some(), "{} went unseen", mutation.name());
    }
}

#[test]
fn seeds_are_a_range_or_one() {
    assert_eq!(parse_seeds("3..9"), Ok(Seeds { first: 3, end: 9 }));
    assert_eq!(parse_seeds("7"), Ok(Seeds { first: 7, end: 8 }));
    for bad in ["", "9..3", "3..3", "a..b", "-1"] {
        assert!(parse_seeds(bad).is_err(), "{bad:?} must be refused");
    }
}
