//! Real agents as processes of their own on loopback, each with its own data directory. No process
//! outlives its [`Cluster`]: not when it is dropped, not when its owner is killed.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::status::Status;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// A call to an agent that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An agent that was asked to stop and has not is killed after this time. The last of a cluster has no
/// majority to hand its work to, and tries for a while.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// Why the cluster is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program was not built.
    #[error(
        "{path} is missing; run `cargo build --release -p ringrift-agent -p ringrift-cli -p ringrift-match`"
    )]
    NotBuilt {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{action}: {cause}")]
    System {
        /// What was tried.
        action: String,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// An agent did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A condition did not come true in time.
    #[error("{condition} did not come true within {limit:?}; the last look saw {seen}")]
    TooLate {
        /// What was waited for.
        condition: String,
        /// For how long.
        limit: Duration,
        /// What was there instead.
        seen: String,
    },
}

fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> ClusterError {
    let action = action.into();
    |cause| ClusterError::System { action, cause }
}

/// The built programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The programs in `dir`, or in the folder that this program itself was built into.
    ///
    /// # Errors
    /// [`ClusterError::NotBuilt`] names the missing one.
    pub fn locate(dir: Option<PathBuf>) -> Result<Self, ClusterError> {
        let built_into = || {
            let exe = std::env::current_exe().unwrap_or_default();
            let folder = exe.parent().unwrap_or(Path::new(".")).to_path_buf();
            // Test programs lie one folder deeper, in `deps`.
            if folder.ends_with("deps") {
                folder.parent().map(Path::to_path_buf).unwrap_or(folder)
            } else {
                folder
            }
        };
        let binaries = Self { dir: dir.unwrap_or_else(built_into) };
        for path in [binaries.agent(), binaries.cli(), binaries.match_runner()] {
            if !path.is_file() {
                return Err(ClusterError::NotBuilt { path });
            }
        }
        Ok(binaries)
    }

    /// `ringrift-agent`.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.dir.join("ringrift-agent")
    }

    /// `ringrift`.
    #[must_use]
    pub fn cli(&self) -> PathBuf {
        self.dir.join("ringrift")
    }

    /// `ringrift-match`.
    #[must_use]
    pub fn match_runner(&self) -> PathBuf {
        self.dir.join("ringrift-match")
    }
}

/// One agent: its settings, and its process while it runs.
#[derive(Debug)]
pub struct Agent {
    /// Its id.
    pub node_id: String,
    /// Where it serves HTTP.
    pub http: String,
    /// Where its standard error goes.
    pub log: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

impl Agent {
    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    fn spawn(&mut self, binaries: &Binaries) -> Result<(), ClusterError> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(system(format!("open {}", self.log.display())))?;
        // The kernel ends the agent when this process is killed outright and can end nothing itself.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binaries.agent())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(system(format!("start {}", binaries.agent().display())))?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and gone when this returns.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill().await;
        }
    }

    /// SIGTERM, then SIGKILL when it takes too long. Answers whether it went by itself with status 0.
    pub async fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else {
            return true;
        };
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _sent = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
            Ok(Ok(status)) => status.success(),
            Ok(Err(_)) | Err(_) => {
                let _gone = child.kill().await;
                false
            }
        }
    }
}

/// Agents that form one cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The agents, in the order of their start.
    pub agents: Vec<Agent>,
    /// The programs that they run.
    pub binaries: Binaries,
}

impl Cluster {
    /// Starts `count` agents below `dir`, `slots` attempts at once on each; all but the first join
    /// the first one's address.
    ///
    /// # Errors
    /// [`ClusterError::System`] when a process cannot be started; those started are ended.
    pub fn start(
        binaries: Binaries,
        dir: &Path,
        count: usize,
        slots: usize,
    ) -> Result<Self, ClusterError> {
        Self::start_with(binaries, dir, count, slots, &[])
    }

