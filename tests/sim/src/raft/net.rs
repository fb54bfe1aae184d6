//! The network between the agents: connections like TCP's, on which a world decides how long every
//! frame takes, and which ways are cut.
//!
//! A kernel outlives its process: what is sent to a paused process waits for it, and what is sent to a
//! dead one is answered by a reset. A machine without power answers nothing. A cut way delays what was
//! sent on it; connections over it go on when it is joined, after a while, as TCP's do.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ringrift_agent::consensus::simulation::Stream;
use tokio::sync::oneshot;

use crate::chance::Chance;
use crate::raft::socket::{Input, Output};

/// Bytes on their way in one direction before its writer has to wait.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// A connection on which nothing got through for so long is given up, in milliseconds.
const SILENCE_MAX: u64 = 8_000;
/// A lost segment is sent again after this, and an unanswered greeting too.
const RESEND_AFTER: u64 = 200;
const RESEND_GREETING_AFTER: u64 = 1_000;
/// Connections on their way to one listener.
const BACKLOG_MAX: usize = 64;
/// All agents' raft port.
const PORT: u16 = 8771;

/// What is wrong with the network everywhere.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// The longest way, in milliseconds; at least 1.
    pub(crate) latency_max: u64,
    /// Segments that get lost and are sent again, in a thousand.
    pub(crate) losses: u64,
    /// Segments that take very long, in a thousand.
    pub(crate) stragglers: u64,
    /// Frames that vanish for ever on a connection that stands, in a thousand: worse than TCP.
    pub(crate) vanishing: u64,
    /// Frames that arrive twice, in a thousand: worse than TCP.
    pub(crate) doubled: u64,
}

/// What becomes of what is sent to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// A process listens, or its kernel does while it is paused.
    Listens,
    /// Nobody listens; the kernel says so.
    Refuses,
    /// Nothing comes back.
    Dark,
}

/// One direction of a connection.
pub(crate) type PipeId = (u64, bool);

/// Why a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
    Silent,
}

impl End {
    fn result(self) -> io::Result<usize> {
        match self {
            Self::Closed => Ok(0),
            Self::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Self::Silent => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

struct Segment {
    at: u64,
    /// Nothing is the end of the direction.
    bytes: Option<Vec<u8>>,
}

struct Pipe {
    from: usize,
    to: usize,
    chance: Chance,
    /// Bytes of a frame that is not complete.
    assembling: Vec<u8>,
    segments: VecDeque<Segment>,
    /// Since when the way is cut for what waits.
    stuck_since: Option<u64>,
    inbox: VecDeque<u8>,
    end: Option<End>,
    writer_gone: bool,
    reader_gone: bool,
    read_by: Option<Waker>,
    written_by: Option<Waker>,
}

impl Pipe {
    fn new(from: usize, to: usize, chance: Chance) -> Self {
        Self {
            from,
            to,
            chance,
            assembling: Vec::new(),
            segments: VecDeque::new(),
            stuck_since: None,
            inbox: VecDeque::new(),
            end: None,
            writer_gone: false,
            reader_gone: false,
            read_by: None,
            written_by: None,
        }
    }

    fn carried(&self) -> usize {
        let sent = self.segments.iter().filter_map(|segment| segment.bytes.as_ref());
        sent.map(Vec::len).sum::<usize>() + self.inbox.len()
    }

    fn send(&mut self, now: u64, weather: Weather, bytes: Option<Vec<u8>>) {
        let chance = &mut self.chance;
        let framed = bytes.is_some();
        if framed && chance.per_mille(weather.vanishing) {
            return;
        }
        let mut delay = chance.between(1, weather.latency_max.max(1));
        if chance.per_mille(weather.losses) {
            delay += RESEND_AFTER;
        }
        if chance.per_mille(weather.stragglers) {
            delay += chance.between(50, 1_500);
        }
        // In order, whatever each segment meets.
        let at = self.segments.back().map_or(0, |last| last.at).max(now + delay);
        if framed && chance.per_mille(weather.doubled) {
            self.segments.push_back(Segment { at, bytes: bytes.clone() });
        }
        self.segments.push_back(Segment { at, bytes });
    }

    /// Takes the complete frames off what was written.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let head: [u8; 4] = self.assembling.get(..4)?.try_into().ok()?;
        let whole = 4 + usize::try_from(u32::from_be_bytes(head)).ok()?;
        if self.assembling.len() < whole {
            return None;
        }
        let rest = self.assembling.split_off(whole);
        Some(std::mem::replace(&mut self.assembling, rest))
    }

    fn finish(&mut self, end: End, wakers: &mut Vec<Waker>) {
        self.end.get_or_insert(end);
        wakers.extend(self.read_by.take());
        wakers.extend(self.written_by.take());
    }
}

/// A connection that is being opened.
struct Dial {
    from: usize,
    to: usize,
    at: u64,
    /// What the other side said, once it did.
    answer: Option<io::Result<u64>>,
    opener: oneshot::Sender<io::Result<Stream>>,
}

#[derive(Default)]
struct Door {
    waiting: VecDeque<(u64, usize)>,
    accepted_by: Option<Waker>,
}

struct State {
    now: u64,
    seed: u64,
    weather: Weather,
    machines: Vec<Machine>,
    doors: Vec<Door>,
    /// From and to: whether the way is cut.
    cut: Vec<Vec<bool>>,
    pipes: BTreeMap<PipeId, Pipe>,
    dials: Vec<Dial>,
    next: u64,
    /// Frames that arrived.
    carried: u64,
}

/// The network; clones are the same one.
#[derive(Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

/// Where a host is.
pub(crate) fn address_of(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(host).unwrap_or(u8::MAX)], PORT))
}

