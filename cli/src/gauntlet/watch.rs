//! Watches a run: a bar, the figures so far, and what happens to the cluster meanwhile.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::run::RunStatus;
use ringrift_wire::status::Status;

use crate::gauntlet::crosstable;
use crate::output::{self, Failure};

/// How often the view looks.
const POLL: Duration = Duration::from_millis(250);
/// Without a terminal one line is printed for so many looks.
const LOOKS_PER_LINE: u32 = 8;
/// Looks without any answer before the view gives up: a minute and more, since each try waits itself.
const SILENT_LOOKS_MAX: u32 = 240;

/// The view, and what it has seen of the cluster.
struct View {
    bar: Option<ProgressBar>,
    quiet: bool,
    looks: u32,
    leader: Option<String>,
    peers: BTreeMap<String, String>,
}

/// Watches until the run has ended. Agents may come and go meanwhile.
pub(super) async fn to_the_end(
    client: &Client,
    run_id: &str,
    quiet: bool,
) -> Result<RunStatus, Failure> {
    let mut view = View::open(quiet);
    let mut silent = 0;
    loop {
        match client.run(run_id).await {
            Ok(status) => {
                silent = 0;
                view.show(&status);
                if status.phase != "active" {
                    view.close();
                    return Ok(status);
                }
            }
            // An election, or the agent that we asked is gone: the next look asks another.
            Err(error) if passing(&error) && silent < SILENT_LOOKS_MAX => silent += 1,
            Err(error) => return Err(error.into()),
        }
        if let Ok(status) = client.status().await {
            view.notice(&status);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Unanswered { .. } => true,
        ClientError::Refused(problem) => problem.status >= 500,
        ClientError::Foreign { .. } => false,
    }
}

impl View {
    fn open(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = "{bar:28.green/black} {pos}/{len} pairs  {elapsed_precise}  {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("━━ "));
            }
            bar
        });
        Self { bar, quiet, looks: 0, leader: None, peers: BTreeMap::new() }
    }

    fn show(&mut self, status: &RunStatus) {
        let figures: Vec<String> = status
            .matchups
            .iter()
            .map(|matchup| {
                let mark = if matchup.decision.is_some() { " ✓" } else { "" };
                format!("v {} {}{mark}", matchup.contestants[1], crosstable::elo(matchup))
            })
            .collect();
        let figures = figures.join("   ");
        if let Some(bar) = &self.bar {
            bar.set_length(status.total);
            bar.set_position(status.done);
            bar.set_message(figures);
        } else if !self.quiet && self.looks.is_multiple_of(LOOKS_PER_LINE) {
            output::line(&format!("{}/{} pairs   {figures}", status.done, status.total));
        }
        self.looks += 1;
    }

    /// Says who leads and who has come or gone since the last look.
    fn notice(&mut self, status: &Status) {
        if status.leader_id.is_some() && status.leader_id != self.leader {
            let leader = status.leader_id.clone().unwrap_or_default();
            match self.leader.replace(leader.clone()) {
                Some(old) => self.say(&format!("{old} leads no more; {leader} leads")),
                None => self.say(&format!("{leader} leads, {} agents alive", status.alive_peers)),
            }
        }
        for (id, peer) in &status.peers {
            let before = self.peers.insert(id.clone(), peer.state.clone());
            if before.is_some_and(|before| before != peer.state) {
                self.say(&format!("{id} is {}", peer.state));
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.quiet => {}
            None => output::line(text),
        }
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
