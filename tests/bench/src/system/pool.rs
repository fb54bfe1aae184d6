//! What a peer has delivered and no worker has taken: a bounded queue that all workers of a
//! measurement share, so that no worker starves while another one has items to spare.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// Items in the pool. More than any prefetch that is asked for; a pump that finds it full waits.
const POOL_ITEMS_MAX: usize = 65_536;

/// The pool, and the tasks that fill it. They end with the last clone.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    taken: Arc<Mutex<mpsc::Receiver<T>>>,
    _pumps: Arc<JoinSet<()>>,
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { taken: Arc::clone(&self.taken), _pumps: Arc::clone(&self._pumps) }
    }
}

impl<T: Send + 'static> Pool<T> {
    /// A pool that these pumps fill.
    pub(crate) fn filled_by<F>(pumps: impl IntoIterator<Item = F>) -> Self
    where
        F: FnOnce(mpsc::Sender<T>) -> futures::future::BoxFuture<'static, ()>,
    {
        let (sender, receiver) = mpsc::channel(POOL_ITEMS_MAX);
        let mut tasks = JoinSet::new();
        for pump in pumps {
            tasks.spawn(pump(sender.clone()));
        }
        Self { taken: Arc::new(Mutex::new(receiver)), _pumps: Arc::new(tasks) }
    }

    /// Up to `at_most` items; none when none came in time.
    pub(crate) async fn take(&self, at_most: usize, wait: Duration) -> Vec<T> {
        let taking = tokio::time::timeout(wait, async {
            let mut pool = self.taken.lock().await;
            let mut items = Vec::new();
            items.extend(pool.recv().await);
            while items.len() < at_most
                && let Ok(item) = pool.try_recv()
            {
                items.push(item);
            }
            items
        });
        taking.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_what_is_there_and_no_more_than_asked() {
        let pump = |sender: mpsc::Sender<u8>| -> futures::future::BoxFuture<'static, ()> {
            Box::pin(async move {
                for number in 0..5 {
                    sender.send(number).await.unwrap();
                }
                std::future::pending().await
            })
        };
        let pool = Pool::filled_by([pump]);
        let mut taken = Vec::new();
        while taken.len() < 5 {
            let some = pool.take(3, Duration::from_secs(10)).await;
            assert!((1..=3).contains(&some.len()), "{some:?}");
            taken.extend(some);
        }
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert!(pool.take(1, Duration::from_millis(1)).await.is_empty());
    }
}
