//! The binary stream: many requests on their way at once over one connection to the leader.
//!
//! A stream begins as an HTTP request, `GET /work/stream` with `Upgrade: ringrift-stream/1`, so that
//! it needs no port and no authentication of its own. Behind the `101 Switching Protocols` both
//! sides send frames: four bytes of length, big endian, then one message in postcard. The client
//! says [`message::Hello`], the agent [`message::Welcome`]; then numbered requests go one way and
//! numbered responses the other, in any order. `docs/stream.md` states it for other languages.

pub mod client;
pub mod frame;
pub mod message;

use ringrift_core::limits;

/// Path of the upgrade.
pub const PATH: &str = "/work/stream";
/// The word in the `Upgrade` header, on both sides.
pub const UPGRADE: &str = "ringrift-stream/1";
/// Opens every stream, so that a stray client is recognised at once.
pub const MAGIC: [u8; 8] = *b"RINGWORK";
/// Raised with every change of the messages that an older reader would not understand.
pub const PROTOCOL: u16 = 2;
/// Largest frame that a client may send: as many bytes as the body of the largest HTTP batch.
pub const REQUEST_FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest frame that an agent sends: a full claim of the largest payloads.
pub const RESPONSE_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Completions in one request: as many as one log entry holds.
pub const COMPLETIONS_MAX: usize = limits::BATCH_ITEMS_MAX;
/// The longest wait for work in one claim, in milliseconds, as over HTTP.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Name of a client in its greeting: for logs only.
pub const CLIENT_NAME_BYTES_MAX: usize = limits::NAME_BYTES_MAX;

/// What one claimed item takes beside its payload: names, needs, numbers.
const CLAIMED_WORK_BYTES_MAX: usize = 8 * limits::NAME_BYTES_MAX;
const _: () = assert!(
    limits::CLAIM_ITEMS_MAX * (limits::PAYLOAD_BYTES_MAX + CLAIMED_WORK_BYTES_MAX)
        < RESPONSE_FRAME_BYTES_MAX
);
