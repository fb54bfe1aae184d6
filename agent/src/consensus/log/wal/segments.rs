//! The files of a log. A file that is full of old bytes is written over, since a flush of a file that
//! grows costs the disk a second write, of the file system's own journal. So files that a purge frees
//! are kept for what comes, and while there is none one is filled with zeros beforehand.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::statvfs;

/// Files kept for what comes. A purge frees a few at once, and they last until the next one: what is worth
/// a snapshot, with what the last replica waits longer, is six of them.
const SPARES_MAX: usize = 8;
/// Free room, in segments, below which no file is kept or filled beforehand: the room is others'.
const SPARE_ROOM: u64 = 64;
/// Zeros are written in such steps, with a pause after each: the log's own flushes go first.
const FILL_STEP_BYTES: usize = 256 * 1024;
const FILL_PAUSE: Duration = Duration::from_millis(10);
const SEGMENT_EXTENSION: &str = "segment";
const SPARE_EXTENSION: &str = "spare";
const PARTIAL: &str = "partial";
const LOCK: &str = "lock";

/// The directory of one log, locked.
#[derive(Debug)]
pub(super) struct Segments {
    path: PathBuf,
    /// A segment ends at the first flush that reaches so many bytes.
    pub(super) segment_bytes: u64,
    open: Mutex<Open>,
    filler: Mutex<Option<JoinHandle<()>>>,
    closing: AtomicBool,
    _lock: File,
}

#[derive(Debug, Default)]
struct Open {
    files: BTreeMap<u64, Arc<File>>,
    spares: Vec<PathBuf>,
    /// Numbers the spares.
    next_spare: u64,
}

impl Segments {
    /// Opens or creates the directory.
    ///
    /// # Errors
    /// When it cannot be created or read, or another process has it.
    pub(super) fn open(path: &Path, segment_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = File::create(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("the raft log {} is in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let segments = Self {
            path: path.to_owned(),
            segment_bytes,
            open: Mutex::default(),
            filler: Mutex::default(),
            closing: AtomicBool::new(false),
            _lock: lock,
        };
        for file in fs::read_dir(path)? {
            let file = file?.path();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some(SEGMENT_EXTENSION) => {
                    let number = file.file_stem().and_then(|stem| stem.to_str());
                    let number = number.and_then(|stem| u64::from_str_radix(stem, 16).ok());
                    let number = number.ok_or_else(|| strange(&file))?;
                    let opened = OpenOptions::new().read(true).write(true).open(&file)?;
                    segments.lock().files.insert(number, Arc::new(opened));
                }
                // Spares of the last time were named without knowing of these.
                Some(SPARE_EXTENSION) => fs::remove_file(&file)?,
                _ if file.file_name().is_some_and(|name| name == PARTIAL) => {
                    fs::remove_file(&file)?
                }
                _ => {}
            }
        }
        Ok(segments)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a segment lies.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.{SEGMENT_EXTENSION}"))
    }

    /// The segments there are, the oldest first.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.lock().files.keys().copied().collect()
    }

    /// Everything that a segment's file holds.
    pub(super) fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        fs::read(self.path(number))
    }

    /// Reads from the middle of a segment.
    pub(super) fn read_at(&self, number: u64, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let file = self.file(number)?;
        let mut buffer = vec![0; bytes];
        file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    pub(super) fn file(&self, number: u64) -> io::Result<Arc<File>> {
        let file = self.lock().files.get(&number).map(Arc::clone);
        file.ok_or_else(|| {
            let text = format!("the raft log has no segment {}", self.path(number).display());
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }

    /// Gives a new segment its file, whose name is durable then.
    pub(super) fn begin(&self, number: u64) -> io::Result<Arc<File>> {
        let path = self.path(number);
        let spare = self.lock().spares.pop();
        if let Some(spare) = spare {
            fs::rename(&spare, &path)?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        File::open(&self.path)?.sync_all()?;
        let file = Arc::new(file);
        self.lock().files.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Forgets the segments before `first`, and keeps some of their files for what comes.
    pub(super) fn retire(&self, first: u64) -> io::Result<()> {
        let mut open = self.lock();
        let kept = open.files.split_off(&first);
        let retired = std::mem::replace(&mut open.files, kept);
        let has_room = self.has_room();
        for (number, _) in retired {
            let path = self.path(number);
            if has_room && open.spares.len() < SPARES_MAX {
                let spare = self.next_spare(&mut open);
                fs::rename(&path, &spare)?;
                open.spares.push(spare);
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the segments behind `last`: a crash left them before anything in them was durable.
    pub(super) fn discard_after(&self, last: u64) -> io::Result<()> {
        let begun = self.lock().files.split_off(&last.saturating_add(1));
        begun.into_keys().try_for_each(|number| fs::remove_file(self.path(number)))
    }

    fn next_spare(&self, open: &mut Open) -> PathBuf {
        open.next_spare += 1;
        self.path.join(format!("{}.{SPARE_EXTENSION}", open.next_spare))
    }

    fn has_room(&self) -> bool {
        let Ok(disk) = statvfs(&self.path) else {
            return false;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        free >= self.segment_bytes.saturating_mul(SPARE_ROOM)
    }

    /// Fills a file beforehand when there is none to spare, in a thread of its own. A log that does
    /// without is slower, not wrong, so failures only cost the file.
    pub(super) fn provide(self: &Arc<Self>) {
        if !self.lock().spares.is_empty() || !self.has_room() {
            return;
        }
        let mut filler = self.filler.lock().unwrap_or_else(PoisonError::into_inner);
        if filler.as_ref().is_some_and(|filler| !filler.is_finished()) {
            return;
        }
        let this = Arc::clone(self);
        let fill = move || {
            if let Err(error) = this.fill() {
                tracing::warn!(%error, "no file of the raft log could be filled beforehand");
                let _ = fs::remove_file(this.path.join(PARTIAL));
            }
        };
        *filler = std::thread::Builder::new().name("wal-fill".to_owned()).spawn(fill).ok();
    }

    fn fill(&self) -> io::Result<()> {
        let partial = self.path.join(PARTIAL);
        let mut file = File::create(&partial)?;
        let zeros = vec![0; FILL_STEP_BYTES];
        let mut left = self.segment_bytes;
        while left > 0 {
            if self.closing.load(Ordering::Acquire) {
                return fs::remove_file(&partial);
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(FILL_STEP_BYTES);
            file.write_all(zeros.get(..step).unwrap_or(&zeros))?;
            file.sync_data()?;
            left -= step as u64;
            std::thread::sleep(FILL_PAUSE);
        }
        file.sync_all()?;
        let mut open = self.lock();
        let spare = self.next_spare(&mut open);
        fs::rename(&partial, &spare)?;
        open.spares.push(spare);
        Ok(())
    }

    /// Ends what is filled, so that the directory is free.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let filler = self.filler.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A step and a pause; a failure of it costs nothing but the file.
        let _ = filler.map(JoinHandle::join);
    }
}

fn strange(file: &Path) -> io::Error {
    let text = format!("{} is no file of the raft log; move it away", file.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}
