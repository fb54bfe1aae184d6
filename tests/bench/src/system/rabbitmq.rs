//! RabbitMQ: a quorum queue on three nodes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, try_join_all};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use ringrift_tests::program::Program;
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::nodes::{Node, beginning_with, folder, installed, ports};
use super::pool::Pool;
use super::{
    Client, Failure, Held, NODES, Payload, SETTLE_LIMIT, Setup, System, submitted, wait_for,
};
use crate::load::patient::until_done;

const RABBITMQ: &str = "rabbitmq";
/// The queue.
const QUEUE: &str = "bench";
/// Where Debian's package has the programs. Its own wrapper on PATH insists on a user of its own.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// Erlang's name server.
const EPMD: &str = "/usr/bin/epmd";
/// Connections, each with one channel that publishes and one that consumes.
const CONNECTIONS: usize = 4;
/// Pause before a lost connection is made again, at the next node.
const CONNECT_AGAIN: Duration = Duration::from_millis(50);
/// A broker that does not answer a new connection by then is asked no longer.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// AMQP's mark of a message that must survive.
const PERSISTENT: u8 = 2;

/// Three RabbitMQ nodes and the name server that they find each other by.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    nodes: Vec<Node>,
    uris: Vec<String>,
    version: String,
    /// Ends last: nodes that restart ask it.
    names: Program,
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(Failure::file(format!("write {}", path.display())))
}

/// The secret that the nodes share; Erlang takes it from the home folder, readable by its owner only.
fn home(dir: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let home = folder(dir.join("rabbitmq-home"))?;
    let cookie = home.join(".erlang.cookie");
    write(&cookie, "bench-of-three-nodes-on-loopback")?;
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400))
        .map_err(Failure::file(format!("protect {}", cookie.display())))?;
    Ok(home)
}

fn erlang_name(number: usize) -> String {
    format!("rabbit{number}@localhost")
}

/// Ports of one node.
struct Ports {
    amqp: u16,
    distribution: u16,
}

fn node(setup: &Setup, number: usize, names: u16, ports: &Ports) -> Result<Node, Failure> {
    let dir = folder(setup.dir.join(format!("rabbitmq-{number}")))?;
    let members: String = (0..NODES)
        .map(|at| {
            format!("cluster_formation.classic_config.nodes.{} = {}\n", at + 1, erlang_name(at))
        })
        .collect();
    let config = dir.join("rabbitmq.conf");
    let text = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\n\
         cluster_formation.peer_discovery_backend = classic_config\n{members}\
         log.console = true\nlog.console.level = warning\nlog.file = false\n",
        ports.amqp
    );
    write(&config, &text)?;
    let plugins = dir.join("enabled_plugins");
    write(&plugins, "[].\n")?;
    let environment = [
        ("HOME", home(&setup.dir)?),
        ("RABBITMQ_NODENAME", erlang_name(number).into()),
        ("RABBITMQ_CONFIG_FILE", config),
        ("RABBITMQ_CONF_ENV_FILE", dir.join("none")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", plugins),
        ("RABBITMQ_MNESIA_BASE", folder(dir.join("data"))?),
        ("RABBITMQ_LOG_BASE", folder(dir.join("log"))?),
        ("RABBITMQ_PID_FILE", dir.join("pid")),
        ("RABBITMQ_DIST_PORT", ports.distribution.to_string().into()),
        ("ERL_EPMD_PORT", names.to_string().into()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        // Replaces the script's shell by the Erlang machine itself: what is killed is the node.
        ("RABBITMQ_ALLOW_INPUT", "1".into()),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}".into(),
        ),
    ];
    Ok(Node {
        name: format!("rabbitmq-{number}"),
        program: installed(Path::new(PROGRAMS).join("rabbitmq-server"))?,
        arguments: Vec::new(),
        environment: environment.into(),
        dir,
        running: None,
    })
}

/// A line of `rabbitmqctl list_queues`.
#[derive(Debug, Deserialize)]
struct QueueLine {
    leader: String,
    online: Vec<String>,
}

