//! A history that holds, and for each rule one that breaks it and nothing else. A checker that accepts
//! one of these proves nothing.

use ringrift_core::id::{Position, Token, WorkId};

use super::{Kind, Verdict, check};
use crate::history::{Answer, Ask, Call, Grant, Hold, NewItem, Outcome, Seen, Stamp, Way};

/// Replicated time at index 0, in Unix milliseconds; each index is ten later.
const DAWN: u64 = 1_000_000;
const LEASE: u64 = 2_000;

fn time(index: u64) -> u64 {
    DAWN + 10 * index
}

fn at(index: u64) -> Position {
    Position { term: 1 + index / 1_000, index }
}

fn token(index: u64) -> Token {
    Token { mode_epoch: 0, term: at(index).term, index, n: 0 }
}

fn hold(item: u64, index: u64) -> Hold {
    Hold { item: WorkId(item), token: token(index) }
}

fn new(name: &str) -> NewItem {
    NewItem { name: name.to_owned(), key: None, delay_ms: 0, attempts_max: 3 }
}

fn done(ask: Ask, index: u64, answer: Answer) -> Call {
    Call {
        client: 0,
        stamp: None,
        way: Way::Stream,
        // Asked for and answered around the time of its entry.
        sent: index * 100 - 50,
        answered: index * 100 + 10,
        ask,
        outcome: Outcome::Done(at(index), answer),
    }
}

fn refused(ask: Ask, index: u64) -> Call {
    let outcome = Outcome::Refused(at(index), "FENCED".to_owned());
    Call { outcome, ..done(ask, index, Answer::Started) }
}

fn unknown(ask: Ask, index: u64) -> Call {
    let outcome = Outcome::Unknown("late".to_owned());
    Call { outcome, ..done(ask, index, Answer::Started) }
}

fn declined(ask: Ask, index: u64) -> Call {
    let outcome = Outcome::Declined("no room".to_owned());
    Call { outcome, ..done(ask, index, Answer::Started) }
}

fn add(index: u64, id: u64, name: &str) -> Call {
    done(Ask::Add(vec![new(name)]), index, Answer::Added(vec![(WorkId(id), true)]))
}

fn claim(index: u64, id: u64, name: &str, attempts: u32) -> Call {
    let grant = Grant {
        hold: hold(id, index),
        name: name.to_owned(),
        attempts,
        attempts_max: 3,
        deadline_ms: time(index) + LEASE,
    };
    done(Ask::Claim { lease_ms: LEASE, wait_ms: 0 }, index, Answer::Claimed(vec![grant]))
}

fn empty(index: u64) -> Call {
    done(Ask::Claim { lease_ms: LEASE, wait_ms: 0 }, index, Answer::Claimed(Vec::new()))
}

fn start(index: u64, hold: Hold) -> Call {
    done(Ask::Start(hold), index, Answer::Started)
}

fn completion(hold: Hold) -> Ask {
    Ask::Complete { hold, result: hold.token.to_string(), then: Vec::new() }
}

fn complete(index: u64, hold: Hold) -> Call {
    done(completion(hold), index, Answer::Completed(Vec::new()))
}

fn beat(index: u64, hold: Hold, renewed: bool) -> Call {
    done(Ask::Heartbeat { hold, lease_ms: LEASE }, index, Answer::Renewed(renewed))
}

fn fail(index: u64, hold: Hold, retry_at: Option<u64>) -> Call {
    done(Ask::Fail { hold, retry: true }, index, Answer::Failed(retry_at))
}

fn release(index: u64, hold: Hold) -> Call {
    done(Ask::Release(hold), index, Answer::Released)
}

fn look(index: u64, id: u64, status: Option<&str>, result: Option<&str>) -> Call {
    let seen = Seen { status: status.map(str::to_owned), result: result.map(str::to_owned) };
    done(Ask::Look(WorkId(id)), index, Answer::Seen(seen))
}

