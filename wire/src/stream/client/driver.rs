//! The task that holds the connection.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::dial::{self, Dialer, Open};
use super::{Call, Obstacle, Settings, StreamError};
use crate::stream::frame::Outbox;
use crate::stream::message::{Message, Operation, Outcome, Refused, Response, SessionStamp};
use crate::stream::{REQUEST_FRAME_BYTES_MAX, RESPONSE_FRAME_BYTES_MAX, frame};

/// Requests taken from the queue at once: one write carries them.
const BATCH_MAX: usize = 256;
/// Bytes that wait to be written, above which no further requests are taken.
const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Room for one read.
const READ_BYTES: usize = 64 * 1024;
/// Redirects of one request: more mean that the agents do not agree who leads.
const REDIRECTS_MAX: u32 = 16;
/// How long a former leader may take to answer what it still has.
const MOVING_PATIENCE: Duration = Duration::from_secs(1);

/// Time between two looks at whether the agent still speaks, while it owes a response. An agent that
/// says nothing is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(1);
/// Looks without a sign of life after which the connection is given up: a machine that vanished
/// leaves one that looks alive.
const PULSES_SILENT_MAX: u32 = 3;

/// A request by reference: what [`crate::stream::message::Request`] is by value.
#[derive(Serialize)]
struct Outgoing<'a> {
    number: u64,
    session: Option<SessionStamp>,
    operation: &'a Operation,
}

/// Why a connection is given up.
enum End {
    /// All clients are gone.
    Unused,
    /// The leader is elsewhere, and everything here is answered.
    Moved,
    /// It broke.
    Broken(String),
}

pub(super) struct Driver {
    dialer: Dialer,
    calls: mpsc::Receiver<Call>,
    obstacle: Arc<Obstacle>,
    /// Sent, not answered.
    pending: HashMap<u64, Call>,
    /// Not sent on this connection. At most as many as a client has places.
    unsent: VecDeque<Call>,
    next_number: u64,
}

impl Driver {
    pub(super) fn new(
        settings: Settings,
        calls: mpsc::Receiver<Call>,
        obstacle: Arc<Obstacle>,
    ) -> Result<Self, StreamError> {
        let (pending, unsent) = (HashMap::new(), VecDeque::new());
        let dialer = Dialer::new(settings)?;
        Ok(Self { dialer, calls, obstacle, pending, unsent, next_number: 0 })
    }

    /// Ends when the last client is gone.
    pub(super) async fn run(mut self) {
        loop {
            if self.unsent.is_empty() {
                match self.calls.recv().await {
                    Some(call) => self.unsent.push_back(call),
                    None => return,
                }
            }
            let Some(open) = self.dial().await else { continue };
            let address = open.address.clone();
            match self.converse(open).await {
                End::Unused => return,
                End::Moved => {}
                End::Broken(cause) => {
                    self.dialer.lost(&address);
                    self.give_up_pending(&address, &cause);
                }
            }
        }
    }

    /// Looks for the leader as long as anybody waits for it.
    async fn dial(&mut self) -> Option<Open> {
        loop {
            while let Ok(call) = self.calls.try_recv() {
                self.unsent.push_back(call);
            }
            self.unsent.retain(|call| !call.answer.is_closed());
            if self.unsent.is_empty() {
                return None;
            }
            match self.dialer.attempt().await {
                Ok(open) => {
                    self.obstacle.set(String::new());
                    return Some(open);
                }
                Err(dial::Obstacle::Passing(text)) => self.obstacle.set(text),
                Err(dial::Obstacle::Refused(refused)) => self.refuse_unsent(&refused),
            }
        }
    }

    async fn converse(&mut self, open: Open) -> End {
        let Open { address: _, host, io, mut inbox } = open;
        let (mut reader, mut writer) = tokio::io::split(io);
        let pending_max = usize::try_from(host.requests_max).unwrap_or(usize::MAX).max(1);
        let mut outbox = Outbox::new(OUTBOX_BYTES_MAX);
        let mut batch = Vec::new();
        let mut moving = None;
        let mut pulse = tokio::time::interval(PULSE);
        // After a pause of this program the agent is given its time again.
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = 0_u32;
        loop {
            if moving.is_none() {
                self.send_waiting(pending_max, &mut outbox);
            }
            if moving.is_some() && self.pending.is_empty() && outbox.is_empty() {
                return End::Moved;
            }
            let takes = moving.is_none() && self.unsent.is_empty();
            inbox.reserve(READ_BYTES);
            tokio::select! {
                biased;
                taken = self.calls.recv_many(&mut batch, BATCH_MAX), if takes => {
                    // Whoever waits for a response holds a client, so nobody does.
                    if taken == 0 {
                        return End::Unused;
                    }
                    self.unsent.extend(batch.drain(..));
                }
                read = reader.read_buf(&mut inbox) => {
                    silent = 0;
                    match self.heard(read, &mut inbox) {
                        Ok(true) if moving.is_none() => {
                            moving = Some(Box::pin(tokio::time::sleep(MOVING_PATIENCE)));
                        }
                        Ok(_moving_or_not) => {}
                        Err(cause) => return End::Broken(cause),
                    }
                }
                written = writer.write(outbox.rest()), if !outbox.is_empty() => match written {
                    Ok(bytes) => outbox.advance(bytes),
                    Err(error) => return End::Broken(error.to_string()),
                },
                _ = pulse.tick() => {
                    if silent >= PULSES_SILENT_MAX {
                        return End::Broken("the agent is silent".to_owned());
                    }
                    if self.pending.is_empty() {
                        silent = 0;
                    } else {
                        silent = silent.saturating_add(1);
                        self.ping(&mut outbox);
                    }
                }
                () = patience(moving.as_mut()) => {
                    return End::Broken("it no longer leads".to_owned());
                }
            }
        }
    }

