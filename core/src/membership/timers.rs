//! The timers of one member in the order in which they come due. One queue, so that a shell needs
//! one sleep and a simulation none.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;
use core::time::Duration;

use super::Timer;

/// What a timer is about. foca keeps one member for each address, so one timer of a kind for each
/// address is enough, and a flood of forged identities cannot grow the queue beyond the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    IndirectProbe,
    Probe,
    Suspicion(SocketAddr),
    Announce,
    Gossip,
    Forget(SocketAddr),
    AnnounceDown,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Timers {
    by_subject: BTreeMap<Subject, Timer>,
    by_time: BTreeMap<(Duration, Subject), ()>,
}

impl Timers {
    /// Adds a timer. It displaces an older one about the same subject, which no longer matters; only
    /// a suspicion that is raised again keeps its first, earlier end.
    pub fn insert(&mut self, timer: Timer) {
        let subject = subject_of(&timer);
        if let Some(held) = self.by_subject.get(&subject) {
            if held.event == timer.event && held.due <= timer.due {
                return;
            }
            self.by_time.remove(&(held.due, subject));
        }
        self.by_time.insert((timer.due, subject), ());
        self.by_subject.insert(subject, timer);
    }

    /// When the first timer comes due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.by_time.first_key_value().map(|((due, _), ())| *due)
    }

    /// Takes the first timer that is due by `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        let entry = self.by_time.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let ((_, subject), ()) = entry.remove_entry();
        self.by_subject.remove(&subject)
    }

    /// Timers waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }
}

fn subject_of(timer: &Timer) -> Subject {
    match &timer.event {
        foca::Timer::SendIndirectProbe { .. } => Subject::IndirectProbe,
        foca::Timer::ProbeRandomMember(_) => Subject::Probe,
        foca::Timer::ChangeSuspectToDown { member_id, .. } => {
            Subject::Suspicion(member_id.swim_address())
        }
        foca::Timer::PeriodicAnnounce(_) => Subject::Announce,
        foca::Timer::PeriodicGossip(_) => Subject::Gossip,
        foca::Timer::RemoveDown(member) => Subject::Forget(member.swim_address()),
        foca::Timer::PeriodicAnnounceDown(_) => Subject::AnnounceDown,
    }
}
