//! The raft id: who this data directory is in the vote. Drawn once, kept for ever.
//!
//! A voter that lost its disk comes back under another raft id, so that its empty log can never
//! stand for the votes and entries that the lost one has promised. Where only the log is lost, as when
//! its disk is not mounted, the agent does not start: the log carries the raft id too, and is written
//! before the file is.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::consensus::ConsensusError;
use crate::consensus::log::wal::Wal;

const FILE_NAME: &str = "raft-id";

/// The raft id of `data_dir`: read, or drawn by `entropy` and written durably.
pub(super) fn load_or_create(
    data_dir: &Path,
    entropy: impl FnOnce() -> io::Result<u64>,
) -> Result<u64, ConsensusError> {
    let path = data_dir.join(FILE_NAME);
    let disk = |what: &'static str| {
        let path = path.clone();
        move |source| ConsensusError::Disk { what, path, source }
    };
    match fs::read_to_string(&path) {
        Ok(text) => match u64::from_str_radix(text.trim(), 16) {
            Ok(raft_id) if raft_id != 0 => Ok(raft_id),
            Ok(_) | Err(_) => Err(ConsensusError::Identity { path, text }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Zero means nobody.
            let raft_id = entropy().map_err(disk("draw a raft id for"))?.max(1);
            write_durably(data_dir, FILE_NAME, format!("{raft_id:016x}\n").as_bytes())
                .map_err(disk("write"))?;
            Ok(raft_id)
        }
        Err(error) => Err(disk("read")(error)),
    }
}

/// The raft id of `data_dir`, which must be that of its log.
pub(super) fn of_log(data_dir: &Path, log: &mut Wal) -> Result<u64, ConsensusError> {
    let raft_id = load_or_create(data_dir, || match log.owner() {
        // The first start ended in between, or the file was lost.
        Some(owner) => Ok(owner),
        None => {
            let raft_id = entropy()?.max(1);
            log.belong_to(raft_id)?;
            Ok(raft_id)
        }
    })?;
    let problem = match log.owner() {
        Some(owner) if owner == raft_id => return Ok(raft_id),
        Some(owner) => format!("is the log of raft id {owner:016x}, not of {raft_id:016x}"),
        None => format!("is empty, and raft id {raft_id:016x} has had a log there"),
    };
    Err(ConsensusError::Log { path: data_dir.join("log"), problem })
}

/// The door through which the operating system's entropy enters this folder.
pub(super) fn entropy() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::from)
}

/// Writes a small file so that after a crash it is there as a whole or not at all.
fn write_durably(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let partial = directory.join(format!("{name}.partial"));
    let mut file = fs::File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, directory.join(name))?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_drawn_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_create(directory.path(), || Ok(42)).unwrap();
        let again = load_or_create(directory.path(), || Ok(43)).unwrap();
        assert_eq!((first, again), (42, 42));
    }

    #[test]
    fn zero_is_never_an_id() {
        let directory = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(directory.path(), || Ok(0)).unwrap(), 0);
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE_NAME), "not a number").unwrap();
        let refused = load_or_create(directory.path(), || Ok(1));
        assert!(matches!(refused, Err(ConsensusError::Identity { .. })), "{refused:?}");
        let kept = fs::read_to_string(directory.path().join(FILE_NAME)).unwrap();
        assert_eq!(kept, "not a number");
    }
}