impl RabbitMq {
    /// Runs `rabbitmqctl` against the first node that runs.
    async fn control(&self, arguments: &[&str]) -> Result<String, String> {
        let node = self.nodes.iter().find(|node| node.running.is_some()).ok_or("no node runs")?;
        let environment = node.environment.iter().map(|(name, value)| (*name, value.as_path()));
        let output = Command::new(Path::new(PROGRAMS).join("rabbitmqctl"))
            .args(["--silent", "--node"])
            .arg(
                node.environment
                    .iter()
                    .find(|(name, _)| *name == "RABBITMQ_NODENAME")
                    .map_or(Path::new(""), |(_, value)| value.as_path()),
            )
            .args(arguments)
            .envs(environment)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&said).trim().to_owned())
    }

    async fn look(&self) -> Result<(usize, usize), String> {
        let lines = self
            .control(&["list_queues", "name", "leader", "online", "--formatter", "json"])
            .await?;
        let lines: Vec<QueueLine> =
            serde_json::from_str(&lines).map_err(|error| format!("{error}: {lines}"))?;
        let queue = lines.first().ok_or("no queue")?;
        let leader = (0..NODES).find(|at| erlang_name(*at) == queue.leader);
        Ok((leader.ok_or("an unknown leader")?, queue.online.len()))
    }

    /// Waits until so many nodes run as one cluster.
    async fn joined(&self, count: usize) -> Result<(), Failure> {
        wait_for(RABBITMQ, "all nodes are in one cluster", SETTLE_LIMIT, || async {
            let nodes = "length(rabbit_nodes:all_running()).";
            match self.control(&["eval", nodes]).await? {
                text if text.trim() == count.to_string() => Ok(()),
                text => Err(text),
            }
        })
        .await
    }

    async fn declare(&self) -> Result<(), Failure> {
        let connection = connect(&self.uris[0]).await?;
        let channel = connection.create_channel().await;
        let channel = channel.map_err(Failure::request(RABBITMQ, "open a channel"))?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let size = AMQPValue::LongInt(i32::try_from(NODES).unwrap_or(i32::MAX));
        arguments.insert("x-quorum-initial-group-size".into(), size);
        let declared =
            channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments);
        declared.await.map(drop).map_err(Failure::request(RABBITMQ, "declare the queue"))
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        // One first: nodes that look for each other at the same time may end as two clusters.
        self.nodes[0].start()?;
        self.joined(1).await?;
        for node in &mut self.nodes[1..] {
            node.start()?;
        }
        self.joined(NODES).await?;
        // A node that runs does not serve clients at once.
        until_done(|| self.declare()).await?;
        let version = self.control(&["version"]).await;
        let version = version.map_err(Failure::request(RABBITMQ, "version"))?;
        self.version = format!("RabbitMQ {}", version.trim());
        self.settled(0).await
    }
}

async fn connect(uri: &str) -> Result<Connection, Failure> {
    let connecting = Connection::connect(uri, ConnectionProperties::default());
    let connected = tokio::time::timeout(CONNECT_LIMIT, connecting);
    let connected = connected.await.map_err(Failure::request(RABBITMQ, "connect"))?;
    connected.map_err(Failure::request(RABBITMQ, "connect"))
}

impl System for RabbitMq {
    const NAME: &'static str = RABBITMQ;
    type Client = Lanes;
    type Nodes = Vec<Node>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let [names_port] = ports()?;
        let arguments = ["-port", &names_port.to_string(), "-address", "127.0.0.1"];
        let epmd = installed(EPMD.into())?;
        let names = Program::start("epmd", &epmd, &arguments, &[], &setup.dir)?;
        let mut nodes = Vec::with_capacity(NODES);
        let mut uris = Vec::with_capacity(NODES);
        for number in 0..NODES {
            let [amqp, distribution] = ports()?;
            nodes.push(node(setup, number, names_port, &Ports { amqp, distribution })?);
            uris.push(format!("amqp://guest:guest@127.0.0.1:{amqp}/%2f"));
        }
        let mut rabbitmq = Self { nodes, uris, version: String::new(), names };
        let begun = rabbitmq.begin().await;
        begun.map_err(|error| Failure::Setup(format!("{error}\n{}", rabbitmq.nodes[0].tail())))?;
        Ok(rabbitmq)
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn transport(&self) -> String {
        "AMQP 0-9-1".to_owned()
    }

