//! Three detectors over real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use ringrift_agent::clock::Clock;
use ringrift_agent::gossip::{Gossip, GossipConfig, GossipError, Profile, State};

/// Generous: a loaded machine is slow, and only the outcome is under test here. The core's tests hold
/// the promise of five seconds in virtual time.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(name: &str, cluster: &str, generation: u64) -> GossipConfig {
    GossipConfig {
        node_id: name.parse().unwrap(),
        cluster: cluster.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: None,
        http_address: format!("{name}:8770"),
        raft_address: Some(format!("{name}:4321")),
        generation,
        profile: Profile::default(),
    }
}

fn start(name: &str, cluster: &str) -> Gossip {
    Gossip::start(config(name, cluster, 1), Clock::start()).unwrap()
}

fn view(gossip: &Gossip) -> Vec<(String, State)> {
    gossip.members().into_iter().map(|m| (m.node_id.to_string(), m.state)).collect()
}

async fn expect(gossip: &Gossip, expected: &[(&str, State)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
    let mut changes = gossip.changes();
    let reached = tokio::time::timeout(PATIENCE, async {
        while view(gossip) != expected {
            changes.changed().await.unwrap();
        }
    });
    assert!(reached.await.is_ok(), "expected {expected:?}, saw {:?}", view(gossip));
}

#[tokio::test]
async fn three_find_each_other_one_dies_and_comes_back() {
    use State::{Alive, Failed};
    let (a, b, c) = (start("a", "blue"), start("b", "blue"), start("c", "blue"));
    let seed = format!("localhost:{}", a.listen_address().port());
    b.join(vec![seed.clone()]).await;
    c.join(vec![seed.clone()]).await;
    for gossip in [&a, &b, &c] {
        expect(gossip, &[("a", Alive), ("b", Alive), ("c", Alive)]).await;
    }
    let of_c = a.members().into_iter().find(|member| member.node_id.as_str() == "c").unwrap();
    assert_eq!(of_c.swim_address, c.listen_address());
    assert_eq!(of_c.http_address, "c:8770");
    assert_eq!(of_c.raft_address.as_deref(), Some("c:4321"));

    let address = c.listen_address();
    drop(c);
    for gossip in [&a, &b] {
        expect(gossip, &[("a", Alive), ("b", Alive), ("c", Failed)]).await;
    }

    // The socket of the dropped one closes with its thread, a moment later.
    let restarted = GossipConfig { listen: address, ..config("c", "blue", 2) };
    let c = tokio::time::timeout(PATIENCE, async {
        loop {
            match Gossip::start(restarted.clone(), Clock::start()) {
                Ok(gossip) => return gossip,
                Err(_in_use) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
    .unwrap();
    c.join(vec![seed]).await;
    for gossip in [&a, &b, &c] {
        expect(gossip, &[("a", Alive), ("b", Alive), ("c", Alive)]).await;
    }

    b.leave().await;
    for gossip in [&a, &c] {
        expect(gossip, &[("a", Alive), ("b", Failed), ("c", Alive)]).await;
    }
}

#[tokio::test]
async fn another_cluster_is_not_heard_until_the_name_is_learnt() {
    let (a, b) = (start("a", "blue"), start("b", ""));
    b.join(vec![a.listen_address().to_string()]).await;
    // `witness` joins after `b` has been calling, so its arrival shows that `a` is listening.
    let witness = start("w", "blue");
    witness.join(vec![a.listen_address().to_string()]).await;
    expect(&a, &[("a", State::Alive), ("w", State::Alive)]).await;
    assert_eq!(view(&b), [("b".to_owned(), State::Alive)]);

    b.set_cluster("blue").await;
    b.join(vec![a.listen_address().to_string()]).await;
    expect(&b, &[("a", State::Alive), ("b", State::Alive), ("w", State::Alive)]).await;
}

#[tokio::test]
async fn an_address_that_nobody_can_reach_is_refused_at_start() {
    let everywhere =
        GossipConfig { listen: SocketAddr::from(([0, 0, 0, 0], 0)), ..config("a", "blue", 1) };
    let refused = Gossip::start(everywhere.clone(), Clock::start());
    assert!(matches!(refused, Err(GossipError::Identity { .. })), "{refused:?}");

    let advertise = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let gossip = Gossip::start(GossipConfig { advertise, ..everywhere }, Clock::start()).unwrap();
    assert_eq!(gossip.advertised_address().port(), gossip.listen_address().port());

    let taken = GossipConfig { listen: gossip.listen_address(), ..config("b", "blue", 1) };
    assert!(matches!(Gossip::start(taken, Clock::start()), Err(GossipError::Listen { .. })));
}
