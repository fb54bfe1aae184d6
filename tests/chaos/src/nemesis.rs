//! Who breaks things: three lanes of faults at a time, one for processes, one for the network, one for
//! disks. What is broken is drawn from a seed beforehand; who leads is found out when it is broken.

pub(crate) mod schedule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;

use self::schedule::{Cut, Fault, Lane, Schedule, Step, Who};
use crate::agents::Agents;
use crate::clock;
use crate::failure::Failure;
use crate::network::{Network, Trouble};

/// How often it is looked whether an agent ended by itself.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An agent that ended by itself is started again after this time, as a supervisor would.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// Ends of agents that are written down; further ones are counted.
const ENDS_KEPT: usize = 100;

/// What was done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deeds {
    /// Faults of each kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Agents that ended by themselves, and why.
    pub(crate) ends: Vec<String>,
    pub(crate) ends_total: u64,
    /// Agents that did not leave in time when they were asked to, and were killed.
    pub(crate) stubborn: u64,
}

/// The nemesis of one run.
#[derive(Debug, Clone)]
pub(crate) struct Nemesis {
    agents: Agents,
    network: Arc<Network>,
    deeds: Arc<Mutex<Deeds>>,
    say: fn(&str),
}

impl Nemesis {
    pub(crate) fn new(agents: Agents, network: Network, say: fn(&str)) -> Self {
        Self { agents, network: Arc::new(network), deeds: Arc::default(), say }
    }

    /// Plays the schedule to its end, every fault undone.
    ///
    /// # Errors
    /// When the system refuses to break or to mend something.
    pub(crate) async fn play(&self, schedule: &Schedule) -> Result<Deeds, Failure> {
        let begun = clock::now();
        let mut lanes = JoinSet::new();
        for lane in [Lane::Processes, Lane::Network, Lane::Disks] {
            let steps = schedule.steps.iter().filter(|step| step.lane() == lane);
            let (nemesis, steps) = (self.clone(), steps.cloned().collect());
            lanes.spawn(async move { nemesis.lane(begun, steps).await });
        }
        let watch = tokio::spawn(self.clone().watch());
        let mut outcome = Ok(());
        while let Some(lane) = lanes.join_next().await {
            let lane = lane.unwrap_or_else(|error| Err(Failure::Agents(error.to_string())));
            outcome = outcome.and(lane);
        }
        watch.abort();
        outcome?;
        self.mend().await?;
        Ok(self.with(|deeds| deeds.clone()))
    }

    async fn lane(&self, begun: Duration, steps: Vec<Step>) -> Result<(), Failure> {
        for step in steps {
            let wait = (begun + step.at).saturating_sub(clock::now());
            tokio::time::sleep(wait).await;
            self.with(|deeds| *deeds.faults.entry(step.fault.name()).or_default() += 1);
            (self.say)(&format!("{:6.1} s  {step}", (clock::now() - begun).as_secs_f64()));
            match &step.fault {
                Fault::Kill(who) => self.kill(*who, step.lasts).await?,
                Fault::Pause(who) => self.pause(*who, step.lasts).await,
                Fault::Leave(who) => self.leave(*who, step.lasts).await?,
                Fault::Cut { cut, flaps } => self.cut(cut, *flaps, step.lasts).await?,
                Fault::Loss => self.trouble(Trouble::Loss, step.lasts).await?,
                Fault::Twice => self.trouble(Trouble::Twice, step.lasts).await?,
                Fault::Overtaken => self.trouble(Trouble::Overtaken, step.lasts).await?,
                Fault::Slow(who) => {
                    for agent in self.chosen(*who).await.into_iter().take(1) {
                        self.trouble(Trouble::Slow(agent), step.lasts).await?;
                    }
                }
                Fault::Full(who) => self.full(*who, step.lasts).await?,
            }
        }
        Ok(())
    }

