use proptest::prelude::*;

use super::*;

fn node(raft_id: u64) -> NodeId {
    format!("n{raft_id}").parse().expect("a name")
}

fn zone(name: &str) -> ZoneName {
    name.parse().expect("a name")
}

fn member(raft_id: u64, votes: bool) -> Member {
    Member {
        raft_id,
        node_id: node(raft_id),
        zone: None,
        votes,
        failed_for: None,
        silent_for: Span(0),
        behind: Some(0),
        warm_for: Span::seconds(3_600),
    }
}

/// Three voters, of which the third is dead for long, and a warm learner.
fn due() -> Picture {
    let dead = Member {
        failed_for: Some(Span::seconds(61)),
        silent_for: Span::seconds(70),
        behind: Some(50_000),
        warm_for: Span(0),
        ..member(3, true)
    };
    Picture {
        leader: 1,
        voters_wanted: 3,
        change: Change::None,
        since_change: None,
        replaced: None,
        members: vec![member(1, true), member(2, true), dead, member(4, false)],
    }
}

fn obstacle(picture: &Picture) -> &'static str {
    match decide(&Rules::default(), picture) {
        Decision::Wait { dead, obstacle } => {
            assert_eq!(dead, node(3));
            assert!(!obstacle.to_string().is_empty());
            obstacle.word()
        }
        other => panic!("it must wait: {other:?}"),
    }
}

#[test]
fn a_dead_voter_is_replaced_when_nothing_stands_in_the_way() {
    assert_eq!(decide(&Rules::default(), &due()), Decision::Replace { dead: 3, by: 4 });
}

#[test]
fn every_precondition_alone_holds_it_back() {
    let with = |change: &dyn Fn(&mut Picture)| {
        let mut picture = due();
        change(&mut picture);
        picture
    };
    let off = Rules { silence: None, ..Rules::default() };
    let decision = decide(&off, &due());
    assert_eq!(decision, Decision::Wait { dead: node(3), obstacle: Obstacle::Off });
    let just = Span(59_999);
    assert_eq!(obstacle(&with(&|it| it.members[2].failed_for = Some(just))), "just_failed");
    assert_eq!(obstacle(&with(&|it| it.members[2].silent_for = just)), "just_heard");
    assert_eq!(obstacle(&with(&|it| it.change = Change::UnderWay)), "under_way");
    assert_eq!(obstacle(&with(&|it| it.members[1].silent_for = Span(1_000))), "no_majority");
    assert_eq!(obstacle(&with(&|it| it.members[1].behind = Some(1_000))), "no_majority");
    assert_eq!(obstacle(&with(&|it| it.since_change = Some(Span(299_999)))), "just_changed");
    assert_eq!(obstacle(&with(&|it| it.replaced = Some((9, Span(3_599_999))))), "just_replaced");
    assert_eq!(obstacle(&with(&|it| drop(it.members.pop()))), "no_learner");
    assert_eq!(obstacle(&with(&|it| it.members[3].failed_for = Some(Span(0)))), "no_learner");
    assert_eq!(obstacle(&with(&|it| it.members[3].behind = Some(1_000))), "learner_behind");
    assert_eq!(obstacle(&with(&|it| it.members[3].behind = None)), "learner_behind");
    assert_eq!(obstacle(&with(&|it| it.members[3].warm_for = Span(9_999))), "learner_behind");
    assert_eq!(obstacle(&with(&|it| it.members[3].silent_for = Span(1_000))), "learner_behind");
}

#[test]
fn what_was_begun_for_a_voter_may_be_tried_for_it_again() {
    let begun = Picture { replaced: Some((3, Span::seconds(301))), ..due() };
    let decision = decide(&Rules::default(), &begun);
    assert_eq!(decision, Decision::Replace { dead: 3, by: 4 });
}

#[test]
fn a_change_left_halfway_is_finished_first() {
    let halfway = Picture { change: Change::Halfway, ..due() };
    assert_eq!(decide(&Rules::default(), &halfway), Decision::Finish);
}

