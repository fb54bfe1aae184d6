//! Builds the parts, and takes them down in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use ringrift_crds::{Gauntlet, Job, Tournament};
use ringrift_telemetry::logging;
use ringrift_wire::client::{Client as Agents, ClientError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

use crate::args::{Arguments, Command, Settings};
use crate::clock::Clock;
use crate::http::{Probes, Pulse, serve};
use crate::leadership::Elector;
use crate::metrics::Metrics;
use crate::reconcile::{Means, look_after};

/// Longest time of one call to one agent: a commit takes milliseconds, a new leader a second or two.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the parts to end; a pod has 30 s before it is killed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Put before the filter that was asked for: the Kubernetes client logs each refusal as an error of its
/// own, and every one of them is logged or dealt with here.
const LOG_FILTER_BASE: &str = "kube_client::client::builder=off";
/// A token is a line of text.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// Why the controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The definitions cannot be printed.
    #[error(transparent)]
    Crd(#[from] ringrift_crds::YamlError),
    /// Logging cannot be set up.
    #[error(transparent)]
    Logging(#[from] logging::LoggingError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] ringrift_telemetry::metrics::MetricsError),
    /// The token cannot be read.
    #[error("token file {path} cannot be read: {cause}")]
    Token {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The addresses of the agents are of no use.
    #[error(transparent)]
    Agents(#[from] ClientError),
    /// No settings for an API server were found.
    #[error("no Kubernetes API server is known: {0}; set KUBECONFIG, or run in a pod")]
    NoApiServer(String),
    /// The settings for the API server cannot be used.
    #[error("the settings for the Kubernetes API server cannot be used: {0}")]
    ApiServer(#[from] kube::Error),
    /// The address for probes and metrics cannot be used.
    #[error("cannot listen on {address}: {cause}; choose another --listen")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        cause: String,
    },
    /// The process cannot listen to signals.
    #[error("signals cannot be awaited: {0}")]
    Signal(#[source] std::io::Error),
}

/// Does what the arguments ask for. Running ends by SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`] when the controller cannot start. Once started, it goes on until it is told to end.
#[expect(clippy::print_stdout, reason = "`crd` is there to print")]
pub async fn execute(arguments: Arguments) -> Result<(), RunError> {
    let Arguments { command, settings } = arguments;
    match command {
        Some(Command::Crd) => {
            for definition in ringrift_crds::all() {
                println!("---\n{}", ringrift_crds::yaml(&definition)?.trim_end());
            }
            Ok(())
        }
        Some(Command::Run(settings)) => run(*settings).await,
        None => run(settings).await,
    }
}

async fn run(settings: Settings) -> Result<(), RunError> {
    let Settings {
        agents,
        token_file,
        namespace,
        lease,
        watch_namespace,
        identity,
        listen,
        log_format,
        log,
    } = settings;
    logging::start(log_format, &format!("{LOG_FILTER_BASE},{log}"))?;
    let identity =
        identity.unwrap_or_else(|| format!("ringrift-controller-{}", std::process::id()));
    let clock = Clock::start();
    let metrics = Metrics::new()?;
    let token = token_file.as_deref().map(read_token).transpose()?;
    let agents = Agents::new(&agents, token, AGENT_TIMEOUT)?;
    let kube_config = kube_config().await?;

    let refused = |cause: std::io::Error| RunError::Listen {
        address: listen.to_string(),
        cause: cause.to_string(),
    };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(refused)?;
    let listens_on = listener.local_addr().map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;

    let (leads_sender, leads) = watch::channel(false);
    let (stop_sender, stop) = watch::channel(false);
    let pulse = Arc::new(Pulse::default());
    let elector = Elector {
        // A client of its own: the election must not wait behind anything else.
        leases: Api::namespaced(kube::Client::try_from(kube_config.clone())?, &namespace),
        lease,
        identity: identity.clone(),
        clock,
        pulse: pulse.clone(),
        metrics: metrics.clone(),
    };
    let elector = tokio::spawn(elector.run(leads_sender, stop.clone()));
    let probes = Probes { pulse, metrics: metrics.clone(), clock };
    let server = tokio::spawn(serve(listener, probes, until(stop)));
    info!(identity, listen = %listens_on, "controller started");

    let kube = kube::Client::try_from(kube_config)?;
    let means = Arc::new(Means::new(kube, agents, &identity, metrics, clock));
    tokio::select! {
        () = terms(leads, means, watch_namespace) => {}
        _ = terminate.recv() => info!("ending, since SIGTERM came"),
        _ = interrupt.recv() => info!("ending, since SIGINT came"),
    }
    // The looks in progress were dropped with the select: each is idempotent, and the next leader
    // begins it again. Only now may the Lease go.
    stop_sender.send_replace(true);
    let parts = async {
        let _ended = elector.await;
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => error!(%cause, "probes and metrics were not served to the end"),
            Err(cause) => error!(%cause, "probes and metrics ended by a fault"),
        }
    };
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, parts).await.is_err() {
        error!("some parts did not end in time");
    }
    Ok(())
}

/// Looks after the objects while this replica leads. Each term begins anew: with fresh lists and no
/// memory of the last one.
async fn terms(mut leads: watch::Receiver<bool>, means: Arc<Means>, namespace: Option<String>) {
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        tokio::select! {
            _ = leads.wait_for(|leads| !*leads) => info!("parked: another replica may lead"),
            ((), (), ()) = async {
                tokio::join!(
                    look_after::<Gauntlet>(means.clone(), namespace.clone()),
                    look_after::<Job>(means.clone(), namespace.clone()),
                    look_after::<Tournament>(means.clone(), namespace.clone()),
                )
            } => {}
        }
    }
}

async fn until(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end as well.
    let _ended = stop.wait_for(|stop| *stop).await;
}

async fn kube_config() -> Result<kube::Config, RunError> {
    let mut config =
        kube::Config::infer().await.map_err(|error| RunError::NoApiServer(error.to_string()))?;
    // Retries are ours: the library's would hold a look for minutes.
    config.default_retry = false;
    Ok(config)
}

fn read_token(path: &Path) -> Result<String, RunError> {
    let refused = |cause: String| RunError::Token { path: path.display().to_string(), cause };
    let size = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if size > TOKEN_BYTES_MAX {
        return Err(refused(format!("it has {size} bytes, more than {TOKEN_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    match text.trim() {
        "" => Err(refused("it is empty".to_owned())),
        token => Ok(token.to_owned()),
    }
}