    /// Whom a fault hits.
    async fn chosen(&self, who: Who) -> Vec<usize> {
        let count = self.agents.count();
        match who {
            Who::One(agent) => vec![agent % count],
            Who::Leader { or } => vec![self.agents.leader().await.unwrap_or(or % count)],
            Who::Most { from } => (0..=count / 2).map(|step| (from + step) % count).collect(),
            Who::All => (0..count).collect(),
        }
    }

    async fn kill(&self, who: Who, lasts: Duration) -> Result<(), Failure> {
        let chosen = self.chosen(who).await;
        for agent in &chosen {
            self.agents.agent(*agent).await.kill().await;
        }
        tokio::time::sleep(lasts).await;
        for agent in chosen {
            self.agents.agent(agent).await.ensure_started()?;
        }
        Ok(())
    }

    async fn pause(&self, who: Who, lasts: Duration) {
        let chosen = self.chosen(who).await;
        for agent in &chosen {
            self.agents.agent(*agent).await.signal(Signal::STOP);
        }
        tokio::time::sleep(lasts).await;
        for agent in chosen {
            self.agents.agent(agent).await.signal(Signal::CONT);
        }
    }

    async fn leave(&self, who: Who, lasts: Duration) -> Result<(), Failure> {
        for agent in self.chosen(who).await {
            if !self.agents.agent(agent).await.leave().await {
                self.with(|deeds| deeds.stubborn += 1);
            }
            tokio::time::sleep(lasts).await;
            self.agents.agent(agent).await.ensure_started()?;
        }
        Ok(())
    }

    async fn cut(
        &self,
        cut: &Cut,
        flaps: Option<Duration>,
        lasts: Duration,
    ) -> Result<(), Failure> {
        let leader = match cut {
            Cut::Leader | Cut::LeaderHears | Cut::LeaderSpeaks => self.agents.leader().await,
            Cut::Split { .. } | Cut::Bridge { .. } => None,
        };
        let trouble = Trouble::Cut(cut.pairs(self.agents.count(), leader.unwrap_or(0)));
        let Some(beat) = flaps else { return self.trouble(trouble, lasts).await };
        let until = clock::now() + lasts;
        while clock::now() < until {
            self.trouble(trouble.clone(), beat).await?;
            tokio::time::sleep(beat).await;
        }
        Ok(())
    }

    async fn trouble(&self, trouble: Trouble, lasts: Duration) -> Result<(), Failure> {
        self.network.set(Some(&trouble)).await?;
        tokio::time::sleep(lasts).await;
        self.network.set(None).await
    }

    async fn full(&self, who: Who, lasts: Duration) -> Result<(), Failure> {
        let chosen = self.chosen(who).await;
        for agent in &chosen {
            let mut agent = self.agents.agent(*agent).await;
            agent.full = true;
            agent.disk.fill().await?;
        }
        tokio::time::sleep(lasts).await;
        for agent in chosen {
            let mut agent = self.agents.agent(agent).await;
            agent.disk.free()?;
            agent.full = false;
        }
        Ok(())
    }

    /// Starts agents again that ended by themselves.
    async fn watch(self) {
        loop {
            for at in 0..self.agents.count() {
                // Who is busy with it sees to it.
                let Some(mut agent) = self.agents.idle(at) else { continue };
                if let Some(why) = agent.ended_by_itself() {
                    (self.say)(&format!("          {why}"));
                    self.with(|deeds| {
                        deeds.ends_total += 1;
                        if deeds.ends.len() < ENDS_KEPT {
                            deeds.ends.push(why);
                        }
                    });
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
                if !agent.held_down
                    && let Err(problem) = agent.ensure_started()
                {
                    (self.say)(&format!("          {problem}"));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Everything as it should be.
    async fn mend(&self) -> Result<(), Failure> {
        self.network.set(None).await?;
        for at in 0..self.agents.count() {
            let mut agent = self.agents.agent(at).await;
            agent.disk.free()?;
            agent.full = false;
            agent.signal(Signal::CONT);
            if let Some(why) = agent.ended_by_itself() {
                self.with(|deeds| deeds.ends.push(why));
            }
            agent.ensure_started()?;
        }
        Ok(())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Deeds) -> T) -> T {
        change(&mut self.deeds.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
