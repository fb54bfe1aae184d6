//! A full disk under a real agent: work ends, no new work begins, and nothing is lost.
//!
//! The disk is a small file system in memory, which only root may mount.
#![expect(clippy::unwrap_used, reason = "a test says what failed by failing")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringrift_tests::agents::{Binaries, Cluster};
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::problem::Code;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::{Value, json};

const AGREE_LIMIT: Duration = Duration::from_secs(30);
/// The agent looks at its disk twenty times a second.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);
/// A state of 20 MiB, where 8 MiB of the disk are kept back.
const LARGE_ITEMS: usize = 400;
const LARGE_ITEM_BYTES: usize = 50 * 1024;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A small disk, gone when dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "small"])
            .arg(&path)
            .output();
        let mounted = mounted.unwrap();
        assert!(mounted.status.success(), "this test mounts a disk and needs root: {mounted:?}");
        Self { path }
    }

    fn free(&self) -> u64 {
        let disk = statvfs(&self.path).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Fills the disk but for so many bytes.
    fn fill(&self, leave: u64) {
        let file = File::options().append(true).create(true).open(self.filler()).unwrap();
        let (begin, more) = (file.metadata().unwrap().len(), self.free().saturating_sub(leave));
        fallocate(&file, FallocateFlags::empty(), begin, more).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A panic elsewhere must not be hidden by one here.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

struct Agent {
    cluster: Cluster,
    client: Client,
}

impl Agent {
    async fn start(dir: &Path) -> Self {
        Self::start_many(dir, 1).await
    }

    /// Starts so many voters, and answers when they agree.
    async fn start_many(dir: &Path, count: usize) -> Self {
        let cluster = Cluster::start(Binaries::locate(None).unwrap(), dir, count, 0).unwrap();
        cluster.wait_until_agreed(count, AGREE_LIMIT).await.unwrap();
        let client = cluster.client().unwrap();
        Self { cluster, client }
    }

    /// Adds an item, or answers the code of the refusal.
    async fn add(&self) -> Result<Value, Code> {
        self.post("/work/add", &json!({ "work_type": "t", "config": {} })).await
    }

    /// What the leader says of itself.
    async fn leader_status(&self) -> Value {
        let leader = self.cluster.leader().await.unwrap().unwrap();
        let address = std::slice::from_ref(&self.cluster.agents[leader].http);
        let client = Client::new(address, None, AGREE_LIMIT).unwrap();
        serde_json::to_value(client.status().await.unwrap()).unwrap()
    }

    async fn snapshot(&self) -> Result<Value, Code> {
        self.post("/cluster/snapshot", &json!({})).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Code> {
        match self.client.post(path, body).await {
            Err(ClientError::Refused(problem)) => Err(problem.code),
            other => Ok(other.unwrap()),
        }
    }

    /// Adds until the disk is seen to be full, or no longer to be.
    async fn add_until_refused(&self, refused: bool) {
        let seen = async {
            while (self.add().await == Err(Code::StorageFull)) != refused {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(NOTICE_LIMIT, seen).await.unwrap();
    }

    /// Takes an item and ends it.
    async fn work(&self) {
        let held = self.claim().await;
        self.complete(&held).await;
    }

    async fn claim(&self) -> Value {
        let claimed = self.client.post("/work/claim", &json!({ "node_id": "n" })).await;
        let claimed: Value = claimed.unwrap();
        assert_eq!(claimed["status"], "claimed", "{claimed}");
        claimed["work"].clone()
    }

    async fn complete(&self, item: &Value) {
        let body = json!({ "work_id": item["work_id"], "token": item["token"], "result": {} });
        let _completed: Value = self.client.post("/work/complete", &body).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_and_lets_work_end() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path().join("small"));
    let mut agent = Agent::start(&disk.path).await;
    for _ in 0..4 {
        agent.add().await.unwrap();
    }
    let held = agent.claim().await;

    disk.fill(4 * 1024 * 1024);
    agent.add_until_refused(true).await;
    agent.complete(&held).await;

    // To the last byte. The reserve makes room for what ends work.
    disk.fill(0);
    let given_up = async {
        while disk.free() == 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(NOTICE_LIMIT, given_up).await.unwrap();
    agent.work().await;
    assert_eq!(agent.add().await, Err(Code::StorageFull));

    // Killed on the full disk, it comes back with everything.
    agent.cluster.agents[0].kill().await;
    agent.cluster.restart(0).unwrap();
    agent.cluster.wait_until_agreed(1, AGREE_LIMIT).await.unwrap();
    agent.work().await;

    std::fs::remove_file(disk.filler()).unwrap();
    agent.add_until_refused(false).await;
    agent.work().await;
    agent.work().await;
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path().join("small"));
    let agent = Agent::start(&disk.path).await;
    let payload = "x".repeat(LARGE_ITEM_BYTES);
    let large = json!({ "work_type": "t", "config": { "payload": payload } });
    for _ in 0..LARGE_ITEMS {
        agent.post("/work/add", &large).await.unwrap();
    }
    // More than what is kept back, so new work is taken; less than the state beside it.
    let state = (LARGE_ITEMS * LARGE_ITEM_BYTES) as u64;
    disk.fill(state);
    assert_eq!(agent.snapshot().await, Err(Code::StorageFull));
    agent.add().await.unwrap();
    agent.work().await;

    std::fs::remove_file(disk.filler()).unwrap();
    // It is not tried again at once.
    let written = async {
        while agent.snapshot().await == Err(Code::StorageFull) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(AGREE_LIMIT, written).await.unwrap();
}

/// The three voters' disks, those of the followers first.
async fn followers_first(agent: &Agent, disks: Vec<SmallDisk>) -> Vec<SmallDisk> {
    let leader = agent.cluster.leader().await.unwrap().unwrap();
    let mut numbered: Vec<_> = disks.into_iter().enumerate().collect();
    numbered.sort_by_key(|(number, _)| *number == leader);
    numbered.into_iter().map(|(_, disk)| disk).collect()
}

#[tokio::test]
async fn full_disks_of_a_majority_refuse_new_work_before_nothing_goes_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |number: usize| SmallDisk::mount(dir.path().join(format!("agent-{number}")));
    let disks: Vec<SmallDisk> = (1..=3).map(mount).collect();
    let agent = Agent::start_many(dir.path(), 3).await;
    let [one, other, leader] = followers_first(&agent, disks).await.try_into().ok().unwrap();
    for _ in 0..3 {
        agent.add().await.unwrap();
    }
    let held = agent.claim().await;

    // One of three: it is seen, and the others go on.
    one.fill(4 * 1024 * 1024);
    let seen = async {
        while agent.leader_status().await["low_disks"].as_array().is_none_or(Vec::is_empty) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(NOTICE_LIMIT, seen).await.unwrap();
    agent.add().await.unwrap();
    assert_eq!(agent.leader_status().await["refuses_new_work"], Value::Null);

    // Two of three, and the leader's has room: new work is refused, the end of work is not.
    other.fill(4 * 1024 * 1024);
    agent.add_until_refused(true).await;
    let status = agent.leader_status().await;
    let why = status["refuses_new_work"].as_str().unwrap();
    let low: Vec<_> = status["low_disks"].as_array().unwrap().iter().collect();
    assert_eq!(low.len(), 2, "{status}");
    assert!(low.iter().all(|it| why.contains(it["node_id"].as_str().unwrap())), "{status}");
    assert!(!why.contains(status["node_id"].as_str().unwrap()), "{status}");
    assert!(leader.free() > 64 * 1024 * 1024);
    agent.complete(&held).await;
    agent.work().await;
    assert_eq!(agent.add().await, Err(Code::StorageFull));

    // One of them has room again: that is a majority.
    std::fs::remove_file(other.filler()).unwrap();
    agent.add_until_refused(false).await;
    agent.work().await;
}
