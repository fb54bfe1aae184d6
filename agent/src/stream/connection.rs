//! One stream, held by one task.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ringrift_core::id::WorkId;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{self, Command};
use ringrift_wire::problem::Code;
use ringrift_wire::stream::frame::Outbox;
use ringrift_wire::stream::message::{
    Answer, Completion, Message, Operation, Outcome, Refused, Request, Response,
};
use ringrift_wire::stream::{REQUEST_FRAME_BYTES_MAX, RESPONSE_FRAME_BYTES_MAX, frame};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;

use super::batch::{self, Batch, Finished, Kind, Next, overloaded};
use super::greet::{greet, refused};
use super::{REQUESTS_HARD_MAX, REQUESTS_MAX, REQUESTS_TOTAL_MAX, convert};
use crate::claims::Granted;
use crate::consensus::{Consensus, settles};
use crate::http::App;
use crate::http::sessions::Retry;
use crate::http::work::pair_of;

/// Room for one read: a few hundred small requests.
const READ_BYTES: usize = 64 * 1024;
/// Responses that wait to be written, above which the stream is not read: a client that sends and
/// does not listen.
const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time between two looks at whether the client lives.
const PATROL: Duration = Duration::from_secs(30);
/// Looks after which a stream without any request is closed; the client opens it again when needed.
const PATROLS_IDLE_MAX: u32 = 20;
/// What a client may take to listen to the last words.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// Serves a stream to its end.
pub(super) async fn run<S>(app: &Arc<App>, mut io: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let Some((client, inbox)) = greet(app, &mut io).await? else {
        return Ok(());
    };
    tracing::debug!(client, "stream open");
    let mut connection = Connection {
        app: Arc::clone(app),
        inbox,
        outbox: Outbox::new(OUTBOX_BYTES_MAX),
        running: FuturesUnordered::new(),
        requests: 0,
        large: None,
    };
    connection.serve(io).await
}

struct Connection {
    app: Arc<App>,
    inbox: BytesMut,
    outbox: Outbox,
    running: FuturesUnordered<BoxFuture<'static, Finished>>,
    /// Requests without a response.
    requests: usize,
    /// The share of the bytes for large frames, while one is arriving.
    large: Option<OwnedSemaphorePermit>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.app.streams.requests.fetch_sub(self.requests, Ordering::Relaxed);
    }
}

