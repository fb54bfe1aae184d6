//! What the settings mean together. Made once at start; a contradiction is an error that names the
//! setting, and nothing behind this file looks at a flag again.

mod resources;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringrift_core::id::{NodeId, ZoneName};
use ringrift_core::limits;
use ringrift_core::time::Span;
use ringrift_core::voters::Rules;

use crate::args::Args;
use crate::capacity::Given;
use crate::consensus::{Profile, VoterCount, VoterPolicy};
use crate::http::observe::WAITS_MAX;

/// A token file is one short line; a larger file is another file.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Addresses to join: any one is enough, a few are for safety.
const JOIN_ADDRESSES_MAX: usize = 64;
/// Tasks at once: above it one machine cannot be meant.
const SLOTS_MAX: u32 = 4_096;
/// A voter is not given up while gossip is still making sure that it failed: 5 s, twice.
const REPLACE_AFTER_SECONDS_MIN: u32 = 10;
/// Name of the game runner's program.
const MATCH_PROGRAM: &str = "ringrift-match";

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One setting is at fault.
    #[error("{setting} {problem}")]
    Setting {
        /// The flag.
        setting: &'static str,
        /// What it must be, with the refused value.
        problem: String,
    },
    /// Two settings contradict each other.
    #[error("{setting} contradicts {other}: {problem}")]
    Contradiction {
        /// One flag.
        setting: &'static str,
        /// The other.
        other: &'static str,
        /// What to do.
        problem: &'static str,
    },
    /// The server would be open to everyone.
    #[error(
        "--listen {listen} is reachable from other machines, and no token is set: whoever reaches it \
         could run programs here. Set --token-file (RINGRIFT_CLUSTER_AUTH_TOKEN_FILE), or listen on \
         127.0.0.1, or give --insecure-no-token in a closed network"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
}

/// The token of the cluster. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(String);

impl ClusterToken {
    /// The token itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterToken(..)")
    }
}

/// How an agent without a membership on disk becomes part of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It starts one of its own.
    Found,
    /// It asks these agents, `host:port` each.
    Join {
        /// HTTP addresses of any agents.
        addresses: Vec<String>,
        /// Start a new cluster when none of them has one.
        bootstrap: bool,
    },
}

/// The settings of an agent, checked against each other.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name that the agent shall have; nothing leaves it to the data directory.
    pub node_id: Option<NodeId>,
    /// Where everything lies.
    pub data_dir: PathBuf,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// UDP port of gossip, on the same address.
    pub swim_port: u16,
    /// TCP port of Raft, on the same address.
    pub raft_port: u16,
    /// Host under which others reach this agent.
    pub advertise: String,
    /// How it becomes part of a cluster.
    pub entry: Entry,
    /// It takes no part in Raft.
    pub client: bool,
    /// Tasks at once.
    pub slots: u32,
    /// What is given of what this node has.
    pub given: Given,
    /// Capabilities that work may ask for.
    pub capabilities: BTreeSet<String>,
    /// Labels that work may ask for.
    pub labels: BTreeMap<String, String>,
    /// The game runner, when one was found.
    pub match_program: Option<PathBuf>,
    /// The executable that knows the subcommand `leash`: this one, except in tests.
    pub leash_program: PathBuf,
    /// Requests that wait at once: half of all that are in progress, except in tests.
    pub waits_max: usize,
    /// Token of the cluster.
    pub token: Option<ClusterToken>,
    /// The machines that fail together with this one.
    pub zone: Option<ZoneName>,
    /// How fast a silent leader is replaced.
    pub profile: Profile,
    /// How many voters there shall be, and when a dead one is replaced.
    pub voters: VoterPolicy,
}

impl Config {
    /// Checks the settings and puts them together. Reads the token file, and looks for the game
    /// runner.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is wrong or contradicts another.
    pub fn from_args(args: Args) -> Result<Self, ConfigError> {
        let Args {
            node_id,
            data_dir,
            listen,
            swim_port,
            raft_port,
            advertise,
            join,
            bootstrap,
            bootstrap_host,
            client,
            slots,
            cpus,
            memory_mib,
            gpus,
            capability,
            label,
            match_program,
            token,
            token_file,
            insecure_no_token,
            consensus_profile,
            voters,
            replace_voters_after,
            zone,
            log_format: _,
            log: _,
            xdg_state_home,
            home,
            search_path,
        } = args;
        let listen = listen_address(&listen)?;
        check_ports(listen, raft_port)?;
        let token = cluster_token(token, token_file.as_deref())?;
        if token.is_some() && insecure_no_token {
            let problem = "a token is set; drop one of the two";
            return Err(contradiction("--insecure-no-token", "--token", problem));
        }
        if token.is_none() && !insecure_no_token && !listen.ip().is_loopback() {
            return Err(ConfigError::Open { listen });
        }
        let bootstrap = bootstrap || (bootstrap_host.is_some() && bootstrap_host == advertise);
        let entry = entry(join, bootstrap)?;
        if client {
            check_client(&entry, bootstrap)?;
        }
        Ok(Self {
            node_id: node_id.map(|text| node_name(&text)).transpose()?,
            data_dir: data_directory(data_dir, xdg_state_home, home)?,
            listen,
            swim_port,
            raft_port,
            advertise: advertised_host(advertise, listen)?,
            entry,
            client,
            slots: slot_count(slots)?,
            given: resources::given(&cpus, &memory_mib, &gpus)?,
            capabilities: capabilities(capability)?,
            labels: labels(&label)?,
            match_program: find_match_program(match_program, search_path.as_deref())?,
            leash_program: crate::process::leash::own_executable(),
            waits_max: WAITS_MAX,
            token,
            zone: zone_name(zone)?,
            profile: profile(&consensus_profile)?,
            voters: voter_policy(voters, replace_voters_after)?,
        })
    }
}

