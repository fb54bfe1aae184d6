//! Who shall vote: when a voter that died is replaced by a learner, and when a learner becomes a voter
//! since there are too few.
//!
//! [`decide`] is a function of what the leader sees. It is careful: a voter that is given up in error
//! costs a copy of the log, and two changes at once could cost a majority. A voter is replaced only
//! when gossip and the log both have not heard of it for a minute, when those that remain are well
//! and have a majority without it, and when a learner is ready that lacks next to nothing. What
//! stands in the way is an [`Obstacle`], which is shown to people. [`Watch`] remembers since when
//! something has been as it is.
//!
//! Members may say a zone: machines that fail together. Of learners that are ready, one goes first
//! whose zone holds the fewest voters. A replacement must not make the spread worse: afterwards no more
//! voters may fail together than before, when the dead one still counted. Voters of one zone fail
//! together, and who says no zone may stand in the fullest one. So where no voter says a zone nothing is
//! worse, a learner that says none takes the place of a voter that said none, and the learner's zone may
//! grow to what the fullest one held. Growth only prefers: a voter more is one more to lose, whatever
//! its zone, and so is the learner that an operator lets in by removing the dead one.

mod obstacle;
mod watch;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use obstacle::Obstacle;
pub use watch::{Look, Watch};

use crate::id::{NodeId, ZoneName};
use crate::time::Span;

/// How careful the leader is. The defaults suit a cluster that nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So long gossip calls a voter failed, and the log has no word of it; nothing replaces no voter.
    pub silence: Option<Span>,
    /// Time since the last change of members.
    pub rest: Span,
    /// Time between two replacements without an operator.
    pub replacement_gap: Span,
    /// So long a learner has been close behind before it is trusted with a vote.
    pub warm_for: Span,
    /// Entries that a member may lack to be close behind.
    pub warm_entries: u64,
    /// A member that acknowledged an append so recently is well.
    pub contact: Span,
}

impl Rules {
    /// The default of [`Rules::silence`].
    pub const SILENCE_DEFAULT: Span = Span::seconds(60);

    /// Whether a member has nearly all of the log, and said so just now.
    fn is_well(&self, silent_for: Option<Span>, behind: Option<u64>) -> bool {
        let close = behind.is_some_and(|behind| behind < self.warm_entries);
        close && silent_for.is_some_and(|silent_for| silent_for < self.contact)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            silence: Some(Self::SILENCE_DEFAULT),
            rest: Span::seconds(5 * 60),
            replacement_gap: Span::seconds(3_600),
            warm_for: Span::seconds(10),
            warm_entries: 1_000,
            contact: Span::seconds(1),
        }
    }
}

/// Whether the members are being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They are not.
    None,
    /// Somebody is at it.
    UnderWay,
    /// A leader went half way and then went away.
    Halfway,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its raft id.
    pub raft_id: u64,
    /// Its name.
    pub node_id: NodeId,
    /// The machines that fail with it, when it says which.
    pub zone: Option<ZoneName>,
    /// Whether it votes.
    pub votes: bool,
    /// So long gossip calls it failed, or does not know it; nothing while it lives.
    pub failed_for: Option<Span>,
    /// Time since it acknowledged an append, or since the leader began to lead. Zero for the leader.
    pub silent_for: Span,
    /// Entries that it lacks; nothing when that is not known.
    pub behind: Option<u64>,
    /// So long it has been close behind; zero when it is not.
    pub warm_for: Span,
}

impl Member {
    fn is_well(&self, rules: &Rules) -> bool {
        rules.is_well(Some(self.silent_for), self.behind)
    }

    fn is_ready(&self, rules: &Rules) -> bool {
        self.failed_for.is_none() && self.is_well(rules) && self.warm_for >= rules.warm_for
    }
}

/// What the leader sees of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Raft id of the leader.
    pub leader: u64,
    /// How many voters there shall be.
    pub voters_wanted: usize,
    /// Whether the members are being changed.
    pub change: Change,
    /// Time since they were changed last; nothing when they never were.
    pub since_change: Option<Span>,
    /// The last replacement: whom it gave up, and how long ago.
    pub replaced: Option<(u64, Span)>,
    /// All members.
    pub members: Vec<Member>,
}