impl Connection {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&mut self, io: S) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(io);
        let ending = self.app.streams.ending.clone();
        let mut patrol = tokio::time::interval(PATROL);
        patrol.tick().await;
        let (mut silent, mut stuck) = (0_u32, false);
        if let Err(refused) = self.take_in() {
            return self.farewell(&mut writer, refused).await;
        }
        loop {
            let reads = self.requests < REQUESTS_HARD_MAX
                && self.outbox.held() < OUTBOX_BYTES_MAX
                && !ending.is_cancelled();
            if reads {
                self.inbox.reserve(READ_BYTES);
            }
            tokio::select! {
                biased;
                Some(finished) = self.running.next() => self.finish(finished),
                read = reader.read_buf(&mut self.inbox), if reads => {
                    if read? == 0 {
                        return Ok(());
                    }
                    silent = 0;
                    if let Err(refused) = self.take_in() {
                        return self.farewell(&mut writer, refused).await;
                    }
                }
                written = writer.write(self.outbox.rest()), if !self.outbox.is_empty() => {
                    self.outbox.advance(written?);
                    stuck = false;
                }
                () = ending.cancelled(), if self.requests == 0 => {
                    let refused = refused(Code::Unavailable, "the agent is stopping".to_owned());
                    let refused = Refused { retry_after_ms: Some(0), ..refused };
                    return self.farewell(&mut writer, refused).await;
                }
                _ = patrol.tick() => {
                    if stuck && !self.outbox.is_empty() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    stuck = !self.outbox.is_empty();
                    silent = if self.requests == 0 { silent.saturating_add(1) } else { 0 };
                    if silent > PATROLS_IDLE_MAX {
                        let text = "nothing was asked for in ten minutes".to_owned();
                        return self.farewell(&mut writer, refused(Code::Unavailable, text)).await;
                    }
                }
            }
        }
    }

    /// Says why the stream ends.
    async fn farewell<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        refused: Refused,
    ) -> io::Result<()> {
        self.say(&Message::Goodbye(refused));
        let last_words = async {
            writer.write_all(self.outbox.rest()).await?;
            writer.shutdown().await
        };
        tokio::time::timeout(FAREWELL_PATIENCE, last_words).await?
    }

    /// Takes all requests that have arrived whole.
    fn take_in(&mut self) -> Result<(), Refused> {
        let malformed = |error: frame::FrameError| refused(Code::MalformedBody, error.to_string());
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest: &[u8] = &inbox;
        let mut arrived = Arrived::default();
        while let Some((message, behind)) =
            frame::split(rest, REQUEST_FRAME_BYTES_MAX).map_err(malformed)?
        {
            rest = behind;
            let request: Request = frame::decode("a request", message).map_err(malformed)?;
            self.requests = self.requests.saturating_add(1);
            self.app.streams.requests.fetch_add(1, Ordering::Relaxed);
            if let Err((number, refused)) = self.sort(request, message.len(), &mut arrived) {
                self.respond_now(number, Outcome::Refused(refused));
            }
        }
        let taken = inbox.len().saturating_sub(rest.len());
        self.inbox = inbox;
        self.inbox.advance(taken);
        self.carry_out(arrived);
        self.make_room()
    }

    /// A large frame needs a share of the bytes that all streams have for such, while it arrives.
    fn make_room(&mut self) -> Result<(), Refused> {
        let announced = frame::announced(&self.inbox).unwrap_or(0);
        if announced <= READ_BYTES {
            if self.large.take().is_some() && self.inbox.len() <= READ_BYTES {
                // Give the memory back that the large frame took.
                self.inbox = BytesMut::from(&self.inbox[..]);
            }
            return Ok(());
        }
        if self.large.as_ref().is_some_and(|share| share.num_permits() >= announced) {
            return Ok(());
        }
        self.large = None;
        let bytes = u32::try_from(announced).unwrap_or(u32::MAX);
        match Arc::clone(&self.app.streams.large).try_acquire_many_owned(bytes) {
            Ok(share) => {
                self.large = Some(share);
                Ok(())
            }
            Err(_full) => Err(overloaded("too many large requests arrive at once".to_owned())),
        }
    }

    /// Checks one request and puts it to its kind.
    fn sort(
        &self,
        request: Request,
        bytes: usize,
        arrived: &mut Arrived,
    ) -> Result<(), (u64, Refused)> {
        let Request { number, session, operation } = request;
        let refuse = |refused| (number, refused);
        match operation {
            Operation::Add(items) => {
                self.admit().map_err(refuse)?;
                self.admit_work().map_err(refuse)?;
                let weight = items.len();
                let command = convert::new_items(items).map_err(refuse)?;
                let command = convert::in_session(session, command);
                arrived.others.push((number, Kind::Add, command, weight, bytes));
            }
            Operation::Claim(claim) => {
                self.admit().map_err(refuse)?;
                let wait = Duration::from_millis(claim.wait_ms);
                let claim = convert::claim(claim).map_err(refuse)?;
                self.app.claims.known.note(&claim, self.app.clock.monotonic());
                if session.is_some() {
                    // A repeat gets what the first got, even when nothing is claimable any more: it
                    // neither waits nor asks what there is.
                    let command = convert::in_session(session, Command::Claim(claim));
                    arrived.others.push((number, Kind::Claim(None), command, 1, bytes));
                } else {
                    arrived.claims.push((number, claim, wait, bytes));
                }
            }
            Operation::Start(hold) => {
                let command = convert::in_session(session, convert::start(hold));
                arrived.others.push((number, Kind::Start, command, 1, bytes));
            }
            Operation::Heartbeat(heartbeat) => {
                let command = convert::heartbeat(heartbeat).map_err(refuse)?;
                arrived.others.push((number, Kind::Heartbeat, command, 1, bytes));
            }
            Operation::Complete(completions) => {
                convert::check_completions(&completions).map_err(refuse)?;
                arrived.completions.push((number, completions, bytes));
            }
            Operation::Fail(failing) => {
                let command = convert::in_session(session, convert::fail(failing));
                arrived.others.push((number, Kind::Fail, command, 1, bytes));
            }
            Operation::Ping => arrived.pings.push(number),
            Operation::OpenSession => {
                self.admit().map_err(refuse)?;
                arrived.others.push((number, Kind::OpenSession, Command::OpenSession, 1, bytes));
            }
        }
        Ok(())
    }

    /// New work is refused when too much is on its way. What ends or keeps work never is.
    fn admit(&self) -> Result<(), Refused> {
        if self.requests > REQUESTS_MAX {
            let text = format!("{REQUESTS_MAX} requests of this stream have no response yet");
            return Err(overloaded(text));
        }
        if !self.app.streams.has_room() {
            let text = format!("{REQUESTS_TOTAL_MAX} requests of all streams have no response yet");
            return Err(overloaded(text));
        }
        Ok(())
    }

    /// Refused here and not by the proposal, which carries what ends work too.
    fn admit_work(&self) -> Result<(), Refused> {
        let admitted = self.app.consensus.as_ref().map_or(Ok(()), Consensus::admit);
        admitted.map_err(|error| convert::of_failure(error.into()))
    }

    /// Proposes what has arrived: first what ends work, last what takes some.
    fn carry_out(&mut self, arrived: Arrived) {
        let Arrived { pings, completions, others, claims } = arrived;
        for number in pings {
            self.respond_now(number, Outcome::Done(Answer::Here));
        }
        if completions.is_empty() && others.is_empty() && claims.is_empty() {
            return;
        }
        let Some(consensus) = self.app.consensus.clone() else {
            let numbers = completions.iter().map(|(number, ..)| *number);
            let numbers = numbers.chain(others.iter().map(|(number, ..)| *number));
            let numbers: Vec<u64> =
                numbers.chain(claims.iter().map(|(number, ..)| *number)).collect();
            for number in numbers {
                self.respond_now(number, Outcome::NotLeader { leader: None });
            }
            return;
        };
        let look = |machine: &Machine| {
            let pairs: Vec<_> =
                completions.iter().map(|(_, list, _)| pairs_among(machine, list)).collect();
            let claimable: Vec<_> =
                claims.iter().map(|(_, claim, ..)| machine.claimable(claim)).collect();
            (pairs, claimable)
        };
        let (pairs, claimable) = if completions.is_empty() && claims.is_empty() {
            (Vec::new(), Vec::new())
        } else {
            consensus.read(look)
        };
        let mut batch = Batch::default();
        for ((number, list, bytes), pairs) in completions.into_iter().zip(pairs) {
            let Pairs { pairs, all_known: true } = pairs else {
                let app = Arc::clone(&self.app);
                let later = complete_when_known(app, consensus.clone(), number, list, bytes);
                self.running.push(Box::pin(later));
                continue;
            };
            let (kind, commands) = completed(list, &pairs);
            self.add(&mut batch, number, kind, commands.len(), commands, bytes);
        }
        let (settling, beginning): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, _, command, ..)| settles(command));
        for (number, kind, command, weight, bytes) in settling {
            self.add(&mut batch, number, kind, weight, [command], bytes);
        }
        // What keeps or ends work has room of its own, as long as nothing else goes with it.
        if consensus.is_crowded() {
            self.propose(&mut batch);
        }
        for (number, kind, command, weight, bytes) in beginning {
            self.add(&mut batch, number, kind, weight, [command], bytes);
        }
        for ((number, claim, wait, bytes), claimable) in claims.into_iter().zip(claimable) {
            if claimable {
                let again = (!wait.is_zero()).then(|| Box::new((claim.clone(), wait)));
                let command = [Command::Claim(claim)];
                self.add(&mut batch, number, Kind::Claim(again), 1, command, bytes);
            } else if wait.is_zero() {
                self.running.push(Box::pin(look_again(consensus.clone(), number, claim)));
            } else {
                self.wait(number, claim, wait);
            }
        }
        self.propose(&mut batch);
    }

    fn add(
        &mut self,
        batch: &mut Batch,
        number: u64,
        kind: Kind,
        weight: usize,
        commands: impl IntoIterator<Item = Command>,
        bytes: usize,
    ) {
        if !batch.fits(weight, bytes) {
            self.propose(batch);
        }
        batch.push(number, kind, weight, commands, bytes);
    }

    fn propose(&mut self, batch: &mut Batch) {
        if !batch.is_empty() {
            let batch = std::mem::take(batch);
            self.running.push(Box::pin(batch.carry_out(Arc::clone(&self.app))));
        }
    }

    fn wait(&mut self, number: u64, claim: command::Claim, wait: Duration) {
        let app = Arc::clone(&self.app);
        self.running.push(Box::pin(async move {
            let outcome = app.claims.wait(claim, Retry::default(), wait, &app.stopping).await;
            Finished::Claim { number, outcome }
        }));
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Claim { number, outcome } => {
                let response = batch::waited(&self.app, number, outcome);
                self.respond(response);
            }
            Finished::Batch { slots, outcome } => {
                let app = Arc::clone(&self.app);
                batch::distribute(&app, slots, outcome, |next| match next {
                    Next::Respond(response) => self.respond(response),
                    Next::Wait { number, claim, wait } => self.wait(number, claim, wait),
                });
            }
        }
    }

    fn say(&mut self, message: &Message) {
        if let Err(error) = self.outbox.push(message, RESPONSE_FRAME_BYTES_MAX) {
            // The bounds of claims rule it out; the client's patience ends the request.
            tracing::error!(%error, "response cannot be written");
        }
    }

    fn respond_now(&mut self, number: u64, outcome: Outcome) {
        let position = self.app.position();
        self.respond(Response { number, position, outcome });
    }

    fn respond(&mut self, response: Response) {
        self.requests = self.requests.saturating_sub(1);
        self.app.streams.requests.fetch_sub(1, Ordering::Relaxed);
        self.say(&Message::Response(response));
    }
}