fn setting(setting: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Setting { setting, problem: problem.into() }
}

const fn contradiction(
    setting: &'static str,
    other: &'static str,
    problem: &'static str,
) -> ConfigError {
    ConfigError::Contradiction { setting, other, problem }
}

fn node_name(text: &str) -> Result<NodeId, ConfigError> {
    text.parse().map_err(|error| setting("--node-id", format!("cannot be used: {error}")))
}

fn check_client(entry: &Entry, bootstrap: bool) -> Result<(), ConfigError> {
    if *entry == Entry::Found {
        let problem = "a client has no cluster of its own; name an agent to join";
        return Err(contradiction("--client", "the missing --join", problem));
    }
    if bootstrap {
        let problem = "a client cannot start a cluster";
        return Err(contradiction("--client", "--bootstrap", problem));
    }
    Ok(())
}

/// Set but empty is as good as not set: charts and unit files write variables so.
fn zone_name(text: Option<String>) -> Result<Option<ZoneName>, ConfigError> {
    let given = text.filter(|text| !text.is_empty());
    let parsed = given.map(|text| text.parse()).transpose();
    parsed.map_err(|error| setting("--zone", format!("cannot be used: {error}")))
}

fn listen_address(text: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|error| {
        setting("--listen", format!("is {text:?}, not an IP address and a port: {error}"))
    })
}

fn check_ports(listen: SocketAddr, raft_port: u16) -> Result<(), ConfigError> {
    if raft_port == listen.port() && raft_port != 0 {
        let problem = format!("is {raft_port}, the HTTP port too; choose another");
        return Err(setting("--raft-port", problem));
    }
    Ok(())
}

fn cluster_token(
    token: Option<String>,
    file: Option<&Path>,
) -> Result<Option<ClusterToken>, ConfigError> {
    let (flag, text) = match (token, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let problem = "both name the token; drop one of the two";
            return Err(contradiction("--token", "--token-file", problem));
        }
        (Some(text), None) => ("--token", text),
        (None, Some(path)) => {
            let text = fs::read_to_string(path).map_err(|error| {
                setting("--token-file", format!("{} cannot be read: {error}", path.display()))
            })?;
            ("--token-file", text)
        }
    };
    let text = text.trim();
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !printable {
        let problem =
            format!("must hold 1 to {TOKEN_BYTES_MAX} printable ASCII characters without spaces");
        return Err(setting(flag, problem));
    }
    Ok(Some(ClusterToken(text.to_owned())))
}

fn entry(join: Vec<String>, bootstrap: bool) -> Result<Entry, ConfigError> {
    let mut addresses = Vec::new();
    for text in join.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        addresses.push(join_address(text)?);
    }
    if addresses.len() > JOIN_ADDRESSES_MAX {
        let problem = format!("names {} agents of at most {JOIN_ADDRESSES_MAX}", addresses.len());
        return Err(setting("--join", problem));
    }
    match (addresses.is_empty(), bootstrap) {
        (true, true) => {
            let problem = "without --join a new cluster is started anyway; drop it, or name agents";
            Err(contradiction("--bootstrap", "the missing --join", problem))
        }
        (true, false) => Ok(Entry::Found),
        (false, bootstrap) => Ok(Entry::Join { addresses, bootstrap }),
    }
}

/// `host:port`, with or without `http://` before it.
fn join_address(text: &str) -> Result<String, ConfigError> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if is_host_and_port(bare) {
        Ok(bare.to_owned())
    } else {
        Err(setting("--join", format!("is {text:?}, not HOST:PORT")))
    }
}

