//! Which fault comes when and for how long: drawn from a seed, so that one number brings it back.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Agents that a bridge needs: two on each side, and one between.
const BRIDGE_AGENTS: usize = 5;
/// The first fault comes when the load has begun.
const QUIET_AT_FIRST: Duration = Duration::from_secs(2);

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start when it is over.
    Kill(Who),
    /// SIGSTOP, and SIGCONT when it is over.
    Pause(Who),
    /// SIGTERM, and a start when it is over.
    Leave(Who),
    /// Some agents do not hear others; with a beat it comes and goes.
    Cut {
        /// Which.
        cut: Cut,
        /// How long it is there, and how long it is not.
        flaps: Option<Duration>,
    },
    /// Packets are lost now and then.
    Loss,
    /// Packets come twice now and then.
    Twice,
    /// Packets overtake each other.
    Overtaken,
    /// A thin pipe with a long queue.
    Slow(Who),
    /// The disk has no space left.
    Full(Who),
}

/// Whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// This agent.
    One(usize),
    /// Whoever leads at that time, or this agent when nobody does.
    Leader {
        /// The other one.
        or: usize,
    },
    /// More than half of them, counted from this one.
    Most {
        /// The first.
        from: usize,
    },
    /// Every agent.
    All,
}

/// Who does not hear whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Less than half of the agents, counted from this one, and the others.
    Split {
        /// The first.
        from: usize,
    },
    /// The leader and the others.
    Leader,
    /// The leader hears the others, they do not hear it.
    LeaderHears,
    /// The others hear the leader, it does not hear them.
    LeaderSpeaks,
    /// Two halves that see each other only through this one.
    Bridge {
        /// The one between.
        between: usize,
    },
}

impl Cut {
    /// Pairs of agents: packets from the first do not reach the second.
    pub(crate) fn pairs(&self, agents: usize, leader: usize) -> Vec<(usize, usize)> {
        let split = |apart: &[usize]| {
            let is_apart = |agent: &usize| apart.contains(agent);
            let pairs = (0..agents).flat_map(|from| (0..agents).map(move |to| (from, to)));
            pairs.filter(|(from, to)| is_apart(from) != is_apart(to)).collect::<Vec<_>>()
        };
        match self {
            Self::Split { from } => {
                let few = (agents - 1) / 2;
                split(&(0..few).map(|step| (from + step) % agents).collect::<Vec<_>>())
            }
            Self::Leader => split(&[leader]),
            Self::LeaderHears => {
                split(&[leader]).into_iter().filter(|(from, _)| *from == leader).collect()
            }
            Self::LeaderSpeaks => {
                split(&[leader]).into_iter().filter(|(_, to)| *to == leader).collect()
            }
            Self::Bridge { between } => {
                let one: Vec<_> = (1..=agents / 2).map(|step| (between + step) % agents).collect();
                let through = |(from, to): &(usize, usize)| from != between && to != between;
                split(&one).into_iter().filter(through).collect()
            }
        }
    }
}

/// Faults of one lane come one after another, those of different lanes whenever they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Whether and when agents run.
    Processes,
    /// What they hear.
    Network,
    /// What they can write.
    Disks,
}

/// A fault, when it comes after the begin, and how long it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// All faults of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) steps: Vec<Step>,
}

impl Schedule {
    /// Draws the faults of a run of `length`.
    pub(crate) fn draw(seed: u64, agents: usize, length: Duration) -> Self {
        let mut steps = Vec::new();
        for (number, lane) in [Lane::Processes, Lane::Network, Lane::Disks].into_iter().enumerate()
        {
            // Of its own, so that a fault more in one lane changes nothing in the others.
            let lane_seed = seed.wrapping_mul(3).wrapping_add(number as u64);
            let mut random = StdRng::seed_from_u64(lane_seed);
            let mut at = QUIET_AT_FIRST + between(&mut random, lane.pause());
            while at < length {
                let (fault, lasts) = lane.fault(&mut random, agents);
                // Mended in time: behind the end everything must be well.
                let lasts = between(&mut random, lasts).min(length.saturating_sub(at));
                steps.push(Step { at, lasts, fault });
                at += lasts + between(&mut random, lane.pause());
            }
        }
        steps.sort_by_key(|step| step.at);
        Self { steps }
    }
}

/// A range of milliseconds.
type Range = (u64, u64);

fn between(random: &mut StdRng, (least, most): Range) -> Duration {
    Duration::from_millis(random.random_range(least..=most))
}

impl Lane {
    /// Between two faults.
    const fn pause(self) -> Range {
        match self {
            Self::Processes | Self::Network => (500, 5_000),
            Self::Disks => (10_000, 40_000),
        }
    }