#[test]
fn a_learner_gets_a_vote_while_there_are_too_few() {
    let mut picture = due();
    picture.members.remove(2);
    assert_eq!(decide(&Rules::default(), &picture), Decision::Promote { learner: 4 });
    let enough = Picture { voters_wanted: 1, ..picture.clone() };
    assert_eq!(decide(&Rules::default(), &enough), Decision::Rest);
    let busy = Picture { change: Change::UnderWay, ..picture.clone() };
    assert_eq!(decide(&Rules::default(), &busy), Decision::Rest);
    picture.members[1].silent_for = Span::seconds(5);
    assert_eq!(decide(&Rules::default(), &picture), Decision::Rest, "a voter is not well");
}

/// The members of [`due`] in zones, `-` for none, and learners 4, 5, ... as many as there are words.
/// Answers what is decided.
fn decided(zones: &str, adjust: impl Fn(&mut [Member])) -> Decision {
    let mut picture = due();
    picture.members.pop();
    let words = zones.split(' ').zip(1_u64..);
    for (word, raft_id) in words {
        if raft_id > 3 {
            picture.members.push(member(raft_id, false));
        }
        let at = usize::try_from(raft_id - 1).expect("few");
        picture.members[at].zone = (word != "-").then(|| zone(word));
    }
    adjust(&mut picture.members[3..]);
    decide(&Rules::default(), &picture)
}

/// Who takes the dead voter's place among the members of [`decided`].
fn chosen(zones: &str, adjust: impl Fn(&mut [Member])) -> u64 {
    match decided(zones, adjust) {
        Decision::Replace { dead: 3, by } => by,
        other => panic!("one must take its place: {other:?}"),
    }
}

#[test]
fn of_ready_learners_the_one_whose_zone_holds_the_fewest_voters_goes_first() {
    let nearest_first = |learners: &mut [Member]| learners[0].behind = Some(0);
    let other_first = |learners: &mut [Member]| {
        learners[0].behind = Some(9);
        learners[1].behind = Some(3);
    };
    for (zones, by) in [
        // As ever without zones: who lacks less, then the lower id.
        ("- - - - -", 4),
        ("a b c b c", 5),
        ("a b c d c", 4),
        // The place of the dead one is free, and counts no more.
        ("a b a b a", 4),
        ("a a b a b", 5),
        ("a b b a b", 4),
        ("a a c a b", 5),
        // Nobody says where the voters are: all are alike.
        ("- - - a b", 4),
        // Who says nothing may stand where the most are.
        ("a a b - b", 5),
        ("a - b - c", 5),
    ] {
        assert_eq!(chosen(zones, nearest_first), by, "{zones}");
    }
    // The zone goes before the lag of those that are ready.
    assert_eq!(chosen("- - - - -", other_first), 5);
    assert_eq!(chosen("a b c c d", nearest_first), 4);
    assert_eq!(chosen("a b c c d", other_first), 5, "both zones hold none");
    assert_eq!(chosen("a a b b a", other_first), 4);
    // And who is ready before the zone.
    assert_eq!(chosen("a b b c a", |learners| learners[0].warm_for = Span(0)), 5);
    assert_eq!(chosen("a b b c a", |learners| learners[0].failed_for = Some(Span(0))), 5);
}

#[test]
fn no_replacement_lets_more_voters_fail_together_than_before() {
    let nothing = |_: &mut [Member]| {};
    // A learner that may be taken, one at a time: the fullest zone holds no more than it did.
    for zones in ["a b c c", "a b c d", "a a b b", "a b b a", "a a a a", "- - - -", "- - - a"] {
        assert_eq!(chosen(zones, nothing), 4, "{zones}");
    }
    // The dead one said none, and may have stood in the fullest zone as well.
    for zones in ["a b - a", "a b - -", "a - - -", "- - b a", "- - b c", "a a b c"] {
        assert_eq!(chosen(zones, nothing), 4, "{zones}");
    }
    for (zones, before, after) in [
        ("a b c a", 1, 2),
        ("a b c -", 1, 2),
        ("a a b a", 2, 3),
        ("a a b -", 2, 3),
        ("a - b a", 2, 3),
        ("a - b -", 2, 3),
        // The best of them is named.
        ("a a b a -", 2, 3),
    ] {
        let learner_zone = zones.split(' ').nth(3).filter(|word| *word != "-").map(zone);
        let obstacle =
            Obstacle::WorseSpread { learner: node(4), zone: learner_zone.clone(), before, after };
        let told = obstacle.to_string();
        assert!(told.contains(&format!("{after} voters")) && told.contains("n4"), "{told}");
        assert!(learner_zone.is_none_or(|it| told.contains(&format!("zone {it}"))), "{told}");
        assert_eq!(obstacle.word(), "worse_spread");
        let waits = Decision::Wait { dead: node(3), obstacle };
        assert_eq!(decided(zones, nothing), waits, "{zones}");
    }
    // One that may be taken and is not ready yet is waited for.
    match decided("a b c a c", |learners| learners[1].warm_for = Span(0)) {
        Decision::Wait { obstacle: Obstacle::LearnerBehind { learner, .. }, .. } => {
            assert_eq!(learner, node(5));
        }
        other => panic!("it must wait for the learner in the free zone: {other:?}"),
    }
}

