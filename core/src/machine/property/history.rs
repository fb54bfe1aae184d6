//! Random histories.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::id::{LockName, NodeId, QueueName, RunId, WorkId};
use crate::machine::tests::task;
use crate::queue::command::Claim;
use crate::queue::item::{Dependency, Needs, NewItem, Payload, Predecessor};
use crate::queue::resources::{Capacity, Demand, Teller};
use crate::queue::tenant::QueueSettings;
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
    /// What a completion adds.
    CompleteThen {
        pick: usize,
        then: Vec<NewItem>,
    },
    GiveBack {
        pick: usize,
        delay: u64,
    },
    Array {
        request: NewItem,
        count: u32,
    },
    CancelArray(usize),
    Redrive(u64),
    Queue {
        queue: usize,
        settings: QueueSettings,
    },
    RemoveQueue(usize),
    Node {
        node: usize,
        capacity: Option<Capacity>,
        by: Teller,
    },
    ExpireNode(usize),
    OpenSession,
    CloseSession(u64),
    /// Numbers are few, so that they come again.
    InSession {
        session: u64,
        seq: u64,
        acknowledged: u64,
        op: Box<Op>,
    },
    Lock {
        name: usize,
        owner: usize,
        ttl: u64,
        wait: Option<u64>,
        asker: u64,
    },
    Leave {
        name: usize,
        owner: usize,
        asker: Option<u64>,
    },
    Release {
        name: usize,
        pick: usize,
    },
    Submit {
        run: usize,
        queue: QueueName,
        needs: Needs,
        job: bool,
    },
    Advance {
        run: usize,
        stale: bool,
        /// Match-up, index, replay, whether it goes to the run's own queue, and whether it needs what
        /// the run says.
        parts: Vec<(u16, u32, u16, bool, bool)>,
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
    let deadline = || prop_oneof![8 => Just(None), 1 => Just(Some(Span(2_500)))];
    let group = prop_oneof![4 => Just(None), 1 => (0..2_usize).prop_map(Some)];
    let large = prop::bool::weighted(0.2);
    let lane = (queue(), group, deadline(), deadline(), prop::bool::weighted(0.3), large);
    let plain = (key, priority, attempts, timeout, delay, 0..2_usize, needs(), lane, after());
    plain.prop_map(|(key, priority, attempts_max, timeout, delay, kind, needs, lane, after)| {
        let (queue, group, pending_timeout, total_timeout, notify, large) = lane;
        NewItem {
            key,
            queue,
            priority,
            attempts_max,
            attempt_timeout: Span(timeout),
            delay: Span(delay),
            needs,
            group: group.map(|number| ["red", "blue"][number].parse().expect("a name")),
            pending_timeout,
            total_timeout,
            after: after.into(),
            notify,
            payload: Payload::Opaque(if large { " ".repeat(1_500) } else { "{}".into() }),
            ..task(["selfplay", "training"][kind])
        }
    })
}

/// The second queue may not exist.
fn queue() -> impl Strategy<Value = QueueName> {
    prop_oneof![3 => Just(0_usize), 2 => Just(1), 1 => Just(2)].prop_map(queue_name)
}

pub(super) fn queue_name(number: usize) -> QueueName {
    ["default", "team", "guests"][number].parse().expect("a name")
}

fn needs() -> impl Strategy<Value = Needs> {
    let demand = prop_oneof![
        8 => Just(Demand::default()),
        1 => Just(Demand { cpu_milli: 1_500, memory_mib: 100, ..Demand::default() }),
        2 => Just(Demand { gpu_milli: 400, ..Demand::default() }),
        1 => Just(Demand { gpu_milli: 1_000, disk_floor_mib: 50, ..Demand::default() }),
        1 => Just(Demand { gpu_milli: 2_000, ..Demand::default() }),
    ];
    (0..4_u8, demand).prop_map(|(bits, demand)| {
        let mut needs = Needs { demand, ..Needs::default() };
        if bits & 1 == 1 {
            needs.capabilities.insert("gpu".into());
        }
        if bits & 2 == 2 {
            needs.labels.insert("zone".into(), "a".into());
        }
        needs
    })
}

