//! NATS JetStream: a work-queue stream with three replicas, synced with every write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, context};
use async_nats::{ConnectOptions, ServerAddr};
use futures::StreamExt as _;
use futures::future::{BoxFuture, try_join_all};
use tokio::sync::mpsc;

use super::nodes::{Node, beginning_with, first_line, folder, installed, ports};
use super::pool::Pool;
use super::{
    Client, Failure, Held, NODES, Payload, REQUEST_TIMEOUT, SETTLE_LIMIT, Setup, System, submitted,
    wait_for,
};

const NATS: &str = "nats";
/// Stream, subject and durable consumer.
const QUEUE: &str = "bench";
/// Connections: one alone would be read by one thread of the server.
const CONNECTIONS: usize = 4;
/// An acknowledgement that is not there by then is lost: the stream has elected another leader.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon a consumer notices that its pull request died with a leader: the shortest that the server
/// takes is 100 ms; two in a row must be missed.
const IDLE_HEARTBEAT: Duration = Duration::from_millis(200);
/// Life of a pull request.
const PULL_EXPIRES: Duration = Duration::from_secs(5);
/// Pause before a broken pull is begun again.
const PULL_AGAIN: Duration = Duration::from_millis(20);
/// Delivered and not yet acknowledged; above everything that is asked for.
const ACK_PENDING_MAX: i64 = 200_000;
/// When an item that was delivered and not acknowledged goes to another worker.
const ACK_WAIT: Duration = Duration::from_secs(60);

/// Three nats-server processes.
#[derive(Debug)]
pub(crate) struct Nats {
    nodes: Vec<Node>,
    urls: Vec<String>,
    control: Context,
    version: String,
}

fn node(setup: &Setup, number: usize, ports: &[[u16; 2]]) -> Result<Node, Failure> {
    let dir = folder(setup.dir.join(format!("nats-{number}")))?;
    let [client, cluster] = ports[number];
    let routes: Vec<_> =
        ports.iter().map(|[_, route]| format!("\"nats://127.0.0.1:{route}\"")).collect();
    // `always`: an acknowledged item is on the disk of a majority, as with the others. The default
    // syncs every two minutes.
    let config = format!(
        "server_name: nats-{number}\n\
         listen: \"127.0.0.1:{client}\"\n\
         jetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n}}\n\
         cluster {{\n  name: bench\n  listen: \"127.0.0.1:{cluster}\"\n  routes: [{}]\n}}\n",
        dir.join("data").display(),
        routes.join(", "),
    );
    let path = dir.join("nats.conf");
    std::fs::write(&path, config).map_err(Failure::file(format!("write {}", path.display())))?;
    Ok(Node {
        name: format!("nats-{number}"),
        program: installed(setup.peers_dir.join("nats-server"))?,
        arguments: vec!["-c".to_owned(), path.display().to_string()],
        environment: Vec::new(),
        dir,
        running: None,
    })
}

async fn connect(urls: &[String]) -> Result<Context, Failure> {
    let servers = urls.iter().map(|url| url.parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
    let servers = servers.map_err(Failure::request(NATS, "connect"))?;
    let options = ConnectOptions::new()
        .retain_servers_order()
        .retry_on_initial_connect()
        .ignore_discovered_servers()
        .connection_timeout(Duration::from_secs(1))
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(if attempts > 3 { 50 } else { 0 })
        })
        .request_timeout(Some(REQUEST_TIMEOUT));
    let client = options.connect(servers).await.map_err(Failure::request(NATS, "connect"))?;
    Ok(jetstream::ContextBuilder::new()
        .timeout(REQUEST_TIMEOUT)
        .ack_timeout(ACK_TIMEOUT)
        .build(client))
}

