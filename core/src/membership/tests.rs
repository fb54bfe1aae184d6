//! A cluster in virtual time: the real machines, a lossy network of one queue, no clock.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const MEMBERS: u16 = 20;
const LOSS: f64 = 0.01;
/// The promise: a failure is known everywhere within this time.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Asking everybody for a roster costs more than the step itself.
const GOAL_EVERY_MILLISECONDS: u128 = 20;
const REJOIN_EVERY: Duration = Duration::from_millis(500);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(index: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1_000 + index))
}

struct Node {
    membership: Membership,
    timers: Timers,
    /// A stopped process: it reads and fires nothing until then.
    asleep_until: Duration,
    /// Its socket overflows while it sleeps, so that it never reads what came.
    is_deaf_asleep: bool,
    inbox: Vec<Vec<u8>>,
    downs: Vec<Identity>,
}

struct World {
    now: Duration,
    rng: StdRng,
    nodes: BTreeMap<SocketAddr, Node>,
    /// Other addresses under which a node can be reached: what a NAT or a service's name does.
    aliases: BTreeMap<SocketAddr, SocketAddr>,
    flying: BTreeMap<(Duration, u64), (SocketAddr, Vec<u8>)>,
    sent: u64,
    generation: u64,
    next_join: Duration,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            nodes: BTreeMap::new(),
            aliases: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
            generation: 0,
            next_join: Duration::ZERO,
        }
    }

    fn grown(seed: u64) -> Self {
        Self::grown_to(seed, MEMBERS)
    }

    fn grown_to(seed: u64, members: u16) -> Self {
        let mut world = Self::new(seed);
        (0..members).for_each(|index| world.start(index));
        world.run_until(seconds(20), |_| false);
        world.expect_everybody(State::Alive, 0..members);
        world
    }

    fn start(&mut self, index: u16) {
        self.generation += 1;
        let node_id = format!("n{index}").parse().unwrap();
        let http = format!("10.0.0.1:{}", 2_000 + index);
        let identity = Identity::new(node_id, self.generation, address(index), http, None).unwrap();
        let membership = Membership::new(identity, Profile::default(), self.rng.random());
        let (inbox, downs, timers) = (Vec::new(), Vec::new(), Timers::default());
        let asleep_until = self.now;
        let node = Node { membership, timers, asleep_until, is_deaf_asleep: false, inbox, downs };
        self.nodes.insert(address(index), node);
    }

    fn node(&self, index: u16) -> &Node {
        &self.nodes[&address(index)]
    }

    fn sleep(&mut self, index: u16, time: Duration) {
        self.nodes.get_mut(&address(index)).unwrap().asleep_until = self.now + time;
    }

    fn generation_of(&self, index: u16) -> u64 {
        self.node(index).membership.identity().generation()
    }

    fn kill(&mut self, index: u16) {
        self.nodes.remove(&address(index)).unwrap();
    }

    /// Runs until `until` or the goal; says whether the goal was reached.
    fn run_until(&mut self, until: Duration, goal: impl Fn(&Self) -> bool) -> bool {
        while self.now < until {
            self.now += Duration::from_millis(1);
            self.deliver();
            let awake: Vec<SocketAddr> = self.nodes.keys().copied().collect();
            for at in awake {
                self.turn(at);
            }
            self.join_the_lonely();
            if self.now.as_millis().is_multiple_of(GOAL_EVERY_MILLISECONDS) && goal(self) {
                return true;
            }
        }
        goal(self)
    }

    fn deliver(&mut self) {
        let later = self.flying.split_off(&(self.now + Duration::from_nanos(1), 0));
        for (to, packet) in core::mem::replace(&mut self.flying, later).into_values() {
            let to = self.aliases.get(&to).copied().unwrap_or(to);
            let Some(node) = self.nodes.get_mut(&to) else {
                continue;
            };
            if !(node.is_deaf_asleep && node.asleep_until > self.now) {
                node.inbox.push(packet);
            }
        }
    }

    fn turn(&mut self, at: SocketAddr) {
        let now = self.now;
        let node = self.nodes.get_mut(&at).unwrap();
        if node.asleep_until > now {
            return;
        }
        // As the shell does: first what came, then what is due.
        let packets = core::mem::take(&mut node.inbox);
        for packet in packets {
            self.step(at, Input::Datagram(&packet));
        }
        while let Some(timer) = self.nodes.get_mut(&at).unwrap().timers.pop_due(now) {
            self.step(at, Input::Due(timer));
        }
    }

    fn step(&mut self, at: SocketAddr, input: Input<'_>) {
        let node = self.nodes.get_mut(&at).unwrap();
        let effects = node.membership.step(self.now, input);
        assert_eq!(effects.fault, None, "{at} at {:?}", self.now);
        effects.timers.into_iter().for_each(|timer| node.timers.insert(timer));
        for event in effects.events {
            if let Event::Down(identity) = event {
                node.downs.push(identity);
            }
        }
        for (to, packet) in effects.datagrams {
            assert!(packet.len() <= PACKET_BYTES_MAX);
            if self.rng.random_bool(LOSS) {
                continue;
            }
            self.sent += 1;
            let flight = Duration::from_micros(self.rng.random_range(300..1_500));
            self.flying.insert((self.now + flight, self.sent), (to, packet));
        }
    }

    fn join_the_lonely(&mut self) {
        if self.now < self.next_join {
            return;
        }
        self.next_join = self.now + REJOIN_EVERY;
        let lonely: Vec<SocketAddr> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.membership.others() == 0)
            .map(|(at, _)| *at)
            .collect();
        for at in lonely {
            self.step(at, Input::Join(address(0)));
        }
    }

    fn sees(&self, observer: SocketAddr, index: u16) -> Option<State> {
        let node_id = format!("n{index}");
        let roster = self.nodes[&observer].membership.roster();
        roster.into_iter().find(|member| member.node_id.as_str() == node_id).map(|m| m.state)
    }

    fn everybody_sees(&self, state: State, mut indexes: impl Iterator<Item = u16>) -> bool {
        indexes.all(|index| self.nodes.keys().all(|at| self.sees(*at, index) == Some(state)))
    }

    fn expect_everybody(&self, state: State, indexes: impl Iterator<Item = u16>) {
        for index in indexes {
            for at in self.nodes.keys() {
                assert_eq!(self.sees(*at, index), Some(state), "{at} about n{index}");
            }
        }
    }

    /// Everybody who was declared failed by anybody, by name.
    fn declared_failed(&self) -> Vec<alloc::string::String> {
        let mut names: Vec<_> = self
            .nodes
            .values()
            .flat_map(|node| node.downs.iter().map(|identity| identity.node_id().to_string()))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

#[test]
fn two_killed_of_twenty_are_known_within_five_seconds_and_nobody_else() {
    for seed in 1..=12 {
        let mut world = World::grown(seed);
        world.kill(3);
        world.kill(11);
        let killed_at = world.now;
        let known = |world: &World| world.everybody_sees(State::Failed, [3, 11].into_iter());
        assert!(world.run_until(killed_at + KNOWN_WITHIN, known), "seed {seed}");

        world.run_until(killed_at + seconds(20), |_| false);
        assert_eq!(world.declared_failed(), ["n11", "n3"], "seed {seed}");
        let healthy = (0..MEMBERS).filter(|index| ![3, 11].contains(index));
        assert!(world.everybody_sees(State::Alive, healthy), "seed {seed}");
    }
}

#[test]
fn a_killed_member_that_restarts_is_alive_again_everywhere() {
    for pause in [0, 1, 30] {
        let mut world = World::grown(7);
        world.kill(5);
        world.run_until(world.now + seconds(pause), |_| false);
        world.start(5);
        let back = |world: &World| world.everybody_sees(State::Alive, 0..MEMBERS);
        assert!(world.run_until(world.now + seconds(5), back), "after {pause} s");
        let newest = world.generation;
        let roster = world.nodes[&address(0)].membership.roster();
        let member = roster.iter().find(|member| member.node_id.as_str() == "n5").unwrap();
        assert_eq!(member.generation, newest);
    }
}

#[test]
fn a_member_that_sleeps_shorter_than_the_suspicion_is_not_declared_failed() {
    let mut suspected = 0;
    for seed in 1..=6 {
        let mut world = World::grown(seed);
        let generations: Vec<u64> = (0..MEMBERS).map(|n| world.generation_of(n)).collect();
        for sleeper in [2, 9, 17] {
            // Longer than the bare suspicion: the suspecters' doubt of themselves is what saves it.
            let asleep = Profile::default().suspicion() * 2;
            world.sleep(sleeper, asleep);
            world.run_until(world.now + asleep, |_| false);
            suspected +=
                world.sees(address(0), sleeper).map_or(0, |s| u32::from(s == State::Suspected));
            world.run_until(world.now + seconds(3), |_| false);
        }
        assert_eq!(world.declared_failed(), [""; 0], "seed {seed}");
        // Nor did a sleeper hold the others for failed when it woke.
        world.expect_everybody(State::Alive, 0..MEMBERS);
        // A refuted suspicion leaves no trace: nobody had to come back under a new generation.
        let after: Vec<u64> = (0..MEMBERS).map(|n| world.generation_of(n)).collect();
        assert_eq!(after, generations, "seed {seed}");
    }
    assert!(suspected > 0, "or this test proves nothing");
}

#[test]
fn a_suspecter_that_missed_the_refutation_in_its_sleep_asks_again_before_it_judges() {
    for seed in 1..=6 {
        let mut world = World::grown_to(seed, 3);
        world.sleep(1, seconds(60));
        let suspects = |world: &World| world.sees(address(0), 1) == Some(State::Suspected);
        assert!(world.run_until(world.now + seconds(5), suspects), "seed {seed}");
        // Now the suspected wakes and refutes, and the suspecter sleeps through it.
        world.sleep(1, Duration::ZERO);
        world.nodes.get_mut(&address(0)).unwrap().is_deaf_asleep = true;
        world.sleep(0, seconds(4));
        world.run_until(world.now + seconds(10), |_| false);
        let judged = |identity: &Identity| identity.node_id().as_str() == "n1";
        assert!(!world.node(0).downs.iter().any(judged), "seed {seed}");
    }
}

#[test]
fn failed_probes_raise_the_doubt_and_answered_ones_lower_it() {
    let mut world = World::grown_to(4, 2);
    assert_eq!(world.node(0).membership.self_doubt(), 0);
    world.kill(1);
    let doubts = |world: &World| world.node(0).membership.self_doubt() >= 2;
    assert!(world.run_until(world.now + seconds(5), doubts));
    world.start(1);
    let trusts = |world: &World| world.node(0).membership.self_doubt() == 0;
    assert!(world.run_until(world.now + seconds(20), trusts));
}

#[test]
fn a_joiner_need_not_know_how_the_seed_calls_itself() {
    let mut world = World::new(6);
    let alias = SocketAddr::from(([192, 168, 0, 1], 7_947));
    world.aliases.insert(alias, address(0));
    world.next_join = Duration::MAX;
    world.start(0);
    world.start(1);
    for _ in 0..3 {
        world.step(address(1), Input::Join(alias));
    }
    let met = |world: &World| world.everybody_sees(State::Alive, 0..2);
    assert!(world.run_until(seconds(2), met));
}

#[test]
fn a_member_that_was_declared_failed_comes_back_by_itself() {
    let mut world = World::grown(5);
    let before = world.generation_of(4);
    world.sleep(4, seconds(15));
    let failed = |world: &World| {
        let others = world.nodes.keys().filter(|at| **at != address(4));
        others.copied().all(|at| world.sees(at, 4) == Some(State::Failed))
    };
    assert!(world.run_until(world.now + seconds(10), failed));
    let back = |world: &World| world.everybody_sees(State::Alive, 0..MEMBERS);
    assert!(world.run_until(world.now + seconds(25), back));
    assert!(world.generation_of(4) > before);
}

#[test]
fn who_leaves_is_failed_at_once_and_answers_no_more() {
    let mut world = World::grown(3);
    world.step(address(8), Input::Leave);
    let left_at = world.now;
    let gone = |world: &World| world.everybody_sees(State::Failed, [8].into_iter());
    assert!(world.run_until(left_at + seconds(2), gone), "no probe is needed to see it");
    world.run_until(left_at + seconds(5), |_| false);
    assert!(gone(&world), "it does not come back by itself");
}

#[test]
fn the_queue_of_timers_does_not_grow_with_time() {
    let mut world = World::grown(2);
    world.run_until(seconds(60), |_| false);
    for node in world.nodes.values() {
        assert!(node.timers.len() <= 5 + 2 * usize::from(MEMBERS), "{}", node.timers.len());
    }
}

#[test]
fn foreign_and_oversized_packets_are_faults_and_change_nothing() {
    let mut world = World::grown(1);
    let node = world.nodes.get_mut(&address(0)).unwrap();
    let before = node.membership.fingerprint();
    for packet in [&b""[..], b"x", &[7; 40], &[9; PACKET_BYTES_MAX + 1]] {
        let effects = node.membership.step(world.now, Input::Datagram(packet));
        assert!(matches!(effects.fault, Some(Fault::Packet(_))), "{effects:?}");
        assert!(effects.datagrams.is_empty() && effects.timers.is_empty());
    }
    assert_eq!(node.membership.fingerprint(), before);
}