#[test]
fn growth_takes_a_learner_of_any_zone() {
    let mut picture = due();
    picture.members.remove(2);
    for member in &mut picture.members {
        member.zone = Some(zone("a"));
    }
    assert_eq!(decide(&Rules::default(), &picture), Decision::Promote { learner: 4 });
}

#[test]
fn growth_spreads_over_zones_too() {
    let mut picture = due();
    picture.voters_wanted = 5;
    picture.members = (1..=5).map(|raft_id| member(raft_id, raft_id <= 3)).collect();
    for (member, name) in picture.members.iter_mut().zip(["a", "b", "c", "b", "d"]) {
        member.zone = Some(zone(name));
    }
    assert_eq!(decide(&Rules::default(), &picture), Decision::Promote { learner: 5 });
    picture.members[4].zone = Some(zone("a"));
    assert_eq!(decide(&Rules::default(), &picture), Decision::Promote { learner: 4 });
}

/// How many of the others vote in the zone of a learner, or in the fullest one when it says none.
fn neighbours(picture: &Picture, learner: u64, dead: Option<u64>) -> usize {
    let others = picture.members.iter().filter(|it| it.votes && Some(it.raft_id) != dead);
    let zones: Vec<_> = others.filter_map(|it| it.zone.as_ref()).collect();
    let count = |zone: &ZoneName| zones.iter().filter(|other| **other == zone).count();
    let learner = picture.members.iter().find(|it| it.raft_id == learner).expect("a member");
    match &learner.zone {
        Some(zone) => count(zone),
        None => zones.iter().map(|zone| count(zone)).max().unwrap_or(0),
    }
}

/// The most voters that could fail together with one, if those that say no zone are in its zone.
fn at_once(voters: &[&Member]) -> usize {
    let with = |one: &Member| {
        voters.iter().filter(|other| other.zone.is_none() || other.zone == one.zone).count()
    };
    voters.iter().map(|one| with(one)).max().unwrap_or(0)
}

fn span(around: u64) -> impl Strategy<Value = Span> {
    prop_oneof![Just(0), Just(around - 1), Just(around), 0..around * 3].prop_map(Span)
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let behind = prop_oneof![Just(None), Just(Some(0)), Just(Some(999)), Just(Some(1_000))];
    let failed = prop_oneof![2 => Just(None), 1 => span(60_000).prop_map(Some)];
    let silent = prop_oneof![2 => Just(Span(0)), 1 => span(1_000), 1 => span(60_000)];
    let zones = (0..3_usize).prop_map(|at| Some(zone(["east", "west", "south"][at])));
    let zone = prop_oneof![1 => Just(None), 3 => zones];
    let one = (proptest::bool::weighted(0.7), failed, silent, behind, span(10_000), zone);
    proptest::collection::vec(one, 1..8).prop_map(|drawn| {
        let numbered = (1_u64..).zip(drawn);
        let member = |(raft_id, (votes, failed_for, silent_for, behind, warm_for, zone))| Member {
            raft_id,
            node_id: node(raft_id),
            zone,
            votes,
            failed_for,
            silent_for,
            behind,
            warm_for,
        };
        numbered.map(member).collect()
    })
}

