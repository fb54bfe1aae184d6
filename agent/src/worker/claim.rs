//! Asking for work so that nothing that was granted gets lost.
//!
//! A claim whose answer got lost may have brought items that nobody here knows of; they, their
//! devices and their groups would be held until the lease ends. So the claims of a worker are
//! numbered in a session: the same number, sent again, gets the same answer.

use std::time::Duration;

use ringrift_core::id::WorkId;
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::problem::Code;
use ringrift_wire::tenancy;
use ringrift_wire::work;

use super::CLAIM_RETRY_FIRST;
use super::lease::Timing;
use super::report::Reporter;

/// Pause before a session is asked for again when there are too many. Until then claims have none.
const SESSION_PAUSE: Duration = Duration::from_secs(60);
/// Tries to learn what a claim brought when the worker ends, and the time for that and for giving it
/// back: beyond them it is left to its lease.
const CALL_IN_TRIES_MAX: u32 = 3;
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// Where the worker stands with its claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    session: Session,
    /// Number of the next claim; the answers to all before it have come, or are given up.
    seq: u64,
    /// The claim of that number, when it was sent: its answer is on its way, or lost.
    asked: Option<Ask>,
}

#[derive(Debug)]
enum Session {
    Open(String),
    /// Nothing to ask for before that time.
    None {
        until: Duration,
    },
}

impl Default for Session {
    fn default() -> Self {
        Self::None { until: Duration::ZERO }
    }
}

/// One claim.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// When it was sent first: its lease may count from then.
    pub(super) sent: Duration,
    claim: work::Claim,
    /// Its session and its number there.
    place: Option<(String, u64)>,
}

impl Ask {
    pub(super) async fn send(&self, client: &Client) -> Result<Vec<work::WorkItem>, ClientError> {
        let claimed = match &self.place {
            Some((session, seq)) => {
                client.in_session(session, *seq, *seq).claim(&self.claim).await?
            }
            None => client.claim(&self.claim).await?,
        };
        Ok(claimed.items)
    }

    /// The same once more. What is there already is told at once, and so is that there is nothing.
    fn again(mut self) -> Self {
        self.claim.wait_seconds = 0.0;
        self
    }
}

impl Claims {
    /// Whether a session should be opened first.
    pub(super) fn lacks_session(&self, now: Duration) -> bool {
        matches!(self.session, Session::None { until } if now >= until)
    }

    /// Answers whether claims can go on; if not, the session has to be asked for again.
    pub(super) fn opened(&mut self, now: Duration, reply: Result<String, ClientError>) -> bool {
        match reply {
            Ok(session) => self.session = Session::Open(session),
            Err(error) if code(&error) == Some(Code::Backpressure) => {
                self.session = Session::None { until: now.saturating_add(SESSION_PAUSE) };
            }
            Err(error) => {
                tracing::debug!(%error, "no session was opened, will try again");
                return false;
            }
        }
        true
    }

    /// The claim to send now: this one, or the last one again when its answer got lost.
    pub(super) fn next(&mut self, now: Duration, timing: Timing, claim: work::Claim) -> Ask {
        let ends =
            |ask: &Ask| ask.sent.saturating_add(timing.lease()).saturating_sub(timing.margin());
        let ask = match self.asked.take() {
            // Later than that its items could only be stopped.
            Some(ask) if now < ends(&ask) => ask.again(),
            lost => {
                self.seq = self.seq.saturating_add(u64::from(lost.is_some()));
                let place = match &self.session {
                    Session::Open(session) => Some((session.clone(), self.seq)),
                    Session::None { .. } => None,
                };
                Ask { sent: now, claim, place }
            }
        };
        self.asked = Some(ask.clone());
        ask
    }

    pub(super) fn settle(&mut self, reply: &Result<Vec<work::WorkItem>, ClientError>) {
        let is_lost = reply.as_ref().is_err_and(is_unknown);
        if is_lost && self.asked.as_ref().is_some_and(|ask| ask.place.is_some()) {
            return;
        }
        self.asked = None;
        self.seq = self.seq.saturating_add(1);
        let refused = reply.as_ref().err().and_then(code);
        if matches!(refused, Some(Code::SessionUnknown | Code::SessionStale)) {
            // It ends when nothing is heard of it for a while, and claims that find nothing are
            // not heard.
            self.session = Session::default();
        }
    }

    /// Learns what the last claim brought, gives that back, and closes the session.
    pub(super) async fn close(self, client: Client, timing: Timing, reporter: Reporter) {
        let closed = tokio::time::timeout(CLOSE_MAX, self.hand_back(client, timing, reporter));
        if closed.await.is_err() {
            tracing::warn!("what the last claim brought is not known, and left to its lease");
        }
    }

    async fn hand_back(self, client: Client, timing: Timing, reporter: Reporter) {
        let Session::Open(session) = self.session else { return };
        if let Some(ask) = self.asked.filter(|ask| ask.place.is_some()) {
            let until = reporter.now().saturating_add(timing.lease());
            for item in call_in(ask.again(), &client).await {
                let work_id = item.work_id.parse::<WorkId>();
                if let (Ok(work_id), Some(token)) = (work_id, &item.token) {
                    reporter.release(work_id, token, until).await;
                }
            }
        }
        let path = format!("/sessions/{session}");
        if let Err(error) = client.delete::<_, tenancy::Session>(&path, &()).await {
            tracing::debug!(%error, "the session was not closed, it ends by itself");
        }
    }
}

/// What a claim brought. When it never arrived it may bring one item now, which goes back as well.
async fn call_in(mut ask: Ask, client: &Client) -> Vec<work::WorkItem> {
    ask.claim.max_items = 1;
    for _ in 0..CALL_IN_TRIES_MAX {
        match ask.send(client).await {
            Ok(items) => return items,
            Err(error) => tracing::debug!(%error, "what the last claim brought is not known"),
        }
        tokio::time::sleep(CLAIM_RETRY_FIRST).await;
    }
    Vec::new()
}

pub(super) async fn open_session(client: Client) -> Result<String, ClientError> {
    let opened: tenancy::Session = client.post("/sessions", &()).await?;
    Ok(opened.session_id)
}

fn code(error: &ClientError) -> Option<Code> {
    error.problem().map(|problem| problem.code)
}

/// Whether the claim may have been carried out.
fn is_unknown(error: &ClientError) -> bool {
    code(error).is_none_or(|code| {
        matches!(
            code,
            Code::LeaderUnreachable | Code::NodeUnreachable | Code::CommitTimeout | Code::Internal
        )
    })
}
