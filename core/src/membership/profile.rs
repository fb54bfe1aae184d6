//! The detector's timing: one number, everything else derived, so that no two settings contradict.

use core::num::{NonZeroU8, NonZeroUsize};
use core::time::Duration;

use super::codec::PACKET_BYTES_MAX;

/// Members asked to probe on our behalf: with 1 % loss three make a false suspicion a one in a
/// million event for each probe.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(3).expect("is not zero");
/// Members that each round of gossip reaches: some seven rounds then reach 10,000 members.
const GOSSIP_FANOUT: NonZeroUsize = NonZeroUsize::new(3).expect("is not zero");
/// Times that a member passes a piece of news on: 4 log10 of 5,000 members.
const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(15).expect("is not zero");
/// How often a member asks another for members that it does not know.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(30);
/// How often a member calls two failed ones, so that a healed partition grows together again.
const ANNOUNCE_DOWN_PERIOD: Duration = Duration::from_secs(10);
const ANNOUNCE_DOWN_MEMBERS: NonZeroUsize = NonZeroUsize::new(2).expect("is not zero");
const ONE: NonZeroUsize = NonZeroUsize::new(1).expect("is not zero");

/// How fast failures are found, against how much silence is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    probe_period: Duration,
}

/// The probe period is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a probe period of {asked:?} is not between {min:?} and {max:?}",
    min = Profile::PROBE_PERIOD_MIN,
    max = Profile::PROBE_PERIOD_MAX
)]
pub struct ProfileError {
    asked: Duration,
}

impl Default for Profile {
    fn default() -> Self {
        Self { probe_period: Self::PROBE_PERIOD_DEFAULT }
    }
}

impl Profile {
    /// Every member probes another this often. A failed probe ends with its period, so a failure is
    /// seen first after two periods in the mean and 5.6 at the 99th percentile: 2.3 s. With the
    /// suspicion and the spread all know within 5 s.
    pub const PROBE_PERIOD_DEFAULT: Duration = Duration::from_millis(400);
    /// Below it a busy machine's scheduling alone fails probes.
    pub const PROBE_PERIOD_MIN: Duration = Duration::from_millis(100);
    /// Above it a failure takes minutes to be known.
    pub const PROBE_PERIOD_MAX: Duration = Duration::from_secs(10);
    /// How long a failed member stays in the roster, and is called in case it comes back.
    pub const FAILED_REMEMBERED: Duration = Duration::from_secs(3_600);

    /// A profile with this probe period.
    ///
    /// # Errors
    /// When the period is out of bounds.
    pub fn new(probe_period: Duration) -> Result<Self, ProfileError> {
        if (Self::PROBE_PERIOD_MIN..=Self::PROBE_PERIOD_MAX).contains(&probe_period) {
            Ok(Self { probe_period })
        } else {
            Err(ProfileError { asked: probe_period })
        }
    }

    /// Every member probes another this often.
    #[must_use]
    pub fn probe_period(self) -> Duration {
        self.probe_period
    }

    /// How long a probe waits for a direct answer before others are asked to try: 3/8 of the period,
    /// so that the detour has more time than the direct way.
    #[must_use]
    pub fn direct_wait(self) -> Duration {
        self.probe_period * 3 / 8
    }

    /// How long a suspected member has to refute. The suspecter's own doubt multiplies it: its failed
    /// probe is the first reason to doubt, so in effect this is doubled at the least.
    #[must_use]
    pub fn suspicion(self) -> Duration {
        self.probe_period * 5 / 2
    }

    /// How often news is passed on.
    #[must_use]
    pub fn gossip_period(self) -> Duration {
        self.probe_period / 2
    }

    pub(super) fn config(self) -> foca::Config {
        let every = |frequency, num_members| Some(foca::PeriodicParams { frequency, num_members });
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.direct_wait(),
            num_indirect_probes: INDIRECT_PROBES,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: self.suspicion(),
            remove_down_after: Some(Self::FAILED_REMEMBERED),
            max_packet_size: NonZeroUsize::new(PACKET_BYTES_MAX).unwrap_or(ONE),
            notify_down_members: true,
            periodic_announce: every(ANNOUNCE_PERIOD, ONE),
            periodic_announce_to_down_members: every(ANNOUNCE_DOWN_PERIOD, ANNOUNCE_DOWN_MEMBERS),
            periodic_gossip: every(self.gossip_period(), GOSSIP_FANOUT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_in_order() {
        for milliseconds in [100, 101, 400, 999, 10_000] {
            let profile = Profile::new(Duration::from_millis(milliseconds)).unwrap();
            assert!(profile.direct_wait() * 2 < profile.probe_period());
            assert!(
                profile.gossip_period() * 4 < profile.suspicion(),
                "a refutation must get through"
            );
        }
        assert!(Profile::new(Duration::from_millis(99)).is_err());
        assert!(Profile::new(Duration::from_secs(11)).is_err());
    }
}