impl Nats {
    async fn create_queue(&self) -> Result<(), Failure> {
        let stream = Config {
            name: QUEUE.to_owned(),
            subjects: vec![QUEUE.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: NODES,
            // The bench sends no message ids; the window would only cost memory.
            duplicate_window: Duration::from_millis(100),
            ..Config::default()
        };
        let consumer = pull::Config {
            durable_name: Some(QUEUE.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: ACK_PENDING_MAX,
            num_replicas: NODES,
            ..pull::Config::default()
        };
        wait_for(NATS, "the stream exists", SETTLE_LIMIT, || async {
            let stream = self.control.get_or_create_stream(stream.clone()).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let consumer = stream.get_or_create_consumer(QUEUE, consumer.clone()).await;
            consumer.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    async fn look(&self) -> Result<(usize, usize), String> {
        let stream = self.control.get_stream(QUEUE).await.map_err(|error| error.to_string())?;
        let cluster = stream.cached_info().cluster.clone().ok_or("no cluster")?;
        let leader = cluster.leader.ok_or("no leader")?;
        let named = |node: &Node| node.name == leader;
        let leader = self.nodes.iter().position(named).ok_or("an unknown leader")?;
        let current = cluster.replicas.iter().filter(|peer| peer.current && !peer.offline);
        Ok((leader, current.count()))
    }
}

impl System for Nats {
    const NAME: &'static str = NATS;
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
            ports.iter().map(|[client, _]| format!("nats://127.0.0.1:{client}")).collect();
        let control = connect(&urls).await?;
        let nats = Self { nodes, urls, control, version };
        let begun = async {
            nats.create_queue().await?;
            nats.settled(0).await
        };
        begun
            .await
            .map_err(|error| Failure::Setup(format!("{error}\n{}", nats.nodes[0].tail())))?;
        Ok(nats)
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn transport(&self) -> String {
        "NATS protocol".to_owned()
    }

    async fn client(&self, in_flight: usize) -> Result<Lanes, Failure> {
        let urls = beginning_with(self.leader().await?, &self.urls);
        let mut lanes = Vec::with_capacity(CONNECTIONS);
        let mut pumps = Vec::with_capacity(CONNECTIONS);
        let prefetch = in_flight.div_ceil(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let lane = connect(&urls).await?;
            lanes.push(lane.clone());
            pumps.push(move |pool| -> BoxFuture<'static, ()> {
                Box::pin(follow(lane, prefetch, pool))
            });
        }
        let delivered = Pool::filled_by(pumps);
        Ok(Lanes { lanes: lanes.into(), next: Arc::default(), delivered })
    }

    async fn leader(&self) -> Result<usize, Failure> {
        let look = || async { self.look().await.map(|(leader, _)| leader) };
        wait_for(NATS, "a leader", SETTLE_LIMIT, look).await
    }

    async fn settled(&self, _items: u64) -> Result<(), Failure> {
        wait_for(NATS, "one leader and two replicas in step", SETTLE_LIMIT, || async {
            match self.look().await? {
                (_, current) if current == NODES - 1 => Ok(()),
                (leader, current) => Err(format!("leader {leader}, {current} in step")),
            }
        })
        .await
    }

    fn nodes(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }
}

/// Pulls items into the pool for as long as it is there. A worker that takes one from the pool holds
/// it alone from the moment of its delivery.
async fn follow(lane: Context, prefetch: usize, pool: mpsc::Sender<jetstream::Message>) {
    while !pool.is_closed() {
        let consumer = lane.get_consumer_from_stream(QUEUE, QUEUE).await;
        if let Ok(consumer) = consumer {
            pull_into(&consumer, prefetch, &pool).await;
        }
        tokio::time::sleep(PULL_AGAIN).await;
    }
}

/// Ends when the pull breaks or the pool is gone.
async fn pull_into(
    consumer: &Consumer<pull::Config>,
    prefetch: usize,
    pool: &mpsc::Sender<jetstream::Message>,
) {
    let pulling = consumer
        .stream()
        .max_messages_per_batch(prefetch.max(1))
        .heartbeat(IDLE_HEARTBEAT)
        .expires(PULL_EXPIRES)
        .messages();
    let Ok(mut messages) = pulling.await else { return };
    while let Some(Ok(message)) = messages.next().await {
        if pool.send(message).await.is_err() {
            return;
        }
    }
}

/// Connections, and the items that were delivered over them.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    lanes: Arc<[Context]>,
    next: Arc<AtomicUsize>,
    delivered: Pool<jetstream::Message>,
}

/// A delivered item.
#[derive(Debug)]
pub(crate) struct Claim(jetstream::Message);

impl Held for Claim {
    fn submitted(&self) -> Duration {
        submitted(&self.0.payload)
    }
}

impl Lanes {
    fn lane(&self) -> &Context {
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }
}

impl Client for Lanes {
    type Claim = Claim;

    async fn enqueue(&self, items: Vec<Payload>) -> Result<(), Failure> {
        let lane = self.lane();
        let mut sent: Vec<context::PublishAckFuture> = Vec::with_capacity(items.len());
        for item in items {
            let sending = lane.publish(QUEUE, item.into_text().into());
            sent.push(sending.await.map_err(Failure::request(NATS, "enqueue"))?);
        }
        let acknowledged = try_join_all(sent.into_iter().map(IntoFuture::into_future)).await;
        acknowledged.map(drop).map_err(Failure::request(NATS, "enqueue"))
    }

    async fn claim(&self, at_most: usize, wait: Duration) -> Result<Vec<Claim>, Failure> {
        let items = self.delivered.take(at_most, wait).await;
        Ok(items.into_iter().map(Claim).collect())
    }

    async fn complete(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        // `ack sync`, by the client's shared inbox: a subscription for each would cost the servers more.
        let acks = claims.into_iter().map(|Claim(message)| async move {
            let reply = message.reply.clone().ok_or("no reply subject".to_owned())?;
            let client = message.context.client();
            let asked = client.request(reply, "+ACK".into()).await;
            asked.map(drop).map_err(|error| error.to_string())
        });
        try_join_all(acks).await.map(drop).map_err(Failure::request(NATS, "complete"))
    }
}