fn after() -> impl Strategy<Value = Vec<Dependency>> {
    let on = prop_oneof![
        3 => (1..12_u64).prop_map(|id| Predecessor::Item(WorkId(id))),
        2 => (0..3_u32).prop_map(Predecessor::Earlier),
    ];
    let one = (on, any::<bool>()).prop_map(|(on, ok)| Dependency { on, ok });
    prop_oneof![5 => Just(vec![]), 1 => vec(one, 1..3)]
}

fn settings() -> impl Strategy<Value = QueueSettings> {
    let limit = |most: u32| prop_oneof![3 => Just(None), 1 => (0..most).prop_map(Some)];
    let gpu = prop_oneof![3 => Just(None), 1 => Just(Some(900)), 1 => Just(Some(2_000))];
    (prop_oneof![9 => 1..5_u32, 1 => Just(0)], limit(4), limit(8), gpu).prop_map(
        |(weight, max_running, max_queued, max_gpu_milli)| QueueSettings {
            weight,
            max_running,
            max_queued,
            max_gpu_milli,
        },
    )
}

fn capacity() -> impl Strategy<Value = Option<Capacity>> {
    let some = (0..3_u32, 0..4_u16, 0..2_u32).prop_map(|(half, gpu_devices, disk)| Capacity {
        cpu_milli: 2_000 * half,
        memory_mib: 300,
        gpu_devices,
        disk_free_mib: 80 * disk,
    });
    prop_oneof![6 => some.prop_map(Some), 1 => Just(None)]
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
    let session = (1..3_u64, 0..4_u64, 0..3_u64, old_op());
    prop_oneof![
        12 => old_op(),
        8 => new_op(),
        2 => session.prop_map(|(session, seq, acknowledged, op)| Op::InSession {
            session,
            seq,
            acknowledged,
            op: Box::new(op),
        }),
    ]
}

fn new_op() -> impl Strategy<Value = Op> {
    let pick = 0..64_usize;
    prop_oneof![
        3 => (pick.clone(), vec(request(), 0..3))
            .prop_map(|(pick, then)| Op::CompleteThen { pick, then }),
        2 => (pick.clone(), prop_oneof![3 => Just(0), 2 => 1..3_000_u64, 1 => Just(u64::MAX)])
            .prop_map(|(pick, delay)| Op::GiveBack { pick, delay }),
        2 => (request(), prop_oneof![8 => 1..6_u32, 1 => Just(0)]).prop_map(|(request, count)| {
            // Most requests of the other kind could not be an array.
            let bare = request.attempts_max == 2;
            let request = if bare { request } else {
                NewItem {
                    group: None,
                    after: Box::default(),
                    pending_timeout: None,
                    total_timeout: None,
                    notify: false,
                    ..request
                }
            };
            Op::Array { request, count }
        }),
        1 => pick.prop_map(Op::CancelArray),
        2 => (0..40_u64).prop_map(Op::Redrive),
        2 => (0..3_usize, settings()).prop_map(|(queue, settings)| Op::Queue { queue, settings }),
        1 => (0..3_usize).prop_map(Op::RemoveQueue),
        3 => (0..3_usize, capacity(), prop_oneof![Just(Teller::Operator), Just(Teller::Agent)])
            .prop_map(|(node, capacity, by)| Op::Node { node, capacity, by }),
        1 => (0..3_usize).prop_map(Op::ExpireNode),
        1 => Just(Op::OpenSession),
        1 => (1..3_u64).prop_map(Op::CloseSession),
    ]
}

