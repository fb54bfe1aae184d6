//! etcd as a queue: an item is a key, a claim another key beside it.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use super::nodes::{Node, beginning_with, first_line, folder, installed, ports};
use super::pool::Pool;
use super::{
    Client, Failure, Held, NODES, Payload, REQUEST_TIMEOUT, SETTLE_LIMIT, Setup, System, submitted,
    wait_for,
};
use crate::clock;

const ETCD: &str = "etcd";
/// Where items lie, and the first key behind them.
const ITEMS: (&[u8], &[u8]) = (b"item/", b"item0");
/// HTTP/2 connections to each node: one alone would read on one thread of the server.
const CONNECTIONS: usize = 4;
/// Keys of one page when a client looks for items that were there before it.
const PAGE_KEYS: i64 = 1_000;
/// Pause before a watch that broke is begun again.
const WATCH_AGAIN: Duration = Duration::from_millis(20);

/// Three etcd processes.
#[derive(Debug)]
pub(crate) struct Etcd {
    nodes: Vec<Node>,
    urls: Vec<String>,
    channels: Vec<Channel>,
    version: String,
}

fn channel(url: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(Failure::request(ETCD, "connect"));
    // A lazy channel connects again by itself after its node was away.
    Ok(endpoint?
        .timeout(REQUEST_TIMEOUT)
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .connect_lazy())
}

fn node(setup: &Setup, number: usize, ports: &[[u16; 2]]) -> Result<Node, Failure> {
    let dir = folder(setup.dir.join(format!("etcd-{number}")))?;
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let members: Vec<_> =
        (0..).zip(ports).map(|(at, [_, peer])| format!("etcd-{at}={}", url(*peer))).collect();
    let [client, peer] = ports[number];
    let arguments = [
        ("name", format!("etcd-{number}")),
        ("data-dir", dir.join("data").display().to_string()),
        ("listen-client-urls", url(client)),
        ("advertise-client-urls", url(client)),
        ("listen-peer-urls", url(peer)),
        ("initial-advertise-peer-urls", url(peer)),
        ("initial-cluster", members.join(",")),
        ("initial-cluster-state", "new".to_owned()),
        ("log-level", "warn".to_owned()),
        // Room for batches of 256 items: completing one deletes the item and its claim.
        ("max-txn-ops", "1024".to_owned()),
        // Room for the long queues; the default of 2 GiB ends before a million items.
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
    ];
    Ok(Node {
        name: format!("etcd-{number}"),
        program: installed(setup.peers_dir.join("etcd"))?,
        arguments: arguments.iter().map(|(flag, value)| format!("--{flag}={value}")).collect(),
        environment: Vec::new(),
        dir,
        running: None,
    })
}

impl System for Etcd {
    const NAME: &'static str = ETCD;
    type Client = Lanes;
    type Nodes = Vec<Node>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let ports: [[u16; 2]; NODES] = [ports()?, ports()?, ports()?];
        let mut nodes = Vec::with_capacity(NODES);
        for number in 0..NODES {
            let mut node = node(setup, number, &ports)?;
            node.start()?;
            nodes.push(node);
        }
        let version = first_line(&nodes[0].program, "--version").await?;
        let urls: Vec<_> =
            ports.iter().map(|[client, _]| format!("http://127.0.0.1:{client}")).collect();
        let channels = urls.iter().map(|url| channel(url)).collect::<Result<_, _>>()?;
        let etcd = Self { nodes, urls, channels, version };
        etcd.settled(0)
            .await
            .map_err(|error| Failure::Setup(format!("{error}\n{}", etcd.nodes[0].tail())))?;
        Ok(etcd)
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn transport(&self) -> String {
        "gRPC, protocol buffers".to_owned()
    }

    async fn client(&self, _in_flight: usize) -> Result<Lanes, Failure> {
        let mut nodes = Vec::with_capacity(NODES);
        for url in beginning_with(self.leader().await?, &self.urls) {
            nodes.push((0..CONNECTIONS).map(|_| channel(&url)).collect::<Result<Vec<_>, _>>()?);
        }
        let scout: Vec<_> = nodes.iter().filter_map(|lanes| lanes.first().cloned()).collect();
        let pump = move |pool| -> BoxFuture<'static, ()> { Box::pin(follow(scout, pool)) };
        Ok(Lanes {
            nodes: nodes.into(),
            preferred: Arc::default(),
            next: Arc::default(),
            candidates: Pool::filled_by([pump]),
        })
    }

