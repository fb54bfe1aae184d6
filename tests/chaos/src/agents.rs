//! The agents of a run, each in its network namespace on its small disk.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ringrift_tests::agents::Binaries;
use ringrift_wire::client::Client;
use ringrift_wire::status::{RaftStatus, Snapshotted};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::disk::Disk;
use crate::failure::Failure;
use crate::network::{http_address, namespace};

/// A question to one agent that takes longer has failed.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// Writing a snapshot may take longer.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(30);
/// An agent that was asked to leave and has not is killed after this time.
const LEAVE_LIMIT: Duration = Duration::from_secs(45);
/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes at the end of a log in which the reason of an end is looked for.
const LOG_TAIL_BYTES: u64 = 4_096;
/// The current snapshot, below an agent's data directory.
const SNAPSHOT: &str = "raft/snapshots/current.snapshot";

/// One agent: how it is started, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Agent {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    voters: String,
    log: PathBuf,
    pub(crate) disk: Disk,
    child: Option<Child>,
    /// It is down since the nemesis wants it so.
    pub(crate) held_down: bool,
    /// Its disk is full, so that a start would be in vain.
    pub(crate) full: bool,
}

impl Agent {
    fn start(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(Failure::create(&self.log))?;
        let inside = format!("--net=/run/netns/{}", self.name);
        // Each of them becomes the next, so that the process has the agent's number; the kernel ends
        // it with this program.
        let child = Command::new("nsenter")
            .args([&inside, "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .env("RINGRIFT_VOTERS", &self.voters)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::file(format!("start {}", self.program.display())))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it when it does not run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn ensure_started(&mut self) -> Result<(), Failure> {
        self.held_down = false;
        if self.child.is_some() || self.full { Ok(()) } else { self.start() }
    }

    /// SIGKILL, and gone when this returns.
    pub(crate) async fn kill(&mut self) {
        self.held_down = true;
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill().await;
        }
    }

    /// SIGTERM, and gone when this returns. Answers whether it went by itself.
    pub(crate) async fn leave(&mut self) -> bool {
        self.held_down = true;
        self.signal(Signal::TERM);
        let Some(mut child) = self.child.take() else { return true };
        match tokio::time::timeout(LEAVE_LIMIT, child.wait()).await {
            Ok(Ok(status)) => status.success(),
            Ok(Err(_)) | Err(_) => {
                let _gone = child.kill().await;
                false
            }
        }
    }

    /// Sends a signal when it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id);
        let pid = pid.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended a moment ago.
            let _sent = kill_process(pid, signal);
        }
    }

    /// When it ended by itself: why, as far as its log says.
    pub(crate) fn ended_by_itself(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(format!("{} ended by itself ({status}): {}", self.name, last_words(&self.log)))
    }
}

fn last_words(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let telling = lines.iter().rev().find(|line| line.contains("ERROR") || line.contains("error"));
    telling.or(lines.last()).map_or_else(|| "nothing in its log".to_owned(), ToString::to_string)
}

/// All agents. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Agents {
    all: Arc<[Mutex<Agent>]>,
    dirs: Arc<[PathBuf]>,
}

