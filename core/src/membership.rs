//! Who is in the cluster and who has failed: SWIM, by the `foca` crate, as a value.
//!
//! [`Membership::step`] takes the time and one [`Input`] (a datagram, a timer that is due, a seed to
//! join, a wish to leave) and answers [`Effects`]: datagrams to send, timers to set, events. It owns
//! no socket and no clock, so that the agent and a simulated cluster run the same code.
//!
//! What this adds to foca:
//! - an [`Identity`] that survives restarts and address conflicts by its generation;
//! - a bounded packet format ([`codec`]) and a bounded number of members;
//! - the suspected state in the [`roster`];
//! - Lifeguard's local health: a member that misses replies, or whose own timers come late, doubts
//!   itself first. It probes more slowly and gives others more time to refute a suspicion;
//! - no verdict by a member that slept: a probe or a suspicion whose timer comes late is given one
//!   more wait, because the answer may lie unread in the socket, or was lost when it overflowed.

pub mod codec;
mod health;
pub mod identity;
pub mod profile;
pub mod roster;
pub mod timers;

#[cfg(test)]
mod tests;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use codec::Codec;
pub use codec::PACKET_BYTES_MAX;
use foca::{Foca, NoCustomBroadcast, Notification, OwnedNotification};
use health::Health;
pub use identity::{Identity, IdentityError};
pub use profile::{Profile, ProfileError};
use rand::SeedableRng;
use rand::rngs::StdRng;
pub use roster::{Member, State};
pub use timers::Timers;

/// Members known at once, failed ones included: the largest cluster that is promised, twice, so that
/// a flood of forged identities cannot fill the memory.
pub const MEMBERS_MAX: usize = 20_000;

/// Something that happened to this member.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came from the network.
    Datagram(&'a [u8]),
    /// A timer that an earlier step asked for has come due.
    Due(Timer),
    /// Somebody may be listening there; ask to be let in.
    Join(SocketAddr),
    /// Tell others that this member goes, and take no further part.
    Leave,
}

/// What the shell must now do.
#[derive(Debug, Default)]
pub struct Effects {
    /// Datagrams to send, in this order. Losing one is harmless.
    pub datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Timers to hand back when they are due. Losing one is not harmless.
    pub timers: Vec<Timer>,
    /// What changed.
    pub events: Vec<Event>,
    /// Why the input was not carried out, when it was not: mostly a packet that is not ours.
    pub fault: Option<Fault>,
}

/// A change that the shell may want to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member is there.
    Up(Identity),
    /// A member failed or left.
    Down(Identity),
    /// A member came back under a later generation, or another took its address.
    Renamed {
        /// As it was known.
        before: Identity,
        /// As it is known now.
        after: Identity,
    },
    /// Others had declared this member failed; it goes on under a later generation. Keep the
    /// generation on disk, so that a restart takes a later one still.
    Renewed {
        /// The new generation.
        generation: u64,
    },
}

/// An input that was not carried out. The state is sound all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The packet is malformed, too large, or names this member as its sender.
    #[error("the packet was refused: {0}")]
    Packet(String),
    /// The packet names members, and no more can be remembered.
    #[error("{MEMBERS_MAX} members are known already; the packet names more")]
    Full,
    /// An answer could not be encoded, or a timer came at a time that makes no sense.
    #[error("the step was left unfinished: {0}")]
    Step(String),
}

/// A timer that is handed back when it is due.
#[derive(Clone, PartialEq, Eq)]
pub struct Timer {
    due: Duration,
    graced: bool,
    event: foca::Timer<Identity>,
}

impl Timer {
    /// When to hand it back, in the time that [`Membership::step`] is given.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({:?} at {:?})", self.event, self.due)
    }
}

