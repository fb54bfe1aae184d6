//! The network of a run: a namespace for each agent and one with a bridge that joins them. The clients
//! are where this program is. All packets between two agents pass the bridge, so faults are made
//! there.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, run};

/// The namespace with the bridge.
const HUB: &str = "hub";
/// The clients' end, on both sides.
const CLIENTS: &str = "clients";
/// Host part of the clients' address.
const CLIENTS_HOST: u32 = 250;
/// Port on which every agent serves HTTP.
const HTTP_PORT: u16 = 8_770;
/// In a hundred packets between agents, so many are lost.
const LOSS_PERCENT: u32 = 8;
/// In a hundred, so many come twice.
const TWICE_PERCENT: u32 = 25;
/// In a hundred, so many take the slow lane and arrive behind later ones.
const OVERTAKEN_PERCENT: u32 = 15;
/// The slow lane: a kilobyte takes 60 ms, and of what comes faster a second waits, the rest is lost.
const SLOW_LANE: &str = "rate 128kbit burst 1600 cburst 1600 quantum 1600";
/// A slow link: a heartbeat takes a millisecond, a burst of work queues for half a second.
const SLOW_LINK: &str = "1mbit";

/// What is wrong with the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Packets from the first agent do not reach the second.
    Cut(Vec<(usize, usize)>),
    /// Packets between all agents are lost now and then.
    Loss,
    /// Packets between all agents arrive twice now and then.
    Twice,
    /// Packets between all agents overtake each other.
    Overtaken,
    /// What an agent sends and gets, clients included, goes through a thin pipe with a long queue.
    Slow(usize),
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    agents: usize,
    /// Some link has another queue than usual.
    queued: AtomicBool,
}

impl Network {
    /// Makes the namespaces and joins them, inside of the enclosure.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn make(agents: usize) -> Result<Self, Failure> {
        // Seen by this program and its children only; names of namespaces are files below.
        run("mount", &["-t", "tmpfs", "chaos", "/run"], "").await?;
        let mut batch = "link set lo up\n".to_owned();
        run("ip", &["netns", "add", HUB], "").await?;
        run("ip", &["-n", HUB, "link", "add", "bridge", "type", "bridge"], "").await?;
        run("ip", &["-n", HUB, "link", "set", "bridge", "up"], "").await?;
        let _ = writeln!(batch, "link add {CLIENTS} type veth peer name {CLIENTS} netns {HUB}");
        let _ = writeln!(batch, "address add {}/24 dev {CLIENTS}", address(CLIENTS_HOST));
        let _ = writeln!(batch, "link set {CLIENTS} up");
        run("ip", &["-batch", "-"], &batch).await?;
        let mut hub = format!("link set {CLIENTS} master bridge up\n");
        for agent in 0..agents {
            let name = namespace(agent);
            run("ip", &["netns", "add", &name], "").await?;
            let mac = mac(agent);
            let mut own = "link set lo up\n".to_owned();
            let _ =
                writeln!(own, "link add eth0 address {mac} type veth peer name {name} netns {HUB}");
            let _ = writeln!(own, "address add {}/24 dev eth0", address(host(agent)));
            let _ = writeln!(own, "link set eth0 up");
            run("ip", &["-n", &name, "-batch", "-"], &own).await?;
            let _ = writeln!(hub, "link set {name} master bridge up");
        }
        run("ip", &["-n", HUB, "-batch", "-"], &hub).await?;
        Ok(Self { agents, queued: AtomicBool::new(false) })
    }

    /// Makes the network be so, instead of what it was.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn set(&self, trouble: Option<&Trouble>) -> Result<(), Failure> {
        let inside = format!("--net=/run/netns/{HUB}");
        run("nsenter", &[&inside, "nft", "-f", "-"], &filters(self.agents, trouble)).await?;
        let lanes = matches!(trouble, Some(Trouble::Overtaken));
        let queues = lanes || matches!(trouble, Some(Trouble::Slow(_)));
        if !self.queued.swap(queues, Ordering::Relaxed) && !queues {
            return Ok(());
        }
        for agent in 0..self.agents {
            let (name, agent) = (namespace(agent), Some(agent));
            let slow = matches!(trouble, Some(Trouble::Slow(slow)) if Some(*slow) == agent);
            for (space, link) in [(HUB, name.as_str()), (&name, "eth0")] {
                queue(space, link, lanes && space == HUB, slow).await?;
            }
        }
        Ok(())
    }
}

