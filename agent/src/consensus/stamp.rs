//! The leader's stamp: which moment a batch happens at.
//!
//! Replicated time runs with the leader's monotonic clock and is only steered towards its wall
//! clock. A jump of the wall clock, or the hours that a stopped cluster slept, therefore never end
//! leases at once: a worker that renews in time keeps its work. For the same reason times here are
//! running times, which stand still while nobody leads (see [`presence`](super::presence)).

use std::time::Duration;

use ringrift_core::limits::CLOCK_STEP_MAX;
use ringrift_core::time::{Moment, Span};

/// Steering adds or takes at most one part in this many. A worker stops a tenth of its lease before
/// the lease ends by its own clock, and that tenth is the room in which steering stays.
const STEERING_DIVISOR: u64 = 10;

/// How long stamps are counted from one anchor: long enough that what rounding loses at each change
/// of anchor does not add up, short enough that steering is smooth.
const ANCHOR_LIFE: Duration = Duration::from_secs(1);

/// A moment of replicated time and the running time at which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) moment: Moment,
    pub(super) at: Duration,
}

impl Anchor {
    fn elapsed(self, at: Duration) -> Span {
        let elapsed = at.saturating_sub(self.at).as_millis();
        Span(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

/// Stamps batches.
#[derive(Debug, Default)]
pub(super) struct Stamper {
    /// Where counting goes on from, and the last stamp; nothing before the first.
    own: Option<(Anchor, Moment)>,
}

impl Stamper {
    /// The moment of a batch that is proposed at running time `at`, where `applied` is the last
    /// batch applied here and `wall` the wall clock. Grows with `at`.
    ///
    /// Counting goes on from the own stamps, not from applied ones: a batch is applied a little
    /// later than it was stamped, and counting from there would lose that time with every batch.
    /// A batch that is ahead of every own stamp is another leader's, and counting goes on from it.
    pub(super) fn stamp(&mut self, applied: Anchor, at: Duration, wall: Moment) -> Moment {
        let own = self.own.filter(|(_, last)| *last >= applied.moment);
        let anchor = own.map_or(applied, |(anchor, _)| anchor);
        if anchor.moment == Moment::default() {
            // Nothing has ever happened: replicated time begins at the wall clock.
            self.own = Some((Anchor { moment: wall, at }, wall));
            return wall;
        }
        let moment = steer(anchor.moment, anchor.elapsed(at), wall);
        let expired = at.saturating_sub(anchor.at) >= ANCHOR_LIFE;
        let anchor = if expired { Anchor { moment, at } } else { anchor };
        self.own = Some((anchor, moment));
        moment
    }
}

/// The moment `elapsed` after `last`, drawn towards `wall` by at most a tenth of what has elapsed
/// and never by more than [`CLOCK_STEP_MAX`].
fn steer(last: Moment, elapsed: Span, wall: Moment) -> Moment {
    let steady = last.after(elapsed);
    let steering = Span((elapsed.0 / STEERING_DIVISOR).min(CLOCK_STEP_MAX.0));
    if wall > steady {
        steady.after(wall.since(steady).min(steering))
    } else {
        Moment(steady.0.saturating_sub(steady.since(wall).min(steering).0))
    }
}

/// Looks that are further apart tell nothing: a clock that is slewed all the time moves as far.
const LOOKS_APART_MAX: Duration = Duration::from_secs(60);

/// The wall clock went its own way by more than [`CLOCK_STEP_MAX`] between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    pub(super) ahead: bool,
    pub(super) by: Span,
}

/// Watches the wall clock for jumps. Replicated time only drifts after them; people must know all the
/// same.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    last: Option<(Duration, Moment)>,
    ahead: u64,
    back: u64,
}

impl Jumps {
    /// Holds the wall clock against the monotonic one.
    pub(super) fn look(&mut self, at: Duration, wall: Moment) -> Option<Jump> {
        let (last_at, last_wall) = self.last.replace((at, wall))?;
        let elapsed = at.saturating_sub(last_at);
        if elapsed > LOOKS_APART_MAX {
            return None;
        }
        let expected = last_wall.after(Span(u64::try_from(elapsed.as_millis()).unwrap_or(0)));
        let ahead = wall > expected;
        let by = if ahead { wall.since(expected) } else { expected.since(wall) };
        if by <= CLOCK_STEP_MAX {
            return None;
        }
        let count = if ahead { &mut self.ahead } else { &mut self.back };
        *count = count.saturating_add(1);
        Some(Jump { ahead, by })
    }

