//! A test of the test: what is broken on purpose in the world over consensus must be seen.

use crate::play_raft;
use crate::raft::Bug;

/// Seeds within which each planted bug must be seen.
const CAUGHT_WITHIN: u64 = 60;

#[test]
fn planted_bugs_are_caught() {
    for bug in Bug::SEEN {
        let caught = (0..CAUGHT_WITHIN).find_map(|seed| play_raft(seed, Some(bug)).0.failure);
        assert!(caught.is_some(), "{} went unseen", bug.name());
    }
}
