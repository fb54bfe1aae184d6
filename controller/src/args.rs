//! Flags and environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ringrift_telemetry::logging::Format;

/// RingRift's Kubernetes controller.
///
/// It finds the API server by KUBECONFIG, by ~/.kube/config, or from inside a pod.
#[derive(Debug, Parser)]
#[command(name = "ringrift-controller", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; without it, the controller runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of a run without a word before them.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM or SIGINT
    Run(Box<Settings>),
    /// Print the custom resource definitions as YAML
    Crd,
}

/// The settings of a run.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// HTTP address of any agent of the cluster; repeatable, or a list with commas
    #[arg(
        long,
        env = "RINGRIFT_AGENTS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "http://ringrift:8770"
    )]
    pub agents: Vec<String>,

    /// File that holds the cluster's token; without it, requests carry none
    #[arg(long, env = "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// Namespace of the Lease by which the replicas agree on the one that writes
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "default")]
    pub namespace: String,

    /// Name of that Lease; every installation in a namespace needs its own
    #[arg(
        long,
        env = "RINGRIFT_LEASE",
        value_name = "NAME",
        default_value = "ringrift-controller"
    )]
    pub lease: String,

    /// Serve the objects of this namespace alone [default: of all namespaces]
    #[arg(long, env = "RINGRIFT_WATCH_NAMESPACE", value_name = "NAME")]
    pub watch_namespace: Option<String>,

    /// Name of this replica, different from every other's [default: from the process id]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,

    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one
    #[arg(
        long,
        env = "RINGRIFT_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: SocketAddr,

    /// Look of the log on standard error: text or json
    #[arg(long, env = "RINGRIFT_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    pub log_format: Format,

    /// What is logged: a level, or directives such as info,ringrift_controller=debug
    #[arg(long, env = "RINGRIFT_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_the_controller_runs() {
        let given =
            Arguments::try_parse_from(["ringrift-controller", "--agents", "a:1,b:2"]).unwrap();
        assert!(given.command.is_none());
        assert_eq!(given.settings.agents, ["a:1", "b:2"]);
        let crd = Arguments::try_parse_from(["ringrift-controller", "crd"]).unwrap();
        assert!(matches!(crd.command, Some(Command::Crd)));
        let run =
            Arguments::try_parse_from(["ringrift-controller", "run", "--lease", "x"]).unwrap();
        assert!(matches!(run.command, Some(Command::Run(settings)) if settings.lease == "x"));
    }
}