/// One member's view of the cluster.
pub struct Membership {
    foca: Foca<Identity, Codec, StdRng, NoCustomBroadcast>,
    profile: Profile,
    health: Health,
    has_left: bool,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("identity", self.foca.identity())
            .field("members", &self.foca.num_members())
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// A member that knows nobody yet. `seed` decides whom it probes and gossips with.
    #[must_use]
    pub fn new(identity: Identity, profile: Profile, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self {
            foca: Foca::new(identity, profile.config(), rng, Codec),
            profile,
            health: Health::default(),
            has_left: false,
        }
    }

    /// Takes one input at `now`, any time that only grows, and answers what to do.
    pub fn step(&mut self, now: Duration, input: Input<'_>) -> Effects {
        let mut effects = Effects::default();
        let outcome = match input {
            Input::Datagram(packet) => self.receive(now, packet, &mut effects),
            Input::Due(timer) => self.fire(now, timer, &mut effects),
            Input::Join(address) => self.announce(now, address, &mut effects),
            Input::Leave => self.leave(now, &mut effects),
        };
        effects.fault = outcome.err();
        effects
    }

    /// This member. Its generation grows when it is wrongly declared failed.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// The timing in force.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// How much this member doubts itself: 0 to 8. Its timers run (1 + this) times slower.
    #[must_use]
    pub fn self_doubt(&self) -> u32 {
        self.health.doubt()
    }

    /// Other members that are not failed.
    #[must_use]
    pub fn others(&self) -> usize {
        self.foca.num_members()
    }

    /// Everybody that is known, this member included, sorted by node; one entry for each node.
    #[must_use]
    pub fn roster(&self) -> Vec<Member> {
        roster::of(self.foca.identity(), self.has_left, self.foca.iter_membership_state())
    }

    /// Changes whenever [`Membership::roster`] would; cheap, so that it can be asked often.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        roster::fingerprint(self.foca.identity(), self.has_left, self.foca.iter_membership_state())
    }

    fn receive(&mut self, now: Duration, packet: &[u8], out: &mut Effects) -> Result<(), Fault> {
        if self.has_left {
            return Ok(());
        }
        let known = self.foca.iter_membership_state().len();
        if known.saturating_add(codec::PACKET_MEMBERS_MAX) > MEMBERS_MAX {
            self.check_names_known(packet)?;
        }
        let readdressed = codec::readdress_announce(packet, self.foca.identity())
            .map_err(|error| Fault::Packet(error.to_string()))?;
        let packet = readdressed.as_deref().unwrap_or(packet);
        let runtime = Drain { now, health: &mut self.health, probe_failed: false, out };
        self.foca.handle_data(packet, runtime).map_err(|error| match error {
            foca::Error::Encode(_) => Fault::Step(error.to_string()),
            foca::Error::Decode(cause) => Fault::Packet(cause.to_string()),
            other => Fault::Packet(other.to_string()),
        })
    }

    fn check_names_known(&self, packet: &[u8]) -> Result<(), Fault> {
        let named =
            codec::addresses_in(packet).map_err(|error| Fault::Packet(error.to_string()))?;
        let known = |address: &SocketAddr| {
            let same = |member: &foca::Member<Identity>| member.id().swim_address() == *address;
            self.foca.iter_membership_state().any(same)
        };
        if named.iter().all(known) { Ok(()) } else { Err(Fault::Full) }
    }

    fn fire(&mut self, now: Duration, timer: Timer, out: &mut Effects) -> Result<(), Fault> {
        let late = now.saturating_sub(timer.due) > self.profile.direct_wait();
        let is_probe = matches!(timer.event, foca::Timer::ProbeRandomMember(_));
        if late && is_probe && !timer.graced {
            self.health.worsen();
        }
        if late
            && !timer.graced
            && let Some(wait) = self.grace(&timer.event)
        {
            out.timers.push(Timer { due: now.saturating_add(wait), graced: true, ..timer });
            return Ok(());
        }
        if self.is_stale(&timer.event) {
            return Ok(());
        }
        let mut runtime = Drain { now, health: &mut self.health, probe_failed: false, out };
        let outcome = self.foca.handle_timer(timer.event, &mut runtime);
        if is_probe && !runtime.probe_failed && !late {
            self.health.improve();
        }
        outcome.map_err(|error| Fault::Step(error.to_string()))
    }

    /// How much longer to wait before this late timer is believed.
    fn grace(&self, event: &foca::Timer<Identity>) -> Option<Duration> {
        match event {
            foca::Timer::ProbeRandomMember(_) => Some(self.profile.direct_wait()),
            foca::Timer::ChangeSuspectToDown { .. } => Some(self.profile.suspicion()),
            foca::Timer::SendIndirectProbe { .. }
            | foca::Timer::PeriodicAnnounce(_)
            | foca::Timer::PeriodicAnnounceDown(_)
            | foca::Timer::PeriodicGossip(_)
            | foca::Timer::RemoveDown(_) => None,
        }
    }

    /// Whether a suspicion was refuted meanwhile. foca would leave the member alone too, yet tell it
    /// that it is down, whereupon the member would needlessly come back under a new generation.
    fn is_stale(&self, event: &foca::Timer<Identity>) -> bool {
        let foca::Timer::ChangeSuspectToDown { member_id, incarnation, token: _ } = event else {
            return false;
        };
        !self.foca.iter_membership_state().any(|member| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == foca::State::Suspect
        })
    }

    fn announce(&mut self, now: Duration, at: SocketAddr, out: &mut Effects) -> Result<(), Fault> {
        if self.has_left || at == self.identity().swim_address() {
            return Ok(());
        }
        // Who listens there is not known; whoever it is takes an announcement as meant for itself.
        let somebody = self.identity().placeholder_at(at);
        let runtime = Drain { now, health: &mut self.health, probe_failed: false, out };
        self.foca.announce(somebody, runtime).map_err(|error| Fault::Step(error.to_string()))
    }

    fn leave(&mut self, now: Duration, out: &mut Effects) -> Result<(), Fault> {
        if core::mem::replace(&mut self.has_left, true) {
            return Ok(());
        }
        let runtime = Drain { now, health: &mut self.health, probe_failed: false, out };
        self.foca.leave_cluster(runtime).map_err(|error| Fault::Step(error.to_string()))
    }
}