fn host_at(address: &str) -> io::Result<usize> {
    match address.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(v4)) => Ok(usize::from(v4.ip().octets()[3])),
        Ok(SocketAddr::V6(_)) | Err(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl Net {
    pub(crate) fn new(hosts: usize, seed: u64, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: 0,
            seed,
            weather,
            machines: vec![Machine::Refuses; hosts],
            doors: (0..hosts).map(|_| Door::default()).collect(),
            cut: vec![vec![false; hosts]; hosts],
            pipes: BTreeMap::new(),
            dials: Vec::new(),
            next: 0,
            carried: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Cuts a way, or joins it.
    pub(crate) fn cut(&self, from: usize, to: usize, cut: bool) {
        self.lock().cut[from][to] = cut;
    }

    /// Joins all ways.
    pub(crate) fn join(&self) {
        self.lock().cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    /// Frames that arrived so far.
    pub(crate) fn carried(&self) -> u64 {
        self.lock().carried
    }

    /// What a machine does from here on. Darkness comes before its process is gone, so that its
    /// connections end without a word.
    pub(crate) fn set_machine(&self, host: usize, machine: Machine) {
        let forgotten = {
            let mut state = self.lock();
            state.machines[host] = machine;
            if machine == Machine::Listens {
                VecDeque::new()
            } else {
                std::mem::take(&mut state.doors[host].waiting)
            }
        };
        for (connection, _) in forgotten {
            // Nobody will accept them any more.
            drop(self.stream((connection, false), (connection, true)));
        }
    }

    pub(super) fn stream(&self, reads: PipeId, writes: PipeId) -> Stream {
        Stream {
            incoming: Box::new(Input { net: self.clone(), pipe: reads }),
            outgoing: Box::new(Output { net: self.clone(), pipe: writes }),
        }
    }

    pub(super) fn dial(
        &self,
        from: usize,
        address: &str,
    ) -> io::Result<oneshot::Receiver<io::Result<Stream>>> {
        let to = host_at(address)?;
        let (opener, opened) = oneshot::channel();
        let mut state = self.lock();
        let at = state.now + 1 + state.now % state.weather.latency_max.max(1);
        state.dials.push(Dial { from, to, at, answer: None, opener });
        Ok(opened)
    }

    /// The next connection to a host's listener, or to be woken when there is one.
    pub(super) fn accept(&self, host: usize, waker: &Waker) -> Option<(Stream, usize)> {
        let (connection, from) = {
            let mut state = self.lock();
            let door = &mut state.doors[host];
            let Some(next) = door.waiting.pop_front() else {
                door.accepted_by = Some(waker.clone());
                return None;
            };
            next
        };
        Some((self.stream((connection, false), (connection, true)), from))
    }

    /// Reads what has arrived; nothing when the reader must wait.
    pub(super) fn read(
        &self,
        id: PipeId,
        room: &mut [u8],
        waker: Option<&Waker>,
    ) -> Option<io::Result<usize>> {
        let mut state = self.lock();
        let Some(pipe) = state.pipes.get_mut(&id) else {
            return Some(End::Reset.result());
        };
        if pipe.inbox.is_empty() {
            let ended = pipe.end.map(End::result);
            if ended.is_none() && waker.is_some() {
                pipe.read_by = waker.cloned();
            }
            return ended;
        }
        let count = room.len().min(pipe.inbox.len());
        for (place, byte) in room.iter_mut().zip(pipe.inbox.drain(..count)) {
            *place = byte;
        }
        let writer = pipe.written_by.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Some(Ok(count))
    }

    /// Sends bytes; nothing when the writer must wait.
    pub(super) fn write(
        &self,
        id: PipeId,
        bytes: &[u8],
        waker: &Waker,
    ) -> Option<io::Result<usize>> {
        let mut state = self.lock();
        let (now, weather) = (state.now, state.weather);
        let Some(pipe) = state.pipes.get_mut(&id).filter(|pipe| pipe.end.is_none()) else {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if pipe.carried() >= WINDOW_BYTES {
            pipe.written_by = Some(waker.clone());
            return None;
        }
        pipe.assembling.extend_from_slice(bytes);
        while let Some(frame) = pipe.frame() {
            pipe.send(now, weather, Some(frame));
        }
        Some(Ok(bytes.len()))
    }

    /// Its reader closed a direction.
    pub(super) fn forget_reader(&self, id: PipeId) {
        let mut state = self.lock();
        if let Some(pipe) = state.pipes.get_mut(&id) {
            pipe.reader_gone = true;
            pipe.inbox.clear();
        }
        state.tidy(id);
    }

    /// Its writer closed a direction.
    pub(super) fn forget_writer(&self, id: PipeId) {
        let mut state = self.lock();
        let (now, weather) = (state.now, state.weather);
        let machines = state.machines.clone();
        if let Some(pipe) = state.pipes.get_mut(&id) {
            pipe.writer_gone = true;
            // A machine without power says no farewell.
            if machines[pipe.from] == Machine::Dark {
                pipe.segments.clear();
            } else {
                pipe.send(now, weather, None);
            }
        }
        state.tidy(id);
    }

    /// Moves what is due by now.
    pub(crate) fn deliver(&self, now: u64) {
        let mut wakers = Vec::new();
        let mut opened = Vec::new();
        {
            let mut state = self.lock();
            state.now = now;
            state.greet(&mut wakers, &mut opened);
            let due: Vec<PipeId> = state.pipes.keys().copied().collect();
            for id in due {
                state.carry(id, &mut wakers);
                state.tidy(id);
            }
        }
        for waker in wakers {
            waker.wake();
        }
        for (dial, outcome) in opened {
            let stream = |connection| self.stream((connection, true), (connection, false));
            // Who gave up drops the stream, which closes it.
            let _ = dial.opener.send(outcome.map(stream));
        }
    }
}

impl State {
    /// Moves connections that are being opened.
    fn greet(&mut self, wakers: &mut Vec<Waker>, opened: &mut Vec<(Dial, io::Result<u64>)>) {
        let mut later = Vec::new();
        for mut dial in std::mem::take(&mut self.dials) {
            if dial.at > self.now {
                later.push(dial);
                continue;
            }
            let Dial { from, to, .. } = dial;
            let latency = 1 + self.now % self.weather.latency_max.max(1);
            match dial.answer.take() {
                None if self.cut[from][to] || self.machines[to] == Machine::Dark => {
                    dial.at = self.now + RESEND_GREETING_AFTER;
                }
                None => {
                    dial.answer = Some(self.connect(from, to, wakers));
                    dial.at = self.now + latency;
                }
                Some(answer) if self.cut[to][from] => {
                    dial.answer = Some(answer);
                    dial.at = self.now + RESEND_GREETING_AFTER;
                }
                Some(answer) => {
                    opened.push((dial, answer));
                    continue;
                }
            }
            if !dial.opener.is_closed() || dial.answer.is_some() {
                later.push(dial);
            }
        }
        self.dials = later;
    }

    fn connect(&mut self, from: usize, to: usize, wakers: &mut Vec<Waker>) -> io::Result<u64> {
        if self.machines[to] != Machine::Listens || self.doors[to].waiting.len() >= BACKLOG_MAX {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.next += 1;
        let connection = self.next;
        let chance = |way: u64| Chance::new(self.seed ^ (connection << 1 | way) << 20);
        self.pipes.insert((connection, false), Pipe::new(from, to, chance(0)));
        self.pipes.insert((connection, true), Pipe::new(to, from, chance(1)));
        self.doors[to].waiting.push_back((connection, from));
        wakers.extend(self.doors[to].accepted_by.take());
        Ok(connection)
    }

    /// Moves what waits in one direction.
    fn carry(&mut self, id: PipeId, wakers: &mut Vec<Waker>) {
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        let waits = pipe.segments.front().is_some_and(|segment| segment.at <= now);
        if !waits {
            return;
        }
        if self.cut[pipe.from][pipe.to] || self.machines[pipe.to] == Machine::Dark {
            let since = *pipe.stuck_since.get_or_insert(now);
            if now - since > SILENCE_MAX {
                pipe.segments.clear();
                self.finish_both(id, End::Silent, wakers);
            }
            return;
        }
        if let Some(since) = pipe.stuck_since.take() {
            // TCP tries again after twice the time that it waited before.
            let pause = pipe.chance.between(0, (now - since).min(1_000));
            let at = now + pause;
            pipe.segments.iter_mut().for_each(|segment| segment.at = segment.at.max(at));
            if pause > 0 {
                return;
            }
        }
        if pipe.reader_gone {
            pipe.segments.clear();
            self.finish_both(id, End::Reset, wakers);
            return;
        }
        while let Some(segment) = pipe.segments.pop_front_if(|segment| segment.at <= now) {
            match segment.bytes {
                Some(bytes) => {
                    self.carried += 1;
                    pipe.inbox.extend(bytes);
                }
                None => pipe.finish(End::Closed, wakers),
            }
        }
        wakers.extend(pipe.read_by.take());
    }

    fn finish_both(&mut self, (connection, way): PipeId, end: End, wakers: &mut Vec<Waker>) {
        for id in [(connection, way), (connection, !way)] {
            if let Some(pipe) = self.pipes.get_mut(&id) {
                pipe.finish(end, wakers);
            }
        }
    }

    /// Forgets a direction that nobody will use again.
    fn tidy(&mut self, id: PipeId) {
        let over = |pipe: &Pipe| {
            let unsent = pipe.segments.is_empty() || pipe.end.is_some();
            pipe.writer_gone && pipe.reader_gone && unsent
        };
        if self.pipes.get(&id).is_some_and(over) {
            self.pipes.remove(&id);
        }
    }
}