/// What stands before the link's packets: nothing, two lanes, or a thin pipe.
async fn queue(space: &str, link: &str, lanes: bool, slow: bool) -> Result<(), Failure> {
    let clear = ["-n", space, "qdisc", "replace", "dev", link, "root", "pfifo", "limit", "1000"];
    run("tc", &clear, "").await?;
    if slow {
        let pipe = ["tbf", "rate", SLOW_LINK, "burst", "16k", "latency", "500ms"];
        let set = [&["-n", space, "qdisc", "replace", "dev", link, "root"][..], &pipe[..]].concat();
        run("tc", &set, "").await?;
    }
    if lanes {
        let rate = format!(
            "qdisc replace dev {link} root handle 1: htb default 10\n\
             class add dev {link} parent 1: classid 1:10 htb rate 10gbit quantum 60000\n\
             class add dev {link} parent 1: classid 1:20 htb {SLOW_LANE}\n\
             qdisc add dev {link} parent 1:20 pfifo limit 16\n"
        );
        run("tc", &["-n", space, "-batch", "-"], &rate).await?;
    }
    Ok(())
}

/// The packet filter for a trouble, in one transaction. Only IP is touched: an agent that was cut off
/// still knows where its neighbours are.
fn filters(agents: usize, trouble: Option<&Trouble>) -> String {
    let mut rules = String::new();
    for table in ["bridge chaos", "netdev chaos"] {
        // Made so that it can be removed, whatever was there.
        let _ = writeln!(rules, "table {table}\ndelete table {table}");
    }
    let every = |percent: u32| format!("numgen random mod 100 < {percent}");
    let between = r#"iifname != "clients" oifname != "clients" ether type ip"#;
    let mut forward = |rule: &str| {
        let _ = writeln!(
            rules,
            "table bridge chaos {{ chain forward {{\n\
             type filter hook forward priority 0\n{rule}\n}}\n}}"
        );
    };
    match trouble {
        None | Some(Trouble::Slow(_)) => {}
        Some(Trouble::Cut(cuts)) => {
            let cut = |(from, to): &(usize, usize)| {
                let (from, to) = (namespace(*from), namespace(*to));
                format!("iifname \"{from}\" oifname \"{to}\" ether type ip drop")
            };
            forward(&cuts.iter().map(cut).collect::<Vec<_>>().join("\n"));
        }
        Some(Trouble::Loss) => forward(&format!("{between} {} drop", every(LOSS_PERCENT))),
        Some(Trouble::Overtaken) => {
            forward(&format!("{between} {} meta priority set 1:20", every(OVERTAKEN_PERCENT)));
        }
        Some(Trouble::Twice) => {
            for from in 0..agents {
                let name = namespace(from);
                let _ = writeln!(
                    rules,
                    "table netdev chaos {{ chain {name} {{\n\
                     type filter hook ingress device \"{name}\" priority 0"
                );
                for to in (0..agents).filter(|to| *to != from) {
                    let (mac, often, to) = (mac(to), every(TWICE_PERCENT), namespace(to));
                    let _ =
                        writeln!(rules, "ether daddr {mac} ether type ip {often} dup to \"{to}\"");
                }
                let _ = writeln!(rules, "}}\n}}");
            }
        }
    }
    rules
}

/// The namespace of an agent, and its port at the bridge.
pub(crate) fn namespace(agent: usize) -> String {
    format!("agent-{}", agent + 1)
}

/// Where the agent serves HTTP.
pub(crate) fn http_address(agent: usize) -> String {
    format!("{}:{HTTP_PORT}", address(host(agent)))
}

fn host(agent: usize) -> u32 {
    u32::try_from(agent).unwrap_or(0) + 1
}

fn address(host: u32) -> String {
    format!("10.77.0.{host}")
}

fn mac(agent: usize) -> String {
    format!("02:00:00:00:00:{:02x}", host(agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_replaces_what_was_there() {
        let troubles = [
            Trouble::Cut(vec![(0, 1), (2, 1)]),
            Trouble::Loss,
            Trouble::Twice,
            Trouble::Overtaken,
            Trouble::Slow(1),
        ];
        for trouble in &troubles {
            let rules = filters(3, Some(trouble));
            assert!(rules.contains("delete table bridge chaos"), "{rules}");
            assert!(rules.contains("delete table netdev chaos"), "{rules}");
        }
        let cut = filters(3, troubles.first());
        assert_eq!(cut.matches(" drop").count(), 2, "{cut}");
        assert!(cut.contains(r#"iifname "agent-3" oifname "agent-2" ether type ip drop"#), "{cut}");
        assert_eq!(filters(3, Some(&Trouble::Twice)).matches("dup to").count(), 6);
        assert_eq!(filters(3, None).matches("chain").count(), 0);
    }
}