    /// Jumps ahead and back since this was asked last.
    pub(super) fn take(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.ahead), std::mem::take(&mut self.back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_of_the_wall_clock_are_seen_and_slewing_is_not() {
        let mut jumps = Jumps::default();
        assert_eq!(jumps.look(ms(0), Moment(1_000_000)), None);
        assert_eq!(jumps.look(ms(1_000), Moment(1_001_400)), None, "slewed");
        let hour = Jump { ahead: true, by: Span::seconds(3_600) };
        assert_eq!(jumps.look(ms(2_000), Moment(4_602_400)), Some(hour));
        assert_eq!(jumps.look(ms(3_000), Moment(4_603_400)), None, "told once");
        let back = Jump { ahead: false, by: Span::seconds(3_600) };
        assert_eq!(jumps.look(ms(4_000), Moment(1_004_400)), Some(back));
        // It did not lead for a while.
        assert_eq!(jumps.look(ms(100_000), Moment(1_002_000)), None);
        assert_eq!((jumps.take(), jumps.take()), ((1, 1), (0, 0)));
    }

    const LAST: Moment = Moment(1_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn anchor(moment: u64, at_ms: u64) -> Anchor {
        Anchor { moment: Moment(moment), at: ms(at_ms) }
    }

    #[test]
    fn time_follows_the_monotonic_clock_when_the_wall_clock_agrees() {
        assert_eq!(steer(LAST, Span(250), Moment(1_000_250)), Moment(1_000_250));
    }

    #[test]
    fn a_wall_clock_far_ahead_is_approached_by_a_tenth() {
        assert_eq!(steer(LAST, Span(100), Moment(9_000_000)), Moment(1_000_110));
    }

    #[test]
    fn a_wall_clock_a_little_ahead_is_reached_not_passed() {
        assert_eq!(steer(LAST, Span(100), Moment(1_000_103)), Moment(1_000_103));
    }

    #[test]
    fn a_wall_clock_far_behind_slows_time_but_never_turns_it() {
        assert_eq!(steer(LAST, Span(100), Moment(5)), Moment(1_000_090));
        assert_eq!(steer(LAST, Span(0), Moment(5)), LAST);
    }

    #[test]
    fn one_step_never_gains_more_than_its_bound() {
        let hour = Span::seconds(3_600);
        let ahead = steer(LAST, hour, Moment(u64::MAX));
        assert_eq!(ahead, LAST.after(hour).after(CLOCK_STEP_MAX));
    }

    #[test]
    fn the_end_of_time_saturates() {
        let end = Moment(u64::MAX);
        assert_eq!(steer(end, Span(u64::MAX), end), end);
    }

    #[test]
    fn a_cluster_without_history_begins_at_the_wall_clock_and_counts_from_there() {
        let mut stamper = Stamper::default();
        let nothing = anchor(0, 3);
        assert_eq!(stamper.stamp(nothing, ms(3), Moment(5_000)), Moment(5_000));
        assert_eq!(stamper.stamp(nothing, ms(53), Moment(5_050)), Moment(5_050));
    }

    #[test]
    fn stamps_grow_with_the_monotonic_clock_whatever_the_wall_clock_says() {
        for wall in [0, 999_000, 1_000_400, 1_002_000, u64::MAX] {
            let mut stamper = Stamper::default();
            let stamps: Vec<_> = (0..9_000)
                .map(|at| stamper.stamp(anchor(LAST.0, 0), ms(at), Moment(wall)))
                .collect();
            assert!(stamps.is_sorted(), "wall {wall}");
        }
    }

    #[test]
    fn quick_batches_that_are_applied_late_lose_no_time() {
        // A batch every 300 microseconds, each applied 5 ms after it was stamped, for 10 s.
        let mut stamper = Stamper::default();
        let (mut applied, mut last) = (anchor(1_000_000, 0), LAST);
        for step in 0..33_333_u64 {
            let at = Duration::from_micros(300 * step);
            let wall = Moment(1_000_000 + u64::try_from(at.as_millis()).unwrap());
            last = stamper.stamp(applied, at, wall);
            applied = Anchor { moment: last, at: at + ms(5) };
        }
        assert!((1_009_990..=1_010_000).contains(&last.0), "{last:?}");
    }

    #[test]
    fn a_new_leader_goes_on_from_what_it_applied() {
        let mut stamper = Stamper::default();
        stamper.stamp(anchor(0, 0), ms(0), Moment(1_000));
        // Another led meanwhile, with a wall clock that was far ahead of this one.
        let applied = anchor(900_000, 60_000);
        let stamp = stamper.stamp(applied, ms(61_000), Moment(61_000));
        assert_eq!(stamp, Moment(900_900), "a second later, steered back by a tenth");
    }

    #[test]
    fn the_sleep_of_a_stopped_cluster_does_not_pass_at_once() {
        let mut stamper = Stamper::default();
        let hour_later = Moment(1_000_000 + 3_600_000);
        let restarted = anchor(1_000_000, 0);
        assert_eq!(stamper.stamp(restarted, ms(0), hour_later), LAST);
        assert_eq!(stamper.stamp(restarted, ms(1_000), hour_later), Moment(1_001_100));
    }
}