    /// Nobody waits for the answer: that it comes is enough.
    fn ping(&mut self, outbox: &mut Outbox) {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let request = Outgoing { number, session: None, operation: &Operation::Ping };
        // A frame of three bytes always fits.
        let _ = outbox.push(&request, REQUEST_FRAME_BYTES_MAX);
    }

    fn send_waiting(&mut self, pending_max: usize, outbox: &mut Outbox) {
        while self.pending.len() < pending_max
            && outbox.held() < OUTBOX_BYTES_MAX
            && let Some(call) = self.unsent.pop_front()
        {
            self.send(call, outbox);
        }
    }

    fn send(&mut self, call: Call, outbox: &mut Outbox) {
        if call.answer.is_closed() {
            return;
        }
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let request = Outgoing { number, session: call.session, operation: &call.operation };
        match outbox.push(&request, REQUEST_FRAME_BYTES_MAX) {
            Ok(()) => {
                self.pending.insert(number, call);
            }
            Err(error) => {
                // The caller may have given up.
                let _ = call.answer.send(Err(StreamError::Unusable(error.to_string())));
            }
        }
    }

    fn heard(&mut self, read: io::Result<usize>, inbox: &mut BytesMut) -> Result<bool, String> {
        match read {
            Ok(0) => Err("the agent closed it".to_owned()),
            Ok(_bytes) => self.receive(inbox),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes the responses that have arrived, and says whether the leader is elsewhere.
    fn receive(&mut self, inbox: &mut BytesMut) -> Result<bool, String> {
        let mut rest: &[u8] = inbox;
        let mut elsewhere = false;
        while let Some((message, behind)) =
            frame::split(rest, RESPONSE_FRAME_BYTES_MAX).map_err(|error| error.to_string())?
        {
            rest = behind;
            match frame::decode("a message", message).map_err(|error| error.to_string())? {
                Message::Response(response) => elsewhere |= self.answer(response),
                Message::Goodbye(refused) => return Err(refused.to_string()),
            }
        }
        let taken = inbox.len().saturating_sub(rest.len());
        inbox.advance(taken);
        Ok(elsewhere)
    }

    /// Hands a response to its caller, and says whether it names another leader instead.
    fn answer(&mut self, response: Response) -> bool {
        let Some(mut call) = self.pending.remove(&response.number) else {
            return false;
        };
        let Outcome::NotLeader { leader } = response.outcome else {
            // The caller may have given up.
            let _ = call.answer.send(Ok(response));
            return false;
        };
        call.redirects = call.redirects.saturating_add(1);
        if call.redirects > REDIRECTS_MAX {
            let text = format!("{REDIRECTS_MAX} agents said that they do not lead");
            let _ = call.answer.send(Err(StreamError::Unusable(text)));
        } else {
            self.unsent.push_back(call);
        }
        self.dialer.hint(leader);
        true
    }

    fn refuse_unsent(&mut self, refused: &Refused) {
        for call in self.unsent.drain(..) {
            let _ = call.answer.send(Err(StreamError::Refused(Box::new(refused.clone()))));
        }
    }

    /// What was sent goes again when that is harmless, in its old order.
    fn give_up_pending(&mut self, address: &str, cause: &str) {
        let mut pending: Vec<_> = self.pending.drain().collect();
        pending.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (_, call) in pending {
            if call.repeats_harmlessly() {
                self.unsent.push_front(call);
            } else {
                let (address, cause) = (address.to_owned(), cause.to_owned());
                let _ = call.answer.send(Err(StreamError::Lost { address, cause }));
            }
        }
        self.obstacle.set(format!("{address}: {cause}"));
    }
}

/// Completes when a former leader has had its time; never when there is none.
async fn patience(moving: Option<&mut std::pin::Pin<Box<tokio::time::Sleep>>>) {
    match moving {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}