/// Whether the text is a host name or address, a colon, and a port other than 0.
#[must_use]
pub fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let host_fits = if bracketed {
        host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.len() <= 253 && host.chars().all(plain)
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn advertised_host(advertise: Option<String>, listen: SocketAddr) -> Result<String, ConfigError> {
    match advertise {
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            if is_host_and_port(&host_and_port(&host, 1)) {
                Ok(host)
            } else {
                Err(setting("--advertise", format!("is {host:?}, not a host name or address")))
            }
        }
        None if listen.ip().is_unspecified() => Err(setting(
            "--advertise",
            format!("is missing: others cannot reach {listen}; name the host that they shall use"),
        )),
        None => Ok(listen.ip().to_string()),
    }
}

fn slot_count(slots: Option<u32>) -> Result<u32, ConfigError> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let slots = slots.unwrap_or_else(|| u32::try_from(processors).unwrap_or(SLOTS_MAX));
    if slots > SLOTS_MAX {
        return Err(setting("--slots", format!("is {slots}, more than {SLOTS_MAX}")));
    }
    Ok(slots)
}

/// What is given twice is given once.
fn capabilities(names: Vec<String>) -> Result<BTreeSet<String>, ConfigError> {
    let capabilities: BTreeSet<String> =
        names.into_iter().filter(|name| !name.is_empty()).collect();
    let most = limits::NAME_BYTES_MAX;
    if let Some(name) = capabilities.iter().find(|name| name.len() > most) {
        return Err(setting("--capability", format!("is {name:?}; a name has 1 to {most} bytes")));
    }
    if capabilities.len() > limits::NEEDS_MAX {
        let (given, most) = (capabilities.len(), limits::NEEDS_MAX);
        return Err(setting("--capability", format!("is given {given} times, at most {most}")));
    }
    Ok(capabilities)
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut labels = BTreeMap::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let Some((key, value)) = text.split_once('=') else {
            return Err(setting("--label", format!("is {text:?}, not KEY=VALUE")));
        };
        if key.is_empty() || key.len().max(value.len()) > limits::NAME_BYTES_MAX {
            let problem = format!(
                "is {text:?}; a key has 1 to {max} bytes, a value at most {max}",
                max = limits::NAME_BYTES_MAX
            );
            return Err(setting("--label", problem));
        }
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(setting("--label", format!("names {key:?} twice")));
        }
    }
    if labels.len() > limits::NEEDS_MAX {
        let problem = format!("is given {} times, at most {}", labels.len(), limits::NEEDS_MAX);
        return Err(setting("--label", problem));
    }
    Ok(labels)
}

fn data_directory(
    given: Option<PathBuf>,
    xdg_state_home: Option<OsString>,
    home: Option<OsString>,
) -> Result<PathBuf, ConfigError> {
    // The convention for these variables: what is not absolute does not count.
    let absolute = |text| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    let (state_home, home) = (xdg_state_home.and_then(absolute), home.and_then(absolute));
    given
        .or_else(|| state_home.map(|path| path.join("ringrift")))
        .or_else(|| home.map(|path| path.join(".local/state/ringrift")))
        .ok_or_else(|| {
            setting("--data-dir", "is missing, and neither XDG_STATE_HOME nor HOME is set")
        })
}

/// The named program, which must be there; else one beside this program, else one on the path.
fn find_match_program(
    given: Option<PathBuf>,
    search_path: Option<&OsStr>,
) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(path) = given {
        let path = path.canonicalize().map_err(|error| {
            setting("--match-program", format!("{} cannot be found: {error}", path.display()))
        })?;
        return Ok(Some(path));
    }
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let on_path = search_path.into_iter().flat_map(std::env::split_paths);
    Ok(beside.into_iter().chain(on_path).map(|dir| dir.join(MATCH_PROGRAM)).find(|it| it.is_file()))
}

fn voter_policy(voters: u8, replace_after: u32) -> Result<VoterPolicy, ConfigError> {
    let wanted = VoterCount::new(voters).ok_or_else(|| {
        let problem = format!(
            "is {voters}; 1, 3 or 5 can be meant: an even number survives no more losses than the odd \
             one below it, and more than five cost more than they protect"
        );
        setting("--voters", problem)
    })?;
    if replace_after != 0 && replace_after < REPLACE_AFTER_SECONDS_MIN {
        let problem = format!(
            "is {replace_after}; a restart takes longer, so give at least \
             {REPLACE_AFTER_SECONDS_MIN}, or 0 to leave it to operators"
        );
        return Err(setting("--replace-voters-after", problem));
    }
    let silence = (replace_after != 0).then(|| Span::seconds(u64::from(replace_after)));
    Ok(VoterPolicy { wanted, rules: Rules { silence, ..Rules::default() } })
}

fn profile(text: &str) -> Result<Profile, ConfigError> {
    Profile::named(text).ok_or_else(|| {
        setting("--consensus-profile", format!("is {text:?}, neither safe nor fast"))
    })
}

#[cfg(test)]
mod tests;