    async fn leader(&self) -> Result<usize, Failure> {
        wait_for(ETCD, "a leader", SETTLE_LIMIT, || async {
            for (at, channel) in self.channels.iter().enumerate() {
                let Ok(status) = wire::status(channel).await else { continue };
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    return Ok(at);
                }
            }
            Err("none".to_owned())
        })
        .await
    }

    async fn settled(&self, _items: u64) -> Result<(), Failure> {
        wait_for(ETCD, "one leader and three logs that agree", SETTLE_LIMIT, || async {
            let mut seen = Vec::with_capacity(NODES);
            for channel in &self.channels {
                let status = wire::status(channel).await.map_err(|error| error.to_string())?;
                seen.push((status.leader, status.raft_index));
            }
            // Replies come one after the other and the log moves: close is enough.
            let close = |a: u64, b: u64| a.abs_diff(b) <= 100;
            let agree = |it: &&(u64, u64)| it.0 == seen[0].0 && close(it.1, seen[0].1);
            if seen[0].0 != 0 && seen.iter().filter(agree).count() == NODES {
                return Ok(());
            }
            Err(format!("{seen:?}"))
        })
        .await
    }

    fn nodes(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }
}

/// An item that nobody has claimed when it was seen.
#[derive(Debug)]
struct Candidate {
    key: Vec<u8>,
    revision: i64,
    submitted: Duration,
}

impl From<wire::KeyValue> for Candidate {
    fn from(kv: wire::KeyValue) -> Self {
        Self { key: kv.key, revision: kv.mod_revision, submitted: submitted(&kv.value) }
    }
}

/// Puts every item into the pool: those that are there, page by page, then new ones as they come.
async fn follow(nodes: Vec<Channel>, pool: mpsc::Sender<Candidate>) {
    let mut revision = 0;
    let mut key = ITEMS.0.to_vec();
    for turn in 0_usize.. {
        let channel = &nodes[turn % nodes.len()];
        // Either call ends with an error only: the node is gone, and the next one is asked.
        let Err(_gone) = read(channel, &mut key, &mut revision, &pool).await;
        tokio::time::sleep(WATCH_AGAIN).await;
        if pool.is_closed() {
            return;
        }
    }
}

/// Reads what is there from `key` on, then watches from `revision` on. Both say how far it came.
async fn read(
    channel: &Channel,
    key: &mut Vec<u8>,
    revision: &mut i64,
    pool: &mpsc::Sender<Candidate>,
) -> Result<std::convert::Infallible, tonic::Status> {
    let closed = |_| tonic::Status::cancelled("the pool is gone");
    while key.as_slice() < ITEMS.1 {
        let range = wire::RangeRequest {
            key: key.clone(),
            range_end: ITEMS.1.to_vec(),
            limit: PAGE_KEYS,
            revision: *revision,
        };
        let page = wire::range(channel, range).await?;
        if *revision == 0 {
            *revision = page.header.map_or(0, |header| header.revision);
        }
        let last = page.kvs.last().filter(|_| page.more).map(|kv| kv.key.clone());
        for kv in page.kvs {
            pool.send(kv.into()).await.map_err(closed)?;
        }
        *key = last.map_or_else(
            || ITEMS.1.to_vec(),
            |mut last| {
                last.push(0);
                last
            },
        );
    }
    let create = wire::WatchCreateRequest {
        key: ITEMS.0.to_vec(),
        range_end: ITEMS.1.to_vec(),
        start_revision: *revision + 1,
        filters: vec![wire::NO_DELETES],
    };
    // Beyond the request's own timeout, which holds for the first answer alone.
    let mut answers = wire::watch(channel, create).await?;
    while let Some(answer) = answers.message().await? {
        if answer.canceled {
            break;
        }
        for kv in answer.events.into_iter().filter_map(|event| event.kv) {
            *revision = kv.mod_revision;
            pool.send(kv.into()).await.map_err(closed)?;
        }
    }
    Err(tonic::Status::aborted("the watch ended"))
}

/// Connections to all nodes, and the items that wait to be claimed.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    nodes: Arc<[Vec<Channel>]>,
    preferred: Arc<AtomicUsize>,
    next: Arc<AtomicU64>,
    candidates: Pool<Candidate>,
}

