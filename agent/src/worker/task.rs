//! One item: from its config to an attempt, from the attempt's end to a report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringrift_core::id::WorkId;
use ringrift_core::limits;
use ringrift_wire::pair::PairReport;
use ringrift_wire::work;
use serde::Deserialize;

use super::WorkerConfig;
use super::lease::{Cause, Holding};
use super::report::Reporter;
use super::spool::Spool;
use crate::process::leash::INPUT_BYTES_MAX;
use crate::process::{self, Attempt, Ending, Finished};

/// Work type of a program with arguments.
const PROCESS: &str = "process";
/// Work type of two games.
const PAIR: &str = "pair";
/// The game runner's exit code for a pair that it cannot understand.
const PAIR_SPEC_REFUSED: i32 = 2;

/// How this node runs each kind of item.
#[derive(Debug)]
pub(super) struct Kinds {
    leash: PathBuf,
    match_program: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    spool: Spool,
}

/// `config` of a process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessConfig {
    argv: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Kinds {
    pub(super) fn new(
        config: &WorkerConfig,
        environment: BTreeMap<String, String>,
        spool: &Spool,
    ) -> Self {
        let path = environment.get("PATH").map_or("", String::as_str);
        let match_program = find_program(&config.match_program, path);
        if match_program.is_none() {
            let program = config.match_program.display();
            tracing::warn!(%program, "the game runner was not found, this node takes no pairs");
        }
        let leash = config.leash_program.clone();
        Self { leash, match_program, environment, spool: spool.clone() }
    }

    /// What this node can run.
    pub(super) fn work_types(&self) -> BTreeSet<String> {
        let pair = self.match_program.as_ref().map(|_found| PAIR);
        [Some(PROCESS), pair].into_iter().flatten().map(ToOwned::to_owned).collect()
    }

    /// The attempt that an item asks for; an error names the field at fault.
    fn attempt(
        &self,
        work_id: WorkId,
        token: &str,
        item: &work::WorkItem,
        now: Duration,
    ) -> Result<Attempt, String> {
        let timeout = Duration::try_from_secs_f64(item.timeout_seconds)
            .map_err(|error| format!("timeout_seconds: {error}"))?;
        let (argv, asked, stdin) = match (item.work_type.as_str(), &self.match_program) {
            (PROCESS, _) => {
                let ProcessConfig { argv, env } = process_config(&item.config)?;
                (argv, env, Vec::new())
            }
            (PAIR, Some(program)) => {
                let stdin =
                    serde_json::to_vec(&item.config).map_err(|error| format!("config: {error}"))?;
                if u64::try_from(stdin.len()).is_ok_and(|length| length > INPUT_BYTES_MAX) {
                    return Err(format!("config: longer than {INPUT_BYTES_MAX} bytes"));
                }
                let argv = vec![program.to_string_lossy().into_owned(), "pair".to_owned()];
                (argv, BTreeMap::new(), stdin)
            }
            (other, _) => {
                return Err(format!("work_type: {other:?} is nothing that this node runs"));
            }
        };
        let mut env = self.environment.clone();
        env.extend(asked);
        env.insert("RINGRIFT_WORK_ID".to_owned(), work_id.to_string());
        env.insert("RINGRIFT_TOKEN".to_owned(), token.to_owned());
        if !item.devices.is_empty() {
            // The claim has reserved these; whatever else is on the node belongs to others.
            let devices: Vec<_> = item.devices.iter().map(|it| it.device.to_string()).collect();
            env.insert("CUDA_VISIBLE_DEVICES".to_owned(), devices.join(","));
        }
        Ok(Attempt {
            leash: self.leash.clone(),
            argv,
            env,
            directory: self.spool.attempt_directory(work_id),
            log: self.spool.log_path(work_id),
            stdin,
            timeout,
            begun: now,
        })
    }
}

fn process_config(config: &serde_json::Value) -> Result<ProcessConfig, String> {
    let parsed: ProcessConfig = serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "config".to_owned() } else { format!("config.{path}") };
        format!("{field}: {}", error.into_inner())
    })?;
    let words_max = limits::TASK_WORDS_MAX;
    if parsed.argv.first().is_none_or(String::is_empty) {
        return Err("config.argv: must begin with a program".to_owned());
    }
    if parsed.argv.len() > words_max || parsed.env.len() > words_max {
        return Err(format!("config: argv and env may have {words_max} entries each"));
    }
    if let Some(at) = parsed.argv.iter().position(|word| word.contains('\0')) {
        return Err(format!("config.argv[{at}]: must not hold a NUL"));
    }
    let is_bad = |(name, value): &(&String, &String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    if let Some((name, _)) = parsed.env.iter().find(is_bad) {
        return Err(format!("config.env[{name:?}]: is not a valid variable"));
    }
    Ok(parsed)
}

