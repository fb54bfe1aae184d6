//! RingRift's dialects: HTTP requests, responses and the one error body with a typed client, and the
//! binary [`stream`] to the queue with another.
//!
//! These types may stay still while the core's move. Unknown fields are refused, so that a typing
//! error never passes as a default.

pub mod backup;
pub mod client;
pub mod event;
pub mod lock;
pub mod pair;
pub mod problem;
pub mod run;
pub mod status;
pub mod stream;
pub mod tenancy;
pub mod work;

/// The port on which agents serve HTTP.
pub const HTTP_PORT: u16 = 8770;
/// The port on which agents gossip (SWIM, UDP).
pub const SWIM_PORT: u16 = 7947;
/// The port on which voters replicate (Raft, TCP).
pub const RAFT_PORT: u16 = 4321;

/// Header of every reply: the term and index of the log that it reflects, as `term.index`.
pub const POSITION_HEADER: &str = "x-ringrift-position";
/// Header of every reply of a member: the milliseconds since it heard the leader, or since a majority
/// answered it when it leads. What it shows of its own replica is not older.
pub const AGE_HEADER: &str = "x-ringrift-age-ms";
/// Header of a request that reads: the reply must not reflect less of the log than this `term.index`, such
/// as the [`POSITION_HEADER`] of a reply before.
pub const MIN_POSITION_HEADER: &str = "x-ringrift-min-position";
/// Header of every reply: the agent that answered.
pub const NODE_HEADER: &str = "x-node-id";
/// Header of a forwarded request: how many agents it has passed through.
pub const HOPS_HEADER: &str = "x-ringrift-hops";
/// Header that carries the cluster token, as an alternative to `Authorization: Bearer`.
pub const TOKEN_HEADER: &str = "x-ringrift-auth";
/// Header of a request in a session: the session's id. With it a retried request is answered as the
/// first one was.
pub const SESSION_HEADER: &str = "x-ringrift-session";
/// Header of a request in a session: its number there.
pub const SEQ_HEADER: &str = "x-ringrift-seq";
/// Header of a request in a session: the client has every answer below this number.
pub const ACKNOWLEDGED_HEADER: &str = "x-ringrift-acknowledged";
