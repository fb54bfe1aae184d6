//! What an engine writes, read by threads of its own and without trust in its measure.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{ChildStderr, ChildStdout};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::clock::now;

/// Bytes of a line that are kept. The longest honest ones are positions of 2,000 plies (10 KB).
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines that wait for the runner. With the bound above an engine can fill 4 MiB; then its pipe
/// fills, and then it waits.
const LINES_QUEUED_MAX: usize = 256;
/// Bytes of standard error that are kept: the last ones, since they tell why a process ended.
const TAIL_BYTES_MAX: usize = 512;

/// A line of output, without surrounding blanks.
#[derive(Debug)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// When it was read.
    pub at: Instant,
}

/// Reads the lines of a process in a thread. The channel closes at the end of the output.
///
/// # Errors
/// No thread could be started.
pub fn read_lines(output: ChildStdout) -> io::Result<Receiver<Line>> {
    let (sender, receiver) = sync_channel(LINES_QUEUED_MAX);
    thread::Builder::new().name("engine-output".to_owned()).spawn(move || {
        let mut output = BufReader::new(output);
        // A failed read is an end: a pipe has no failure from which it recovers.
        while let Ok(Some(text)) = next_line(&mut output) {
            // The bulk of an engine's words, and none that decides anything.
            if text.starts_with("info") {
                continue;
            }
            if sender.send(Line { text, at: now() }).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// The next line without surrounding blanks, cut at [`LINE_BYTES_MAX`]; nothing at the end.
///
/// # Errors
/// The input failed.
pub fn next_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut begun = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(begun.then(|| trimmed(&line)));
        }
        begun = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        let kept = taken.min(LINE_BYTES_MAX - line.len());
        line.extend_from_slice(&available[..kept]);
        input.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(Some(trimmed(&line)));
        }
    }
}

fn trimmed(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim().to_owned()
}

/// The last words that a process wrote to standard error.
#[derive(Debug)]
pub struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    /// Drains standard error in a thread.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn of(mut errors: ChildStderr) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(VecDeque::with_capacity(TAIL_BYTES_MAX)));
        let written = Arc::clone(&kept);
        let reader = thread::Builder::new().name("engine-errors".to_owned()).spawn(move || {
            let mut chunk = [0; TAIL_BYTES_MAX];
            while let Ok(read @ 1..) = errors.read(&mut chunk) {
                let mut kept = written.lock().unwrap_or_else(PoisonError::into_inner);
                let surplus = (kept.len() + read).saturating_sub(TAIL_BYTES_MAX);
                kept.drain(..surplus);
                kept.extend(&chunk[..read]);
            }
        })?;
        Ok(Self { kept, reader })
    }

    /// Whether the process can add no more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.reader.is_finished()
    }

    /// The last words, on one line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous());
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_not_split() {
        let long = "x".repeat(10 * LINE_BYTES_MAX);
        let text = format!("uciok\r\n{long}\n\n  readyok \nlast");
        // A small buffer, so that lines span many reads.
        let mut input = BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], "uciok");
        assert_eq!(lines[1].len(), LINE_BYTES_MAX);
        assert_eq!(lines[2..], ["", "readyok", "last"]);
    }

    #[test]
    fn an_endless_line_needs_no_memory() {
        let mut input = BufReader::new(io::repeat(b'x').take(1 << 30));
        let line = next_line(&mut input).unwrap().unwrap();
        assert_eq!(line.len(), LINE_BYTES_MAX);
        assert!(line.capacity() <= 4 * LINE_BYTES_MAX);
    }

    #[test]
    fn bytes_that_are_no_text_are_read() {
        let mut input = &b"best\xFFmove\n"[..];
        assert_eq!(next_line(&mut input).unwrap().unwrap(), "best\u{FFFD}move");
        assert_eq!(next_line(&mut input).unwrap(), None);
    }
}
