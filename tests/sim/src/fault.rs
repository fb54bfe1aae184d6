//! What goes wrong: the network, the nodes, the clocks. And mutations, which plant a bug in the
//! product's place, to show that the checks would see it.

use clap::ValueEnum;
use ringrift_core::id::NodeId;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Batch, Command};
use ringrift_core::queue::item::State;
use ringrift_core::time::{Moment, Span};

use crate::chance::Chance;
use crate::replica::REPLICAS;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mutation {
    /// Whatever token is presented, the machine acts as for the current holder.
    NoTokenCheck,
    /// A leader applies and answers what only its own log holds.
    ApplyBeforeMajority,
    /// Replicas look at their own clocks when they apply.
    LocalClock,
    /// Idempotency keys are lost on the way.
    NoKeys,
    /// Repeats within a session are carried out again.
    NoSessions,
    /// Items of a group run side by side.
    NoGroups,
    /// Entries are acknowledged before they are on disk: a crash loses the last ones.
    LostTail,
    /// Planner steps are carried out for any version of the run.
    NoVersionCheck,
    /// Who waits for a lock is forgotten when it asks again.
    ForgetfulLine,
    /// Who waits for an entry is answered what came to its place, whoever's it is.
    ForeignAnswer,
}

impl Mutation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoTokenCheck => "no-token-check",
            Self::ApplyBeforeMajority => "apply-before-majority",
            Self::LocalClock => "local-clock",
            Self::NoKeys => "no-keys",
            Self::NoSessions => "no-sessions",
            Self::NoGroups => "no-groups",
            Self::LostTail => "lost-tail",
            Self::NoVersionCheck => "no-version-check",
            Self::ForgetfulLine => "forgetful-line",
            Self::ForeignAnswer => "foreign-answer",
        }
    }

    /// The entry as a machine with this bug would understand it.
    pub(crate) fn distort(self, machine: &Machine, batch: &Batch, clock: u64) -> Batch {
        let mut batch = batch.clone();
        if self == Self::LocalClock {
            batch.now = Moment(clock);
        }
        for command in &mut batch.commands {
            match (self, command) {
                (
                    Self::NoTokenCheck,
                    Command::Start { work_id, token }
                    | Command::Complete { work_id, token, .. }
                    | Command::Fail { work_id, token, .. },
                ) => {
                    let state = machine.item(*work_id).map(|item| &item.state);
                    if let Some(State::Claimed(lease)) = state {
                        *token = lease.token;
                    }
                }
                (Self::NoKeys, Command::Enqueue(items)) => {
                    let index = machine.applied().index;
                    for key in items.iter_mut().filter_map(|item| item.key.as_mut()) {
                        *key = format!("{key}@{index}");
                    }
                }
                (Self::NoSessions, command) => {
                    if let Command::InSession { command: inner, .. } = command {
                        *command = (**inner).clone();
                    }
                }
                (Self::NoGroups, Command::Enqueue(items)) => {
                    items.iter_mut().for_each(|item| item.group = None);
                }
                (Self::ForgetfulLine, Command::LockAcquire { name, owner, wait, .. }) => {
                    let in_line = machine
                        .lock(name)
                        .is_some_and(|lock| lock.waiters.iter().any(|it| it.owner == *owner));
                    if in_line {
                        *wait = Some(Span(1));
                    }
                }
                (Self::NoVersionCheck, Command::AdvanceRun { run, version, advance }) => {
                    *version = machine.run(run).map_or(0, |run| run.version);
                    // Keys would hide that the step was done twice.
                    for (n, item) in advance.enqueue.iter_mut().enumerate() {
                        item.key = Some(format!("run/{}/{n}", machine.applied().index));
                    }
                }
                _ => {}
            }
        }
        batch
    }
}

/// The network between replicas and clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// Messages lost, in a thousand.
    pub(crate) loss: u64,
    /// Messages delivered twice, in a thousand.
    pub(crate) duplicates: u64,
    /// Messages that take very long, in a thousand.
    pub(crate) stragglers: u64,
    /// For each pair of replicas, from and to, whether messages are cut.
    pub(crate) cut: [[bool; REPLICAS]; REPLICAS],
}

impl Network {
    /// The moments at which copies of a message arrive; none when it is lost.
    pub(crate) fn carry(&self, chance: &mut Chance, now: u64) -> Vec<u64> {
        if chance.per_mille(self.loss) {
            return Vec::new();
        }
        let copies = 1 + u64::from(chance.per_mille(self.duplicates));
        let arrival = |chance: &mut Chance| {
            let late =
                if chance.per_mille(self.stragglers) { chance.between(50, 3_000) } else { 0 };
            now + chance.between(1, 8) + late
        };
        (0..copies).map(|_| arrival(chance)).collect()
    }

    /// Cuts one replica off: fully, or only one way.
    pub(crate) fn isolate(&mut self, chance: &mut Chance, replica: usize) {
        let way = chance.below(3);
        for other in (0..REPLICAS).filter(|other| *other != replica) {
            self.cut[replica][other] |= way != 1;
            self.cut[other][replica] |= way != 2;
        }
    }

    /// Cuts all but one replica off from each other; that one sees them all.
    pub(crate) fn bridge(&mut self, bridge: usize) {
        for from in (0..REPLICAS).filter(|from| *from != bridge) {
            for to in (0..REPLICAS).filter(|to| *to != bridge) {
                self.cut[from][to] = true;
            }
        }
    }

    /// Joins everything again; losses and delays stay.
    pub(crate) fn join(&mut self) {
        self.cut = Default::default();
    }
}

/// A name that is known to be one.
pub(crate) fn node_name(number: usize) -> Result<NodeId, String> {
    format!("node-{number}").parse().map_err(|error| format!("bad name: {error}"))
}