fn picture() -> impl Strategy<Value = Picture> {
    let change = prop_oneof![8 => Just(Change::None), 1 => Just(Change::UnderWay), 1 => Just(Change::Halfway)];
    let replaced = proptest::option::of((1..8_u64, span(3_600_000)));
    let since_change = proptest::option::of(span(300_000));
    (members(), 1..6_usize, change, since_change, replaced).prop_map(
        |(mut members, voters_wanted, change, since_change, replaced)| {
            members[0] = member(1, true);
            Picture { leader: 1, voters_wanted, change, since_change, replaced, members }
        },
    )
}

/// The preconditions once more, as they stand in the operators' page, all at once and in no order.
fn may_replace(picture: &Picture, dead: u64, by: u64) -> bool {
    let of = |raft_id| picture.members.iter().find(|member| member.raft_id == raft_id);
    let (Some(dead), Some(by)) = (of(dead), of(by)) else { return false };
    let is_well = |member: &Member| {
        member.silent_for.0 < 1_000 && member.behind < Some(1_000) && member.behind.is_some()
    };
    let voters: Vec<_> = picture.members.iter().filter(|member| member.votes).collect();
    let well = voters.iter().filter(|voter| voter.raft_id != dead.raft_id && is_well(voter));
    let hourly = picture
        .replaced
        .is_none_or(|(retired, since)| retired == dead.raft_id || since.0 >= 3_600_000);
    let mut afterwards: Vec<_> = voters.iter().copied().filter(|it| *it != dead).collect();
    afterwards.push(by);
    at_once(&afterwards) <= at_once(&voters)
        && dead.votes
        && dead.raft_id != picture.leader
        && dead.failed_for.is_some_and(|failed| failed.0 >= 60_000)
        && dead.silent_for.0 >= 60_000
        && picture.change == Change::None
        && voters.len() >= 3
        && well.count() > voters.len() / 2
        && picture.since_change.is_none_or(|since| since.0 >= 300_000)
        && hourly
        && !by.votes
        && by.failed_for.is_none()
        && is_well(by)
        && by.warm_for.0 >= 10_000
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nobody_is_replaced_unless_all_preconditions_hold(picture in picture()) {
        let ids = || picture.members.iter().map(|member| member.raft_id);
        match decide(&Rules::default(), &picture) {
            Decision::Replace { dead, by } => {
                prop_assert!(may_replace(&picture, dead, by), "{picture:?}");
                let least = ids().filter(|by| may_replace(&picture, dead, *by));
                let least = least.map(|by| neighbours(&picture, by, Some(dead))).min();
                prop_assert_eq!(Some(neighbours(&picture, by, Some(dead))), least, "{:?}", &picture);
            }
            Decision::Promote { learner } => {
                let voters = picture.members.iter().filter(|member| member.votes).count();
                prop_assert!(voters < picture.voters_wanted);
                prop_assert!(picture.members.iter().any(|it| it.raft_id == learner && !it.votes));
            }
            Decision::Wait { dead, .. } => {
                // The one that was silent for the longest goes first; the others wait for their turn.
                let dead = picture.members.iter().find(|it| it.node_id == dead).expect("a member");
                prop_assert!(!ids().any(|by| may_replace(&picture, dead.raft_id, by)));
            }
            Decision::Rest => {
                prop_assert!(!ids().any(|dead| ids().any(|by| may_replace(&picture, dead, by))));
            }
            Decision::Finish => prop_assert_eq!(picture.change, Change::Halfway),
        }
    }
}