    fn fault(self, random: &mut StdRng, agents: usize) -> (Fault, Range) {
        let one = random.random_range(0..agents);
        let who = if random.random_bool(0.5) { Who::Leader { or: one } } else { Who::One(one) };
        match self {
            Self::Processes => match random.random_range(0..100) {
                0..35 => (Fault::Kill(who), (0, 6_000)),
                35..42 => (Fault::Kill(Who::Most { from: one }), (0, 3_000)),
                42..48 => (Fault::Kill(Who::All), (0, 2_000)),
                48..62 => (Fault::Pause(who), (100, 1_500)),
                62..74 => (Fault::Pause(who), (1_500, 20_000)),
                74..80 => (Fault::Pause(Who::Most { from: one }), (100, 4_000)),
                _ => (Fault::Leave(who), (0, 4_000)),
            },
            Self::Network => Self::network(random, agents, one, who),
            // Rarely the majority: then nothing goes on for as long.
            Self::Disks => match random.random_range(0..100) {
                0..85 => (Fault::Full(who), (2_000, 10_000)),
                _ => (Fault::Full(Who::Most { from: one }), (1_000, 4_000)),
            },
        }
    }

    fn network(random: &mut StdRng, agents: usize, one: usize, who: Who) -> (Fault, Range) {
        let flaps = random.random_bool(0.2).then(|| between(random, (200, 1_500)));
        let cut = |cut| (Fault::Cut { cut, flaps }, (500, 12_000));
        match random.random_range(0..100) {
            0..20 => cut(Cut::Split { from: one }),
            20..38 => cut(Cut::Leader),
            38..46 => cut(Cut::LeaderHears),
            46..54 => cut(Cut::LeaderSpeaks),
            54..66 if agents >= BRIDGE_AGENTS => cut(Cut::Bridge { between: one }),
            54..66 => cut(Cut::Split { from: one }),
            66..76 => (Fault::Loss, (2_000, 12_000)),
            76..84 => (Fault::Twice, (2_000, 12_000)),
            84..92 => (Fault::Overtaken, (2_000, 12_000)),
            _ => (Fault::Slow(who), (2_000, 12_000)),
        }
    }
}

impl Fault {
    /// What it is called in the report.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Kill(Who::One(_) | Who::Leader { .. }) => "kill",
            Self::Kill(Who::Most { .. }) => "kill_majority",
            Self::Kill(Who::All) => "kill_all",
            Self::Pause(_) => "pause",
            Self::Leave(_) => "leave",
            Self::Cut { flaps: Some(_), .. } => "cut_flapping",
            Self::Cut { cut: Cut::Split { .. }, .. } => "cut_minority",
            Self::Cut { cut: Cut::Leader, .. } => "cut_leader",
            Self::Cut { cut: Cut::LeaderHears | Cut::LeaderSpeaks, .. } => "cut_one_way",
            Self::Cut { cut: Cut::Bridge { .. }, .. } => "cut_bridge",
            Self::Loss => "loss",
            Self::Twice => "duplicate",
            Self::Overtaken => "reorder",
            Self::Slow(_) => "slow_link",
            Self::Full(_) => "disk_full",
        }
    }
}

impl Step {
    pub(crate) const fn lane(&self) -> Lane {
        match self.fault {
            Fault::Kill(_) | Fault::Pause(_) | Fault::Leave(_) => Lane::Processes,
            Fault::Cut { .. } | Fault::Loss | Fault::Twice | Fault::Overtaken | Fault::Slow(_) => {
                Lane::Network
            }
            Fault::Full(_) => Lane::Disks,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at: _, lasts, fault } = self;
        write!(f, "{:?} for {:.1} s", fault, lasts.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_gives_the_same_faults_again_and_ends_them_in_time() {
        let drawn = Schedule::draw(7, 3, LENGTH);
        assert_eq!(drawn, Schedule::draw(7, 3, LENGTH));
        assert_ne!(drawn, Schedule::draw(8, 3, LENGTH));
        assert!(drawn.steps.iter().all(|step| step.at + step.lasts <= LENGTH));
        for lane in [Lane::Processes, Lane::Network, Lane::Disks] {
            let steps: Vec<_> = drawn.steps.iter().filter(|step| step.lane() == lane).collect();
            assert!(steps.len() > 5, "{lane:?}");
            let apart = |two: &[&Step]| two[0].at + two[0].lasts < two[1].at;
            assert!(steps.windows(2).all(apart), "{lane:?} must be one after another");
        }
    }

    #[test]
    fn a_long_run_sees_every_fault() {
        let mut names = BTreeSet::new();
        for seed in 0..20 {
            names.extend(Schedule::draw(seed, 5, LENGTH).steps.iter().map(|it| it.fault.name()));
        }
        assert_eq!(names.len(), 15, "{names:?}");
    }

    #[test]
    fn a_cut_is_what_it_says() {
        assert_eq!(Cut::Split { from: 2 }.pairs(3, 0), [(0, 2), (1, 2), (2, 0), (2, 1)]);
        assert_eq!(Cut::LeaderHears.pairs(3, 1), [(1, 0), (1, 2)]);
        assert_eq!(Cut::LeaderSpeaks.pairs(3, 1), [(0, 1), (2, 1)]);
        let bridge = Cut::Bridge { between: 4 }.pairs(5, 0);
        assert_eq!(bridge.len(), 8, "{bridge:?}");
        assert!(bridge.iter().all(|(from, to)| *from != 4 && *to != 4));
    }
}