fn lock(index: u64, owner: &str) -> Call {
    let (name, owner) = ("l".to_owned(), owner.to_owned());
    let answer = Answer::Locked { token: token(index), expires_ms: time(index) + LEASE };
    done(Ask::Lock { name, owner, ttl_ms: LEASE }, index, answer)
}

fn unlock(index: u64, taken: u64) -> Call {
    let ask = Ask::Unlock { name: "l".to_owned(), token: token(taken) };
    done(ask, index, Answer::Unlocked)
}

fn stamped(call: Call, seq: u64) -> Call {
    Call { stamp: Some(Stamp { session: 1, seq }), ..call }
}

fn kinds(verdict: &Verdict) -> Vec<Kind> {
    verdict.findings.iter().map(|finding| finding.kind).collect()
}

#[track_caller]
fn holds(history: &[Call]) {
    let verdict = check(history);
    assert!(verdict.holds(), "{:#?}", verdict.findings);
}

#[track_caller]
fn breaks(history: &[Call], kind: Kind, text: &str) {
    let verdict = check(history);
    let found = verdict.findings.iter().any(|it| it.kind == kind && it.text.contains(text));
    assert!(found, "no {kind:?} with {text:?} in {:#?}", verdict.findings);
}

/// One item from its add to its completion.
fn life() -> Vec<Call> {
    vec![
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        start(30, hold(1, 20)),
        beat(40, hold(1, 20), true),
        complete(50, hold(1, 20)),
        look(60, 1, Some("completed"), Some(&token(20).to_string())),
    ]
}

#[test]
fn a_history_of_one_queue_holds() {
    let mut history = life();
    history.extend([
        // Its lease ends, its late holder is refused, and somebody else completes it.
        add(100, 2, "b"),
        claim(110, 2, "b", 0),
        start(111, hold(2, 110)),
        claim(311, 2, "b", 1),
        refused(completion(hold(2, 110)), 312),
        beat(313, hold(2, 110), false),
        complete(320, hold(2, 311)),
        // A repeat of a completion is accepted for ever.
        complete(321, hold(2, 311)),
        // It fails, waits, and is completed, though nobody knows.
        add(400, 3, "c"),
        claim(410, 3, "c", 0),
        start(411, hold(3, 410)),
        fail(412, hold(3, 410), Some(time(500))),
        empty(450),
        claim(505, 3, "c", 1),
        unknown(completion(hold(3, 505)), 506),
        refused(Ask::Start(hold(3, 505)), 507),
        look(600, 3, Some("completed"), Some(&token(505).to_string())),
        lock(700, "x"),
        unlock(710, 700),
        lock(720, "y"),
        lock(921, "x"),
    ]);
    let verdict = check(&history);
    assert!(verdict.holds(), "{:#?}", verdict.findings);
    assert_eq!((verdict.seen.items, verdict.seen.completed, verdict.seen.fenced), (3, 2, 3));
    assert_eq!((verdict.seen.locks, verdict.seen.empty, verdict.seen.unknown), (3, 1, 1));
}

#[test]
fn an_item_that_vanishes_is_found() {
    breaks(&[add(10, 1, "a")], Kind::Lost, "nobody knows of its end");
    breaks(&[add(10, 1, "a"), look(20, 1, None, None)], Kind::Lost, "is not there");
    breaks(&[add(10, 1, "a"), look(20, 1, Some("pending"), None)], Kind::Lost, "its end");
    let mut gone = life();
    gone.pop();
    gone.push(look(60, 1, Some("pending"), None));
    breaks(&gone, Kind::Lost, "was completed");
    let dead = [add(10, 1, "a"), look(20, 1, Some("failed"), None)];
    breaks(&dead, Kind::Lost, "dead after 0 of 3 attempts");
    let cancelled = [add(10, 1, "a"), look(20, 1, Some("cancelled"), None)];
    breaks(&cancelled, Kind::Order, "nobody asked for it");
}

