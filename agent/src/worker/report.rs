//! Telling the cluster what became of an item, until it has heard.

use std::time::Duration;

use ringrift_core::id::WorkId;
use ringrift_core::limits;
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::work;
use serde::Serialize;
use serde_json::Value;

use super::lease::{Holding, Timing};
use super::spool::{Kept, Spool};
use crate::clock::Clock;

/// First and longest pause between two tries. A new leader is there within a second.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long a result is offered beyond the end of its lease. Without a leader the cluster's time
/// stands still, so the claim may hold longer than our clock says; if not, its token is refused.
const RESULT_PATIENCE: Duration = Duration::from_secs(300);

/// What the cluster said.
#[derive(Debug)]
enum Verdict {
    Accepted,
    Refused(Box<Problem>),
    /// No answer, or none that settles it. Repeating is harmless: the token tells repeats apart.
    Unknown(String),
}

/// Tells; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    client: Client,
    clock: Clock,
    timing: Timing,
    spool: Spool,
}

impl Reporter {
    pub(super) fn new(client: Client, clock: Clock, timing: Timing, spool: Spool) -> Self {
        Self { client, clock, timing, spool }
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// The time by which leases are judged.
    pub(super) fn now(&self) -> Duration {
        self.clock.since_boot()
    }

    /// Says that the attempt begins. False when the claim is not, or no longer, ours.
    pub(super) async fn start(&self, work_id: WorkId, holding: &Holding) -> bool {
        let body = work::Start { work_id: work_id.to_string(), token: holding.token().to_owned() };
        let verdict = self.insist("/work/start", &body, || holding.until()).await;
        log(work_id, "start", &verdict);
        matches!(verdict, Verdict::Accepted)
    }

    /// Hands the result in. It waits on disk while nobody answers.
    pub(super) async fn complete(&self, work_id: WorkId, holding: &Holding, result: Value) {
        let body = work::Complete {
            work_id: work_id.to_string(),
            token: holding.token().to_owned(),
            result,
            then: Vec::new(),
        };
        let mut verdict = self.once("/work/complete", &body).await;
        if let Verdict::Unknown(cause) = &verdict {
            tracing::warn!(%work_id, cause, "the result was not taken, keeping it and trying on");
            self.spool.keep(&body).await;
            let until = || holding.until().saturating_add(RESULT_PATIENCE);
            verdict = self.insist("/work/complete", &body, until).await;
            if !matches!(verdict, Verdict::Unknown(_)) {
                self.spool.forget(&body).await;
            }
        }
        log(work_id, "complete", &verdict);
        if let Verdict::Refused(problem) = verdict
            && !is_about_the_claim(problem.code)
        {
            let error = format!("the result was refused: {}", problem.error);
            self.fail(work_id, holding, &error, true).await;
        }
    }

    /// Says that the attempt failed, as long as the lease holds.
    pub(super) async fn fail(&self, work_id: WorkId, holding: &Holding, error: &str, retry: bool) {
        let body = work::Fail {
            work_id: work_id.to_string(),
            token: holding.token().to_owned(),
            error: error[..error.floor_char_boundary(limits::ERROR_BYTES_MAX)].to_owned(),
            retry,
        };
        let verdict = self.insist("/work/fail", &body, || holding.until()).await;
        log(work_id, "fail", &verdict);
    }

    /// Gives the claim back, as long as the lease holds: another takes the item at once, and what was
    /// begun does not count.
    pub(super) async fn release(&self, work_id: WorkId, token: &str, until: Duration) {
        let (work_id_text, token) = (work_id.to_string(), token.to_owned());
        let body = work::Release { work_id: work_id_text, token, delay_seconds: 0.0 };
        let verdict = self.insist("/work/release", &body, || until).await;
        log(work_id, "release", &verdict);
    }

    /// Hands in the results that an earlier life of this agent could not.
    pub(super) async fn report_leftover(&self) {
        let until = self.clock.since_boot().saturating_add(RESULT_PATIENCE);
        for Kept { work_id, body } in self.spool.kept().await {
            let verdict = self.insist("/work/complete", &body, || until).await;
            log(work_id, "complete after a restart", &verdict);
            self.spool.forget(&body).await;
        }
    }

    async fn insist<B: Serialize + Sync>(
        &self,
        path: &'static str,
        body: &B,
        until: impl Fn() -> Duration,
    ) -> Verdict {
        let mut pause = RETRY_FIRST;
        loop {
            let verdict = self.once(path, body).await;
            let is_over = self.clock.since_boot().saturating_add(pause) >= until();
            if is_over || !matches!(verdict, Verdict::Unknown(_)) {
                return verdict;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(RETRY_MAX);
        }
    }

    async fn once<B: Serialize + Sync>(&self, path: &'static str, body: &B) -> Verdict {
        let call = self.client.post::<B, work::Changed>(path, body);
        match tokio::time::timeout(self.timing.request_wait(), call).await {
            Ok(Ok(_changed)) => Verdict::Accepted,
            Ok(Err(ClientError::Refused(problem))) if is_final(problem.code) => {
                Verdict::Refused(problem)
            }
            Ok(Err(error)) => Verdict::Unknown(error.to_string()),
            Err(_elapsed) => {
                Verdict::Unknown(format!("no answer within {:?}", self.timing.request_wait()))
            }
        }
    }
}

fn log(work_id: WorkId, what: &'static str, verdict: &Verdict) {
    match verdict {
        Verdict::Accepted => tracing::debug!(%work_id, what, "report accepted"),
        Verdict::Refused(problem) => tracing::info!(%work_id, what, %problem, "report refused"),
        Verdict::Unknown(cause) => tracing::warn!(%work_id, what, cause, "report given up"),
    }
}

/// Whether the same request would be refused again.
fn is_final(code: Code) -> bool {
    match code {
        Code::LeaderUnknown
        | Code::LeaderUnreachable
        | Code::NodeUnreachable
        | Code::NoCluster
        | Code::CommitTimeout
        | Code::Unavailable
        | Code::Backpressure
        | Code::StorageFull
        | Code::Internal
        // A token may be in the middle of being replaced.
        | Code::Unauthorized => false,
        Code::MalformedBody
        | Code::UnknownField
        | Code::MissingField
        | Code::WrongType
        | Code::InvalidValue
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::WorkUnknown
        | Code::WorkEnded
        | Code::Fenced
        | Code::KeyConflict
        | Code::QueueUnknown
        | Code::QueueInUse
        | Code::MemberRetired
        | Code::SessionUnknown
        | Code::SessionStale
        | Code::LockHeld
        | Code::LockNotHeld
        | Code::RunUnknown
        | Code::RunConflict
        | Code::RunEnded
        | Code::Unsupported => true,
    }
}

/// Whether a refusal says that the item is not ours any more, so that nothing is left to say.
fn is_about_the_claim(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::WorkUnknown | Code::WorkEnded | Code::RunEnded)
}
