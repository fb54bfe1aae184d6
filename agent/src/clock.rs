//! The only reader of clocks in the agent. Everything else takes the time as an argument or asks the
//! [`Clock`] that it was given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ringrift_core::time::Moment;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A clock that grows from the start of the agent, and the wall clock beside it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The runtime's: the system's, unless a simulation moves it.
    start: Instant,
    wall: Wall,
}

/// Where the wall-clock time comes from.
#[derive(Debug, Clone, Copy)]
enum Wall {
    System,
    /// Milliseconds since the epoch, as a simulation wants them.
    Simulated(&'static AtomicU64),
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door through which time enters"
    )]
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: Wall::System }
    }

    /// A clock that starts now and whose wall clock shows what `wall` holds, in milliseconds since
    /// the epoch.
    #[doc(hidden)]
    #[must_use]
    pub fn simulated(wall: &'static AtomicU64) -> Self {
        Self { wall: Wall::Simulated(wall), ..Self::start() }
    }

    /// Time since the agent started; never goes back.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// As [`since_boot`], unless a simulation moves it.
    #[must_use]
    pub fn since_boot(&self) -> Duration {
        match self.wall {
            Wall::System => since_boot(),
            Wall::Simulated(_) => self.monotonic(),
        }
    }

    /// Wall-clock time; may jump. Only a leader's stamp and people's displays use it.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door through which time enters"
    )]
    pub fn wall(&self) -> Moment {
        match self.wall {
            Wall::System => {
                let since_epoch =
                    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Moment(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
            }
            Wall::Simulated(millis) => Moment(millis.load(Ordering::Relaxed)),
        }
    }
}

/// Time since this machine started; never goes back, and goes on while the machine sleeps. What
/// others take away by their own clocks, such as a lease, is judged by it: they do not sleep along.
/// All processes of a machine read the same.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of its uptime counts sleep too.
    #[test]
    fn the_time_since_boot_is_that_of_the_kernel() {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime = text.split(' ').next().unwrap().parse().unwrap();
        let uptime = Duration::from_secs_f64(uptime);
        assert!(Clock::start().since_boot().abs_diff(uptime) < Duration::from_secs(1), "{text}");
    }
}
