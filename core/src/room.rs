//! Whether there is room for new work: on the disks of a majority of the voters.
//!
//! Every entry goes to the disk of every voter, and the end of work is an entry too. When so many disks
//! are nearly full that the others are no majority, new work would take what those keep back for the end
//! of work, and then nothing could be committed any more. So it is refused before that. One full disk of
//! three is no reason: the others go on without that voter, as without any that is lost.
//!
//! The leader's own disk is another matter: it refuses for itself, whatever the others have.

use alloc::collections::BTreeSet;

use crate::time::Span;

/// What a voter said of its disk counts for so long. One that is well says it several times a second.
pub const WORD_FRESH: Span = Span::seconds(5);

/// What is known of a voter's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// It takes new work.
    Roomy,
    /// It is nearly full.
    Low {
        /// Bytes that are left.
        free_bytes: u64,
    },
    /// The voter was not heard lately: it cannot be counted on, and nobody knows of what is wrong.
    Unknown,
}

impl Disk {
    /// What a voter's last word tells: the bytes that are left when its disk is nearly full, and how
    /// long ago that was.
    #[must_use]
    pub fn said(low: Option<u64>, age: Span) -> Self {
        match low {
            _ if age >= WORD_FRESH => Self::Unknown,
            Some(free_bytes) => Self::Low { free_bytes },
            None => Self::Roomy,
        }
    }
}

/// Too few voters have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// Voters that have.
    pub roomy: usize,
    /// Voters that must.
    pub needed: usize,
    /// All voters.
    pub voters: usize,
}

/// Whether new work may be taken in. Of two sets of voters, while they change, each must have a majority.
/// Where no disk is low nothing is refused here: whether the others are a majority is Raft's question.
///
/// # Errors
/// The first set of voters in which a disk is low, and those that have room are no majority.
pub fn admit<'a>(
    configurations: impl IntoIterator<Item = &'a BTreeSet<u64>>,
    disk: impl Fn(u64) -> Disk,
) -> Result<(), Shortage> {
    for voters in configurations {
        let count =
            |wanted: fn(Disk) -> bool| voters.iter().filter(|it| wanted(disk(**it))).count();
        let roomy = count(|disk| disk == Disk::Roomy);
        let low = count(|disk| matches!(disk, Disk::Low { .. }));
        let needed = voters.len() / 2 + 1;
        if low > 0 && roomy < needed {
            return Err(Shortage { roomy, needed, voters: voters.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter a voter: room, low, unknown.
    fn of(voters: &str) -> Result<(), (usize, usize)> {
        let disks: Vec<Disk> = voters.chars().map(disk).collect();
        let set = (0..disks.len() as u64).collect();
        let known = |id: u64| disks[usize::try_from(id).expect("few")];
        admit([&set], known).map_err(|shortage| {
            assert_eq!(shortage.voters, disks.len());
            (shortage.roomy, shortage.needed)
        })
    }

    fn disk(letter: char) -> Disk {
        match letter {
            'r' => Disk::Roomy,
            'l' => Disk::Low { free_bytes: 7 },
            _ => Disk::Unknown,
        }
    }

    #[test]
    fn new_work_needs_room_on_a_majority_once_a_disk_is_low() {
        for voters in ["r", "rr", "rrr", "rrl", "rrrll", "rrrlu", "rrlr", "rru", ""] {
            assert_eq!(of(voters), Ok(()), "{voters}");
        }
        for (voters, roomy, needed) in [
            ("l", 0, 1),
            ("rl", 1, 2),
            ("rll", 1, 2),
            ("lll", 0, 2),
            ("rrll", 2, 3),
            ("rrlll", 2, 3),
            // With one that is lost the low one is needed.
            ("rlu", 1, 2),
            ("rrluu", 2, 3),
        ] {
            assert_eq!(of(voters), Err((roomy, needed)), "{voters}");
        }
    }

    #[test]
    fn without_a_low_disk_it_is_for_raft_to_say_who_is_a_majority() {
        for voters in ["u", "ruu", "uuu", "rruuu"] {
            assert_eq!(of(voters), Ok(()), "{voters}");
        }
    }

    #[test]
    fn while_the_voters_change_both_sets_need_a_majority_with_room() {
        let (old, new) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 4]));
        let low =
            |lows: &'static [u64]| move |id: u64| disk(if lows.contains(&id) { 'l' } else { 'r' });
        assert_eq!(admit([&old, &new], low(&[3, 4])), Ok(()));
        let short = Err(Shortage { roomy: 1, needed: 2, voters: 3 });
        assert_eq!(admit([&old, &new], low(&[2, 4])), short);
        assert_eq!(admit([&old, &new], low(&[2, 3])), short);
        assert_eq!(admit([&old], low(&[2, 4])), Ok(()));
    }

    #[test]
    fn a_word_counts_while_it_is_fresh() {
        let fresh = Span(WORD_FRESH.0 - 1);
        assert_eq!(Disk::said(None, fresh), Disk::Roomy);
        assert_eq!(Disk::said(Some(0), fresh), Disk::Low { free_bytes: 0 });
        assert_eq!(Disk::said(None, WORD_FRESH), Disk::Unknown);
        assert_eq!(Disk::said(Some(0), WORD_FRESH), Disk::Unknown);
    }
}