/// What the leader is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the voters are as they should be, or nobody could be added.
    Rest,
    /// Nothing yet: a voter is dead or seems to be, and something stands in the way.
    Wait {
        /// The voter.
        dead: NodeId,
        /// What stands in the way.
        obstacle: Obstacle,
    },
    /// Replace a voter by a learner, both by raft id.
    Replace {
        /// The voter.
        dead: u64,
        /// The learner.
        by: u64,
    },
    /// Give a learner a vote, since there are too few.
    Promote {
        /// Its raft id.
        learner: u64,
    },
    /// Finish the change that another leader left half done.
    Finish,
}

/// What the leader is to do about the voters.
#[must_use]
pub fn decide(rules: &Rules, picture: &Picture) -> Decision {
    match (picture.change, longest_dead(picture)) {
        (Change::Halfway, _) => Decision::Finish,
        (Change::UnderWay, None) => Decision::Rest,
        (Change::None, None) => grow(rules, picture),
        (Change::UnderWay | Change::None, Some(dead)) => match replace(rules, picture, dead) {
            Ok(by) => Decision::Replace { dead: dead.raft_id, by },
            Err(obstacle) => Decision::Wait { dead: dead.node_id.clone(), obstacle },
        },
    }
}

/// Whether a voter can be spared that an operator removes. Of each that stays it takes the time since its
/// last word and the entries that it lacks, when they are known: a majority of those must be well, since
/// they agree by themselves from then on. When they cannot, nothing is committed any more, and nobody
/// can be taken back.
///
/// # Errors
/// [`Obstacle::NoMajority`].
pub fn spare(
    rules: &Rules,
    staying: impl Iterator<Item = (Option<Span>, Option<u64>)>,
) -> Result<(), Obstacle> {
    let (mut count, mut well) = (0_usize, 0_usize);
    for (silent_for, behind) in staying {
        count += 1;
        well += usize::from(rules.is_well(silent_for, behind));
    }
    let majority = count / 2 + 1;
    if well < majority { Err(Obstacle::NoMajority { well, majority }) } else { Ok(()) }
}

fn voters(picture: &Picture) -> impl Iterator<Item = &Member> {
    picture.members.iter().filter(|member| member.votes)
}

/// The failed voter that was silent for the longest time.
fn longest_dead(picture: &Picture) -> Option<&Member> {
    voters(picture)
        .filter(|voter| voter.raft_id != picture.leader && voter.failed_for.is_some())
        .max_by_key(|voter| (voter.silent_for, core::cmp::Reverse(voter.raft_id)))
}

/// Who takes the vote of the dead one, or what stands in the way.
fn replace(rules: &Rules, picture: &Picture, dead: &Member) -> Result<u64, Obstacle> {
    let needed = rules.silence.ok_or(Obstacle::Off)?;
    let failed_for = dead.failed_for.unwrap_or_default();
    if failed_for < needed {
        return Err(Obstacle::JustFailed { failed_for, needed });
    }
    if dead.silent_for < needed {
        return Err(Obstacle::JustHeard { silent_for: dead.silent_for, needed });
    }
    if picture.change == Change::UnderWay {
        return Err(Obstacle::UnderWay);
    }
    let count = voters(picture).count();
    let well = staying(picture, Some(dead)).filter(|voter| voter.is_well(rules)).count();
    let majority = count / 2 + 1;
    // A replacement keeps the number, so that three stay three; of one or two nobody can be spared.
    if count < 3 || well < majority {
        return Err(Obstacle::NoMajority { well, majority });
    }
    if let Some(since) = picture.since_change.filter(|since| *since < rules.rest) {
        return Err(Obstacle::JustChanged { since, needed: rules.rest });
    }
    // The same voter again: what was begun for it did not come about.
    let other = picture.replaced.filter(|(retired, _)| *retired != dead.raft_id);
    if let Some((_, since)) = other.filter(|(_, since)| *since < rules.replacement_gap) {
        return Err(Obstacle::JustReplaced { since, needed: rules.replacement_gap });
    }
    ready_learner(rules, picture, Some(dead))
}

