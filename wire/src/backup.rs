//! A backup as a file, and on its way there: blocks with a checksum each, and an end that says how much
//! there was, so that a backup that was cut off or damaged is never taken for a whole one.
//!
//! Layout: eight bytes of magic, then blocks. A block is its length (u32), the CRC-32 of its bytes
//! (u32) and its bytes. The first block is a [`Head`] as JSON. The last one has length zero; after it
//! comes the number of bytes between head and end (u64), to which its checksum belongs. Numbers are
//! little-endian.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// Opens every backup; raised with every change of the layout.
pub const MAGIC: [u8; 8] = *b"RRBACK01";
/// The largest block: a reader holds one in memory.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The cluster.
    pub cluster_id: String,
    /// The agent that made it.
    pub node_id: String,
    /// Term of the last log entry that it reflects.
    pub term: u64,
    /// Index of that entry.
    pub index: u64,
    /// Wall clock of the agent, in milliseconds since 1970.
    pub created_ms: u64,
    /// Version of the agent.
    pub version: String,
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("cannot read the backup: {0}")]
    Io(#[from] io::Error),
    /// It is another file, or damaged, or cut off.
    #[error("the backup is not whole: {0}; take another one")]
    Damaged(String),
}

fn damaged(problem: impl Into<String>) -> BackupError {
    BackupError::Damaged(problem.into())
}

/// The beginning: magic and head.
///
/// # Errors
/// When the head cannot be written as JSON, which only happens for want of memory.
pub fn begin(head: &Head) -> io::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(block(&serde_json::to_vec(head).map_err(io::Error::other)?));
    Ok(bytes)
}

/// One block of at most [`BLOCK_BYTES_MAX`] bytes; not empty, since an empty one is the end.
#[must_use]
pub fn block(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + content.len());
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// The end, after so many bytes in blocks.
#[must_use]
pub fn end(total: u64) -> Vec<u8> {
    let total = total.to_le_bytes();
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&crc32fast::hash(&total).to_le_bytes());
    bytes.extend_from_slice(&total);
    bytes
}

/// Reads a backup and checks it on the way.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    head: Head,
    read: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads magic and head.
    ///
    /// # Errors
    /// [`BackupError`] when it is no backup, or a damaged one.
    pub fn open(mut source: R) -> Result<Self, BackupError> {
        let mut magic = [0; 8];
        fill(&mut source, &mut magic)?;
        if magic != MAGIC {
            return Err(damaged("it does not begin like one of this version"));
        }
        let Part::Block(head) = next(&mut source)? else {
            return Err(damaged("it has no head"));
        };
        let head = serde_json::from_slice(&head).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { source, head, read: 0, ended: false })
    }

    /// What it is of.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next block; nothing after the last one, when all that there was has been read and fits.
    ///
    /// # Errors
    /// [`BackupError`] when it is damaged, cut off, or goes on after its end.
    pub fn block(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let total = match next(&mut self.source)? {
            Part::Block(block) => {
                self.read = self.read.saturating_add(block.len() as u64);
                return Ok(Some(block));
            }
            Part::End(total) => total,
        };
        if total != self.read {
            return Err(damaged(format!("it has {} bytes of {total}", self.read)));
        }
        if self.source.read(&mut [0])? != 0 {
            return Err(damaged("it goes on after its end"));
        }
        self.ended = true;
        Ok(None)
    }

    /// Reads to the end; answers how many bytes there were.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn verify(mut self) -> Result<(Head, u64), BackupError> {
        while self.block()?.is_some() {}
        Ok((self.head, self.read))
    }
}

enum Part {
    Block(Vec<u8>),
    /// With the number of bytes before it.
    End(u64),
}

fn next(source: &mut impl Read) -> Result<Part, BackupError> {
    let (mut length, mut checksum) = ([0; 4], [0; 4]);
    fill(source, &mut length)?;
    fill(source, &mut checksum)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > BLOCK_BYTES_MAX {
        return Err(damaged(format!("a block of {length} bytes exceeds {BLOCK_BYTES_MAX}")));
    }
    let fits = |content: &[u8]| crc32fast::hash(content) == u32::from_le_bytes(checksum);
    let mismatch = || damaged("a checksum does not match");
    if length == 0 {
        let mut total = [0; 8];
        fill(source, &mut total)?;
        return fits(&total).then(|| Part::End(u64::from_le_bytes(total))).ok_or_else(mismatch);
    }
    let mut content = vec![0; length];
    fill(source, &mut content)?;
    if !fits(&content) {
        return Err(mismatch());
    }
    Ok(Part::Block(content))
}

fn fill(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    source.read_exact(bytes).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            damaged("it is cut off")
        } else {
            BackupError::Io(error)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            cluster_id: "c".to_owned(),
            node_id: "n".to_owned(),
            term: 3,
            index: 42,
            created_ms: 1,
            version: "0.1.0".to_owned(),
        }
    }

    fn whole() -> Vec<u8> {
        let mut bytes = begin(&head()).unwrap();
        bytes.extend(block(b"hello"));
        bytes.extend(block(b"world"));
        bytes.extend(end(10));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Head, u64), BackupError> {
        Reader::open(bytes)?.verify()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = whole();
        let mut reader = Reader::open(&bytes[..]).unwrap();
        assert_eq!(reader.head(), &head());
        assert_eq!(reader.block().unwrap().as_deref(), Some(&b"hello"[..]));
        assert_eq!(reader.block().unwrap().as_deref(), Some(&b"world"[..]));
        assert!(reader.block().unwrap().is_none() && reader.block().unwrap().is_none());
        assert_eq!(read(&bytes).unwrap(), (head(), 10));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let bytes = whole();
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "changed at {at}");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(read(&longer).is_err(), "something follows");
    }
}