/// Carries an item out: begins, runs, reports. Returns when nothing is left to do for it here.
pub(super) async fn carry_out(
    work_id: WorkId,
    item: work::WorkItem,
    holding: Holding,
    kinds: &Kinds,
    reporter: &Reporter,
) {
    let attempt = match kinds.attempt(work_id, holding.token(), &item, reporter.now()) {
        Ok(attempt) => attempt,
        Err(fault) => return reporter.fail(work_id, &holding, &fault, false).await,
    };
    // The attempt begins only when the cluster knows that it does: what was never begun is not
    // counted against the item.
    let has_begun = tokio::select! {
        has_begun = reporter.start(work_id, &holding) => has_begun,
        cause = holding.stopped() => return give_up(work_id, &holding, cause, reporter).await,
    };
    if !has_begun {
        return;
    }
    tracing::info!(%work_id, work_type = item.work_type, "attempt begins");
    let stop = async { reporter.timing().grace(holding.stopped().await) };
    let deadline = holding.deadline(reporter.timing());
    let finished = process::run(&attempt, deadline, stop).await;
    tracing::info!(%work_id, ending = ?finished.ending, "attempt has ended");
    settle(work_id, &item, &holding, finished, reporter).await;
}

async fn settle(
    work_id: WorkId,
    item: &work::WorkItem,
    holding: &Holding,
    finished: Finished,
    reporter: &Reporter,
) {
    let is_pair = item.work_type == PAIR;
    let retry = match finished.ending {
        Ending::Exited { code: 0 } => {
            let result = if is_pair { pair_report(&finished) } else { Ok(finished.result()) };
            match result {
                Ok(result) => return reporter.complete(work_id, holding, result).await,
                Err(fault) => return reporter.fail(work_id, holding, &fault, true).await,
            }
        }
        Ending::Stopped => {
            let cause = holding.cause().unwrap_or(Cause::Lost);
            return give_up(work_id, holding, cause, reporter).await;
        }
        Ending::Exited { code } => !(is_pair && code == PAIR_SPEC_REFUSED),
        Ending::Signalled { .. }
        | Ending::TimedOut { .. }
        | Ending::LeaseEnded
        | Ending::NotStarted { .. }
        | Ending::Lost => true,
    };
    reporter.fail(work_id, holding, &finished.error(), retry).await;
}

/// Only an agent that ends has something to say: the item can go elsewhere at once.
async fn give_up(work_id: WorkId, holding: &Holding, cause: Cause, reporter: &Reporter) {
    match cause {
        // Nobody failed: another node takes it at once, and a restart uses up no attempt.
        Cause::Shutdown => reporter.release(work_id, holding.token(), holding.until()).await,
        Cause::LeaseEnds | Cause::Lost => {}
    }
}

fn pair_report(finished: &Finished) -> Result<serde_json::Value, String> {
    let object = finished.object().ok_or("the game runner printed no report")?;
    match serde_path_to_error::deserialize::<_, PairReport>(&object) {
        Ok(_well_formed) => Ok(object),
        Err(error) => Err(format!("the game runner's report is not one: {error}")),
    }
}

/// A program as an absolute path: a name is looked for in `path`, anything else is taken as it is.
fn find_program(program: &Path, path: &str) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if program.components().count() > 1 {
        vec![program.to_owned()]
    } else {
        std::env::split_paths(path).map(|directory| directory.join(program)).collect()
    };
    let found = candidates.into_iter().find(|candidate| candidate.is_file())?;
    std::path::absolute(found).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bad_config_names_its_field() {
        let nul = json!({ "argv": ["sh", "a\0b"] });
        for (config, expected) in [
            (json!({}), "config: missing field `argv`"),
            (json!({ "argv": [] }), "config.argv: must begin with a program"),
            (json!({ "argv": [""] }), "config.argv: must begin with a program"),
            (json!({ "argv": "ls" }), "config.argv: invalid type"),
            (json!({ "argv": ["ls", 3] }), "config.argv[1]: invalid type"),
            (json!({ "argv": ["ls"], "cwd": "/" }), "config.cwd: unknown field `cwd`"),
            (json!({ "argv": ["ls"], "env": { "A": 1 } }), "config.env.A: invalid type"),
            (json!({ "argv": ["ls"], "env": { "A=B": "" } }), "config.env[\"A=B\"]: is not"),
            (json!([1]), "config"),
            (nul, "config.argv[1]: must not hold a NUL"),
            (json!({ "argv": vec!["x"; limits::TASK_WORDS_MAX + 1] }), "config: argv and env"),
        ] {
            let error = process_config(&config).unwrap_err();
            assert!(error.starts_with(expected), "{error:?} should begin with {expected:?}");
        }
        let good = json!({ "argv": ["ls", "-l"], "env": { "A": "=b" } });
        assert_eq!(process_config(&good).unwrap().argv, ["ls", "-l"]);
    }

    #[test]
    fn a_name_is_found_in_path_and_a_path_is_taken_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("runner");
        std::fs::write(&program, "").unwrap();
        let path = format!("/nonexistent:{}", directory.path().display());
        assert_eq!(find_program(Path::new("runner"), &path), Some(program.clone()));
        assert_eq!(find_program(&program, ""), Some(program));
        assert_eq!(find_program(Path::new("runner"), "/nonexistent"), None);
        assert_eq!(find_program(Path::new("/nonexistent/runner"), &path), None);
    }
}
