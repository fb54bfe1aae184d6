//! Asks the world for what a crash hint needs, and campaigns.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use openraft::vote::RaftLeaderId as _;
use tokio::sync::mpsc;

use crate::consensus::hint::{Campaign, Hints, Probe, Standing, Verdict, verdict};
use crate::consensus::network::link::{Caller, Link};
use crate::consensus::transport::Stream;
use crate::consensus::vocabulary::{LeaderId, LogId, Raft, Vote};
use crate::consensus::wire::{Incoming, Purpose, Request, Response};

/// Ends of connections that wait to be looked at. A leader has two to each follower; what does not
/// find room is a hint less, and the election timeout is there.
const ENDS_QUEUED_MAX: usize = 16;
/// A refusal comes back within a round trip. A peer that takes longer is far or silent, and silence
/// is for the election timeout.
const PROBE_PATIENCE: Duration = Duration::from_millis(50);
/// Opening a connection and one question. Who does not answer by then is not waited for.
const LOG_PATIENCE: Duration = Duration::from_millis(40);
/// Pause after an attempt that was answered: a dying process is gone some time later.
const PROBE_PAUSE: Duration = Duration::from_millis(5);

/// Where the raft port reports connections that their kernel closed.
#[derive(Clone)]
pub(in crate::consensus) struct Ends(mpsc::Sender<u64>);

impl Ends {
    /// The connection from `peer` ended.
    pub(in crate::consensus) fn report(&self, peer: u64) {
        // A full queue is hints enough, and a closed one belongs to an agent that stops.
        let _ = self.0.try_send(peer);
    }
}

/// The reporter, and the task that campaigns when the leader is gone.
pub(in crate::consensus) fn hints(
    raft: Raft,
    caller: Arc<Caller>,
) -> (Ends, impl Future<Output = ()> + Send + use<>) {
    let (ends, mut ended) = mpsc::channel(ENDS_QUEUED_MAX);
    let task = async move {
        let mut hints = Hints::default();
        while let Some(peer) = ended.recv().await {
            let (now, _, address) = look(&raft, peer);
            let Some(address) = address.filter(|_| hints.suspects(peer, &now)) else {
                continue;
            };
            if probe_repeatedly(&caller, &address).await != Verdict::Gone {
                continue;
            }
            let (now, _, _) = look(&raft, peer);
            if let Some(campaign) = hints.spend(peer, &now) {
                stand(&raft, &caller, campaign).await;
            }
        }
    };
    (Ends(ends), task)
}

/// How consensus looks from here, by which vote, and where `peer` is.
fn look(raft: &Raft, peer: u64) -> (Standing, Vote, Option<String>) {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let members = &metrics.membership_config;
    let standing = Standing {
        this: metrics.id,
        term: metrics.vote.leader_id.term,
        leader: metrics.current_leader,
        voters: members.voter_ids().collect(),
    };
    (standing, metrics.vote, members.get_node(&peer).map(|member| member.raft_address.clone()))
}

/// Connects again and again until something can be concluded.
async fn probe_repeatedly(caller: &Caller, address: &str) -> Verdict {
    let mut probes = Vec::new();
    while verdict(&probes) == Verdict::Open {
        if probes.last() == Some(&Probe::Answered) {
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        probes.push(probe(caller.connect(address)).await);
    }
    verdict(&probes)
}

async fn probe(connecting: impl Future<Output = io::Result<Stream>>) -> Probe {
    match tokio::time::timeout(PROBE_PATIENCE, connecting).await {
        Ok(Ok(_connected)) => Probe::Answered,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Refused,
        // A listener that is closed while a connection waits in its backlog resets it.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Probe::Answered,
        Ok(Err(_)) | Err(_) => Probe::Silent,
    }
}

/// Campaigns at this agent's turn.
async fn stand(raft: &Raft, caller: &Arc<Caller>, campaign: Campaign) {
    let Ok(own) = raft.with_raft_state(|state| state.log_ids.last().copied()).await else {
        return;
    };
    let others = ask_for_logs(raft, caller, campaign, own).await;
    tokio::time::sleep(Campaign::turn(caller.raft_id(), &own, &others)).await;
    let (now, vote, _) = look(raft, campaign.leader);
    if !campaign.still_stands(&now) {
        return;
    }
    tracing::info!(
        term = campaign.term,
        leader = format!("{:016x}", campaign.leader),
        "the leader's process is gone, campaigning"
    );
    // To openraft this agent is the heir of a leader that handed over: it checks in one step that the
    // leader's vote still stands here, and marks the request so that the voters do not hold its lease
    // against it.
    let request = TransferLeaderRequest::new(vote, now.this, None);
    match raft.handle_transfer_leader(request).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "somebody else campaigned first"),
        Err(error) => tracing::debug!(%error, "not campaigning, the raft core has stopped"),
    }
}