#[test]
fn an_add_that_was_refused_for_want_of_room_is_not_carried_out() {
    let refused = declined(Ask::Add(vec![new("b")]), 70);
    let there = |add: Call| {
        let ends = [claim(80, 2, "b", 0), complete(90, hold(2, 80))];
        life().into_iter().chain([add]).chain(ends).collect::<Vec<_>>()
    };
    breaks(&there(refused.clone()), Kind::Order, "every add of it was refused");
    holds(&there(unknown(Ask::Add(vec![new("b")]), 70)));
    // The client's library sends these again by itself: an earlier try may have had the effect.
    holds(&there(stamped(refused.clone(), 1)));
    let keyed = NewItem { key: Some("k".to_owned()), ..new("b") };
    holds(&there(declined(Ask::Add(vec![keyed]), 70)));
    let mut again = there(refused);
    again.push(unknown(Ask::Add(vec![new("b")]), 71));
    holds(&again);
    let verdict = check(&[declined(Ask::Add(vec![new("b")]), 70)]);
    let seen = verdict.seen;
    assert_eq!((seen.declined, seen.unknown, seen.answered), (1, 0, 0));
}

#[test]
fn an_add_that_is_carried_out_twice_is_found() {
    let mut twice = life();
    twice.extend([claim(70, 2, "a", 0), complete(80, hold(2, 70))]);
    breaks(&twice, Kind::Doubled, "is there twice");
    let mut again = life();
    again.push(Call {
        outcome: Outcome::Done(at(70), Answer::Added(vec![(WorkId(1), true)])),
        ..add(70, 1, "a")
    });
    breaks(&again, Kind::Doubled, "as a new item twice");
    let mut stranger = life();
    stranger.extend([claim(70, 2, "z", 0), complete(80, hold(2, 70))]);
    breaks(&stranger, Kind::Order, "nobody asked for");
}

#[test]
fn a_completion_that_counts_twice_is_found() {
    let twice = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        claim(300, 1, "a", 0),
        complete(310, hold(1, 300)),
        complete(320, hold(1, 20)),
    ];
    breaks(&twice, Kind::Doubled, "completions of w1 were accepted under");
    let again =
        [add(10, 1, "a"), claim(20, 1, "a", 0), complete(30, hold(1, 20)), claim(40, 1, "a", 1)];
    breaks(&again, Kind::Doubled, "was completed under");
}

#[test]
fn two_holders_at_a_time_are_found() {
    let two =
        [add(10, 1, "a"), claim(20, 1, "a", 0), claim(30, 1, "a", 0), complete(40, hold(1, 30))];
    breaks(&two, Kind::Doubled, "is held by two");
    // A renewal that is known of keeps the item with its holder.
    let renewed = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        claim(200, 2, "b", 0),
        beat(210, hold(1, 20), true),
        claim(230, 1, "a", 0),
        complete(240, hold(1, 230)),
    ];
    breaks(&renewed, Kind::Doubled, "w1 is held by two");
    // One whose outcome is not known gives the claim up, perhaps.
    let perhaps = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        unknown(Ask::Release(hold(1, 20)), 25),
        claim(30, 1, "a", 0),
        complete(40, hold(1, 30)),
    ];
    holds(&perhaps);
}

#[test]
fn a_stale_token_that_is_accepted_is_found() {
    let stale = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        claim(300, 1, "a", 0),
        start(310, hold(1, 20)),
        complete(320, hold(1, 300)),
    ];
    breaks(&stale, Kind::Order, "was accepted");
    let mut ended = life();
    ended.push(start(70, hold(1, 20)));
    breaks(&ended, Kind::Order, "behind it, at 70");
    let expired = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        add(300, 2, "b"),
        claim(301, 2, "b", 0),
        complete(302, hold(2, 301)),
        complete(310, hold(1, 20)),
    ];
    breaks(&expired, Kind::Order, "the lease under");
    let invented = [add(10, 1, "a"), complete(30, hold(1, 20))];
    breaks(&invented, Kind::Order, "a token of no claim");
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    // A claim of something else says how late it is.
    let refusal = [
        add(10, 1, "a"),
        add(11, 2, "b"),
        claim(20, 1, "a", 0),
        refused(Ask::Start(hold(1, 20)), 30),
        claim(40, 2, "b", 0),
        complete(50, hold(1, 20)),
        complete(51, hold(2, 40)),
    ];
    breaks(&refusal, Kind::Lost, "surely held");
}

