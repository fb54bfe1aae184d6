//! Who acts: fate's hand, the supervisor that starts agents again, and the operator who keeps the
//! members together.

use std::collections::BTreeSet;

use ringrift_agent::consensus::{MembershipError, simulation};

use crate::raft::fate::Trouble;
use crate::raft::host::{self, Fall, Host, Outbox};
use crate::raft::{Bug, Told, World};

/// The operator looks this often.
const ROUND: u64 = 100;
/// After so long the operator asks again, whatever became of the first request.
const CHANGE_PATIENCE: u64 = 12_000;
/// An agent whose disk fails stops; its supervisor starts it again after this.
const BROKEN_AFTER: u64 = 30;
const SUPERVISED_AFTER: u64 = 400;

/// What those who act remember.
pub(super) struct Operator {
    /// The host whose membership is being changed, by which host in which life, and until when.
    changing: Option<(usize, usize, u64, u64)>,
    /// Hosts whose old name must be removed first.
    wiped_voters: Vec<bool>,
    /// When hosts that are down come back.
    restarts: Vec<Option<u64>>,
    /// Since when disks are broken.
    broken: Vec<Option<u64>>,
    /// A host that is cut off and joined again and again, and until when.
    flapping: Option<(usize, u64)>,
    founded: bool,
}

impl Operator {
    pub(super) fn new(hosts: usize) -> Self {
        Self {
            changing: None,
            wiped_voters: vec![false; hosts],
            restarts: vec![None; hosts],
            broken: vec![None; hosts],
            flapping: None,
            founded: false,
        }
    }

    /// A change of membership is over.
    pub(super) fn note(&mut self, host: usize, wiped_voter: bool) {
        self.wiped_voters[host] = wiped_voter;
        self.changing = None;
    }

    /// Nothing goes wrong any more, and who is down comes back now.
    pub(super) fn calm(&mut self) {
        self.flapping = None;
        for restart in &mut self.restarts {
            *restart = restart.map(|_| 0);
        }
    }
}

impl World {
    /// Starts who is due, stops whose disk is broken, and keeps the members together.
    pub(super) fn supervise(&mut self) -> Result<(), String> {
        let now = self.now;
        for id in 0..self.hosts.len() {
            if self.operator.restarts[id].is_some_and(|at| at <= now) {
                self.operator.restarts[id] = None;
                self.hosts[id].start(now)?;
            }
            if !self.hosts[id].disk.is_broken() {
                self.operator.broken[id] = None;
            } else if now > *self.operator.broken[id].get_or_insert(now) + BROKEN_AFTER {
                self.operator.broken[id] = None;
                self.fall(id, Fall::Process, SUPERVISED_AFTER);
            }
        }
        if now.is_multiple_of(ROUND) {
            self.flap();
            self.clean_up()?;
            self.change_members();
        }
        Ok(())
    }

    fn fall(&mut self, id: usize, fall: Fall, back_after: u64) {
        if self.hosts[id].is_up() {
            self.hosts[id].fall(fall);
            self.operator.restarts[id] = Some(self.now + back_after);
        }
    }

    /// An agent that has left is started again.
    pub(super) fn see_off(&mut self, id: usize, life: u64) -> Result<(), String> {
        if self.hosts[id].life == life {
            self.fall(id, Fall::Process, 100);
        }
        Ok(())
    }

    /// Whether three voters have their disks and no agent knows of a change of theirs: of those that a
    /// change leaves none can be spared.
    fn is_settled(&self) -> bool {
        let voters: BTreeSet<u64> = self.oracle.voters().collect();
        let agrees = |host: &Host| {
            let known = host.consensus().map(|consensus| simulation::look(consensus).voters);
            known.is_some_and(|known| known == [voters.clone()])
        };
        self.is_whole() && self.hosts.iter().all(agrees)
    }

    /// Who was removed comes back as somebody else: its raft id never returns.
    fn clean_up(&mut self) -> Result<(), String> {
        for id in 0..self.hosts.len() {
            let removed = self.raft_ids[id].is_some_and(|raft_id| {
                self.oracle.was_member(raft_id) && !self.oracle.members.contains(&raft_id)
            });
            if removed {
                self.fall(id, Fall::Process, 100);
                self.lose_disk(id, false)?;
            }
        }
        Ok(())
    }

