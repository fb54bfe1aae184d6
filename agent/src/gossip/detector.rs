//! The task that owns the machine: select one event, step, carry out the effects.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringrift_core::membership::{
    Effects, Event, Input, Member, Membership, PACKET_BYTES_MAX, Timers,
};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};

use super::envelope::Envelope;
use super::seeds::{self, Seeds};
use crate::clock::Clock;

/// Room for the largest datagram that may be ours, and a byte by which a larger one shows itself.
const DATAGRAM_BYTES: usize = PACKET_BYTES_MAX + 65;
/// Datagrams read in one turn before timers are looked at: a flood must not stop the probing.
const RECEIVE_BATCH: usize = 256;
/// Timers fired in one turn before the socket is looked at again.
const FIRE_BATCH: usize = 64;
/// How often the roster is compared with the published one when no event says that it changed:
/// suspicions come without an event.
const COMPARE_PERIOD: Duration = Duration::from_millis(100);
/// Longest sleep, so that a lost wake-up could never stop the detector.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Attempts to join without an answer between two lines in the log.
const ATTEMPTS_PER_WARNING: u32 = 16;

/// What others ask of the detector.
#[derive(Debug)]
pub(super) enum Request {
    Join(Vec<String>),
    Announce(SocketAddr),
    Cluster(String),
    Leave(oneshot::Sender<()>),
}

/// Where the detector tells what it knows.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) roster: watch::Sender<Arc<[Member]>>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) generation: watch::Sender<u64>,
}

/// The machine with its surroundings.
#[derive(Debug)]
pub(super) struct Detector {
    machine: Membership,
    timers: Timers,
    envelope: Envelope,
    clock: Clock,
    publish: Publish,
    seeds: Seeds,
    fingerprint: u64,
    compare_at: Duration,
    found: mpsc::Sender<Vec<SocketAddr>>,
    finds: Option<mpsc::Receiver<Vec<SocketAddr>>>,
}

impl Detector {
    pub(super) fn new(
        machine: Membership,
        envelope: Envelope,
        clock: Clock,
        publish: Publish,
    ) -> Self {
        // One look-up runs at a time; a second answer would find the channel full and be dropped.
        let (found, finds) = mpsc::channel(1);
        Self {
            fingerprint: machine.fingerprint(),
            machine,
            timers: Timers::default(),
            envelope,
            clock,
            publish,
            seeds: Seeds::default(),
            compare_at: Duration::ZERO,
            found,
            finds: Some(finds),
        }
    }