/// How far the logs of the other voters that are left go. A pre-vote answers that and changes
/// nothing, whether it is granted or not.
async fn ask_for_logs(
    raft: &Raft,
    caller: &Arc<Caller>,
    campaign: Campaign,
    own: Option<LogId>,
) -> Vec<(u64, Option<Option<LogId>>)> {
    let others: Vec<(u64, String)> = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.membership_config;
        let left = |id: &u64| *id != campaign.leader && *id != metrics.id;
        let address = |id| members.get_node(&id).map(|member| (id, member.raft_address.clone()));
        members.voter_ids().filter(left).filter_map(address).collect()
    };
    let vote = Vote {
        leader_id: LeaderId::new(campaign.term.saturating_add(1), caller.raft_id()),
        committed: false,
    };
    let asked = others.into_iter().map(|(id, address)| async move {
        let link = Link::new(Arc::clone(caller), id, address, Purpose::Log);
        let request = Request::PreVote(VoteRequest::new(vote, own));
        match Arc::new(link).call(&request, LOG_PATIENCE).await {
            Ok(Response::PreVote(answer)) => (id, Some(answer.last_log_id)),
            Ok(_) | Err(_) => (id, None),
        }
    });
    futures::future::join_all(asked).await
}

/// Whether the peer's kernel closed or reset this connection, which has just ended. Neither our own
/// doubts about its frames nor a network that fell silent count.
pub(in crate::consensus) fn closed_by_its_kernel(
    incoming: &Incoming,
    ended: &io::Result<()>,
) -> bool {
    let reset =
        |kind| matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted);
    match ended {
        Err(error) if reset(error.kind()) => true,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => false,
        // A frame that was cut off and one that makes no sense look alike from above: the socket
        // knows which of them was the last.
        Ok(()) | Err(_) => match incoming.get_ref().try_read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => reset(error.kind()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use futures::StreamExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;
    use crate::consensus::transport::{Tcp, Transport as _};
    use crate::consensus::wire;

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn only_a_refusal_is_a_refusal() {
        let (open, address) = listener().await;
        assert_eq!(
            probe(Tcp.connect(&address)).await,
            Probe::Answered,
            "the backlog of a stopped process answers"
        );
        drop(open);
        assert_eq!(probe(Tcp.connect(&address)).await, Probe::Refused);

        // A full backlog drops further connections: silence, as from behind a partition.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let full = socket.listen(0).unwrap();
        let address = full.local_addr().unwrap().to_string();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(&address)).await
        {
            waiting.push(stream);
            assert!(waiting.len() < 64, "the backlog never fills");
        }
        assert_eq!(probe(Tcp.connect(&address)).await, Probe::Silent);
    }

    /// What `closed_by_its_kernel` says of a connection whose other end does `act`.
    async fn said_of<F: Future<Output = Option<TcpStream>>>(
        act: impl FnOnce(TcpStream) -> F,
    ) -> bool {
        let (listener, address) = listener().await;
        let theirs = TcpStream::connect(&address).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let (mut incoming, _outgoing) = wire::channel(Stream::of(ours));
        let _kept = act(theirs).await;
        let ended = loop {
            match incoming.next().await {
                Some(Ok(frame)) if frame.as_ref() == b"nonsense" => {
                    break Err(io::ErrorKind::InvalidData.into());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        };
        closed_by_its_kernel(&incoming, &ended)
    }

    #[tokio::test]
    async fn an_end_and_a_cut_off_frame_are_the_kernels_and_nonsense_is_not() {
        assert!(
            said_of(|theirs| async move {
                drop(theirs);
                None
            })
            .await,
            "closed"
        );
        let cut_off = |mut theirs: TcpStream| async move {
            theirs.write_all(&[0, 0, 1, 0, 7]).await.unwrap();
            None
        };
        assert!(said_of(cut_off).await, "closed within a frame");
        let reset = |theirs: TcpStream| async move {
            theirs.set_zero_linger().unwrap();
            drop(theirs);
            None
        };
        assert!(said_of(reset).await, "reset");
        let nonsense = |mut theirs: TcpStream| async move {
            theirs.write_all(b"\0\0\0\x08nonsense").await.unwrap();
            Some(theirs)
        };
        assert!(!said_of(nonsense).await, "the peer lives and talks nonsense");
        let silent = io::Error::from(io::ErrorKind::TimedOut);
        let (listener, address) = listener().await;
        let theirs = TcpStream::connect(&address).await.unwrap();
        let ours = listener.accept().await.unwrap().0;
        let (incoming, _outgoing) = wire::channel(Stream::of(ours));
        assert!(!closed_by_its_kernel(&incoming, &Err(silent)));
        drop(theirs);
    }
}