    async fn client(&self, in_flight: usize) -> Result<Lanes, Failure> {
        let uris = beginning_with(self.leader().await?, &self.uris);
        // Twice its share for each: a consumer with nothing to deliver idles its connection.
        let prefetch = u16::try_from((2 * in_flight).div_ceil(CONNECTIONS)).unwrap_or(u16::MAX);
        let lanes: Arc<[Lane]> = (0..CONNECTIONS).map(|_| Lane::default()).collect();
        let pumps = (0..CONNECTIONS).map(|number| {
            let (lanes, uris) = (Arc::clone(&lanes), uris.clone());
            move |pool| -> BoxFuture<'static, ()> {
                Box::pin(async move { follow(&lanes[number], &uris, prefetch, &pool).await })
            }
        });
        let delivered = Pool::filled_by(pumps);
        let client = Lanes { lanes, next: Arc::default(), delivered };
        wait_for(RABBITMQ, "all connections are open", SETTLE_LIMIT, || async {
            let open = client.lanes.iter().filter(|lane| lane.publisher().is_some()).count();
            if open == CONNECTIONS { Ok(()) } else { Err(format!("{open} are")) }
        })
        .await?;
        Ok(client)
    }

    async fn leader(&self) -> Result<usize, Failure> {
        let look = || async { self.look().await.map(|(leader, _)| leader) };
        wait_for(RABBITMQ, "a leader", SETTLE_LIMIT, look).await
    }

    async fn settled(&self, _items: u64) -> Result<(), Failure> {
        wait_for(RABBITMQ, "all members online", SETTLE_LIMIT, || async {
            match self.look().await? {
                (_, NODES) => Ok(()),
                (leader, online) => Err(format!("leader {leader}, {online} online")),
            }
        })
        .await
    }

    fn nodes(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }

    async fn stop(mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.kill().await?;
        }
        Ok(self.names.kill().await?)
    }
}

/// A connection that is made again whenever it is lost; what publishes over it, while it is there.
#[derive(Debug, Default)]
struct Lane(Mutex<Option<Channel>>);

impl Lane {
    fn publisher(&self) -> Option<Channel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, publisher: Option<Channel>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = publisher;
    }
}

async fn follow(lane: &Lane, uris: &[String], prefetch: u16, pool: &mpsc::Sender<Delivery>) {
    for uri in uris.iter().cycle() {
        if pool.is_closed() {
            return;
        }
        if let Ok(connection) = connect(uri).await {
            // It ends with an error only: the node is gone, and the next one is asked.
            let _lost = consume(lane, &connection, prefetch, pool).await;
            lane.set(None);
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

async fn consume(
    lane: &Lane,
    connection: &Connection,
    prefetch: u16,
    pool: &mpsc::Sender<Delivery>,
) -> lapin::Result<()> {
    let publisher = connection.create_channel().await?;
    publisher.confirm_select(ConfirmSelectOptions::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default());
    let mut consumer = consuming.await?;
    lane.set(Some(publisher));
    while let Some(delivery) = consumer.next().await {
        if pool.send(delivery?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Connections, and the items that were delivered over them.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    lanes: Arc<[Lane]>,
    next: Arc<AtomicUsize>,
    delivered: Pool<Delivery>,
}

/// A delivered item.
#[derive(Debug)]
pub(crate) struct Claim(Delivery);

impl Held for Claim {
    fn submitted(&self) -> Duration {
        submitted(&self.0.data)
    }
}

impl Lanes {
    fn publisher(&self) -> Result<Channel, Failure> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let lane = |at: usize| self.lanes[(first + at) % self.lanes.len()].publisher();
        let open = (0..self.lanes.len()).find_map(lane);
        open.ok_or_else(|| Failure::request(RABBITMQ, "enqueue")("no connection is open"))
    }
}

impl Client for Lanes {
    type Claim = Claim;

    async fn enqueue(&self, items: Vec<Payload>) -> Result<(), Failure> {
        let channel = self.publisher()?;
        let publish = |item: Payload| {
            let channel = channel.clone();
            async move {
                let text = item.into_text();
                let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
                let options = BasicPublishOptions::default();
                let (exchange, queue) = ("".into(), QUEUE.into());
                let sending =
                    channel.basic_publish(exchange, queue, options, text.as_bytes(), properties);
                sending.await?.await
            }
        };
        let confirmed = try_join_all(items.into_iter().map(publish)).await;
        let confirmed = confirmed.map_err(Failure::request(RABBITMQ, "enqueue"))?;
        if confirmed.iter().all(lapin::Confirmation::is_ack) {
            return Ok(());
        }
        Err(Failure::request(RABBITMQ, "enqueue")("the broker refused"))
    }

    async fn claim(&self, at_most: usize, wait: Duration) -> Result<Vec<Claim>, Failure> {
        let items = self.delivered.take(at_most, wait).await;
        Ok(items.into_iter().map(Claim).collect())
    }

    async fn complete(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        // AMQP does not confirm an acknowledgement: it is done when it is sent.
        let acks = claims.into_iter().map(|Claim(delivery)| async move {
            delivery.acker.ack(BasicAckOptions::default()).await
        });
        let sent = try_join_all(acks).await.map_err(Failure::request(RABBITMQ, "complete"))?;
        if !sent.into_iter().all(std::convert::identity) {
            return Err(Failure::request(RABBITMQ, "complete")("its connection is gone"));
        }
        Ok(())
    }
}
