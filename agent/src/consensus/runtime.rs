//! The runtime that openraft works on: tokio, with chance that a simulation may decide, and with a time
//! that stands still while this process does.
//!
//! openraft draws its election timeouts from the runtime. Those are all the chance there is in this
//! folder beside the raft id, so a world that decides both can be lived through again. What openraft
//! watches is a [`watch`] of ours, since tokio's wakes who waits for it by chance.

pub(crate) mod instant;
mod watch;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::impls::TokioRuntime;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::task::JoinError;

/// Taken from the priority of work that may come after others: it still gets a tenth of what one of them
/// gets, so that it ends on a machine that is never idle.
const NICENESS: i32 = 10;

thread_local! {
    /// What the next draw on this thread is made of, when a simulation decides.
    static NEXT_SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Lets `seed` decide what is drawn on this thread from here on; nothing gives chance back to the
/// operating system. Answers what would have decided the next draw.
pub(super) fn decide_chance(seed: Option<u64>) -> Option<u64> {
    NEXT_SEED.replace(seed)
}

/// Carries out work that would keep one of the runtime's threads for long, on a thread for such work.
/// In a simulation it is done at once: no seed decides when another thread is ready.
///
/// # Errors
/// When the work panicked.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if chance_is_decided() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// As [`aside`], on a thread of its own that lets others go first when processors are scarce: for work of
/// seconds that nobody waits for.
///
/// # Errors
/// When there is no thread, or the work panicked.
pub(crate) async fn after_others<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if chance_is_decided() {
        return Ok(work());
    }
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Of this thread alone, on Linux. A sandbox may forbid it; the work is then as urgent as all.
        let _same_priority = rustix::process::nice(NICENESS);
        let _nobody_listens = tell.send(work());
    })?;
    told.await.map_err(|_gone| io::Error::other(format!("the thread {name} panicked")))
}

/// Whether a simulation decides chance on this thread.
fn chance_is_decided() -> bool {
    NEXT_SEED.get().is_some()
}

fn next_seed() -> Option<u64> {
    let seed = NEXT_SEED.get()?;
    // SplitMix64's step; the generator that is seeded mixes.
    NEXT_SEED.set(Some(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    Some(seed)
}

/// tokio, as openraft sees it.
#[derive(Debug)]
pub(super) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = instant::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = StdRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = watch::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline.on_tokio())
    }

    fn timeout<R, F: Future<Output = R> + Send>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline.on_tokio(), future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> StdRng {
        match next_seed() {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_rng(&mut TokioRuntime::thread_rng()),
        }
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;

    fn draws() -> Vec<u64> {
        (0..4).map(|_| Runtime::thread_rng().random()).collect()
    }

    #[test]
    fn a_seed_decides_what_is_drawn_and_nothing_else_does() {
        assert_eq!(decide_chance(Some(7)), None);
        let first = draws();
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "{first:?}");
        assert!(decide_chance(Some(7)).is_some(), "the draws moved it");
        assert_eq!(draws(), first);
        decide_chance(None);
        assert_ne!(draws(), first);
    }

    #[tokio::test]
    async fn work_that_may_come_after_others_has_a_thread_of_lower_priority() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let there = move || (std::thread::current().name().map(str::to_owned), niceness());
        let (name, nice) = after_others("slow", there).await.unwrap();
        assert_eq!((name.as_deref(), nice), (Some("slow"), (before + NICENESS).min(19)));
        assert_eq!(niceness(), before, "nobody else is slowed down");
        let panics = after_others("slow", || -> u8 { panic!("as planned") }).await;
        assert!(panics.unwrap_err().to_string().contains("slow panicked"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn heavy_work_is_done_aside_unless_a_seed_decides() {
        let elsewhere = aside(|| std::thread::current().id()).await.unwrap();
        assert_ne!(elsewhere, std::thread::current().id());
        decide_chance(Some(7));
        let here = aside(|| std::thread::current().id()).await.unwrap();
        assert_eq!(here, std::thread::current().id());
        decide_chance(None);
    }
}