/// The voters but for one whose vote is about to go.
fn staying<'a>(
    picture: &'a Picture,
    leaving: Option<&Member>,
) -> impl Iterator<Item = &'a Member> + use<'a> {
    let leaving = leaving.map(|leaving| leaving.raft_id);
    voters(picture).filter(move |voter| Some(voter.raft_id) != leaving)
}

/// How many of these voters stand in each zone, and how many say none.
fn by_zone<'a>(voters: impl Iterator<Item = &'a Member>) -> (BTreeMap<&'a ZoneName, usize>, usize) {
    let (mut counts, mut unsaid) = (BTreeMap::new(), 0);
    for voter in voters {
        match &voter.zone {
            Some(zone) => *counts.entry(zone).or_default() += 1,
            None => unsaid += 1,
        }
    }
    (counts, unsaid)
}

/// How many of these voters may fail together: those of the fullest zone, and all that say none, since
/// they may stand there too.
fn together<'a>(voters: impl Iterator<Item = &'a Member>) -> usize {
    let (counts, unsaid) = by_zone(voters);
    counts.into_values().max().unwrap_or(0) + unsaid
}

/// What stands in the way when more voters could fail together with a learner in the place of a voter.
fn worse_spread(picture: &Picture, leaving: &Member, learner: &Member) -> Option<Obstacle> {
    let replaced = staying(picture, Some(leaving)).chain(core::iter::once(learner));
    let (before, after) = (together(voters(picture)), together(replaced));
    let worse = || Obstacle::WorseSpread {
        learner: learner.node_id.clone(),
        zone: learner.zone.clone(),
        before,
        after,
    };
    (after > before).then(worse)
}

/// How many voters fail with a member, but for one whose vote is about to go. Of a member that says no
/// zone the worst is assumed: that it stands where the most are.
fn crowd(picture: &Picture, leaving: Option<&Member>, zone: Option<&ZoneName>) -> usize {
    let (counts, _) = by_zone(staying(picture, leaving));
    match zone {
        Some(zone) => counts.get(zone).copied().unwrap_or(0),
        None => counts.into_values().max().unwrap_or(0),
    }
}

/// The learner that gets a vote, in the place of a voter or beside all.
fn ready_learner(
    rules: &Rules,
    picture: &Picture,
    leaving: Option<&Member>,
) -> Result<u64, Obstacle> {
    let learners = picture.members.iter().filter(|member| !member.votes);
    let worse = |learner| leaving.and_then(|leaving| worse_spread(picture, leaving, learner));
    let nearest = learners.filter(|learner| learner.failed_for.is_none()).min_by_key(|learner| {
        // One that may be waited for goes before one that may not be taken; who is ready before who
        // stands apart, and that before who lacks less.
        let crowd = crowd(picture, leaving, learner.zone.as_ref());
        let behind = learner.behind.unwrap_or(u64::MAX);
        (worse(learner).is_some(), !learner.is_ready(rules), crowd, behind, learner.raft_id)
    });
    let Some(nearest) = nearest else {
        return Err(Obstacle::NoLearner);
    };
    match worse(nearest) {
        Some(obstacle) => Err(obstacle),
        None if nearest.is_ready(rules) => Ok(nearest.raft_id),
        None => Err(Obstacle::LearnerBehind {
            learner: nearest.node_id.clone(),
            behind: nearest.behind,
            warm_for: nearest.warm_for,
            needed: rules.warm_for,
        }),
    }
}

/// A learner gets a vote while there are too few voters, and all voters live.
fn grow(rules: &Rules, picture: &Picture) -> Decision {
    let all_well = voters(picture).all(|voter| voter.is_well(rules));
    if voters(picture).count() >= picture.voters_wanted || !all_well {
        return Decision::Rest;
    }
    match ready_learner(rules, picture, None) {
        Ok(learner) => Decision::Promote { learner },
        Err(_nobody_ready) => Decision::Rest,
    }
}