    fn lose_disk(&mut self, id: usize, keep_name: bool) -> Result<(), String> {
        let lost = self.hosts[id].wipe(keep_name)?;
        if keep_name {
            return Ok(());
        }
        if let Some(raft_id) = self.raft_ids[id].take() {
            self.graves.push((raft_id, lost));
        }
        Ok(())
    }

    /// Founds the cluster, takes in who is out, and removes the old names of those that were wiped.
    fn change_members(&mut self) {
        let now = self.now;
        if !self.operator.founded {
            let Some(consensus) = self.hosts[0].consensus().cloned() else {
                return;
            };
            self.operator.founded = true;
            self.hosts[0].run(async move {
                // Who cannot found is seen by nobody leading.
                let _ = consensus.initialize("sim".to_owned()).await;
            });
            return;
        }
        let Some(leader) = self.leader() else {
            return;
        };
        if let Some((_, by, life, until)) = self.operator.changing {
            let host = &self.hosts[by];
            if host.life == life && host.consensus().is_some() && now < until {
                return;
            }
            self.operator.changing = None;
        }
        let Some(consensus) = self.hosts[leader].consensus().cloned() else {
            return;
        };
        let standing = simulation::look(&consensus);
        let voters = standing.voters.first().map_or(0, |voters| voters.len());
        let out = |id: &usize| {
            let Some(raft_id) =
                self.raft_ids[*id].filter(|_| self.hosts[*id].consensus().is_some())
            else {
                return false;
            };
            let member = standing.members.iter().any(|(id, _)| *id == raft_id);
            let votes = standing.voters.iter().any(|voters| voters.contains(&raft_id));
            !member || (voters < 3 && !votes)
        };
        let Some(target) = (0..self.hosts.len()).find(out) else {
            return;
        };
        let (host, told) = (&self.hosts[leader], Outbox::clone(&self.told));
        let until = now + CHANGE_PATIENCE;
        self.operator.changing = Some((target, leader, host.life, until));
        let member = self.hosts[target].member();
        let remove = self.operator.wiped_voters[target];
        host.run(async move {
            let wiped_voter = if remove {
                // Its removal may have come about while the answer did not.
                !matches!(
                    consensus.remove_member(&member.node_id).await,
                    Ok(()) | Err(MembershipError::Unknown { .. })
                )
            } else {
                let added = consensus.add_member(member).await;
                matches!(added, Err(MembershipError::WipedVoter { .. }))
            };
            host::put(&told, Told::Changed { host: target, wiped_voter });
        });
    }

    /// Something goes wrong, or becomes right again.
    pub(super) fn strike(&mut self) -> Result<(), String> {
        if self.fate.joins(&mut self.chance) {
            self.net.join();
        }
        for trouble in self.fate.strike(&mut self.chance) {
            self.suffer(trouble)?;
        }
        Ok(())
    }

