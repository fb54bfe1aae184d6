//! Faults planted between the log and the machine: a test of the test.

use super::history::node_id;
use crate::machine::Machine;
use crate::queue::command::{Batch, Command};
use crate::queue::item::{NewItem, State};
use crate::queue::lock::Told;
use crate::queue::tenant::QueueSettings;
use crate::time::{Moment, Span};

/// Faults planted between the log and the machine: a test of the test.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bug {
    /// Any token will do.
    NoTokenCheck,
    /// Keys are not looked at.
    NoKeys,
    /// Leases end a second early.
    EagerExpiry,
    /// Time stands still.
    NoExpiry,
    /// Planner steps are accepted for any version.
    NoVersionCheck,
    /// A final failure is tried again.
    AlwaysRetry,
    /// Needs are not looked at.
    NoNeeds,
    /// A repeat is carried out again.
    NoSessions,
    /// Group-mates run at once.
    NoGroups,
    /// Nothing waits for anything.
    NoDependencies,
    /// A bad end is as good as a good one.
    AnyEndWillDo,
    /// Waiting for ever.
    NoDeadlines,
    /// Queues have no limits.
    NoLimits,
    /// All queues weigh the same.
    NoWeights,
    /// Nodes have a device more than they said.
    OversizedNodes,
    /// What follows from a completion is lost.
    LostFollowUps,
    /// An array has an item too many.
    LongArrays,
    /// Claims of a lost node stay.
    NoNodeExpiry,
    /// All priorities are the same.
    NoPriorities,
    /// Nobody is told of an end.
    NoNotices,
    /// Nobody waits for a lock.
    NoWaits,
    /// Who waits for a lock waits on when its time is over.
    EndlessWaits,
    /// Who leaves a lock's line stays in it.
    NoLeaving,
    /// A lock that nobody was told of is kept.
    KeptByNobody,
    /// Whoever was told of a lock loses it when a request of its owner goes away.
    TakenFromHolders,
}

/// What a machine with this fault would have made of the batch.
pub(super) fn planted(bug: Bug, machine: &Machine, batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    match bug {
        Bug::EagerExpiry => batch.now = batch.now.after(Span(1_000)),
        Bug::NoExpiry => batch.now = Moment(1_000_000),
        _ => {}
    }
    for command in &mut batch.commands {
        plant(bug, machine, command);
    }
    batch
}

fn plant(bug: Bug, machine: &Machine, command: &mut Command) {
    if let Command::InSession { command: inner, .. } = command {
        plant(bug, machine, inner);
        if matches!(bug, Bug::NoSessions) {
            *command = (**inner).clone();
        }
        return;
    }
    match command {
        Command::Enqueue(requests) | Command::Complete { then: requests, .. } => {
            requests.iter_mut().for_each(|request| plant_in_request(bug, request));
        }
        Command::EnqueueArray { request, .. } => plant_in_request(bug, request),
        _ => {}
    }
    match (bug, command) {
        (
            Bug::NoTokenCheck,
            Command::Start { work_id, token }
            | Command::Release { work_id, token, .. }
            | Command::Complete { work_id, token, .. }
            | Command::Fail { work_id, token, .. },
        ) => {
            if let Some(State::Claimed(lease)) = machine.item(*work_id).map(|item| &item.state) {
                *token = lease.token;
            }
        }
        (Bug::NoVersionCheck, Command::AdvanceRun { run, version, .. }) => {
            *version = machine.run(run).map_or(0, |run| run.version);
        }
        (Bug::AlwaysRetry, Command::Fail { retry, .. }) => *retry = true,
        (Bug::NoNeeds, Command::Claim(claim)) => {
            claim.capabilities.insert("gpu".into());
            claim.labels.insert("zone".into(), "a".into());
        }
        (Bug::NoLimits, Command::SetQueue { settings, .. }) => {
            let weight = settings.weight;
            *settings = QueueSettings { weight, ..QueueSettings::default() };
        }
        (Bug::NoWeights, Command::SetQueue { settings, .. }) if settings.weight > 0 => {
            settings.weight = 1;
        }
        (Bug::OversizedNodes, Command::SetCapacity { capacity: Some(capacity), .. }) => {
            capacity.gpu_devices += 1;
        }
        (Bug::LostFollowUps, Command::Complete { then, .. }) => then.clear(),
        (Bug::LongArrays, Command::EnqueueArray { count, .. }) if *count > 0 => *count += 1,
        (Bug::NoWaits, Command::LockAcquire { wait, .. }) => *wait = None,
        (Bug::EndlessWaits, Command::LockAcquire { wait: Some(wait), .. }) if wait.0 > 0 => {
            *wait = Span(300_000);
        }
        (Bug::NoLeaving, Command::LockLeave { owner, .. }) => owner.push('!'),
        (Bug::KeptByNobody, Command::LockLeave { asker, .. }) => *asker = None,
        (Bug::TakenFromHolders, Command::LockLeave { name, asker: Some(asker), .. }) => {
            if let Some(Told::Only(other)) = machine.lock(name).map(|held| held.told) {
                *asker = other;
            }
        }
        (Bug::NoNodeExpiry, Command::ExpireNode { node }) => *node = node_id(9),
        _ => {}
    }
}

fn plant_in_request(bug: Bug, request: &mut NewItem) {
    match bug {
        Bug::NoKeys => request.key = None,
        Bug::NoGroups => request.group = None,
        Bug::NoNotices => request.notify = false,
        Bug::NoDependencies => request.after = Box::default(),
        Bug::AnyEndWillDo => request.after.iter_mut().for_each(|dependency| dependency.ok = false),
        Bug::NoDeadlines => (request.pending_timeout, request.total_timeout) = (None, None),
        Bug::NoPriorities if request.priority <= 100 => request.priority = 50,
        _ => {}
    }
}