    /// As [`Cluster::start`], with further flags for every agent.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(
        binaries: Binaries,
        dir: &Path,
        count: usize,
        slots: usize,
        flags: &[String],
    ) -> Result<Self, ClusterError> {
        let mut cluster = Self { agents: Vec::with_capacity(count), binaries };
        for number in 1..=count {
            let node_id = format!("agent-{number}");
            let [http, swim, raft] = free_ports()?;
            let mut args = vec![
                "--node-id".to_owned(),
                node_id.clone(),
                "--data-dir".to_owned(),
                dir.join(&node_id).display().to_string(),
                "--listen".to_owned(),
                format!("127.0.0.1:{http}"),
                "--swim-port".to_owned(),
                swim.to_string(),
                "--raft-port".to_owned(),
                raft.to_string(),
                "--slots".to_owned(),
                slots.to_string(),
            ];
            args.extend_from_slice(flags);
            if let Some(first) = cluster.agents.first() {
                args.extend(["--join".to_owned(), first.http.clone()]);
            }
            let mut agent = Agent {
                log: dir.join(format!("{node_id}.log")),
                http: format!("127.0.0.1:{http}"),
                node_id,
                args,
                child: None,
            };
            agent.spawn(&cluster.binaries)?;
            cluster.agents.push(agent);
        }
        Ok(cluster)
    }

    /// Starts an agent again with the settings and the data that it had.
    ///
    /// # Errors
    /// [`ClusterError::System`] when the process cannot be started.
    pub fn restart(&mut self, at: usize) -> Result<(), ClusterError> {
        self.agents[at].spawn(&self.binaries)
    }

    /// The addresses of all agents.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.http.clone()).collect()
    }

    /// A client of the whole cluster.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.addresses(), None, CALL_TIMEOUT)
    }

    /// Which of the running agents leads, by the cluster's own word.
    ///
    /// # Errors
    /// When no agent answers.
    pub async fn leader(&self) -> Result<Option<usize>, ClusterError> {
        let status = self.client()?.status().await?;
        let led_by = |agent: &Agent| status.leader_id.as_deref() == Some(agent.node_id.as_str());
        Ok(self.agents.iter().position(|agent| agent.child.is_some() && led_by(agent)))
    }

    /// Waits until every running agent names the same leader and `voters` voters.
    ///
    /// # Errors
    /// [`ClusterError::TooLate`] says what each of them saw last.
    pub async fn wait_until_agreed(
        &self,
        voters: usize,
        limit: Duration,
    ) -> Result<String, ClusterError> {
        let mut seen = String::new();
        let agreed = tokio::time::timeout(limit, async {
            loop {
                let views = self.views().await;
                seen = format!("{views:?}");
                if let Some(Ok((Some(leader), _))) = views.first()
                    && views.iter().all(|view| *view == Ok((Some(leader.clone()), voters)))
                {
                    return leader.clone();
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        match agreed.await {
            Ok(leader) => Ok(leader),
            Err(_late) => Err(ClusterError::TooLate {
                condition: format!("one leader and {voters} voters in every agent's view"),
                limit,
                seen,
            }),
        }
    }

    async fn views(&self) -> Vec<Result<(Option<String>, usize), String>> {
        let mut views = Vec::with_capacity(self.agents.len());
        for agent in self.agents.iter().filter(|agent| agent.child.is_some()) {
            let asked = match Client::new(std::slice::from_ref(&agent.http), None, CALL_TIMEOUT) {
                Ok(client) => client.status().await,
                Err(error) => Err(error),
            };
            let view = |status: Status| (status.leader_id, status.voter_node_ids.len());
            views.push(asked.map(view).map_err(|error| error.to_string()));
        }
        views
    }

    /// Stops all agents politely. Answers the ids of those that had to be killed.
    pub async fn stop(&mut self) -> Vec<String> {
        let mut killed = Vec::new();
        for agent in &mut self.agents {
            if !agent.stop().await {
                killed.push(agent.node_id.clone());
            }
        }
        killed
    }
}

/// Ports below the range from which the kernel serves outgoing connections: a port found there cannot
/// be taken by a neighbour's connection before its agent binds it, nor while its agent is down.
const PORTS: std::ops::Range<u16> = 18_000..32_000;
/// The next port to look at, counted from a place of this process's own.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// Three ports that are free: HTTP (TCP), SWIM (UDP) and Raft (TCP).
fn free_ports() -> Result<[u16; 3], ClusterError> {
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

/// A port that is free for TCP and for UDP.
///
/// # Errors
/// [`ClusterError::System`] when there is none.
pub fn free_port() -> Result<u16, ClusterError> {
    let width = PORTS.end - PORTS.start;
    // Test programs that run side by side begin far from each other.
    let own = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(width)).unwrap_or(0);
    let mut cause = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..width {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let offset = (u32::from(own) + u32::from(step)) % u32::from(width);
        let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
        let address = ("127.0.0.1", port);
        match TcpListener::bind(address).and_then(|_tcp| UdpSocket::bind(address)) {
            Ok(_free) => return Ok(port),
            Err(error) => cause = error,
        }
    }
    Err(system("find a free port")(cause))
}

/// Waits until `look` gives something, looking again and again.
///
/// # Errors
/// [`ClusterError::TooLate`] names the condition when the limit has passed.
pub async fn wait_for<T, F>(
    condition: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, ClusterError>
where
    F: Future<Output = Result<Option<T>, String>>,
{
    let mut seen = "nothing".to_owned();
    let found = tokio::time::timeout(limit, async {
        loop {
            match look().await {
                Ok(Some(found)) => return found,
                Ok(None) => "not yet".clone_into(&mut seen),
                Err(problem) => seen = problem,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    match found.await {
        Ok(found) => Ok(found),
        Err(_late) => Err(ClusterError::TooLate { condition: condition.to_owned(), limit, seen }),
    }
}