/// Turns foca's calls into [`Effects`], with the timers stretched by the local health.
struct Drain<'a> {
    now: Duration,
    health: &'a mut Health,
    probe_failed: bool,
    out: &'a mut Effects,
}

impl foca::Runtime<Identity> for Drain<'_> {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        let event = match notification.to_owned() {
            OwnedNotification::MemberUp(member) => Event::Up(member),
            OwnedNotification::MemberDown(member) => Event::Down(member),
            OwnedNotification::Rename(before, after) => Event::Renamed { before, after },
            OwnedNotification::Rejoin(own) => Event::Renewed { generation: own.generation() },
            OwnedNotification::Active | OwnedNotification::Idle | OwnedNotification::Defunct => {
                return;
            }
        };
        self.out.events.push(event);
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.out.datagrams.push((to.swim_address(), data.to_vec()));
    }

    fn submit_after(&mut self, event: foca::Timer<Identity>, after: Duration) {
        let wait = match event {
            foca::Timer::ChangeSuspectToDown { .. } => {
                // Only a failed probe of our own asks for this: maybe it is us.
                self.probe_failed = true;
                self.health.worsen();
                self.health.stretch(after)
            }
            foca::Timer::ProbeRandomMember(_) => self.health.stretch(after),
            foca::Timer::SendIndirectProbe { .. }
            | foca::Timer::PeriodicAnnounce(_)
            | foca::Timer::PeriodicAnnounceDown(_)
            | foca::Timer::PeriodicGossip(_)
            | foca::Timer::RemoveDown(_) => after,
        };
        self.out.timers.push(Timer { due: self.now.saturating_add(wait), graced: false, event });
    }
}

impl foca::Identity for Identity {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(self.next_generation())
    }

    fn addr(&self) -> SocketAddr {
        self.swim_address()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self > adversary
    }
}
