//! Telling a record that a crash cut off from damage.
//!
//! A crash leaves the last record unfinished and nothing behind it: nobody was told that it is
//! durable, so it may be dropped. Where sound records follow, bytes went bad that the disk had
//! acknowledged; dropping them would take back what a majority relies on. The size of a record is
//! part of what can go bad, so that "the file ends too early" alone proves nothing.
//!
//! The first record of a file is judged before anything else: the crate deletes a newest file whose first
//! record ends too early, with all that is behind it.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_log::codeq::{Decode as _, Span as _};
use raft_log::{ChunkId, Config, Dump, DumpApi as _, RaftLogRecord};

use super::Records;

/// Every record begins with its kind: a small number of four bytes, the largest first.
const KIND_HEAD: [u8; 3] = [0; 3];

const CHUNK_EXTENSION: &str = "wal";

/// Where the first record lies that cannot be read.
struct Broken {
    file: PathBuf,
    /// From the beginning of the file.
    offset: u64,
    error: io::Error,
}

/// Answers nothing when the log is sound but for a cut-off end, and an error otherwise. Changes nothing.
pub(super) fn check(config: &Arc<Config>) -> io::Result<()> {
    first_broken(config)?.map_or(Ok(()), judge)
}

/// Answers nothing when the newest files that begin with an unreadable record hold nothing else, and an
/// error otherwise. Changes nothing.
pub(super) fn check_beginnings(directory: &Path) -> io::Result<()> {
    let files = std::fs::read_dir(directory)?.map(|file| file.map(|file| file.path()));
    let mut files = files.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == CHUNK_EXTENSION));
    // Their names are numbers of one length.
    files.sort();
    while let Some(file) = files.pop() {
        let beginning = BufReader::new(File::open(&file)?);
        match RaftLogRecord::<Records>::decode(beginning) {
            Ok(_) => return Ok(()),
            Err(error) => judge(Broken { file, offset: 0, error })?,
        }
    }
    Ok(())
}

/// Whether a crash cut a record off, or bytes went bad.
fn judge(broken: Broken) -> io::Result<()> {
    let Broken { file, offset, error } = broken;
    let mut rest = Vec::new();
    let mut opened = File::open(&file)?;
    opened.seek(SeekFrom::Start(offset))?;
    // At most one chunk.
    opened.read_to_end(&mut rest)?;
    let Some(distance) = next_sound(&rest) else {
        return Ok(());
    };
    let sound = offset.saturating_add(distance as u64);
    let text = format!(
        "the raft log {} is damaged at byte {offset} ({error}), and sound again at byte {sound}, so no \
         crash cut it off; nothing was changed. Remove this voter from its cluster and let it join \
         again with an empty data directory",
        file.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// The first unreadable record of the last chunk. The chunks before it are never cut, so they need no
/// judgement.
fn first_broken(config: &Arc<Config>) -> io::Result<Option<Broken>> {
    let mut last: Option<(ChunkId, u64)> = None;
    let mut broken = None;
    Dump::<Records>::new(Arc::clone(config))?.write_with(|chunk, _number, record| {
        if last.is_none_or(|(known, _)| known != chunk) {
            last = Some((chunk, 0));
            broken = None;
        }
        match record {
            Ok((segment, _record)) => last = Some((chunk, segment.end().0)),
            Err(error) => broken = Some(error),
        }
        Ok(())
    })?;
    let found = broken.zip(last).map(|(error, (chunk, offset))| Broken {
        file: PathBuf::from(config.wal.chunk_path(chunk)),
        offset,
        error,
    });
    Ok(found)
}

/// How far from the beginning of these bytes, but not at it, a sound record begins. Each carries a
/// checksum, so that one in four thousand million other places looks like one.
fn next_sound(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        rest.starts_with(&KIND_HEAD) && RaftLogRecord::<Records>::decode(rest).is_ok()
    })
}
