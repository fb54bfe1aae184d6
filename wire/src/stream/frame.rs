//! Frames: four bytes of length, big endian, then one message in postcard.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the length before each message.
pub const HEAD_BYTES: usize = 4;

/// Why bytes are not a frame, or not this message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than the reader takes. Nothing of it was read.
    #[error("a frame of {bytes} bytes exceeds {bytes_max}; split the request")]
    TooLong {
        /// As announced.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The bytes do not hold the message that is due.
    #[error("a frame of {bytes} bytes does not hold {what}: {cause}")]
    Garbage {
        /// What was expected.
        what: &'static str,
        /// Length of the frame.
        bytes: usize,
        /// What postcard said.
        cause: postcard::Error,
    },
    /// The message cannot be written.
    #[error("a message cannot be encoded: {0}")]
    Unwritable(postcard::Error),
}

/// Where postcard writes to: behind what is there already.
struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends a message as a frame.
///
/// # Errors
/// [`FrameError::TooLong`] when the frame would exceed `bytes_max`; `buffer` is as before then.
pub fn push<T: Serialize>(
    buffer: &mut Vec<u8>,
    message: &T,
    bytes_max: usize,
) -> Result<(), FrameError> {
    let start = buffer.len();
    let outcome = append(buffer, message, bytes_max);
    if outcome.is_err() {
        buffer.truncate(start);
    }
    outcome
}

fn append<T: Serialize>(
    buffer: &mut Vec<u8>,
    message: &T,
    bytes_max: usize,
) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD_BYTES]);
    postcard::serialize_with_flavor(message, Appending(buffer)).map_err(FrameError::Unwritable)?;
    let bytes = buffer.len().saturating_sub(start + HEAD_BYTES);
    let too_long = FrameError::TooLong { bytes, bytes_max };
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= bytes_max).ok_or(too_long)?;
    if let Some(head) = buffer.get_mut(start..start + HEAD_BYTES) {
        head.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// Frames that wait to be written.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Memory that is kept while nothing waits: a burst of large frames must not keep its own.
    kept_max: usize,
}

impl Outbox {
    /// Nothing, with so much memory kept between bursts.
    #[must_use]
    pub const fn new(kept_max: usize) -> Self {
        Self { bytes: Vec::new(), written: 0, kept_max }
    }

    /// Appends a message as a frame.
    ///
    /// # Errors
    /// As [`push`].
    pub fn push<T: Serialize>(&mut self, message: &T, bytes_max: usize) -> Result<(), FrameError> {
        push(&mut self.bytes, message, bytes_max)
    }

    /// Bytes since nothing waited last, written ones included: what the bound of a writer counts.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// So many bytes of it were written.
    pub fn advance(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
        if self.written >= self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(self.kept_max);
        }
    }
}

/// Bytes that the first frame in `buffer` takes, its length included; nothing when not even its
/// length has arrived.
#[must_use]
pub fn announced(buffer: &[u8]) -> Option<usize> {
    let head = buffer.first_chunk::<HEAD_BYTES>()?;
    let bytes = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    Some(bytes.saturating_add(HEAD_BYTES))
}

/// The message of a frame, and the bytes behind the frame.
pub type Parted<'a> = (&'a [u8], &'a [u8]);

/// The message of the first frame in `buffer` and the bytes behind that frame; nothing when the
/// frame has not arrived whole.
///
/// # Errors
/// [`FrameError::TooLong`] when the frame exceeds `bytes_max`: the stream is of no use then.
pub fn split(buffer: &[u8], bytes_max: usize) -> Result<Option<Parted<'_>>, FrameError> {
    let Some((head, rest)) = buffer.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let bytes = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(FrameError::TooLong { bytes, bytes_max });
    }
    Ok(rest.split_at_checked(bytes))
}

/// Reads a message; all bytes must belong to it.
///
/// # Errors
/// [`FrameError::Garbage`] names what was expected.
pub fn decode<T: DeserializeOwned>(what: &'static str, message: &[u8]) -> Result<T, FrameError> {
    let garbage = |cause| FrameError::Garbage { what, bytes: message.len(), cause };
    let (decoded, rest) = postcard::take_from_bytes(message).map_err(garbage)?;
    if rest.is_empty() {
        Ok(decoded)
    } else {
        Err(garbage(postcard::Error::DeserializeBadEncoding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_one_by_one_however_they_arrive() {
        let mut bytes = Vec::new();
        for word in ["one", "", "three"] {
            push(&mut bytes, &word, 100).unwrap();
        }
        for cut in 0..bytes.len() {
            let mut seen = Vec::new();
            let mut rest = &bytes[..cut];
            while let Some((message, behind)) = split(rest, 100).unwrap() {
                seen.push(decode::<String>("a word", message).unwrap());
                rest = behind;
            }
            assert_eq!(seen, ["one", "", "three"][..seen.len()], "cut at {cut}");
            assert!(rest.len() < 10, "cut at {cut}: a whole frame was left");
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_before_it_arrives() {
        let refused = split(&[0xff, 0xff, 0xff, 0xff], 100);
        assert_eq!(refused, Err(FrameError::TooLong { bytes: 0xffff_ffff, bytes_max: 100 }));
        let mut bytes = vec![7];
        assert!(push(&mut bytes, &"x".repeat(100), 100).is_err());
        assert_eq!(bytes, [7], "what did not fit must leave no trace");
    }

    #[test]
    fn bytes_behind_the_message_are_garbage_too() {
        assert_eq!(decode::<u8>("a byte", &[7]), Ok(7));
        assert!(matches!(decode::<u8>("a byte", &[7, 8]), Err(FrameError::Garbage { .. })));
        assert!(matches!(decode::<u8>("a byte", &[]), Err(FrameError::Garbage { .. })));
    }
}