#[test]
fn a_start_that_was_sent_again_may_have_been_in_time() {
    // Sent right behind the claim, and refused at 310: the first try may have been carried out.
    let again = |sent| Call { sent, ..refused(Ask::Start(hold(1, 20)), 310) };
    let history = |attempts, sent| {
        [
            add(10, 1, "a"),
            claim(20, 1, "a", 0),
            claim(300, 1, "a", attempts),
            again(sent),
            complete(320, hold(1, 300)),
        ]
    };
    for attempts in [0, 1] {
        holds(&history(attempts, 2_050));
    }
    breaks(&history(2, 2_050), Kind::Order, "counts 2 attempts, not 0 to 1");
    // Sent when the next claim was known to somebody: no try was in time.
    breaks(&history(1, 30_050), Kind::Order, "counts 1 attempts, not 0 to 0");
    // The same of one without an answer, and of one that was declined in the end.
    let ended_as = |start: fn(Ask, u64) -> Call, sent| {
        let mut history = history(1, sent);
        history[3] = Call { sent, ..start(Ask::Start(hold(1, 20)), 310) };
        history
    };
    for start in [unknown, declined] {
        holds(&ended_as(start, 2_050));
        breaks(&ended_as(start, 30_050), Kind::Order, "counts 1 attempts, not 0 to 0");
    }
    // Sent when the holder had been told that its claim has ended.
    let failed = |sent| {
        let mut history = history(1, sent).to_vec();
        history.insert(2, fail(30, hold(1, 20), Some(time(200))));
        history
    };
    holds(&failed(2_050));
    breaks(&failed(3_050), Kind::Order, "counts 1 attempts, not 0 to 0");
}

#[test]
fn an_item_that_lost_its_started_attempts_died_with_reason() {
    let once = NewItem { attempts_max: 1, ..new("a") };
    let mut claim = claim(20, 1, "a", 0);
    let Outcome::Done(_, Answer::Claimed(grants)) = &mut claim.outcome else { unreachable!() };
    grants[0].attempts_max = 1;
    let history = [
        done(Ask::Add(vec![once]), 10, Answer::Added(vec![(WorkId(1), true)])),
        claim,
        beat(250, hold(1, 20), false),
        Call { sent: 2_050, ..refused(Ask::Start(hold(1, 20)), 310) },
        look(320, 1, Some("failed"), None),
    ];
    holds(&history);
}

#[test]
fn an_attempt_too_many_or_too_early_is_found() {
    let wrong = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        start(21, hold(1, 20)),
        claim(300, 1, "a", 2),
        complete(310, hold(1, 300)),
    ];
    breaks(&wrong, Kind::Order, "counts 2 attempts, not 1 to 1");
    let given_back = |attempts| {
        [
            add(10, 1, "a"),
            claim(20, 1, "a", 0),
            start(21, hold(1, 20)),
            release(22, hold(1, 20)),
            claim(300, 1, "a", attempts),
            complete(310, hold(1, 300)),
        ]
    };
    holds(&given_back(0));
    breaks(&given_back(1), Kind::Order, "counts 1 attempts, not 0 to 0");
    let early = [
        add(10, 1, "a"),
        claim(20, 1, "a", 0),
        fail(30, hold(1, 20), Some(time(500))),
        claim(400, 1, "a", 0),
        complete(410, hold(1, 400)),
    ];
    breaks(&early, Kind::Order, "was to wait until");
    let delayed = NewItem { delay_ms: 900, ..new("a") };
    let early = [
        add(5, 9, "z"),
        claim(9, 9, "z", 0),
        complete(9, hold(9, 9)),
        done(Ask::Add(vec![delayed]), 10, Answer::Added(vec![(WorkId(10), true)])),
        claim(20, 10, "a", 0),
        complete(30, hold(10, 20)),
    ];
    breaks(&early, Kind::Order, "too early");
}

