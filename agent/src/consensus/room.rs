//! Room on the disk: new work is refused while there is still enough for what ends work.
//!
//! Every completion is a log entry, so a full disk would stop exactly what makes room. A part of the
//! disk is therefore kept back in a file. New work is refused when the rest runs out; when even that is
//! filled, by whomever, the file is given up and completions go on in its place.
//!
//! So each agent keeps for its own disk. What the leader makes of those of the others is in [`voters`].

pub(super) mod voters;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::consensus::{DiskFull, Inner};

/// The most that is kept back: completions and votes for hours.
const RESERVE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Of a small disk, so much is kept back: one part of this many.
const RESERVE_PART: u64 = 20;
/// How often the disk is looked at: a disk that fills at a gigabyte a second is noticed in time.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const RESERVE: &str = "reserve";

/// What to do about the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Nothing,
    Keep,
    GiveUp,
}

/// The rules, in multiples of the reserve.
#[derive(Debug, Clone, Copy)]
struct Rules {
    reserve: u64,
}

impl Rules {
    fn of(disk_bytes: u64) -> Self {
        Self { reserve: (disk_bytes / RESERVE_PART).min(RESERVE_BYTES_MAX) }
    }

    /// Free bytes below which new work is refused. Once refused it stays so until there is clearly
    /// more, so that a disk at the mark does not flap.
    const fn floor(self, refuses: bool) -> u64 {
        if refuses { self.reserve.saturating_mul(2) } else { self.reserve }
    }

    /// Bytes that a snapshot may take: it leaves the log what is kept back, and half of what there is
    /// when that is less. A small one, which lets the log be cut, fits on any disk that is not full.
    fn for_snapshot(self, free: u64) -> u64 {
        free - self.reserve.min(free / 2)
    }

    const fn act(self, free: u64, held: bool) -> Act {
        if held && free < self.reserve / 2 {
            Act::GiveUp
        } else if !held && free >= self.reserve.saturating_mul(4) {
            Act::Keep
        } else {
            Act::Nothing
        }
    }
}

/// Whether there is room for new work.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Free bytes while new work is refused, and one more; zero while it is not.
    short: AtomicU64,
}

impl Room {
    /// # Errors
    /// While new work is refused.
    pub(super) fn admit(&self) -> Result<(), DiskFull> {
        self.low().map_or(Ok(()), |free_bytes| Err(DiskFull::OfLeader { free_bytes }))
    }

    /// Free bytes while the disk is nearly full.
    pub(super) fn low(&self) -> Option<u64> {
        self.short.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// The disk under one directory.
#[derive(Debug, Clone)]
struct Disk {
    directory: PathBuf,
    /// Set when the file system cannot set blocks aside: it is not asked again.
    keeps_none: Arc<AtomicBool>,
}

impl Disk {
    fn under(directory: PathBuf) -> Self {
        Self { directory, keeps_none: Arc::default() }
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join(RESERVE)
    }

    /// A file without bytes is what a crash left, and holds nothing.
    fn is_reserved(&self) -> bool {
        std::fs::metadata(self.reserve()).is_ok_and(|file| file.len() > 0)
    }

    /// Bytes in all, and those that are free for this process.
    fn bytes(&self) -> io::Result<(u64, u64)> {
        let disk = statvfs(&self.directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_blocks), bytes(disk.f_bavail)))
    }

    /// Looks once, and keeps back or gives up. Answers the free bytes and the rules.
    fn look(&self) -> io::Result<(u64, Rules)> {
        let (all, free) = self.bytes()?;
        let rules = Rules::of(all);
        match rules.act(free, self.is_reserved()) {
            Act::Nothing => return Ok((free, rules)),
            Act::Keep if self.keeps_none.load(Ordering::Relaxed) => return Ok((free, rules)),
            Act::Keep => self.keep(rules.reserve)?,
            Act::GiveUp => {
                std::fs::remove_file(self.reserve())?;
                tracing::error!(free, "the disk is full, its reserve is given up for completions");
            }
        }
        Ok((self.bytes()?.1, rules))
    }

