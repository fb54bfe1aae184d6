//! The output of an attempt: bounded in the log file and in memory, however much is written.

use std::io;
use std::time::Duration;

use ringrift_core::limits;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The beginning of an attempt's output that is kept in its log, both streams together; after it
/// comes the last [`TAIL_BYTES`] of each stream. With some thousand logs kept that is a few GiB.
pub const LOG_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The end of each stream that is kept in memory: the longest result with its line end, and one byte
/// more, by which a longer last line shows itself.
pub const TAIL_BYTES: usize = limits::RESULT_BYTES_MAX + 2;
/// Read at once from a pipe.
const CHUNK_BYTES: usize = 16 * 1024;

/// The end of each stream.
#[derive(Debug, Default)]
pub(super) struct Captured {
    stdout: Tail,
    stderr: Tail,
}

/// Reads both streams in a task of its own, so that a full pipe never blocks the program.
#[derive(Debug)]
pub(super) struct Capture {
    task: JoinHandle<Captured>,
    enough: CancellationToken,
}

impl Capture {
    pub(super) fn start(stdout: ChildStdout, stderr: ChildStderr, log: File) -> Self {
        let enough = CancellationToken::new();
        let task = tokio::spawn(capture(stdout, stderr, Log::new(log), enough.clone()));
        Self { task, enough }
    }

    /// Waits for the streams' ends, no longer than `wait`.
    pub(super) async fn finish(self, wait: Duration) -> Captured {
        let Self { mut task, enough } = self;
        let outcome = match tokio::time::timeout(wait, &mut task).await {
            Ok(outcome) => outcome,
            Err(_held_open) => {
                enough.cancel();
                task.await
            }
        };
        outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "reading an attempt's output failed");
            Captured::default()
        })
    }
}

async fn capture(
    mut stdout: ChildStdout,
    mut stderr: ChildStderr,
    mut log: Log,
    enough: CancellationToken,
) -> Captured {
    let mut captured = Captured::default();
    let (mut from_stdout, mut from_stderr) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let (mut stdout_open, mut stderr_open) = (true, true);
    while stdout_open || stderr_open {
        tokio::select! {
            () = enough.cancelled() => break,
            length = read(&mut stdout, &mut from_stdout), if stdout_open => {
                stdout_open = length > 0;
                captured.stdout.push(&from_stdout[..length]);
                log.write(&from_stdout[..length]).await;
            }
            length = read(&mut stderr, &mut from_stderr), if stderr_open => {
                stderr_open = length > 0;
                captured.stderr.push(&from_stderr[..length]);
                log.write(&from_stderr[..length]).await;
            }
        }
    }
    log.end(&captured).await;
    captured
}

/// A pipe that cannot be read has ended.
async fn read(pipe: &mut (impl AsyncRead + Unpin), chunk: &mut [u8]) -> usize {
    pipe.read(chunk).await.unwrap_or(0)
}

/// The log file. A full disk must not stop an attempt, so a failed write only ends the log.
#[derive(Debug)]
struct Log {
    file: Option<File>,
    written: usize,
    cut: u64,
}

impl Log {
    fn new(file: File) -> Self {
        Self { file: Some(file), written: 0, cut: 0 }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let room = LOG_BYTES_MAX.saturating_sub(self.written);
        let (kept, cut) = bytes.split_at(bytes.len().min(room));
        self.written += kept.len();
        self.cut = self.cut.saturating_add(u64::try_from(cut.len()).unwrap_or(u64::MAX));
        self.append(kept).await;
    }

    async fn end(mut self, captured: &Captured) {
        if self.cut > 0 {
            let marker =
                format!("\n[ringrift: {} bytes were cut here; the end follows]\n", self.cut);
            self.append(marker.as_bytes()).await;
            for tail in [&captured.stdout, &captured.stderr] {
                self.append(&tail.bytes).await;
            }
        }
        if let Some(mut file) = self.file.take()
            && let Err(error) = file.flush().await
        {
            tracing::warn!(%error, "an attempt's log is not complete");
        }
    }

    async fn append(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let outcome: io::Result<()> = file.write_all(bytes).await;
        if let Err(error) = outcome {
            tracing::warn!(%error, "an attempt's log ends early");
            self.file = None;
        }
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    was_cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        if excess > 0 {
            self.bytes.drain(..excess);
            self.was_cut = true;
        }
    }
}

impl Captured {
    #[cfg(test)]
    pub(super) fn of(stdout: &str, stderr: &str) -> Self {
        let mut captured = Self::default();
        captured.stdout.push(stdout.as_bytes());
        captured.stderr.push(stderr.as_bytes());
        captured
    }

    /// The last line of the standard output that is not empty; nothing when its beginning is lost.
    pub(super) fn last_line(&self) -> Option<&[u8]> {
        let text = self.stdout.bytes.trim_ascii_end();
        match text.iter().rposition(|byte| *byte == b'\n') {
            Some(before) => text.get(before + 1..),
            None if self.stdout.was_cut || text.is_empty() => None,
            None => Some(text),
        }
    }

    /// The end of the standard output, at most so many bytes.
    pub(super) fn stdout_text(&self, bytes_max: usize) -> String {
        text_of_end(&self.stdout.bytes, bytes_max)
    }

    /// The last lines of the standard error, or of the standard output when the former is empty.
    pub(super) fn last_lines(&self, lines: usize, bytes_max: usize) -> String {
        let stderr_is_empty = self.stderr.bytes.trim_ascii().is_empty();
        let stream = if stderr_is_empty { &self.stdout } else { &self.stderr };
        let text = text_of_end(stream.bytes.trim_ascii_end(), bytes_max);
        let skipped = text.lines().count().saturating_sub(lines);
        text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}

fn text_of_end(bytes: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let from = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    text[from..].to_owned()
}

/// The beginning of a text, at most so many bytes.
pub(super) fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(stdout: &[u8], stderr: &[u8]) -> Captured {
        let mut captured = Captured::default();
        captured.stdout.push(stdout);
        captured.stderr.push(stderr);
        captured
    }

    #[test]
    fn the_last_line_is_whole_or_nothing() {
        assert_eq!(captured(b"a\n{\"b\":1}\n\n", b"").last_line(), Some(&b"{\"b\":1}"[..]));
        assert_eq!(captured(b"one", b"").last_line(), Some(&b"one"[..]));
        assert_eq!(captured(b"", b"").last_line(), None);
        assert_eq!(captured(b"\n \n", b"").last_line(), None);
        assert_eq!(
            captured(&[b'x'; TAIL_BYTES + 1], b"").last_line(),
            None,
            "its beginning is lost"
        );
        let long = [&[b'x'; TAIL_BYTES][..], b"\nend"].concat();
        assert_eq!(captured(&long, b"").last_line(), Some(&b"end"[..]));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(captured("aé".as_bytes(), b"").stdout_text(2), "é");
        assert_eq!(captured("aé".as_bytes(), b"").stdout_text(1), "");
        assert_eq!(head("é", 1), "");
        assert_eq!(captured(b"out", b" \n").last_lines(3, 99), "out");
        assert_eq!(captured(b"out", b"1\n2\n3\n4\n").last_lines(2, 99), "3\n4");
        assert_eq!(captured(b"", b"\xff").last_lines(2, 99), "\u{fffd}");
    }
}