fn old_op() -> impl Strategy<Value = Op> {
    let pick = 0..64_usize;
    let brings =
        prop_oneof![1 => Just(Brings::Text), 3 => Just(Brings::Pair), 1 => Just(Brings::Unscored)];
    let own = || prop::bool::weighted(0.98);
    let parts = vec((0..2_u16, 0..4_u32, 0..2_u16, own(), own()), 0..4);
    // Most runs need nothing, so that they get on.
    let run_needs = prop_oneof![2 => Just(Needs::default()), 1 => needs()];
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
        2 => lock(),
        1 => (0..2_usize, pick.clone()).prop_map(|(name, pick)| Op::Release { name, pick }),
        3 => (0..3_usize, prop_oneof![8 => Just(0), 6 => Just(1), 1 => Just(2)], run_needs, any::<bool>())
            .prop_map(|(run, queue, needs, job)| {
                Op::Submit { run, queue: queue_name(queue), needs, job }
            }),
        6 => (0..3_usize, prop::bool::weighted(0.2), parts, any::<bool>(), close, prop::bool::weighted(0.05))
            .prop_map(|(run, stale, parts, handle, close, end)| {
                Op::Advance { run, stale, parts, handle, close, end }
            }),
        1 => (0..3_usize).prop_map(Op::CancelRun),
        3 => Just(Op::Tick),
        4 => pick.prop_map(Op::Again),
    ]
}

fn lock() -> impl Strategy<Value = Op> {
    let ttl = prop_oneof![4 => Just(2_000_u64), 2 => Just(400), 1 => Just(1)];
    let wait = prop_oneof![
        4 => Just(None),
        8 => prop_oneof![Just(1_000_u64), Just(5_000)].prop_map(Some),
        1 => Just(Some(0)),
    ];
    (0..2_usize, 0..OWNERS.len(), ttl, wait, 0..ASKERS)
        .prop_map(|(name, owner, ttl, wait, asker)| Op::Lock { name, owner, ttl, wait, asker })
}

fn leave() -> impl Strategy<Value = Op> {
    let asker = prop_oneof![1 => Just(None), 3 => (0..ASKERS).prop_map(Some)];
    (0..2_usize, 0..OWNERS.len(), asker).prop_map(|(name, owner, asker)| Op::Leave {
        name,
        owner,
        asker,
    })
}

/// Entries of a log: how much time passed, and what was asked.
pub(super) fn history() -> impl Strategy<Value = Vec<(u64, Vec<Op>)>> {
    let step = prop_oneof![
        40 => 0..300_u64,
        20 => 300..2_500_u64,
        10 => Just(6_000_u64),
        // Far enough for aging and for the end of sessions.
        1 => Just(400_000_u64),
        1 => Just(650_000_u64),
    ];
    let entries = vec((step, vec(op(), 0..4)), 1..60);
    // A second queue from the beginning, in some: runs that live in it are too rare else.
    (any::<bool>(), entries).prop_map(|(shared, mut entries)| {
        if shared {
            let settings = QueueSettings::default();
            entries.insert(0, (0, vec![Op::Queue { queue: 1, settings }]));
        }
        entries
    })
}

/// Who takes locks; the first is nobody.
pub(super) const OWNERS: [&str; 4] = ["", "me", "you", "they"];

/// Requests of an owner that are told apart.
const ASKERS: u64 = 2;

pub(super) fn lock_name(number: usize) -> LockName {
    ["first", "second"][number].parse().expect("a name")
}

/// Entries of a log in which nothing but locks is at stake: among everything else they are too rare
/// for a line to form.
pub(super) fn lock_history() -> impl Strategy<Value = Vec<(u64, Vec<Op>)>> {
    let step = prop_oneof![8 => 0..300_u64, 4 => 300..2_500_u64, 1 => Just(6_000_u64)];
    let asked = prop_oneof![
        8 => lock(),
        3 => leave(),
        4 => (0..2_usize, 0..64_usize).prop_map(|(name, pick)| Op::Release { name, pick }),
    ];
    let numbered = (1..3_u64, 0..4_u64, lock()).prop_map(|(session, seq, op)| Op::InSession {
        session,
        seq,
        acknowledged: 0,
        op: Box::new(op),
    });
    let op = prop_oneof![
        14 => asked,
        1 => numbered,
        1 => Just(Op::OpenSession),
        1 => Just(Op::Tick),
        1 => (0..64_usize).prop_map(Op::Again),
    ];
    vec((step, vec(op, 0..4)), 1..40)
}

pub(super) fn node_id(number: usize) -> NodeId {
    format!("node-{number}").parse().expect("a name")
}

pub(super) fn run_id(number: usize) -> RunId {
    format!("run-{number}").parse().expect("a name")
}
