//! A small disk for each agent: a file system of its own in a file, that can be filled and freed.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, run};

/// Large enough for the log of a run, and small enough to be filled at once.
const DISK_BYTES: u64 = 1024 * 1024 * 1024;
/// What fills it.
const BALLAST: &str = "ballast";

/// The disk of an agent.
#[derive(Debug)]
pub(crate) struct Disk {
    mounted: PathBuf,
}

impl Disk {
    /// Makes `name.disk` in `dir` and mounts it beside, inside of the enclosure.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) async fn make(dir: &Path, name: &str) -> Result<Self, Failure> {
        let image = dir.join(format!("{name}.disk"));
        let file = std::fs::File::create(&image).map_err(Failure::create(&image))?;
        file.set_len(DISK_BYTES).map_err(Failure::create(&image))?;
        let mounted = dir.join(name);
        std::fs::create_dir_all(&mounted).map_err(Failure::create(&mounted))?;
        let image = image.display().to_string();
        // Without blocks kept for root, or root would never see a full disk.
        run("mkfs.ext4", &["-q", "-m", "0", &image], "").await?;
        run("mount", &["-o", "loop", &image, &mounted.display().to_string()], "").await?;
        Ok(Self { mounted })
    }

    /// Where the agent keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.mounted.join("data")
    }

    /// Takes all space that is left.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) async fn fill(&self) -> Result<(), Failure> {
        let path = self.mounted.join(BALLAST);
        let mut file = std::fs::File::create(&path).map_err(Failure::create(&path))?;
        // In smaller and smaller pieces, until not even a block is left.
        let mut piece: u64 = 64 * 1024 * 1024;
        let mut length = 0;
        while piece >= 4_096 {
            let grown =
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, piece);
            if grown.is_ok() {
                length += piece;
            } else {
                piece /= 2;
            }
        }
        std::io::Write::flush(&mut file).map_err(Failure::create(&path))
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn free(&self) -> Result<(), Failure> {
        let path = self.mounted.join(BALLAST);
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(Failure::file(format!("remove {}", path.display()))),
        }
    }
}