    fn keep(&self, bytes: u64) -> io::Result<()> {
        let reserve = self.reserve();
        let kept = File::create(&reserve)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?));
        match kept {
            Ok(()) => Ok(()),
            Err(error) => {
                // A file system that cannot set blocks aside keeps none: a reserve of holes is none.
                tracing::debug!(%error, "no room can be kept back");
                self.keeps_none.store(!is_full(&error), Ordering::Relaxed);
                std::fs::remove_file(reserve)
            }
        }
    }
}

/// Bytes that a snapshot under `directory` may take; any number where the disk does not say.
pub(super) fn for_snapshot(directory: &Path) -> u64 {
    let disk = Disk::under(directory.to_owned());
    disk.bytes().map_or(u64::MAX, |(all, free)| Rules::of(all).for_snapshot(free))
}

/// Whether an error says that the disk, or what this agent may take of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Gives the reserve up when the disk is full, before anything is written at start.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    let disk = Disk::under(directory.to_owned());
    let (all, free) = disk.bytes()?;
    if Rules::of(all).act(free, disk.is_reserved()) == Act::GiveUp {
        std::fs::remove_file(disk.reserve())?;
    }
    Ok(())
}

/// Looks at the disk under `directory` until consensus is gone.
pub(super) async fn watch(inner: Weak<Inner>, directory: PathBuf) {
    let disk = Disk::under(directory);
    loop {
        let looking = disk.clone();
        // Beside the runtime's threads: a disk that hangs answers this late too.
        let looked = tokio::task::spawn_blocking(move || looking.look()).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        match looked.map_err(io::Error::other).flatten() {
            Ok((free, rules)) => tell(&inner.room, free, rules),
            Err(error) => tracing::debug!(%error, "the disk does not say how full it is"),
        }
        drop(inner);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn tell(room: &Room, free: u64, rules: Rules) {
    let refused = room.low().is_some();
    let refuses = free < rules.floor(refused);
    room.short.store(if refuses { free.saturating_add(1) } else { 0 }, Ordering::Relaxed);
    match (refused, refuses) {
        (false, true) => tracing::error!(free, "the disk is nearly full"),
        (true, false) => tracing::info!(free, "the disk has room again"),
        (true, true) | (false, false) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn new_work_stops_before_the_reserve_is_touched_and_begins_well_above() {
        let rules = Rules::of(100 * MIB);
        assert_eq!(rules.reserve, 5 * MIB);
        assert_eq!(Rules::of(u64::MAX).reserve, RESERVE_BYTES_MAX);
        let room = Room::default();
        for (free, refuses) in [
            (50 * MIB, false),
            (5 * MIB, false),
            (5 * MIB - 1, true),
            (9 * MIB, true),
            (0, true),
            (10 * MIB, false),
        ] {
            tell(&room, free, rules);
            let full = DiskFull::OfLeader { free_bytes: free };
            let expected = if refuses { Err(full) } else { Ok(()) };
            assert_eq!(room.admit(), expected, "{free} bytes free");
        }
    }

    #[test]
    fn the_reserve_is_given_up_when_all_else_is_gone_and_comes_back_with_plenty() {
        let rules = Rules { reserve: 8 };
        assert_eq!(rules.act(4, true), Act::Nothing);
        assert_eq!(rules.act(3, true), Act::GiveUp);
        assert_eq!(rules.act(3, false), Act::Nothing);
        // What it frees does not bring it back at once.
        assert_eq!(rules.act(3 + 8, false), Act::Nothing);
        assert_eq!(rules.act(32, false), Act::Keep);
    }

    #[test]
    fn a_snapshot_leaves_the_log_its_room_and_a_small_one_fits_on_any_disk() {
        let rules = Rules { reserve: 8 };
        for (free, room) in [(100, 92), (16, 8), (15, 8), (4, 2), (1, 1), (0, 0)] {
            assert_eq!(rules.for_snapshot(free), room, "{free} free");
        }
    }

    #[test]
    fn a_reserve_takes_its_room_and_gives_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::under(directory.path().to_owned());
        assert!(!disk.is_reserved());
        File::create(disk.reserve()).unwrap();
        assert!(!disk.is_reserved(), "a crash left an empty one");
        disk.keep(MIB).unwrap();
        assert!(disk.is_reserved());
        assert_eq!(std::fs::metadata(disk.reserve()).unwrap().len(), MIB);
        let (all, free) = disk.bytes().unwrap();
        assert!(free <= all && all > 0);
    }
}