#[test]
fn an_order_that_cannot_be_is_found() {
    let mut late = life();
    // Asked for behind everything, answered from before.
    late.push(Call { sent: 9_000, answered: 9_100, ..start(35, hold(1, 20)) });
    breaks(&late, Kind::Order, "when index 60 had been seen");
    let mut stale = life();
    stale.push(Call { sent: 9_000, answered: 9_100, ..empty(40) });
    breaks(&stale, Kind::Order, "when index 60 had been seen");
    let mut other = life();
    let elsewhere = Position { term: 7, index: 30 };
    other.push(Call {
        outcome: Outcome::Done(elsewhere, Answer::Started),
        ..start(30, hold(1, 20))
    });
    breaks(&other, Kind::Order, "has the terms");
    let numbers = [add(10, 2, "a"), add(20, 1, "b")];
    breaks(&numbers, Kind::Order, "against their numbers");
    let back = [
        add(10, 1, "a"),
        add(11, 2, "b"),
        claim(20, 1, "a", 0),
        Call {
            outcome: Outcome::Done(
                at(30),
                Answer::Claimed(vec![Grant {
                    hold: hold(2, 30),
                    name: "b".to_owned(),
                    attempts: 0,
                    attempts_max: 3,
                    deadline_ms: time(10) + LEASE,
                }]),
            ),
            ..claim(30, 2, "b", 0)
        },
        complete(40, hold(1, 20)),
        complete(41, hold(2, 30)),
    ];
    breaks(&back, Kind::Order, "replicated time went back");
}

#[test]
fn a_claim_that_overlooks_an_item_is_found() {
    let mut overlooked = life();
    overlooked.insert(1, empty(15));
    breaks(&overlooked, Kind::Order, "found nothing");
    // Unless a claim is on its way that nobody heard of again.
    let claim = Ask::Claim { lease_ms: LEASE, wait_ms: 0 };
    overlooked.insert(1, unknown(claim, 12));
    holds(&overlooked);
}

#[test]
fn a_session_that_forgets_is_found() {
    let mut repeated = life();
    repeated[0] = stamped(add(10, 1, "a"), 1);
    repeated.push(stamped(
        done(Ask::Add(vec![new("a")]), 70, Answer::Added(vec![(WorkId(1), true)])),
        1,
    ));
    holds(&repeated);
    assert_eq!(check(&repeated).seen.repeats, 1);
    let mut forgotten = life();
    forgotten[0] = stamped(add(10, 1, "a"), 1);
    forgotten.push(stamped(add(70, 2, "a"), 1));
    breaks(&forgotten, Kind::Doubled, "when it was sent again");
}

#[test]
fn two_owners_of_a_lock_are_found() {
    breaks(&[lock(10, "x"), lock(20, "y")], Kind::Doubled, "was held under");
    holds(&[lock(10, "x"), unlock(15, 10), lock(20, "y")]);
    let twice = [lock(10, "x"), unlock(15, 10), unlock(16, 10)];
    breaks(&twice, Kind::Doubled, "released 2 times");
    let refused =
        Call { outcome: Outcome::Refused(at(15), "LOCK_NOT_HELD".to_owned()), ..unlock(15, 10) };
    breaks(&[lock(10, "x"), refused, lock(16, "z")], Kind::Lost, "refused while it held");
}

#[test]
fn findings_are_counted_by_what_they_mean() {
    let verdict = check(&[add(10, 1, "a"), add(10, 1, "a")]);
    assert_eq!(kinds(&verdict), [Kind::Doubled, Kind::Lost]);
    assert_eq!((verdict.lost, verdict.doubled, verdict.disorder), (1, 1, 0));
}
