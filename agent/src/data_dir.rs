//! The directory that an agent owns: its name, its generation, and a lock so that two agents never
//! share it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ringrift_core::id::{IdError, NodeId};

/// Held for as long as the agent runs; the operating system frees it when the process ends.
const LOCK_FILE: &str = "lock";
const NODE_ID_FILE: &str = "node-id";
const GENERATION_FILE: &str = "generation";
/// Characters of the host name in a drawn node id: the id stays far below its bound.
const HOST_NAME_CHARS_MAX: usize = 64;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another agent runs with it.
    #[error("{} is in use by another agent; stop it, or choose another --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was made by an agent of another name.
    #[error(
        "{} belongs to the agent {owner}, not {wanted}; drop --node-id, or choose another --data-dir",
        path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who wants it.
        wanted: NodeId,
    },
    /// A file holds what no agent writes.
    #[error("{} is damaged: {cause}; repair it, or start with an empty --data-dir", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// No name can be made of the host's.
    #[error("no node id can be made of this host's name; give --node-id: {0}")]
    HostName(#[from] IdError),
}

/// A data directory that this process owns.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another process holds it, [`DataDirError::Disk`] when it cannot
    /// be made.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        // Payloads and output may hold secrets: nobody else on the machine reads them.
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(path).map_err(disk("create", path))?;
        let path = path.canonicalize().map_err(disk("find", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(disk("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path }),
            Err(TryLockError::Error(source)) => {
                Err(DataDirError::Disk { what: "lock", path: lock_path, source })
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the output of attempts is kept.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// The agent's name: kept here, or `wanted`, or else drawn from the host's name and `chance`.
    ///
    /// # Errors
    /// [`DataDirError::OtherNode`] when another name than `wanted` is kept here; the rest as said.
    pub fn node_id(
        &self,
        wanted: Option<NodeId>,
        host_name: &str,
        chance: u16,
    ) -> Result<NodeId, DataDirError> {
        let path = self.path.join(NODE_ID_FILE);
        if let Some(text) = read(&path)? {
            let owner = text
                .trim()
                .parse::<NodeId>()
                .map_err(|error| DataDirError::Damaged { path, cause: error.to_string() })?;
            return match wanted {
                Some(wanted) if wanted != owner => {
                    Err(DataDirError::OtherNode { path: self.path.clone(), owner, wanted })
                }
                Some(_) | None => Ok(owner),
            };
        }
        let node_id = match wanted {
            Some(wanted) => wanted,
            None => drawn_node_id(host_name, chance)?,
        };
        write_durably(&self.path, NODE_ID_FILE, format!("{node_id}\n").as_bytes())
            .map_err(disk("write", &path))?;
        Ok(node_id)
    }

    /// A number that grows with every start of the agent: peers believe the newest one. It is at
    /// least `wall_millis`, so that it grows even when the directory was lost.
    ///
    /// # Errors
    /// [`DataDirError`] when the number can neither be read nor kept.
    pub fn next_generation(&self, wall_millis: u64) -> Result<u64, DataDirError> {
        let path = self.path.join(GENERATION_FILE);
        let last = match read(&path)? {
            None => 0,
            Some(text) => text.trim().parse::<u64>().map_err(|error| DataDirError::Damaged {
                path: path.clone(),
                cause: error.to_string(),
            })?,
        };
        let generation = last.saturating_add(1).max(wall_millis);
        self.keep_generation(generation)?;
        Ok(generation)
    }

    /// Keeps a generation that had to grow while the agent ran.
    ///
    /// # Errors
    /// [`DataDirError::Disk`] when it cannot be written.
    pub fn keep_generation(&self, generation: u64) -> Result<(), DataDirError> {
        write_durably(&self.path, GENERATION_FILE, format!("{generation}\n").as_bytes())
            .map_err(disk("write", &self.path.join(GENERATION_FILE)))
    }
}

fn drawn_node_id(host_name: &str, chance: u16) -> Result<NodeId, IdError> {
    let plain: String = host_name
        .chars()
        .take(HOST_NAME_CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' })
        .collect();
    let host = if plain.is_empty() { "agent" } else { plain.as_str() };
    format!("{host}-{chance:04x}").parse()
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Disk { what, path, source }
}

fn read(path: &Path) -> Result<Option<String>, DataDirError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk("read", path)(error)),
    }
}

/// Writes a small file so that after a crash it is there as a whole or not at all.
fn write_durably(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let partial = directory.join(format!("{name}.partial"));
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::open(root.path()).unwrap();
        let refused = DataDir::open(root.path()).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse { .. }), "{refused}");
        drop(first);
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn the_name_is_drawn_once_and_then_kept() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(root.path()).unwrap();
        let drawn = data_dir.node_id(None, "gpu 7", 0xbeef).unwrap();
        assert_eq!(drawn.as_str(), "gpu-7-beef");
        assert_eq!(data_dir.node_id(None, "other", 1).unwrap(), drawn);
        assert_eq!(data_dir.node_id(Some(drawn.clone()), "other", 1).unwrap(), drawn);
        let refused = data_dir.node_id(Some("b".parse().unwrap()), "other", 1).unwrap_err();
        assert!(matches!(refused, DataDirError::OtherNode { .. }), "{refused}");
    }

    #[test]
    fn generations_grow_and_damage_is_not_hidden() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(root.path()).unwrap();
        assert_eq!(data_dir.next_generation(0).unwrap(), 1);
        assert_eq!(data_dir.next_generation(0).unwrap(), 2);
        assert_eq!(data_dir.next_generation(70).unwrap(), 70);
        data_dir.keep_generation(90).unwrap();
        assert_eq!(data_dir.next_generation(70).unwrap(), 91, "a wall clock may go back");
        fs::write(root.path().join(GENERATION_FILE), "two").unwrap();
        let refused = data_dir.next_generation(70).unwrap_err();
        assert!(matches!(refused, DataDirError::Damaged { .. }), "{refused}");
    }
}
