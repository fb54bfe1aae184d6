//! Finding the leader and opening a stream to it.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::header::{CONNECTION, UPGRADE};
use reqwest::{StatusCode, Upgraded};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Settings, StreamError};
use crate::problem::Problem;
use crate::stream::message::{Hello, Host, Refused, Welcome};
use crate::stream::{self, MAGIC, PROTOCOL, RESPONSE_FRAME_BYTES_MAX, frame};

/// A machine that vanished does not refuse a connection; it stays silent.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// Upgrade and greeting together. An agent that knows no leader holds its welcome back for up to a
/// second, in the hope of one.
const GREETING_PATIENCE: Duration = Duration::from_secs(3);
/// Pauses between attempts that got nowhere; the last one stays.
const PAUSES_MS: [u64; 6] = [0, 5, 10, 20, 50, 100];

/// An open stream.
pub(super) struct Open {
    pub(super) address: String,
    pub(super) host: Host,
    pub(super) io: Upgraded,
    /// What came behind the welcome.
    pub(super) inbox: BytesMut,
}

/// Why there is no stream.
pub(super) enum Obstacle {
    /// Nothing that another attempt, perhaps elsewhere, may not overcome.
    Passing(String),
    /// The agent refuses this client: asking again is of no use.
    Refused(Refused),
}

/// Where to look for the leader next.
pub(super) struct Dialer {
    settings: Settings,
    http: reqwest::Client,
    /// The next of the given addresses.
    turn: usize,
    /// Where the leader is said to be.
    hint: Option<String>,
    /// An address that did not answer, so that agents that still believe in it look for another.
    silent: Option<String>,
    /// Attempts since a leader was found.
    attempts: usize,
}

impl Dialer {
    pub(super) fn new(settings: Settings) -> Result<Self, StreamError> {
        if settings.addresses.is_empty() {
            return Err(StreamError::Unusable("no address was given".to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .http1_only()
            .no_proxy()
            .build()
            .map_err(|error| StreamError::Unusable(error.to_string()))?;
        Ok(Self { settings, http, turn: 0, hint: None, silent: None, attempts: 0 })
    }

    /// An agent said who leads.
    pub(super) fn hint(&mut self, leader: Option<String>) {
        self.hint = leader;
    }

    /// The connection to this address broke.
    pub(super) fn lost(&mut self, address: &str) {
        self.silent = Some(address.to_owned());
    }

    /// One attempt. Pauses first when those before got nowhere.
    pub(super) async fn attempt(&mut self) -> Result<Open, Obstacle> {
        let [.., longest] = PAUSES_MS;
        let pause = PAUSES_MS.get(self.attempts).copied().unwrap_or(longest);
        self.attempts = self.attempts.saturating_add(1);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let address = self.hint.take().unwrap_or_else(|| self.next_address());
        let opened = tokio::time::timeout(GREETING_PATIENCE, self.open(&address)).await;
        let opened = opened
            .unwrap_or_else(|_late| Err(Obstacle::Passing(format!("{address}: no greeting"))));
        match opened {
            Ok(open) if open.host.leads => {
                self.attempts = 0;
                self.silent = None;
                Ok(open)
            }
            Ok(open) => {
                let Host { node_id, cluster_id: _, leads: _, leader, requests_max: _ } = open.host;
                let text = match &leader {
                    Some(leader) => format!("{node_id} says that {leader} leads"),
                    None => format!("{node_id} knows no leader"),
                };
                self.hint = leader.filter(|leader| *leader != address);
                Err(Obstacle::Passing(text))
            }
            Err(obstacle) => {
                self.silent = Some(address);
                Err(obstacle)
            }
        }
    }

    fn next_address(&mut self) -> String {
        let at = self.turn % self.settings.addresses.len().max(1);
        self.turn = self.turn.wrapping_add(1);
        self.settings.addresses.get(at).cloned().unwrap_or_default()
    }

    async fn open(&self, address: &str) -> Result<Open, Obstacle> {
        let passing = |error: &dyn std::error::Error| {
            Obstacle::Passing(format!("{address}: {}", root_cause(error)))
        };
        let mut io = self.upgrade(address).await?;
        let hello = Hello {
            magic: MAGIC,
            protocol: PROTOCOL,
            client: self.settings.name.clone(),
            silent: self.silent.clone().filter(|silent| silent != address),
        };
        let mut outbox = Vec::new();
        frame::push(&mut outbox, &hello, stream::REQUEST_FRAME_BYTES_MAX)
            .map_err(|error| passing(&error))?;
        io.write_all(&outbox).await.map_err(|error| passing(&error))?;
        let mut inbox = BytesMut::new();
        // Ends with the first frame, whose length is bounded, or with the greeting's patience.
        let (welcome, behind) = loop {
            let split = frame::split(&inbox, RESPONSE_FRAME_BYTES_MAX);
            if let Some((message, rest)) = split.map_err(|error| passing(&error))? {
                let welcome = frame::decode("a welcome", message);
                break (welcome.map_err(|error| passing(&error))?, rest.len());
            }
            if io.read_buf(&mut inbox).await.map_err(|error| passing(&error))? == 0 {
                return Err(Obstacle::Passing(format!("{address}: closed without a welcome")));
            }
        };
        let inbox = inbox.split_off(inbox.len().saturating_sub(behind));
        match welcome {
            Welcome::Accepted(host) => Ok(Open { address: address.to_owned(), host, io, inbox }),
            Welcome::Refused(refused) if refused.retry_after_ms.is_some() => {
                Err(Obstacle::Passing(format!("{address}: {refused}")))
            }
            Welcome::Refused(refused) => Err(Obstacle::Refused(refused)),
        }
    }

    async fn upgrade(&self, address: &str) -> Result<Upgraded, Obstacle> {
        let passing =
            |error: reqwest::Error| Obstacle::Passing(format!("{address}: {}", root_cause(&error)));
        let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let mut request = self.http.get(format!("http://{host}{}", stream::PATH));
        request = request.header(CONNECTION, "upgrade").header(UPGRADE, stream::UPGRADE);
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(passing)?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return response.upgrade().await.map_err(passing);
        }
        let body = response.bytes().await.map_err(passing)?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if status.is_server_error() || problem.retry_after_seconds.is_some() => {
                Err(Obstacle::Passing(format!("{address}: {problem}")))
            }
            Ok(problem) => Err(Obstacle::Refused(problem.into())),
            Err(_foreign) => Err(Obstacle::Passing(format!("{address} answered {status}"))),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
