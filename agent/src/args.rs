//! Flags and environment variables of the agent, as they were given. [`crate::config`] decides what
//! they mean together.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::BoolishValueParser;
use ringrift_telemetry::logging::Format;
use ringrift_wire::{HTTP_PORT, RAFT_PORT, SWIM_PORT};

/// RingRift's node agent.
///
/// Without any flag it starts a cluster of its own on this machine. With --join it becomes part of
/// another one. `ringrift-agent restore` begins a new cluster from a backup.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringrift-agent", version)]
pub struct Args {
    /// Name of this agent in the cluster [default: host name and four random digits, drawn once]
    #[arg(long, env = "RINGRIFT_NODE_ID", value_name = "NAME")]
    pub node_id: Option<String>,

    /// Where the log, the snapshots and the output of tasks lie
    /// [default: $XDG_STATE_HOME/ringrift, else ~/.local/state/ringrift]
    #[arg(long, env = "RINGRIFT_DATA_DIR", value_name = "PATH")]
    pub data_dir: Option<PathBuf>,

    /// Address and port of the HTTP server; gossip and Raft listen on the same address
    #[arg(long, env = "RINGRIFT_LISTEN", value_name = "ADDRESS:PORT",
          default_value_t = format!("127.0.0.1:{HTTP_PORT}"))]
    pub listen: String,

    /// UDP port for gossip; 0 takes a free one
    #[arg(long, env = "RINGRIFT_SWIM_PORT", value_name = "PORT", default_value_t = SWIM_PORT)]
    pub swim_port: u16,

    /// TCP port for Raft; 0 takes a free one
    #[arg(long, env = "RINGRIFT_RAFT_PORT", value_name = "PORT", default_value_t = RAFT_PORT)]
    pub raft_port: u16,

    /// Host name or address under which other agents reach this one [default: that of --listen]
    #[arg(long, env = "RINGRIFT_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<String>,

    /// HTTP address of any agent of the cluster to join; repeatable, or a list with commas
    #[arg(long, env = "RINGRIFT_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<String>,

    /// With --join: start a new cluster when none of those agents has one. Give it to one agent only
    #[arg(long, env = "RINGRIFT_BOOTSTRAP", value_parser = BoolishValueParser::new())]
    pub bootstrap: bool,

    /// As --bootstrap, for the one agent that is advertised under this host: so agents that are all
    /// started with the same flags can begin a cluster together
    #[arg(long, env = "RINGRIFT_BOOTSTRAP_HOST", value_name = "HOST", requires = "join")]
    pub bootstrap_host: Option<String>,

    /// Voters of the cluster: 1, 3 or 5. The value of the agent that leads counts, so give all the same;
    /// it takes no vote away. Two more agents follow the log, to take a dead voter's place, and all
    /// others are clients
    #[arg(long, env = "RINGRIFT_VOTERS", value_name = "N", default_value_t = 3)]
    pub voters: u8,

    /// Seconds for which gossip and log have not heard of a voter before a learner takes its place;
    /// 0 leaves that to operators. The value of the agent that leads counts
    #[arg(
        long,
        env = "RINGRIFT_REPLACE_VOTERS_AFTER",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    pub replace_voters_after: u32,

    /// Zone of this agent: machines that fail together, such as a rack. The leader spreads the votes
    /// that it gives over zones
    #[arg(long, env = "RINGRIFT_ZONE", value_name = "NAME")]
    pub zone: Option<String>,

    /// Take no part in Raft: run work and forward requests only. Needs --join
    #[arg(long, env = "RINGRIFT_CLIENT", value_parser = BoolishValueParser::new())]
    pub client: bool,

    /// Tasks that this agent runs at once; 0 runs none [default: the number of processors]
    #[arg(long, env = "RINGRIFT_SLOTS", value_name = "N")]
    pub slots: Option<u32>,

    /// Processors for work that asks for some, such as 3.5; auto is what this process may use. With
    /// --slots 0 nothing is offered
    #[arg(long, env = "RINGRIFT_CPUS", value_name = "N", default_value = "auto")]
    pub cpus: String,

    /// Mebibytes of memory for work that asks for some; auto is the machine's, or less when the control
    /// group allows less
    #[arg(long, env = "RINGRIFT_MEMORY_MIB", value_name = "N", default_value = "auto")]
    pub memory_mib: String,

    /// GPU devices for work that asks for some, numbered from 0; auto is none, since nobody looks for them yet
    #[arg(long, env = "RINGRIFT_GPUS", value_name = "N", default_value = "auto")]
    pub gpus: String,

    /// Capability of this agent, which work may ask for; repeatable, or a list with commas
    #[arg(long, env = "RINGRIFT_CAPABILITY", value_name = "NAME", value_delimiter = ',')]
    pub capability: Vec<String>,

    /// Label of this agent, which work may ask for; repeatable, or a list with commas
    #[arg(long, env = "RINGRIFT_LABEL", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub label: Vec<String>,

    /// The game runner [default: ringrift-match beside this program, else on PATH]
    #[arg(long, env = "RINGRIFT_MATCH_PROGRAM", value_name = "PATH")]
    pub match_program: Option<PathBuf>,

    /// Token of the cluster: whoever changes something or sees payloads must send it
    #[arg(long, env = "RINGRIFT_CLUSTER_AUTH_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// File that holds the token of the cluster
    #[arg(long, env = "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// Listen beyond loopback without a token. Only for closed networks, such as tests in a
    /// namespace of their own: whoever reaches the port may run programs here
    #[arg(long, env = "RINGRIFT_INSECURE_NO_TOKEN", value_parser = BoolishValueParser::new())]
    pub insecure_no_token: bool,

    /// How fast a silent leader is replaced: safe for busy or distant machines, fast for idle ones on
    /// one site. All voters of a cluster should have the same
    #[arg(
        long,
        env = "RINGRIFT_CONSENSUS_PROFILE",
        value_name = "PROFILE",
        default_value = "safe"
    )]
    pub consensus_profile: String,

    /// Look of the log on standard error: text or json
    #[arg(long, env = "RINGRIFT_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    pub log_format: Format,

    /// What is logged: a level, or directives such as debug,openraft=warn
    #[arg(long, env = "RINGRIFT_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    // Not paths: set but empty is as good as not set, and clap takes no empty path.
    #[arg(long, env = "XDG_STATE_HOME", hide = true)]
    pub(crate) xdg_state_home: Option<OsString>,

    #[arg(long, env = "HOME", hide = true)]
    pub(crate) home: Option<OsString>,

    #[arg(long, env = "PATH", hide = true)]
    pub(crate) search_path: Option<OsString>,
}
