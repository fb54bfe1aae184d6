//! One run: agents, load, faults, healing, the end of all work, and the check.

use std::path::Path;
use std::time::Duration;

use ringrift_tests::agents::Binaries;

use crate::agents::Agents;
use crate::args::Args;
use crate::checker::{self, ends};
use crate::clock;
use crate::failure::Failure;
use crate::history::{self, Call};
use crate::load::{self, Load};
use crate::nemesis::Nemesis;
use crate::nemesis::schedule::Schedule;
use crate::network::Network;
use crate::report::{self, Report};

/// The agents find each other in this time.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Behind the last fault they agree again in this time.
const HEAL_LIMIT: Duration = Duration::from_secs(60);
/// The load goes on so long behind the last fault, undisturbed.
const QUIET: Duration = Duration::from_secs(5);
/// What is there then has ended after this time: leases end, retries wait, delays pass.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
/// Voters of agents that do not know the setting.
const VOTERS_FIXED: usize = 3;

/// Makes a run, inside of the enclosure, and reports it. Answers whether everything held.
///
/// # Errors
/// When the run cannot be made.
pub(crate) async fn inside(args: Args, seed: u64) -> Result<bool, Failure> {
    let Args { agents, voters, minutes, rate, json, dir, bin_dir, .. } = args;
    let count = agents.first().copied().map_or(VOTERS_FIXED, usize::from);
    let voters = voters.map_or(count, usize::from).min(count);
    let say: fn(&str) = if json { crate::complain } else { crate::say };
    let binaries = Binaries::locate(bin_dir).map_err(|error| Failure::Agents(error.to_string()))?;
    let length = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::from_secs(600));
    say(&format!("{count} agents, seed {seed}, {minutes} minutes of faults; the same again:"));
    say(&format!(
        "  make chaos CHAOS=\"--agents {count} --seed {seed} --minutes {minutes} --rate {rate}\""
    ));

    let network = Network::make(count).await?;
    let agents = Agents::start(&binaries, &dir, count, voters).await?;
    let voters = settle(&agents, voters, say).await?;
    let load = Load::start(&agents.addresses(), rate, seed).map_err(Failure::Agents)?;
    let schedule = Schedule::draw(seed, count, length);
    let deeds = Nemesis::new(agents.clone(), network, say).play(&schedule).await?;

    let mut report = Report::new(count, voters, seed, minutes);
    let healed = clock::micros();
    report.note(agents.agree(voters, HEAL_LIMIT).await.map_err(|error| error.to_string()));
    report.agreed_ms = (clock::micros() - healed) / 1_000;
    tokio::time::sleep(QUIET).await;
    say("          everything is mended, the work is brought to its end");
    report.note(load.drain(DRAIN_LIMIT).await);
    let recorder = load.stop().await;
    let mut history = recorder.take();
    let (open, ended) = ends::standing(&history);
    report.note(load::look_at(&agents.addresses(), &recorder, &open, &ended).await);
    match agents.compare(HEAL_LIMIT).await {
        Ok(index) => report.same_state_at = Some(index),
        Err(problem) => report.note(Err(problem.to_string())),
    }
    history.extend(recorder.take());
    report.faults(deeds);
    report.history(&history, healed);
    report.verdict = checker::check(&history);
    agents.end().await;
    conclude(&report, &history, &dir, say)?;
    if json {
        crate::say(&report.json());
    }
    Ok(report.holds())
}

/// Waits for a leader and all voters. Agents that do not know the setting have three.
async fn settle(agents: &Agents, voters: usize, say: fn(&str)) -> Result<usize, Failure> {
    match agents.agree(voters, SETTLE_LIMIT).await {
        Ok(()) => Ok(voters),
        Err(problem) if voters <= VOTERS_FIXED => Err(problem),
        Err(_) => {
            agents.agree(VOTERS_FIXED, SETTLE_LIMIT).await?;
            say(&format!("  these agents have {VOTERS_FIXED} voters at most, the rest learn"));
            Ok(VOTERS_FIXED)
        }
    }
}

fn conclude(report: &Report, history: &[Call], dir: &Path, say: fn(&str)) -> Result<(), Failure> {
    say(&report::sentences(report));
    let path = dir.join("history.jsonl");
    history::write(history, &path).map_err(Failure::create(&path))?;
    if !report.holds() {
        say(&format!("history and logs are in {}", dir.display()));
    }
    Ok(())
}
