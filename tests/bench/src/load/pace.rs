//! The beat of an open-loop measurement. It comes from a thread of its own: the runtime's timers know
//! milliseconds, and it must not depend on how busy the clients are.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock;

/// Beats that nobody has taken: three seconds at the usual rate. The thread waits when it is full;
/// each beat carries the time at which it was due, so that no delay is hidden.
const BEATS_MAX: usize = 65_536;

/// The thread sleeps for so long at least, and then sends everything that became due meanwhile. To
/// wake for each of many thousand beats a second takes a third of a processor from what is measured.
/// What a beat waits counts as latency.
const GRAIN: Duration = Duration::from_millis(1);

/// A moment at which something was to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// Its number.
    pub(super) number: u64,
    /// When it was due, by [`clock::now`].
    pub(super) due: Duration,
}

/// So many beats a second for `length`, from now.
pub(super) fn beats(per_s: u32, length: Duration) -> mpsc::Receiver<Beat> {
    let (sender, receiver) = mpsc::channel(BEATS_MAX);
    let start = clock::now();
    tokio::task::spawn_blocking(move || {
        let interval = Duration::from_secs(1) / per_s.max(1);
        for number in 0.. {
            let due = start + interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
            if due >= start + length {
                return;
            }
            let early = due.saturating_sub(clock::now());
            if !early.is_zero() {
                std::thread::sleep(early.max(GRAIN));
            }
            if sender.blocking_send(Beat { number, due }).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_beat_is_early_none_is_missing_and_a_late_taker_sees_when_it_was_due() {
        let mut beats = beats(1_000, Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut due = Vec::new();
        while let Some(beat) = beats.recv().await {
            assert!(beat.due <= clock::now());
            assert_eq!(beat.number, due.len() as u64);
            due.push(beat.due);
        }
        assert_eq!(due.len(), 50);
        assert!(due.windows(2).all(|two| two[1] - two[0] == Duration::from_millis(1)), "{due:?}");
    }
}
