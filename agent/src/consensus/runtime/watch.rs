//! A watched value whose waiters are woken in the order in which they came.
//!
//! tokio spreads the waiters of a watch over eight lists by chance, and no seed decides that chance: a
//! world that was lived through twice would wake openraft's tasks in two orders, and go two ways. So
//! the value is in tokio's watch, and who waits for it stands in one line.

use std::pin::pin;
use std::sync::Arc;

use openraft::async_runtime::watch::{self, RecvError, SendError};
use openraft::{OptionalSend, OptionalSync};
use tokio::sync::Notify;
use tokio::sync::watch as unordered;

/// Makes pairs of [`Sender`] and [`Receiver`].
#[derive(Debug)]
pub(in crate::consensus) struct Watch;

/// Wakes who waits when the value changes, and when its sender is gone.
#[derive(Clone)]
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// Changes the value.
pub(in crate::consensus) struct Sender<T> {
    /// Dropped before the bell rings, so that who is woken sees that nobody will send again.
    value: unordered::Sender<T>,
    bell: Bell,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), bell: self.bell.clone() }
    }
}

/// Sees the value, and waits for another.
pub(in crate::consensus) struct Receiver<T> {
    value: unordered::Receiver<T>,
    bell: Arc<Notify>,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = unordered::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = unordered::channel(init);
        let bell = Arc::new(Notify::new());
        let sender = Sender { value: sender, bell: Bell(Arc::clone(&bell)) };
        (sender, Receiver { value: receiver, bell })
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.value.send(value).map_err(|unsent| SendError(unsent.0))?;
        self.bell.0.notify_waiters();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = self.value.send_if_modified(modify);
        if modified {
            self.bell.0.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> unordered::Ref<'_, T> {
        self.value.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver { value: self.value.subscribe(), bell: Arc::clone(&self.bell.0) }
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        let Self { value, bell } = self;
        // Ends with a change, or with the last sender.
        loop {
            let mut turn = pin!(bell.notified());
            // Before the look: what is sent after it rings for this one too.
            turn.as_mut().enable();
            match value.has_changed() {
                Ok(false) => turn.await,
                // Does not wait: there is a change, or nobody is left to make one.
                Ok(true) | Err(_) => return value.changed().await.map_err(|_gone| RecvError(())),
            }
        }
    }

    fn borrow_watched(&self) -> unordered::Ref<'_, T> {
        self.value.borrow()
    }

    fn borrow_and_update(&mut self) -> unordered::Ref<'_, T> {
        self.value.borrow_and_update()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use openraft::async_runtime::watch::{Watch as _, WatchReceiver as _, WatchSender as _};

    use super::*;

    #[tokio::test]
    async fn who_came_first_is_woken_first() {
        let (sender, receiver) = Watch::channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for name in 0..32 {
            let (mut receiver, order) = (receiver.clone(), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                receiver.changed().await.unwrap();
                order.lock().unwrap().push(name);
            }));
        }
        tokio::task::yield_now().await;
        sender.send(1).unwrap();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..32).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_end_after_it() {
        let (sender, mut receiver) = Watch::channel(0);
        let unchanged = tokio::time::timeout(Duration::from_millis(1), receiver.changed()).await;
        assert!(unchanged.is_err(), "nothing was sent");
        assert!(!sender.send_if_modified(|_| false));
        assert!(sender.send_if_modified(|value| {
            *value = 3;
            true
        }));
        let other = sender.clone();
        drop(sender);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_watched(), 3);
        let ending = tokio::spawn(async move { receiver.changed().await });
        tokio::task::yield_now().await;
        other.send(4).unwrap();
        assert_eq!(ending.await.unwrap(), Ok(()));
        let (sender, mut receiver) = Watch::channel(0);
        let ending = tokio::spawn(async move { receiver.changed().await });
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(ending.await.unwrap(), Err(RecvError(())));
    }
}
