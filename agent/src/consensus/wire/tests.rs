use std::collections::{BTreeMap, BTreeSet};

use openraft::vote::RaftLeaderId as _;
use ringrift_core::queue::command::Command;
use ringrift_core::time::Moment;

use super::*;
use crate::consensus::Member;
use crate::consensus::entry::{Encoded, Proposal};
use crate::consensus::vocabulary::{Entry, LeaderId, LogId, Membership, Payload};

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(3, 77), index)
}

fn vote() -> Vote {
    Vote { leader_id: LeaderId::new(3, 77), committed: true }
}

fn membership() -> openraft::Membership<u64, Member> {
    let member = Member {
        node_id: "node-a".parse().unwrap(),
        raft_address: "127.0.0.1:4321".to_owned(),
        http_address: "127.0.0.1:8770".to_owned(),
        zone: Some("east".parse().unwrap()),
    };
    let voters = vec![BTreeSet::from([77])];
    openraft::Membership::new(voters, BTreeMap::from([(77, member)])).unwrap()
}

/// Encoding, decoding and encoding again gives the same bytes.
fn survives(request: &Request) {
    let bytes = encode(request).unwrap();
    let decoded: Request = decode(&bytes).unwrap();
    assert_eq!(encode(&decoded).unwrap(), bytes);
    assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
}

#[test]
fn an_append_with_every_kind_of_entry_survives_the_wire() {
    let proposal =
        Proposal::merge(Moment(5), [Encoded::of(&[Command::Tick]).unwrap()].iter()).unwrap();
    let payloads = [Payload::Blank, Payload::Normal(proposal), Payload::Membership(membership())];
    let entries =
        (1..).zip(payloads).map(|(index, payload)| Entry { log_id: log_id(index), payload });
    survives(&Request::Append(AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(log_id(0)),
        entries: entries.collect(),
        leader_commit: None,
    }));
}

#[test]
fn an_answer_to_an_append_says_how_full_the_disk_is() {
    for low in [None, Some(0), Some(u64::MAX)] {
        let response = AppendEntriesResponse::Success;
        let bytes = encode(&Response::Append(Appended { response, low })).unwrap();
        match decode(&bytes).unwrap() {
            Response::Append(Appended { response: AppendEntriesResponse::Success, low: told }) => {
                assert_eq!(told, low);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_vote_keeps_the_mark_of_a_leadership_transfer() {
    let mut request = VoteRequest::new(vote(), Some(log_id(9)));
    request.leadership_transfer = true;
    survives(&Request::Vote(request));
}

#[test]
fn a_question_of_a_barrier_and_its_answer_survive_the_wire() {
    survives(&Request::Follows(vote()));
    for follows in [true, false] {
        let bytes = encode(&Response::Follows(follows)).unwrap();
        assert!(matches!(decode(&bytes).unwrap(), Response::Follows(told) if told == follows));
    }
}

#[test]
fn a_snapshot_part_survives_the_wire() {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(9)),
        last_membership: Membership::new(Some(log_id(8)), membership()),
    };
    let data = Blob(vec![0, 255, 7]);
    survives(&Request::SnapshotPart(SnapshotPart {
        vote: vote(),
        meta,
        offset: 3,
        total: 6,
        data,
    }));
}

#[test]
fn cut_and_foreign_bytes_are_errors() {
    let bytes = encode(&Request::Vote(VoteRequest::new(vote(), None))).unwrap();
    for length in 0..bytes.len() {
        assert!(decode::<Request>(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(decode::<Request>(&[200; 64]).is_err());
}