/// Steps of 20 s for a day.
fn day(seed: u64) -> Result<u32, String> {
    use rand::{RngExt as _, SeedableRng as _};
    let mut chance = rand::rngs::StdRng::seed_from_u64(seed);
    let rules = Rules::default();
    let mut watch = Watch::default();
    let mut votes: Vec<(u64, bool)> = (1..=5).map(|id| (id, id <= 3)).collect();
    let mut alive_since = std::collections::BTreeMap::from_iter((1..=5).map(|id| (id, Some(0))));
    let (mut changed, mut replaced, mut count) = (None, None, 0);
    for at in (0..86_400_000_u64).step_by(20_000) {
        let turn = chance.random_range(2..=5_u64);
        if chance.random_bool(0.01) {
            let state = alive_since.get_mut(&turn).expect("known");
            *state = if state.is_some() { None } else { Some(at) };
        }
        let looks = votes.iter().map(|&(raft_id, votes)| {
            let lives = alive_since[&raft_id].is_some();
            let behind = if lives { Some(0) } else { Some(5_000) };
            // A dead one was heard at the step before it died; the watch counts from there.
            let silent_for = lives.then_some(Span(0));
            Look { raft_id, node_id: node(raft_id), zone: None, votes, lives, silent_for, behind }
        });
        let members = watch.look(&rules, Span(at), looks.collect());
        let since = |then: Option<u64>| then.map(|then| Span(at - then));
        let picture = Picture {
            leader: 1,
            voters_wanted: 3,
            change: Change::None,
            since_change: since(changed),
            replaced: replaced.map(|(id, then)| (id, Span(at - then))),
            members,
        };
        if let Decision::Replace { dead, by } = decide(&rules, &picture) {
            if alive_since[&dead].is_some() {
                return Err(format!("n{dead} lives at {at}"));
            }
            if replaced.is_some_and(|(_, then)| at - then < 3_600_000) {
                return Err(format!("two in an hour at {at}"));
            }
            for entry in &mut votes {
                entry.1 = if entry.0 == dead { false } else { entry.1 || entry.0 == by };
            }
            (changed, replaced) = (Some(at), Some((dead, at)));
            count += 1;
        }
        let voters = votes.iter().filter(|(_, votes)| *votes).count();
        if voters != 3 {
            return Err(format!("{voters} voters at {at}"));
        }
    }
    Ok(count)
}

/// A cluster whose agents come and go at random: replacements keep their distance, the number of
/// voters never falls, and nobody who lives is given up.
#[test]
fn a_day_of_failures_costs_at_most_one_voter_an_hour() {
    let mut replaced = 0;
    for seed in 0..64 {
        replaced += day(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    assert!(replaced > 64, "voters are replaced indeed: {replaced}");
}

#[test]
fn the_watch_counts_from_the_first_look_and_starts_over_when_a_state_ends() {
    let mut watch = Watch::default();
    let look = |lives, behind| {
        let (raft_id, silent_for) = (3, None);
        vec![Look { raft_id, node_id: node(3), zone: None, votes: true, lives, silent_for, behind }]
    };
    let mut at = |seconds, lives, behind| {
        let rules = Rules::default();
        watch.look(&rules, Span::seconds(seconds), look(lives, behind)).remove(0)
    };
    assert_eq!(at(10, true, Some(5)).warm_for, Span(0));
    assert_eq!(at(14, true, Some(999)).warm_for, Span::seconds(4));
    assert_eq!(at(15, true, Some(1_000)).warm_for, Span(0));
    assert_eq!(at(20, false, None).failed_for, Some(Span(0)));
    let later = at(90, false, None);
    assert_eq!(later.failed_for, Some(Span::seconds(70)));
    assert_eq!(later.silent_for, Span::seconds(80), "since the leader began to look");
    assert_eq!(at(91, true, None).failed_for, None);
    assert_eq!(at(95, false, None).failed_for, Some(Span(0)), "it came back in between");
}

#[test]
fn a_voter_can_be_spared_when_a_majority_of_the_others_is_well() {
    let rules = Rules::default();
    let well = (Some(Span(50)), Some(0));
    let silent = (Some(rules.contact), Some(0));
    let behind = (Some(Span(50)), Some(rules.warm_entries));
    let unknown = (None, None);
    assert_eq!(spare(&rules, [well].into_iter()), Ok(()));
    assert_eq!(spare(&rules, [well, well].into_iter()), Ok(()));
    for ill in [silent, behind, unknown] {
        let refused = spare(&rules, [well, ill].into_iter());
        assert_eq!(refused, Err(Obstacle::NoMajority { well: 1, majority: 2 }));
        assert_eq!(spare(&rules, [well, well, well, ill].into_iter()), Ok(()));
        let refused = spare(&rules, [well, well, ill, ill].into_iter());
        assert_eq!(refused, Err(Obstacle::NoMajority { well: 2, majority: 3 }));
    }
}