/// A claimed item.
#[derive(Debug)]
pub(crate) struct Claim {
    key: Vec<u8>,
    revision: i64,
    submitted: Duration,
}

impl Held for Claim {
    fn submitted(&self) -> Duration {
        self.submitted
    }
}

fn claim_key(item: &[u8]) -> Vec<u8> {
    [b"claim/", item].concat()
}

impl Lanes {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Keys in the order of their sending, unique among all clients of a run.
    fn fresh_key(&self) -> Vec<u8> {
        let prefix = String::from_utf8_lossy(ITEMS.0);
        format!("{prefix}{:020}-{:012}", clock::now().as_nanos(), self.number()).into_bytes()
    }

    /// Asks the node that answered last, and turns to the next one when it does not.
    async fn ask<A, F>(
        &self,
        action: &'static str,
        ask: impl FnOnce(Channel) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<A, tonic::Status>>,
    {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let lanes = &self.nodes[preferred % self.nodes.len()];
        let lane = usize::try_from(self.number()).unwrap_or(0) % lanes.len();
        let answer = ask(lanes[lane].clone()).await;
        if answer.is_err() {
            // Only one of those who failed together moves on.
            let (old, new) = (preferred, preferred.wrapping_add(1));
            let _moved =
                self.preferred.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer.map_err(Failure::request(ETCD, action))
    }

    async fn try_claim(&self, items: &[Candidate]) -> Result<Option<i64>, Failure> {
        let txn = wire::TxnRequest {
            compare: items
                .iter()
                .flat_map(|item| {
                    [
                        wire::Compare::unchanged(item.key.clone(), item.revision),
                        wire::Compare::absent(claim_key(&item.key)),
                    ]
                })
                .collect(),
            success: items
                .iter()
                .map(|item| wire::Operation::put(claim_key(&item.key), b"bench".to_vec()))
                .collect(),
        };
        let done = self.ask("claim", |lane| async move { wire::txn(&lane, txn).await }).await?;
        let revision = done.header.map_or(0, |header| header.revision);
        Ok(done.succeeded.then_some(revision))
    }
}

fn claimed(revision: i64) -> impl Fn(Candidate) -> Claim {
    move |item| Claim { key: item.key, revision, submitted: item.submitted }
}

impl Client for Lanes {
    type Claim = Claim;

    async fn enqueue(&self, mut items: Vec<Payload>) -> Result<(), Failure> {
        if items.len() == 1
            && let Some(item) = items.pop()
        {
            let put =
                wire::PutRequest { key: self.fresh_key(), value: item.into_text().into_bytes() };
            let sent = self.ask("enqueue", |lane| async move { wire::put(&lane, put).await });
            return sent.await.map(drop);
        }
        let put =
            |item: Payload| wire::Operation::put(self.fresh_key(), item.into_text().into_bytes());
        let txn =
            wire::TxnRequest { compare: Vec::new(), success: items.into_iter().map(put).collect() };
        self.ask("enqueue", |lane| async move { wire::txn(&lane, txn).await }).await.map(drop)
    }

    async fn claim(&self, at_most: usize, wait: Duration) -> Result<Vec<Claim>, Failure> {
        let items = self.candidates.take(at_most, wait).await;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(revision) = self.try_claim(&items).await? {
            return Ok(items.into_iter().map(claimed(revision)).collect());
        }
        if items.len() == 1 {
            return Ok(Vec::new());
        }
        // One of them is gone: claim each of the rest for itself.
        let mut claims = Vec::new();
        for item in items {
            if let Some(revision) = self.try_claim(std::slice::from_ref(&item)).await? {
                claims.push(claimed(revision)(item));
            }
        }
        Ok(claims)
    }

    async fn complete(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        let guard = |claim: &Claim| wire::Compare::unchanged(claim_key(&claim.key), claim.revision);
        let txn = wire::TxnRequest {
            compare: claims.iter().map(guard).collect(),
            success: claims
                .into_iter()
                .flat_map(|claim| {
                    let claim_key = claim_key(&claim.key);
                    [wire::Operation::delete(claim.key), wire::Operation::delete(claim_key)]
                })
                .collect(),
        };
        let done = self.ask("complete", |lane| async move { wire::txn(&lane, txn).await }).await?;
        if done.succeeded {
            return Ok(());
        }
        Err(Failure::request(ETCD, "complete")("the claim is another's"))
    }
}
