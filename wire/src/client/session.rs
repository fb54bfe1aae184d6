//! The client's session: in it a request that comes twice is carried out once and answered twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{ACKNOWLEDGED_HEADER, SEQ_HEADER, SESSION_HEADER};

/// Answers that the agents must keep for one session, from the oldest request that has none yet: half
/// of what they would keep. A request beyond it goes without a session.
const ANSWERS_KEPT_MAX: u64 = 512;

/// The session of a client and its copies; nothing before the first request that needs one.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: tokio::sync::Mutex<Option<Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    id: String,
    numbers: Mutex<Numbers>,
}

/// The numbers of a session's requests.
#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    unanswered: BTreeSet<u64>,
}

impl Session {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing when too many answers would have to be kept.
    fn place(self: &Arc<Self>) -> Option<Place> {
        let mut numbers = self.numbers();
        let seq = numbers.next;
        let first = numbers.unanswered.first().copied().unwrap_or(seq);
        if seq.saturating_sub(first) >= ANSWERS_KEPT_MAX {
            return None;
        }
        numbers.next = seq.saturating_add(1);
        numbers.unanswered.insert(seq);
        Some(Place { session: Arc::clone(self), seq })
    }
}

/// A request's place in a session. Dropped when the request is answered or given up: it is never sent
/// again then.
#[derive(Debug)]
pub(super) struct Place {
    session: Arc<Session>,
    seq: u64,
}

impl Place {
    pub(super) fn mark(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let acknowledged = self.session.numbers().unanswered.first().copied();
        mark(request, &self.session.id, self.seq, acknowledged.unwrap_or(self.seq))
    }
}

fn mark(
    request: reqwest::RequestBuilder,
    session: &str,
    seq: u64,
    acknowledged: u64,
) -> reqwest::RequestBuilder {
    request
        .header(SESSION_HEADER, session)
        .header(SEQ_HEADER, seq)
        .header(ACKNOWLEDGED_HEADER, acknowledged)
}

/// A place in a session that the caller keeps.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) session: String,
    pub(super) seq: u64,
    pub(super) acknowledged: u64,
}

impl Fixed {
    pub(super) fn mark(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        mark(request, &self.session, self.seq, self.acknowledged)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.session.numbers().unanswered.remove(&self.seq);
    }
}

impl Sessions {
    /// A place in the session, which `open` opens when there is none. Nothing when there is no room, or
    /// when `open` brings no session.
    pub(super) async fn enter<E>(
        &self,
        open: impl Future<Output = Result<Option<String>, E>>,
    ) -> Result<Option<Place>, E> {
        let mut session = self.open.lock().await;
        if session.is_none() {
            let opened = open.await?;
            *session = opened.map(|id| Arc::new(Session { id, numbers: Mutex::default() }));
        }
        Ok(session.as_ref().and_then(Session::place))
    }

    /// Forgets the session of this place, which has ended: the next request opens another.
    pub(super) async fn forget(&self, place: &Place) {
        let mut session = self.open.lock().await;
        if session.as_ref().is_some_and(|open| Arc::ptr_eq(open, &place.session)) {
            *session = None;
        }
    }

    /// Takes the session away, to be closed.
    pub(super) async fn take(&self) -> Option<String> {
        self.open.lock().await.take().map(|session| session.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn enter(sessions: &Sessions) -> Option<Place> {
        sessions.enter(async { Ok::<_, ()>(Some("7".to_owned())) }).await.unwrap()
    }

    fn acknowledged(place: &Place) -> String {
        let request = place.mark(reqwest::Client::new().get("http://127.0.0.1/"));
        let request = request.build().unwrap();
        request.headers()[ACKNOWLEDGED_HEADER].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_is_acknowledged_ends_before_the_first_request_without_an_answer() {
        let sessions = Sessions::default();
        let first = enter(&sessions).await.unwrap();
        let second = enter(&sessions).await.unwrap();
        assert_eq!(acknowledged(&second), "0");
        drop(first);
        assert_eq!(acknowledged(&second), "1");
    }

    #[tokio::test]
    async fn one_slow_request_does_not_fill_the_session() {
        let sessions = Sessions::default();
        let slow = enter(&sessions).await.unwrap();
        for _ in 1..ANSWERS_KEPT_MAX {
            assert!(enter(&sessions).await.is_some());
        }
        assert!(enter(&sessions).await.is_none(), "it goes without a session");
        drop(slow);
        assert!(enter(&sessions).await.is_some());
    }
}