impl Agents {
    /// Starts `count` agents on disks in `dir`; all but the first join the first.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) async fn start(
        binaries: &Binaries,
        dir: &Path,
        count: usize,
        voters: usize,
    ) -> Result<Self, Failure> {
        let (mut all, mut dirs) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in 0..count {
            let name = namespace(number);
            let disk = Disk::make(dir, &name).await?;
            let mut arguments = vec![
                "--node-id".to_owned(),
                name.clone(),
                "--data-dir".to_owned(),
                disk.data_dir().display().to_string(),
                "--listen".to_owned(),
                http_address(number),
                "--insecure-no-token".to_owned(),
                "--slots".to_owned(),
                "0".to_owned(),
            ];
            if number > 0 {
                arguments.extend(["--join".to_owned(), http_address(0)]);
            }
            let log = dir.join(format!("{name}.log"));
            dirs.push(disk.data_dir());
            let program = binaries.agent();
            let voters = voters.to_string();
            let (child, held_down, full) = (None, false, false);
            let mut agent =
                Agent { name, program, arguments, voters, log, disk, child, held_down, full };
            agent.start()?;
            all.push(Mutex::new(agent));
        }
        Ok(Self { all: all.into(), dirs: dirs.into() })
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// One of them.
    pub(crate) async fn agent(&self, at: usize) -> tokio::sync::MutexGuard<'_, Agent> {
        self.all[at % self.all.len().max(1)].lock().await
    }

    /// One of them, unless somebody is busy with it.
    pub(crate) fn idle(&self, at: usize) -> Option<tokio::sync::MutexGuard<'_, Agent>> {
        self.all.get(at)?.try_lock().ok()
    }

    /// Where they serve HTTP.
    pub(crate) fn addresses(&self) -> Vec<String> {
        (0..self.count()).map(http_address).collect()
    }

    /// Which of them leads, by the word of the one with the latest term.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let statuses = self.statuses().await;
        let latest = statuses.iter().flatten().max_by_key(|status| status.term)?;
        let leader = latest.leader_id.clone()?;
        (0..self.count()).find(|agent| namespace(*agent) == leader)
    }

    /// What each says of consensus; nothing from those that do not answer.
    pub(crate) async fn statuses(&self) -> Vec<Option<RaftStatus>> {
        let mut statuses = Vec::with_capacity(self.count());
        for address in self.addresses() {
            let client = Client::new(&[address], None, CALL_LIMIT);
            statuses.push(match client {
                Ok(client) => client.get("/raft/status").await.ok(),
                Err(_) => None,
            });
        }
        statuses
    }

    /// Waits until all of them name one leader and have so many voters.
    ///
    /// # Errors
    /// With what they said last, when the limit has passed.
    pub(crate) async fn agree(&self, voters: usize, limit: Duration) -> Result<(), Failure> {
        let mut seen = Vec::new();
        let agreed = tokio::time::timeout(limit, async {
            loop {
                seen = self.statuses().await;
                if agreed(&seen, voters) {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        if agreed.await.is_ok() {
            return Ok(());
        }
        let seen: Vec<_> = seen
            .iter()
            .map(|status| match status {
                Some(it) => format!(
                    "{} follows {:?} in term {} with voters {:?} and learners {:?}",
                    it.node_id, it.leader_id, it.term, it.voters, it.learners
                ),
                None => "no answer".to_owned(),
            })
            .collect();
        Err(Failure::Agents(format!(
            "after {limit:?} the agents do not agree on a leader and {voters} voters: {}",
            seen.join("; ")
        )))
    }

    /// Has all of them write a snapshot at the same place of the log, and compares the files byte by
    /// byte. Answers that place.
    ///
    /// # Errors
    /// When they differ, or do not come to the same place in time.
    pub(crate) async fn compare(&self, limit: Duration) -> Result<u64, Failure> {
        let mut seen = "nothing".to_owned();
        let compared = tokio::time::timeout(limit, async {
            loop {
                match self.snapshots().await {
                    Ok((index, files)) if files.windows(2).all(|two| two[0] == two[1]) => {
                        return Ok(index);
                    }
                    Ok((index, files)) => {
                        let lengths: Vec<_> = files.iter().map(Vec::len).collect();
                        return Err(Failure::Agents(format!(
                            "at index {index} the agents hold different states: snapshots of \
                             {lengths:?} bytes differ"
                        )));
                    }
                    Err(problem) => seen = problem,
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        compared.await.unwrap_or_else(|_late| {
            let text = format!("after {limit:?} the agents are not at one place: {seen}");
            Err(Failure::Agents(text))
        })
    }

    async fn snapshots(&self) -> Result<(u64, Vec<Vec<u8>>), String> {
        let (mut indexes, mut files) = (Vec::new(), Vec::new());
        for (address, dir) in self.addresses().into_iter().zip(self.dirs.iter()) {
            let client = Client::new(std::slice::from_ref(&address), None, SNAPSHOT_LIMIT);
            let client = client.map_err(|error| error.to_string())?;
            let written: Snapshotted =
                client.post("/cluster/snapshot", &()).await.map_err(|error| error.to_string())?;
            indexes.push(written.index);
            let path = dir.join(SNAPSHOT);
            files.push(
                std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?,
            );
        }
        match indexes.first() {
            Some(first) if indexes.iter().all(|index| index == first) => Ok((*first, files)),
            _ => Err(format!("they are at {indexes:?}")),
        }
    }

    /// Ends all of them at once.
    pub(crate) async fn end(&self) {
        for at in 0..self.count() {
            self.agent(at).await.kill().await;
        }
    }
}

fn agreed(statuses: &[Option<RaftStatus>], voters: usize) -> bool {
    let mut leaders = statuses.iter().map(|status| {
        let status = status.as_ref()?;
        (status.voters.len() == voters).then(|| status.leader_id.clone()).flatten()
    });
    let Some(Some(first)) = leaders.next() else { return false };
    leaders.all(|leader| leader.as_ref() == Some(&first))
}