    /// Runs until the last handle is dropped or asks to leave.
    pub(super) async fn run(mut self, socket: UdpSocket, mut inbox: mpsc::Receiver<Request>) {
        let Some(mut finds) = self.finds.take() else {
            return;
        };
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            tokio::select! {
                biased;
                request = inbox.recv() => match request {
                    None => return,
                    Some(Request::Leave(done)) => {
                        self.step(&socket, Input::Leave);
                        self.publish_roster();
                        let _nobody_waits = done.send(());
                        return;
                    }
                    Some(Request::Join(names)) => self.seeds.add(names, self.clock.monotonic()),
                    Some(Request::Announce(address)) => self.step(&socket, Input::Join(address)),
                    Some(Request::Cluster(name)) => self.envelope = Envelope::of_cluster(&name),
                },
                Some(addresses) = finds.recv() => {
                    for address in addresses {
                        self.step(&socket, Input::Join(address));
                    }
                }
                ready = socket.readable() => if let Err(error) = ready {
                    tracing::warn!(%error, "the gossip socket reports an error");
                },
                () = tokio::time::sleep(self.pause()) => {}
            }
            // What has arrived is read before any timer fires: after a pause of this process the
            // answers are in the socket, and nobody must be suspected for our own absence.
            self.receive(&socket, &mut buffer);
            self.fire(&socket);
            self.look_up_seeds();
            self.publish_if_changed();
        }
    }

    fn pause(&self) -> Duration {
        let due = [self.timers.next_due(), self.seeds.next_at(), Some(self.compare_at)];
        let first = due.into_iter().flatten().min().unwrap_or(Duration::MAX);
        first.saturating_sub(self.clock.monotonic()).min(SLEEP_MAX)
    }

    fn receive(&mut self, socket: &UdpSocket, buffer: &mut [u8]) {
        for _ in 0..RECEIVE_BATCH {
            match socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    let Some(packet) = self.envelope.open(&buffer[..length]) else {
                        tracing::debug!(%from, length, "ignored a datagram of another cluster");
                        continue;
                    };
                    // The buffer belongs to the caller, so the packet may be borrowed while stepping.
                    let now = self.clock.monotonic();
                    let effects = self.machine.step(now, Input::Datagram(packet));
                    if let Some(fault) = &effects.fault {
                        tracing::debug!(%from, %fault, "ignored a packet");
                    }
                    self.carry_out(socket, effects);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Linux reports here that an earlier datagram of ours was refused: its addressee is
                // gone, which the probes find out by themselves.
                Err(error) => tracing::debug!(%error, "the gossip socket passed on an error"),
            }
        }
    }

    fn fire(&mut self, socket: &UdpSocket) {
        for _ in 0..FIRE_BATCH {
            let Some(timer) = self.timers.pop_due(self.clock.monotonic()) else {
                return;
            };
            self.step(socket, Input::Due(timer));
        }
    }

    fn step(&mut self, socket: &UdpSocket, input: Input<'_>) {
        let effects = self.machine.step(self.clock.monotonic(), input);
        if let Some(fault) = &effects.fault {
            tracing::warn!(%fault, "membership left a step unfinished");
        }
        self.carry_out(socket, effects);
    }

    fn carry_out(&mut self, socket: &UdpSocket, effects: Effects) {
        let Effects { datagrams, timers, events, fault: _ } = effects;
        for timer in timers {
            self.timers.insert(timer);
        }
        for (to, packet) in datagrams {
            // A full socket loses the datagram, as any network may.
            if let Err(error) = socket.try_send_to(&self.envelope.close(&packet), to) {
                tracing::debug!(%to, %error, "could not send a datagram");
            }
        }
        let changed = !events.is_empty();
        for event in events {
            self.tell(event);
        }
        if changed {
            self.publish_roster();
        }
    }

    fn tell(&self, event: Event) {
        match event {
            Event::Up(member) => tracing::info!(
                node = %member.node_id(), address = %member.swim_address(), "member is up"
            ),
            Event::Down(member) => tracing::info!(
                node = %member.node_id(), address = %member.swim_address(), "member failed or left"
            ),
            Event::Renamed { before, after } => tracing::info!(
                node = %after.node_id(), generation = after.generation(),
                before = %before.node_id(), "member came back under a later generation"
            ),
            Event::Renewed { generation } => {
                tracing::warn!(generation, "others had declared this agent failed; it rejoined");
                self.publish.generation.send_replace(generation);
            }
        }
    }

    fn look_up_seeds(&mut self) {
        let alone = self.machine.others() == 0;
        let Some(names) = self.seeds.take_due(self.clock.monotonic(), alone) else {
            return;
        };
        if alone && self.seeds.failures().is_multiple_of(ATTEMPTS_PER_WARNING) {
            tracing::warn!(seeds = ?names, attempts = self.seeds.failures(), "no seed has answered yet");
        }
        let found = self.found.clone();
        tokio::spawn(async move {
            let _one_waits_already = found.try_send(seeds::resolve(names).await);
        });
    }

    fn publish_if_changed(&mut self) {
        let now = self.clock.monotonic();
        if now >= self.compare_at {
            self.compare_at = now.saturating_add(COMPARE_PERIOD);
            self.publish_roster();
        }
    }

    fn publish_roster(&mut self) {
        let fingerprint = self.machine.fingerprint();
        if fingerprint == self.fingerprint {
            return;
        }
        self.fingerprint = fingerprint;
        self.publish.roster.send_replace(Arc::from(self.machine.roster()));
        self.publish.changes.send_modify(|changes| *changes = changes.saturating_add(1));
    }
}
