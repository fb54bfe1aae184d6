//! What goes wrong, and when. Each world has its own selection: what never goes wrong in one leaves
//! room for the rest to meet in ways that it would have hidden.

use crate::chance::Chance;
use crate::raft::net::Weather;

/// Something that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// A process ends, or a machine loses power; it is back soon, or later.
    Crash,
    /// A process is stopped for a while.
    Pause,
    /// A host is cut off: both ways, or one.
    Partition,
    /// Two groups of hosts are cut off from each other; one host sees both.
    Bridge,
    /// A host is cut off and joined again and again.
    Flapping,
    /// Wall clocks jump, by seconds or hours.
    ClockJump,
    /// A disk becomes slow, or quick again.
    SlowDisk,
    /// A disk hangs.
    HungDisk,
    /// A disk is full, so that the agent stops.
    FullDisk,
    /// A disk is lost; its agent comes back as another member.
    LostDisk,
    /// Leadership is handed over.
    Transfer,
    /// A snapshot is written, and the log before it dropped.
    Compaction,
    /// An agent says goodbye and is restarted.
    Leave,
    /// A member is removed and comes back as another one.
    Removal,
    /// Workers stop for a while, or forget what they hold.
    Workers,
}

impl Trouble {
    const ALL: [Self; 15] = [
        Self::Crash,
        Self::Pause,
        Self::Partition,
        Self::Bridge,
        Self::Flapping,
        Self::ClockJump,
        Self::SlowDisk,
        Self::HungDisk,
        Self::FullDisk,
        Self::LostDisk,
        Self::Transfer,
        Self::Compaction,
        Self::Leave,
        Self::Removal,
        Self::Workers,
    ];

    /// How often in a thousand looks it happens.
    const fn rate(self) -> u64 {
        match self {
            Self::Crash => 35,
            Self::Pause | Self::Partition | Self::ClockJump | Self::SlowDisk => 25,
            Self::Bridge | Self::Flapping | Self::HungDisk | Self::Transfer => 12,
            Self::Compaction | Self::Workers => 25,
            Self::FullDisk | Self::LostDisk | Self::Leave | Self::Removal => 10,
        }
    }
}

/// What goes wrong in one world.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    troubles: Vec<Trouble>,
    /// How often in a thousand looks all ways are joined.
    joining: u64,
}

impl Fate {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let troubles = Trouble::ALL.into_iter().filter(|_| chance.per_mille(550)).collect();
        Self { troubles, joining: [40, 100, 200][chance.below(3)] }
    }

    /// What happens now.
    pub(crate) fn strike(&self, chance: &mut Chance) -> Vec<Trouble> {
        let struck = self.troubles.iter().filter(|trouble| chance.per_mille(trouble.rate()));
        struck.copied().collect()
    }

    pub(crate) const fn joins(&self, chance: &mut Chance) -> bool {
        chance.per_mille(self.joining)
    }
}

/// The network of one world.
pub(crate) fn weather(chance: &mut Chance) -> Weather {
    // On most networks a connection keeps what it promises.
    let worse = chance.per_mille(300);
    Weather {
        latency_max: [1, 4, 12][chance.below(3)],
        losses: [0, 5, 30][chance.below(3)],
        stragglers: [0, 0, 5][chance.below(3)],
        vanishing: if worse { 10 } else { 0 },
        doubled: if worse { 20 } else { 0 },
    }
}

/// A network on which nothing is wrong.
pub(crate) const fn fair_weather() -> Weather {
    Weather { latency_max: 2, losses: 0, stragglers: 0, vanishing: 0, doubled: 0 }
}
