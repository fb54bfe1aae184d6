//! Agents in this process, each with its own directory and ports, and a plain HTTP caller.

use std::time::Duration;

use clap::Parser as _;
use reqwest::Method;
use ringrift_agent::args::Args;
use ringrift_agent::clock::Clock;
use ringrift_agent::config::Config;
use ringrift_agent::run::{Agent, RunError};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Looks at a condition, 25 ms apart: 30 s on a machine that is busy with other tests.
const LOOKS_MAX: u32 = 1_200;
const LOOK_PAUSE: Duration = Duration::from_millis(25);

/// An agent that runs in this process.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) node_id: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
    http: reqwest::Client,
    token: Option<String>,
    directory: Option<TempDir>,
}

/// A reply, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Status, code and field of a failure, whose body must be a problem.
    pub(crate) fn problem(&self) -> (u16, String, Option<String>) {
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{self:?}");
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        (self.status, text("code").unwrap_or_else(|| panic!("no code: {self:?}")), text("field"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Starts an agent on free ports and waits until it serves a cluster.
pub(crate) async fn start(flags: &str) -> Running {
    let agent = launch(flags, TempDir::new().unwrap()).await;
    agent.until_healthy().await;
    agent
}

/// Starts an agent, on free ports where `flags` name none, in a directory that may have been used
/// before.
pub(crate) async fn launch(flags: &str, directory: TempDir) -> Running {
    launch_set(flags, directory, |_| {}).await
}

/// The same, with settings that have no flag.
pub(crate) async fn launch_set(
    flags: &str,
    directory: TempDir,
    set: impl FnOnce(&mut Config),
) -> Running {
    let path = directory.path().display().to_string();
    let mut line = format!("ringrift-agent --data-dir {path} {flags}");
    for (flag, free) in [("--listen", "127.0.0.1:0"), ("--swim-port", "0"), ("--raft-port", "0")] {
        if !flags.contains(flag) {
            line.extend([" ", flag, " ", free]);
        }
    }
    let args = Args::try_parse_from(line.split_whitespace()).unwrap();
    let token = args.token.clone();
    let mut config = Config::from_args(args).unwrap();
    // This program does not know the subcommand.
    config.leash_program = env!("CARGO_BIN_EXE_ringrift-agent").into();
    set(&mut config);
    let agent = Agent::start(config, Clock::start()).await.unwrap();
    let (address, node_id) = (agent.http_address().to_string(), agent.node_id().to_string());
    let stop = CancellationToken::new();
    let shutdown = stop.clone().cancelled_owned();
    let task = tokio::spawn(agent.run(shutdown));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Running { address, node_id, stop, task, http, token, directory: Some(directory) }
}

impl Running {
    pub(crate) async fn until_healthy(&self) {
        until("the agent is healthy", || async {
            (self.get("/health").await.status == 200).then_some(())
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::DELETE, path, Some(body)).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        send(request).await
    }

    /// A request with the agent's token, if it has one.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("http://{}{path}", self.address));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The same without the token.
    pub(crate) fn bare_request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// Stops it as SIGTERM would, and gives its directory back.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(40), &mut self.task).await;
        ended.expect("an agent must stop").unwrap().unwrap();
        self.directory.take().unwrap()
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, text: response.text().await.unwrap() }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    panic!("it did not come to be that {what}");
}
