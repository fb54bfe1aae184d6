//! A stream by hand: bytes on a TCP connection.

use std::time::Duration;

use ringrift_wire::stream::message::{
    Hello, Host, Message, Operation, Outcome, Refused, Request, Response, SessionStamp, Welcome,
};
use ringrift_wire::stream::{MAGIC, PATH, PROTOCOL, UPGRADE, frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Far more than an answer takes; a hang still ends.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Raw {
    connection: TcpStream,
    inbox: Vec<u8>,
}

impl Raw {
    /// Upgrades, without a greeting.
    pub(crate) async fn upgraded(address: &str) -> Self {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: {UPGRADE}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut inbox = Vec::new();
        let end = loop {
            if let Some(end) = inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(connection.read_buf(&mut inbox).await.unwrap() > 0, "{inbox:?}");
        };
        assert!(inbox.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&inbox));
        Self { connection, inbox: inbox.split_off(end) }
    }

    /// Upgrades and greets.
    pub(crate) async fn open(address: &str) -> (Self, Host) {
        let mut raw = Self::upgraded(address).await;
        raw.send(&hello()).await;
        match raw.next().await {
            Some(Welcome::Accepted(host)) => (raw, host),
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, message, usize::MAX).unwrap();
        self.write(&bytes).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.connection.write_all(bytes).await.unwrap();
    }

    /// The next message; nothing at the end of the stream.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let next = async {
            loop {
                if let Some((message, behind)) = frame::split(&self.inbox, usize::MAX).unwrap() {
                    let (message, behind) =
                        (frame::decode("a message", message).unwrap(), behind.len());
                    self.inbox.drain(..self.inbox.len() - behind);
                    return Some(message);
                }
                // A connection that was cut with bytes unread ends in an error.
                if self.connection.read_buf(&mut self.inbox).await.unwrap_or(0) == 0 {
                    assert!(self.inbox.is_empty(), "half a frame at the end");
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an answer in time")
    }

    pub(crate) async fn response(&mut self) -> Response {
        match self.next().await {
            Some(Message::Response(response)) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    /// The reason for which the agent ends the stream, which it then does.
    pub(crate) async fn goodbye(&mut self) -> Refused {
        match self.next().await {
            Some(Message::Goodbye(refused)) => {
                assert_eq!(self.next::<Message>().await, None, "nothing follows a goodbye");
                refused
            }
            other => panic!("no goodbye: {other:?}"),
        }
    }
}

pub(crate) fn hello() -> Hello {
    Hello { magic: MAGIC, protocol: PROTOCOL, client: "raw".to_owned(), silent: None }
}

pub(crate) fn request(number: u64, operation: Operation) -> Request {
    Request { number, session: None, operation }
}

pub(crate) fn stamped(number: u64, operation: Operation) -> Request {
    let session = Some(SessionStamp { session: 1, seq: 1, acknowledged: 0 });
    Request { number, session, operation }
}

pub(crate) fn refusal(outcome: Outcome) -> Refused {
    match outcome {
        Outcome::Refused(refused) => refused,
        other => panic!("must be refused: {other:?}"),
    }
}
