//! The spool directory: the outputs of attempts, and results that nobody has taken yet.
//!
//! ```text
//! w42.log                  output of the last attempt of w42 on this node
//! w42@0.3.1042.7.result    its result under that token, until it was taken
//! attempts/w42/            working directory of a running attempt
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ringrift_core::id::{Token, WorkId};
use ringrift_wire::work;

use crate::clock::Clock;

/// Logs kept; the oldest go first.
const LOGS_MAX: usize = 2_000;
/// Bytes of logs kept; the oldest go first. A rented machine's disk is small.
const LOGS_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A log is of no use to anybody after a week.
const LOG_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Results read back after a restart. There is one for each slot at the most, in each life.
const RESULTS_MAX: usize = 10_000;
/// Entries looked at in one sweep.
const ENTRIES_MAX: usize = 100_000;

/// The directory; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    root: Arc<Path>,
    clock: Clock,
}

/// A result from an earlier life.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) work_id: WorkId,
    pub(super) body: work::Complete,
}

impl Spool {
    /// Makes the directory, and clears what attempts of an earlier life left in it.
    pub(super) async fn open(root: PathBuf, clock: Clock) -> io::Result<Self> {
        // Attempts run in directories of their own, so a relative path would lead elsewhere.
        let root = std::path::absolute(root)?;
        let attempts = root.join("attempts");
        match tokio::fs::remove_dir_all(&attempts).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        tokio::fs::create_dir_all(&attempts).await?;
        let spool = Self { root: root.into(), clock };
        spool.sweep().await;
        Ok(spool)
    }

    pub(super) fn log_path(&self, work_id: WorkId) -> PathBuf {
        self.root.join(format!("{work_id}.log"))
    }

    pub(super) fn attempt_directory(&self, work_id: WorkId) -> PathBuf {
        self.root.join("attempts").join(work_id.to_string())
    }

    /// Removes logs beyond the bounds.
    pub(super) async fn sweep(&self) {
        let root = Arc::clone(&self.root);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.wall().0);
        let swept = tokio::task::spawn_blocking(move || sweep(&root, now)).await;
        match swept {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed old logs of attempts"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot sweep the spool directory"),
            Err(error) => tracing::error!(%error, "sweeping the spool directory failed"),
        }
    }

    /// Writes a result down, whole or not at all.
    pub(super) async fn keep(&self, body: &work::Complete) {
        let Some(path) = self.result_path(body) else {
            return;
        };
        let being_written = path.with_extension("writing");
        let written = async {
            tokio::fs::write(&being_written, serde_json::to_vec(body)?).await?;
            tokio::fs::File::open(&being_written).await?.sync_all().await?;
            tokio::fs::rename(&being_written, &path).await
        };
        if let Err(error) = written.await {
            tracing::warn!(path = %path.display(), %error, "cannot keep a result on disk");
        }
    }

    pub(super) async fn forget(&self, body: &work::Complete) {
        let Some(path) = self.result_path(body) else {
            return;
        };
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a kept result");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// The results that an earlier life left. Broken ones are removed.
    pub(super) async fn kept(&self) -> Vec<Kept> {
        let root = Arc::clone(&self.root);
        let read = tokio::task::spawn_blocking(move || kept(&root)).await;
        read.unwrap_or_else(|error| Err(io::Error::other(error))).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the results of an earlier life");
            Vec::new()
        })
    }

    /// Both parts are checked, because they come from the network and become a file's name.
    fn result_path(&self, body: &work::Complete) -> Option<PathBuf> {
        let work_id: WorkId = body.work_id.parse().ok()?;
        let token: Token = body.token.parse().ok()?;
        Some(self.root.join(format!("{work_id}@{token}.result")))
    }
}

fn sweep(root: &Path, now: SystemTime) -> io::Result<usize> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(root)?.take(ENTRIES_MAX) {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let facts = path.metadata()?;
            logs.push((facts.modified()?, facts.len(), path));
        }
    }
    logs.sort_unstable_by(|a, b| b.cmp(a));
    let (mut bytes, mut removed) = (0_u64, 0);
    for (index, (modified, length, path)) in logs.into_iter().enumerate() {
        bytes = bytes.saturating_add(length);
        let age = now.duration_since(modified).unwrap_or_default();
        if index >= LOGS_MAX || bytes > LOGS_BYTES_MAX || age > LOG_AGE_MAX {
            std::fs::remove_file(path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn kept(root: &Path) -> io::Result<Vec<Kept>> {
    let mut results = Vec::new();
    for entry in std::fs::read_dir(root)?.take(ENTRIES_MAX) {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "result") {
            continue;
        }
        let body = serde_json::from_slice::<work::Complete>(&std::fs::read(&path)?);
        match body.ok().and_then(|body| Some((body.work_id.parse().ok()?, body))) {
            Some((work_id, body)) if results.len() < RESULTS_MAX => {
                results.push(Kept { work_id, body });
            }
            Some(_) | None => std::fs::remove_file(&path)?,
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(token: &str) -> work::Complete {
        let result = serde_json::json!({ "elo": 1 });
        work::Complete {
            work_id: "w7".to_owned(),
            token: token.to_owned(),
            result,
            then: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_result_survives_a_restart_and_is_forgotten_when_taken() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Spool::open(directory.path().to_owned(), Clock::start());
        let spool = open().await.unwrap();
        std::fs::create_dir(spool.attempt_directory(WorkId(7))).unwrap();
        spool.keep(&body("0.1.2.3")).await;
        spool.keep(&body("../../etc/passwd")).await;
        std::fs::write(directory.path().join("w1@0.0.0.0.result"), "{").unwrap();

        let spool = open().await.unwrap();
        assert!(!spool.attempt_directory(WorkId(7)).exists());
        let kept = spool.kept().await;
        assert_eq!(kept.iter().map(|kept| &kept.body).collect::<Vec<_>>(), [&body("0.1.2.3")]);
        assert!(!directory.path().join("w1@0.0.0.0.result").exists());
        spool.forget(&body("0.1.2.3")).await;
        assert!(spool.kept().await.is_empty());
    }

    #[test]
    fn old_and_surplus_logs_go_and_results_stay() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let write = |name: &str, age: Duration| {
            std::fs::write(at(name), "x").unwrap();
            let file = std::fs::File::options().write(true).open(at(name)).unwrap();
            file.set_modified(now - age).unwrap();
        };
        write("w1.log", LOG_AGE_MAX + Duration::from_secs(1));
        write("w2.result", LOG_AGE_MAX * 2);
        (0..LOGS_MAX as u64)
            .for_each(|n| write(&format!("w{}.log", 10 + n), Duration::from_secs(n)));
        write("w3.log", Duration::from_secs(LOGS_MAX as u64));
        assert_eq!(sweep(directory.path(), now).unwrap(), 2);
        assert!(!at("w1.log").exists() && !at("w3.log").exists() && at("w2.result").exists());
        assert_eq!(sweep(directory.path(), now).unwrap(), 0);
    }
}
