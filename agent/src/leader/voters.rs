//! Voters that died are replaced by learners, and too few are made more: the core decides, this looks
//! and acts.

use std::time::Duration;

use ringrift_core::membership::State;
use ringrift_core::time::Span;
use ringrift_core::voters::{Change, Decision, Look, Picture, Watch, decide};

use crate::clock::Clock;
use crate::consensus::{Consensus, Electorate, MembershipError, Outlook, Standing};
use crate::gossip::{Gossip, Member};
use crate::leader::leads;

/// How often the leader looks: twice in the time within which a member that is well is heard.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Keeps the voters as many and as alive as wanted, while this agent leads. Returns when consensus has
/// stopped.
pub(super) async fn keep_voters(consensus: &Consensus, gossip: &Gossip) {
    let clock = Clock::start();
    while leads(consensus).await {
        let mut watch = Watch::default();
        let mut told = Told::default();
        let leadership = consensus.leadership();
        while leadership.borrow().is_leader {
            if let Some(seen) = consensus.electorate() {
                let now = span(clock.monotonic());
                let picture = picture(consensus, &mut watch, now, &seen, &gossip.members());
                let decision = decide(&consensus.voter_policy().rules, &picture);
                told.tell(&picture, &decision);
                let outlook = Outlook { members: picture.members, decision: decision.clone() };
                consensus.note_outlook(Some(outlook));
                act(consensus, &seen, decision).await;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        consensus.note_outlook(None);
    }
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// What the core decides on.
fn picture(
    consensus: &Consensus,
    watch: &mut Watch,
    now: Span,
    seen: &Electorate,
    gossip: &[Member],
) -> Picture {
    let policy = consensus.voter_policy();
    let lives = |standing: &Standing| {
        let known = gossip.iter().find(|member| member.node_id == standing.member.node_id);
        // Suspicion is not enough: who is suspected may still refute it.
        known.is_some_and(|member| member.state != State::Failed)
    };
    let look = |standing: &Standing| Look {
        raft_id: standing.raft_id,
        node_id: standing.member.node_id.clone(),
        zone: standing.member.zone.clone(),
        votes: standing.votes,
        lives: lives(standing),
        silent_for: standing.silent_for.map(span),
        behind: standing.behind,
    };
    let members = watch.look(&policy.rules, now, seen.standings.iter().map(look).collect());
    let time = consensus.next_moment();
    let (since_change, replaced) = consensus.read(|machine| {
        let facts = machine.members();
        let replaced = facts.replaced().map(|it| (it.retired, it.age(time)));
        (facts.changed().map(|at| time.since(at)), replaced)
    });
    Picture {
        leader: seen.leader,
        voters_wanted: policy.wanted.get(),
        change: seen.change,
        since_change,
        replaced,
        members,
    }
}

async fn act(consensus: &Consensus, seen: &Electorate, decision: Decision) {
    let acted = match decision {
        Decision::Rest | Decision::Wait { .. } => consensus.correct_own_address(seen).await,
        Decision::Replace { dead, by } => consensus.replace_voter(seen, dead, by).await,
        Decision::Promote { learner } => consensus.promote(seen, learner).await,
        Decision::Finish => consensus.finish_change(seen).await,
    };
    match acted {
        Ok(()) => {}
        // The next look sees the other change.
        Err(MembershipError::Changed) => tracing::debug!("the members were changed meanwhile"),
        Err(error) => tracing::warn!(%error, "the voters are not changed"),
    }
}

/// What was logged last: each state is told once, not at every look.
#[derive(Default)]
struct Told {
    last: Option<(Option<String>, &'static str)>,
}

impl Told {
    fn tell(&mut self, picture: &Picture, decision: &Decision) {
        let name = |raft_id: u64| {
            let member = picture.members.iter().find(|member| member.raft_id == raft_id);
            member.map_or_else(|| format!("{raft_id:016x}"), |member| member.node_id.to_string())
        };
        let (subject, word) = match decision {
            Decision::Rest => (None, "rest"),
            Decision::Wait { dead, obstacle } => (Some(dead.to_string()), obstacle.word()),
            Decision::Replace { dead, .. } => (Some(name(*dead)), "replace"),
            Decision::Promote { learner } => (Some(name(*learner)), "promote"),
            Decision::Finish => (None, "finish"),
        };
        let now = Some((subject, word));
        if self.last == now {
            return;
        }
        let was_rest = self.last.as_ref().is_none_or(|(_, word)| *word == "rest");
        match decision {
            Decision::Rest if was_rest => {}
            Decision::Rest => tracing::info!("the voters are as they should be"),
            Decision::Wait { dead, obstacle } => {
                tracing::info!(voter = %dead, waits_for = word, %obstacle, "a dead voter is not replaced yet");
            }
            Decision::Replace { dead, by } => {
                tracing::info!(dead = name(*dead), by = name(*by), "replacing a dead voter");
            }
            Decision::Promote { learner } => {
                tracing::info!(learner = name(*learner), "a learner gets a vote");
            }
            Decision::Finish if picture.change == Change::Halfway => {
                tracing::info!("finishing a change of members that was left half done");
            }
            Decision::Finish => {}
        }
        self.last = now;
    }
}
