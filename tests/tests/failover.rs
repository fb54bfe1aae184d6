//! Three real agents, real engines, and SIGKILL: no pair is lost, none counts twice, and the verdict
//! is the one that an undisturbed run gives. A machine that stands still costs no election.
#![expect(clippy::unwrap_used, reason = "a test says what failed by failing")]

use std::time::Duration;

use ringrift_tests::agents::{Binaries, Cluster, wait_for};
use ringrift_tests::evidence::{self, Evidence};
use ringrift_wire::client::Client;
use ringrift_wire::pair::{Contestant, Limit};
use ringrift_wire::run::{
    GauntletSpec, LedgerPage, Play, RunSpec, RunStatus, Stop, Submit, default_queue,
};
use ringrift_wire::status::RaftStatus;
use ringrift_wire::work::Resources;
use rustix::process::{Pid, Signal, kill_process};

const RUN: &str = "failover";
const PAIRS_MIN: u32 = 30;
const AGREE_LIMIT: Duration = Duration::from_secs(60);
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// Five times as long as a follower of the `fast` profile waits for its leader.
const STANDSTILL: Duration = Duration::from_secs(1);
/// Elections begin within a fifth of a second, or not at all.
const AFTERMATH: Duration = Duration::from_secs(1);

fn binaries() -> Binaries {
    Binaries::locate(None).unwrap()
}

fn own(name: &str, nodes: u64) -> Contestant {
    Contestant {
        name: name.to_owned(),
        argv: vec!["own".to_owned()],
        options: std::collections::BTreeMap::new(),
        limit: Limit::Nodes(nodes),
    }
}

fn gauntlet() -> Submit {
    let spec = GauntletSpec {
        candidate: own("candidate", 600),
        baselines: vec![own("middle", 300), own("weak", 100)],
        play: Play { seed: 7, ..Play::default() },
        stop: Stop { pairs_min: PAIRS_MIN, pairs_max: 60, elo1_milli: 60_000, ..Stop::default() },
        resources: Resources::default(),
    };
    Submit { run_id: RUN.to_owned(), queue: default_queue(), spec: RunSpec::Gauntlet(spec) }
}

async fn done_at_least(client: &Client, pairs: u64) {
    wait_for(&format!("{pairs} pairs are done"), RUN_LIMIT, || async move {
        let status = client.run(RUN).await.map_err(|error| error.to_string())?;
        Ok((status.done >= pairs).then_some(()))
    })
    .await
    .unwrap();
}

async fn ended(client: &Client) -> (RunStatus, Evidence) {
    let status = wait_for("the gauntlet ends", RUN_LIMIT, || async move {
        let status = client.run(RUN).await.map_err(|error| error.to_string())?;
        Ok((status.phase != "active").then_some(status))
    })
    .await
    .unwrap();
    let ledger: LedgerPage = client.get(&format!("/runs/{RUN}/ledger")).await.unwrap();
    let evidence = evidence::examine(&status, &ledger, PAIRS_MIN);
    assert_eq!(evidence.faults, Vec::<String>::new(), "{status:?}");
    (status, evidence)
}

/// What must not depend on who died when: the verdict, and per match-up the decision and its games.
fn essence(status: &RunStatus, evidence: &Evidence) -> (Option<String>, Vec<String>, u64) {
    let matchups = status.matchups.iter().map(|matchup| {
        format!("{:?} {:?} {}", matchup.decision, matchup.pentanomial, matchup.pairs_used)
    });
    (status.verdict.clone(), matchups.collect(), evidence.digest)
}

#[tokio::test]
async fn the_verdict_is_the_same_with_no_kill_with_the_leader_killed_and_with_all_killed() {
    let mut essences = Vec::new();
    for scenario in ["undisturbed", "leader killed", "all killed"] {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::start(binaries(), dir.path(), 3, 1).unwrap();
        cluster.wait_until_agreed(3, AGREE_LIMIT).await.unwrap();
        let client = cluster.client().unwrap();
        assert_eq!(client.submit(&gauntlet()).await.unwrap().status, "accepted");
        if scenario != "undisturbed" {
            done_at_least(&client, u64::from(PAIRS_MIN) / 2).await;
        }
        match scenario {
            "leader killed" => {
                let leader = cluster.leader().await.unwrap().unwrap();
                cluster.agents[leader].kill().await;
            }
            "all killed" => {
                for agent in &mut cluster.agents {
                    agent.kill().await;
                }
                assert!(client.run(RUN).await.is_err(), "no agent may be left");
                for at in 0..3 {
                    cluster.restart(at).unwrap();
                }
                cluster.wait_until_agreed(3, AGREE_LIMIT).await.unwrap();
                let resumed = client.run(RUN).await.unwrap();
                assert!(resumed.done >= u64::from(PAIRS_MIN) / 2, "it goes on where it was");
            }
            _ => {}
        }
        let (status, evidence) = ended(&client).await;
        essences.push(essence(&status, &evidence));
        assert_eq!(
            cluster.stop().await,
            Vec::<String>::new(),
            "every living agent stops when asked"
        );
    }
    assert_eq!(essences[0], essences[1], "the leader's death changed the verdict");
    assert_eq!(essences[0], essences[2], "the death of all changed the verdict");
}

/// Who leads, in which term.
async fn rule(client: &Client) -> (Option<String>, u64) {
    let status: RaftStatus = client.get("/raft/status").await.unwrap();
    (status.leader_id, status.term)
}

fn signal_all(cluster: &Cluster, signal: Signal) {
    for agent in &cluster.agents {
        let pid = agent.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

/// As when a virtual machine is moved: everybody was silent, so nobody was.
#[tokio::test]
async fn a_standstill_of_all_agents_at_once_costs_no_election() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--consensus-profile".to_owned(), "fast".to_owned()];
    let mut cluster = Cluster::start_with(binaries(), dir.path(), 3, 1, &flags).unwrap();
    cluster.wait_until_agreed(3, AGREE_LIMIT).await.unwrap();
    let client = cluster.client().unwrap();
    for round in 0..5 {
        let before = rule(&client).await;
        signal_all(&cluster, Signal::STOP);
        tokio::time::sleep(STANDSTILL).await;
        signal_all(&cluster, Signal::CONT);
        tokio::time::sleep(AFTERMATH).await;
        assert_eq!(rule(&client).await, before, "round {round}");
    }
    assert_eq!(cluster.stop().await, Vec::<String>::new());
}
