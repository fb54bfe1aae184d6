//! The greeting: who calls, who answers, who leads.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use ringrift_core::membership::State as MemberState;
use ringrift_wire::problem::Code;
use ringrift_wire::stream::message::{Hello, Host, Refused, Welcome};
use ringrift_wire::stream::{
    CLIENT_NAME_BYTES_MAX, MAGIC, PROTOCOL, REQUEST_FRAME_BYTES_MAX, RESPONSE_FRAME_BYTES_MAX,
    frame,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::REQUESTS_MAX;
use crate::consensus::{Consensus, Leadership};
use crate::http::App;

/// A greeting is short; a longer first frame is no greeting.
const HELLO_BYTES_MAX: usize = 1_024;
/// A client that does not greet by then is not one of ours.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);
/// How long a welcome is held back in the hope of a leader.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);

const _: () = assert!(HELLO_BYTES_MAX > 2 * CLIENT_NAME_BYTES_MAX + 64);
const _: () = assert!(HELLO_BYTES_MAX <= REQUEST_FRAME_BYTES_MAX);

/// Greets. Answers the client's name and the bytes behind its greeting; nothing when it was sent
/// away.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    io: &mut S,
) -> io::Result<Option<(String, BytesMut)>> {
    let mut inbox = BytesMut::new();
    let heard = tokio::time::timeout(HELLO_PATIENCE, hear(io, &mut inbox)).await?;
    let (welcome, client) = match heard? {
        Ok(Hello { magic: _, protocol: _, client, silent }) => {
            (Welcome::Accepted(host(app, silent.as_deref()).await), Some(client))
        }
        Err(refused) => (Welcome::Refused(refused), None),
    };
    let mut outbox = Vec::new();
    frame::push(&mut outbox, &welcome, RESPONSE_FRAME_BYTES_MAX).map_err(io::Error::other)?;
    io.write_all(&outbox).await?;
    io.flush().await?;
    Ok(client.map(|client| (client, inbox)))
}

async fn hear<S: AsyncRead + Unpin>(
    io: &mut S,
    inbox: &mut BytesMut,
) -> io::Result<Result<Hello, Refused>> {
    // Ends with the first frame, whose length is bounded.
    loop {
        match frame::split(inbox, HELLO_BYTES_MAX) {
            Ok(None) => {}
            Ok(Some((message, rest))) => {
                let (hello, behind) = (frame::decode("a greeting", message), rest.len());
                inbox.advance(inbox.len().saturating_sub(behind));
                let hello = hello.map_err(|error| malformed(&error.to_string()));
                return Ok(hello.and_then(examine));
            }
            Err(error) => return Ok(Err(malformed(&error.to_string()))),
        }
        if io.read_buf(inbox).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn examine(hello: Hello) -> Result<Hello, Refused> {
    if hello.magic != MAGIC {
        return Err(malformed("the greeting does not begin as a stream of work does"));
    }
    if hello.protocol != PROTOCOL {
        let error =
            format!("the client speaks stream protocol {}, this agent {PROTOCOL}", hello.protocol);
        return Err(refused(Code::Unsupported, error));
    }
    if hello.client.len() > CLIENT_NAME_BYTES_MAX {
        let most = CLIENT_NAME_BYTES_MAX;
        let error = format!("client must be at most {most} bytes, not {}", hello.client.len());
        return Err(refused(Code::InvalidValue, error));
    }
    Ok(hello)
}

fn malformed(error: &str) -> Refused {
    refused(Code::MalformedBody, error.to_owned())
}

pub(super) fn refused(code: Code, error: String) -> Refused {
    Refused { code: code.as_str().to_owned(), error, field: None, retry_after_ms: None }
}

async fn host(app: &App, silent: Option<&str>) -> Host {
    let (leads, leader) = match &app.consensus {
        Some(consensus) => await_leader(consensus, silent).await,
        None => (false, any_voter(app)),
    };
    Host {
        node_id: app.node_id.to_string(),
        cluster_id: cluster_id(app),
        leads,
        leader,
        requests_max: u32::try_from(REQUESTS_MAX).unwrap_or(u32::MAX),
    }
}

fn cluster_id(app: &App) -> String {
    let consensus = app.consensus.as_ref();
    consensus.map(|it| it.read(|machine| machine.cluster_id().to_owned())).unwrap_or_default()
}

/// Who leads. When nobody does, or one of whom the client says that it is silent, the answer waits.
async fn await_leader(consensus: &Consensus, silent: Option<&str>) -> (bool, Option<String>) {
    let mut leadership = consensus.leadership();
    let settled = |now: &Leadership| {
        now.is_leader || leader(now).is_some_and(|leader| Some(leader.as_str()) != silent)
    };
    let waited = tokio::time::timeout(LEADER_PATIENCE, leadership.wait_for(settled)).await;
    match waited {
        Ok(Ok(now)) => (now.is_leader, leader(&now)),
        Ok(Err(_stopped)) => (false, None),
        Err(_elapsed) => {
            let now = consensus.leadership().borrow().clone();
            (now.is_leader, leader(&now))
        }
    }
}

fn leader(now: &Leadership) -> Option<String> {
    now.leader.as_ref().map(|leader| leader.http_address.clone())
}

/// A client takes no part in Raft; it knows by gossip who does.
fn any_voter(app: &App) -> Option<String> {
    let members = app.gossip.members();
    let alive = |member: &&ringrift_core::membership::Member| {
        member.raft_address.is_some() && member.state == MemberState::Alive
    };
    members.iter().find(alive).map(|member| member.http_address.clone())
}