/// The requests of one read, sorted by what they need to know of the machine.
#[derive(Default)]
struct Arrived {
    pings: Vec<u64>,
    completions: Vec<(u64, Vec<Completion>, usize)>,
    /// With the weight in a batch and the bytes.
    others: Vec<(u64, Kind, Command, usize, usize)>,
    claims: Vec<(u64, command::Claim, Duration, usize)>,
}

/// Which of some items are pairs, with their indexes.
struct Pairs {
    pairs: Vec<(WorkId, u32)>,
    /// Whether the replica has all of the items.
    all_known: bool,
}

fn pairs_among(machine: &Machine, list: &[Completion]) -> Pairs {
    let ids = || list.iter().map(|completion| completion.hold.work_id);
    let pair = |id| Some((id, pair_of(machine, machine.item(id)?)?));
    Pairs {
        pairs: ids().filter_map(pair).collect(),
        all_known: ids().all(|id| machine.item(id).is_some()),
    }
}

/// Completes items of which some are not known here. A leader that has just begun may not have all that
/// was acknowledged before it, and the result of a pair must not be taken for another.
async fn complete_when_known(
    app: Arc<App>,
    consensus: Consensus,
    number: u64,
    list: Vec<Completion>,
    bytes: usize,
) -> Finished {
    let caught_up = consensus.barrier().await;
    let Pairs { pairs, all_known: _ } = consensus.read(|machine| pairs_among(machine, &list));
    let (kind, commands) = completed(list, &pairs);
    let mut batch = Batch::default();
    batch.push(number, kind, commands.len(), commands, bytes);
    match caught_up {
        Ok(_position) => batch.carry_out(app).await,
        Err(error) => batch.give_up(error),
    }
}

/// The commands of some completions, and which of them were refused before.
fn completed(list: Vec<Completion>, pairs: &[(WorkId, u32)]) -> (Kind, Vec<Command>) {
    let mut commands = Vec::with_capacity(list.len());
    let outcomes = list.into_iter().map(|completion| {
        let id = completion.hold.work_id;
        let pair = pairs.iter().find(|(pair, _)| *pair == id).map(|(_, index)| *index);
        convert::complete(completion, pair).map(|command| commands.push(command)).err()
    });
    let outcomes = outcomes.collect();
    (Kind::Complete(outcomes), commands)
}

/// A claim that does not wait and for which nothing was there. What was acknowledged before, perhaps
/// by a former leader, must be looked at.
async fn look_again(consensus: Consensus, number: u64, claim: command::Claim) -> Finished {
    let look = async {
        let position = consensus.barrier().await?;
        if !consensus.read(|machine| machine.claimable(&claim)) {
            return Ok(Granted { position, items: Vec::new() });
        }
        crate::claims::take(&consensus, claim).await
    };
    Finished::Claim { number, outcome: Some(look.await) }
}
