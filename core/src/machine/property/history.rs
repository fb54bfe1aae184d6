//! Random histories.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::id::{NodeId, RunId};
use crate::machine::tests::task;
use crate::queue::command::Claim;
use crate::queue::item::NewItem;
use crate::time::Span;

/// A step of a history, before it is known what the steps before it granted.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Enqueue(Vec<NewItem>),
    Claim(Claim),
    /// Picks one of the claims granted so far, stale ones included.
    Start(usize),
    Heartbeat {
        node: usize,
        picks: Vec<usize>,
        lease: u64,
    },
    Complete {
        pick: usize,
        brings: Brings,
    },
    Fail {
        pick: usize,
        retry: bool,
    },
    /// Presents the token of one claim for the item of another.
    WrongToken(usize, usize),
    Cancel(u64),
    Lock {
        name: usize,
        owner: usize,
        ttl: u64,
    },
    Release {
        name: usize,
        pick: usize,
    },
    Submit {
        run: usize,
        job: bool,
    },
    Advance {
        run: usize,
        stale: bool,
        parts: Vec<(u16, u32, u16)>,
        handle: bool,
        close: Option<u16>,
        end: bool,
    },
    CancelRun(usize),
    Tick,
    /// A command from before once more: a retry after a lost reply.
    Again(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Brings {
    Text,
    Pair,
    Unscored,
}

fn request() -> impl Strategy<Value = NewItem> {
    let key = prop_oneof![3 => Just(None), 2 => (0..6_u8).prop_map(|k| Some(format!("key-{k}")))];
    let priority = prop_oneof![10 => prop_oneof![Just(0), Just(50), Just(100)], 1 => Just(101)];
    let attempts = prop_oneof![20 => 1..4_u32, 1 => Just(0)];
    let timeout = prop_oneof![Just(2_000), Just(30_000)];
    let delay = prop_oneof![3 => Just(0), 1 => Just(3_000)];
    (key, priority, attempts, timeout, delay, 0..2_usize, 0..4_u8).prop_map(
        |(key, priority, attempts_max, timeout, delay, kind, needs)| {
            let mut item = task(["selfplay", "training"][kind]);
            if needs & 1 == 1 {
                item.needs.capabilities.insert("gpu".into());
            }
            if needs & 2 == 2 {
                item.needs.labels.insert("zone".into(), "a".into());
            }
            let (attempt_timeout, delay) = (Span(timeout), Span(delay));
            NewItem { key, priority, attempts_max, attempt_timeout, delay, ..item }
        },
    )
}

fn claim() -> impl Strategy<Value = Claim> {
    let limit = prop_oneof![20 => 1..5_u32, 1 => Just(0)];
    let lease = prop_oneof![10 => Just(1_000_u64), 10 => Just(5_000), 1 => Just(10)];
    (0..3_usize, any::<bool>(), any::<bool>(), 0..4_u8, limit, lease).prop_map(
        |(node, gpu, zone, types, limit, lease)| Claim {
            node: node_id(node),
            capabilities: gpu.then(|| "gpu".to_string()).into_iter().collect(),
            labels: zone.then(|| ("zone".to_string(), "a".to_string())).into_iter().collect(),
            work_types: match types {
                0 => BTreeSet::from(["selfplay".to_string()]),
                1 => BTreeSet::from(["pair".to_string(), "process".to_string()]),
                _ => BTreeSet::new(),
            },
            limit,
            lease: Span(lease),
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let pick = 0..64_usize;
    let brings =
        prop_oneof![1 => Just(Brings::Text), 3 => Just(Brings::Pair), 1 => Just(Brings::Unscored)];
    let parts = vec((0..2_u16, 0..4_u32, 0..2_u16), 0..4);
    let close = prop_oneof![4 => Just(None), 1 => (0..3_u16).prop_map(Some)];
    prop_oneof![
        6 => vec(request(), 0..4).prop_map(Op::Enqueue),
        10 => claim().prop_map(Op::Claim),
        8 => pick.clone().prop_map(Op::Start),
        4 => (0..3_usize, vec(pick.clone(), 0..5), prop_oneof![9 => Just(4_000_u64), 1 => Just(1)])
            .prop_map(|(node, picks, lease)| Op::Heartbeat { node, picks, lease }),
        7 => (pick.clone(), brings).prop_map(|(pick, brings)| Op::Complete { pick, brings }),
        4 => (pick.clone(), any::<bool>()).prop_map(|(pick, retry)| Op::Fail { pick, retry }),
        1 => (pick.clone(), pick.clone()).prop_map(|(item, token)| Op::WrongToken(item, token)),
        1 => (0..40_u64).prop_map(Op::Cancel),
        2 => (0..2_usize, 0..3_usize, prop_oneof![Just(2_000_u64), Just(1)])
            .prop_map(|(name, owner, ttl)| Op::Lock { name, owner, ttl }),
        1 => (0..2_usize, pick.clone()).prop_map(|(name, pick)| Op::Release { name, pick }),
        2 => (0..3_usize, any::<bool>()).prop_map(|(run, job)| Op::Submit { run, job }),
        6 => (0..3_usize, prop::bool::weighted(0.2), parts, any::<bool>(), close, prop::bool::weighted(0.05))
            .prop_map(|(run, stale, parts, handle, close, end)| {
                Op::Advance { run, stale, parts, handle, close, end }
            }),
        1 => (0..3_usize).prop_map(Op::CancelRun),
        3 => Just(Op::Tick),
        4 => pick.prop_map(Op::Again),
    ]
}

/// Entries of a log: how much time passed, and what was asked.
pub(super) fn history() -> impl Strategy<Value = Vec<(u64, Vec<Op>)>> {
    let step = prop_oneof![4 => 0..300_u64, 2 => 300..2_500_u64, 1 => Just(6_000_u64)];
    vec((step, vec(op(), 0..4)), 1..60)
}

pub(super) fn node_id(number: usize) -> NodeId {
    format!("node-{number}").parse().expect("a name")
}

pub(super) fn run_id(number: usize) -> RunId {
    format!("run-{number}").parse().expect("a name")
}