    fn suffer(&mut self, trouble: Trouble) -> Result<(), String> {
        let now = self.now;
        let id = self.chance.below(self.hosts.len());
        let leader = self.leader();
        // Leaders are the interesting ones.
        let victim = leader.filter(|_| self.chance.per_mille(500)).unwrap_or(id);
        let may_lose_disk = self.is_settled() && self.operator.changing.is_none();
        let chance = &mut self.chance;
        match trouble {
            Trouble::Crash => {
                let fall = if chance.per_mille(500) { Fall::Process } else { Fall::Power };
                // A quick restart comes back into the same election.
                let down = if chance.per_mille(500) { 60 } else { 3_000 };
                let back_after = chance.between(5, down);
                self.fall(victim, fall, back_after);
            }
            Trouble::Pause => {
                let until = now + chance.between(50, 3_000);
                self.hosts[victim].pause(until);
            }
            Trouble::Partition => self.isolate(victim),
            Trouble::Bridge => self.bridge(),
            Trouble::Flapping => {
                self.operator.flapping = Some((victim, now + chance.between(800, 3_000)));
            }
            Trouble::ClockJump => {
                let furthest = [2_000, 20_000, 7_200_000][chance.below(3)];
                self.hosts[victim].wall_ahead = chance.between(0, furthest);
            }
            Trouble::SlowDisk => {
                self.hosts[victim].flush_max = [0, 2, 10, 60][chance.below(4)];
            }
            Trouble::HungDisk => self.hosts[victim].hangs_until = now + chance.between(100, 4_000),
            Trouble::FullDisk => self.hosts[victim].full_until = now + chance.between(200, 2_000),
            Trouble::LostDisk => {
                if may_lose_disk {
                    let back_after = chance.between(50, 2_000);
                    self.fall(victim, Fall::Power, back_after);
                    self.lose_disk(victim, self.bug == Some(Bug::KeptName))?;
                }
            }
            Trouble::Transfer | Trouble::Compaction | Trouble::Leave | Trouble::Removal => {
                self.ask_agent(trouble, victim, id);
            }
            Trouble::Workers => {
                let worker = 1 + chance.below(crate::world::WORKERS);
                let until = now + chance.between(500, 5_000);
                let forgets = chance.per_mille(300);
                if let Some(worker) = self.clients.get_mut(worker) {
                    if forgets {
                        worker.crash();
                    } else {
                        worker.pause(until);
                    }
                }
            }
        }
        Ok(())
    }

    /// Troubles that people make, by asking an agent for them.
    fn ask_agent(&mut self, trouble: Trouble, victim: usize, other: usize) {
        let life = self.hosts[victim].life;
        let Some(consensus) = self.hosts[victim].consensus().cloned() else {
            return;
        };
        let told = Outbox::clone(&self.told);
        let name = self.hosts[other].name.clone();
        match trouble {
            Trouble::Leave => {
                self.hosts[victim].leaving = true;
                self.hosts[victim].run(async move {
                    consensus.shutdown().await;
                    host::put(&told, Told::Left { host: victim, life });
                });
            }
            Trouble::Transfer => {
                let to = self.chance.per_mille(500).then_some(name);
                self.hosts[victim].run(async move {
                    // Whether it goes through is told by who leads.
                    let _ = consensus.transfer(to.as_ref()).await;
                });
            }
            Trouble::Compaction => self.hosts[victim].run(async move {
                let _ = consensus.compact().await;
            }),
            Trouble::Removal => {
                let leads = self.leader() == Some(victim);
                if leads && self.is_together() && self.operator.changing.is_none() {
                    let until = self.now + CHANGE_PATIENCE;
                    self.operator.changing = Some((other, victim, life, until));
                    self.hosts[victim].run(async move {
                        let _ = consensus.remove_member(&name).await;
                        host::put(&told, Told::Changed { host: other, wiped_voter: false });
                    });
                }
            }
            Trouble::Crash
            | Trouble::Pause
            | Trouble::Partition
            | Trouble::Bridge
            | Trouble::Flapping
            | Trouble::ClockJump
            | Trouble::SlowDisk
            | Trouble::HungDisk
            | Trouble::FullDisk
            | Trouble::LostDisk
            | Trouble::Workers => {}
        }
    }

    /// Cuts one host off: fully, or only one way.
    fn isolate(&mut self, host: usize) {
        let way = self.chance.below(3);
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            if way != 1 {
                self.net.cut(host, other, true);
            }
            if way != 2 {
                self.net.cut(other, host, true);
            }
        }
    }

    /// Cuts two groups of hosts off from each other; one host belongs to both.
    fn bridge(&mut self) {
        let count = self.hosts.len();
        let bridge = self.chance.below(count);
        let left: Vec<bool> = (0..count).map(|_| self.chance.per_mille(500)).collect();
        for from in (0..count).filter(|from| *from != bridge) {
            for to in (0..count).filter(|to| *to != bridge) {
                if left[from] != left[to] {
                    self.net.cut(from, to, true);
                }
            }
        }
    }

    fn flap(&mut self) {
        let Some((host, until)) = self.operator.flapping else {
            return;
        };
        let over = self.now >= until;
        let cut = !over && self.chance.per_mille(600);
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.net.cut(host, other, cut);
            self.net.cut(other, host, cut);
        }
        if over {
            self.operator.flapping = None;
        }
    }
}
