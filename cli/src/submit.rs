//! `ringrift submit`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use ringrift_wire::client::Client;
use ringrift_wire::run::{JobSpec, RunSpec, RunStatus, Submit, default_queue};
use ringrift_wire::work::Resources;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::args;
use crate::output::{self, Failure};

/// The run failed, or was cancelled.
pub(crate) const EXIT_RUN_FAILED: u8 = 4;
/// How often a waiting command looks.
const POLL: Duration = Duration::from_millis(250);
/// Input files are specs, not data.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A run in a file: its id and its queue may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunFile {
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    queue: Option<String>,
    spec: RunSpec,
}

pub(crate) async fn run(
    client: &Client,
    args: args::Submit,
    json: bool,
) -> Result<ExitCode, Failure> {
    let wait = args.wait;
    let submit = match &args.file {
        Some(path) => {
            let mut file: RunFile = read(path)?;
            let asked = resources_of(&mut file.spec);
            *asked = args.resources.over(*asked);
            let run_id = args.run_id.or(file.run_id);
            Submit {
                run_id: run_id.unwrap_or_else(|| fresh_id("run")),
                queue: args.queue.or(file.queue).unwrap_or_else(default_queue),
                spec: file.spec,
            }
        }
        None => Submit {
            run_id: args.run_id.clone().unwrap_or_else(|| fresh_id("job")),
            queue: args.queue.clone().unwrap_or_else(default_queue),
            spec: RunSpec::Job(job(args)),
        },
    };
    let submitted = client.submit(&submit).await?;
    if !wait {
        if json {
            output::json(&submitted)?;
        } else {
            output::line(&format!("run {} {}", submitted.run_id, submitted.status));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let status = wait_for_end(client, &submitted.run_id).await?;
    if json {
        output::json(&status)?;
    } else {
        output::line(&format!("run {} {}: {}", status.run_id, status.phase, status.message));
    }
    Ok(exit_code(&status))
}

fn resources_of(spec: &mut RunSpec) -> &mut Resources {
    match spec {
        RunSpec::Job(spec) => &mut spec.resources,
        RunSpec::Gauntlet(spec) => &mut spec.resources,
        RunSpec::Tournament(spec) => &mut spec.resources,
    }
}

fn job(args: args::Submit) -> JobSpec {
    JobSpec {
        argv: args.argv,
        env: args::map(args.env),
        completions: args.count,
        parallelism: args.parallelism,
        max_attempts: 3,
        timeout_seconds: 3_600,
        priority: 50,
        labels: args::map(args.labels),
        resources: args.resources.over(Resources::default()),
    }
}

/// The exit status that tells how a run ended.
pub(crate) fn exit_code(status: &RunStatus) -> ExitCode {
    if status.phase == "succeeded" { ExitCode::SUCCESS } else { ExitCode::from(EXIT_RUN_FAILED) }
}

async fn wait_for_end(client: &Client, run_id: &str) -> Result<RunStatus, Failure> {
    loop {
        let status = client.run(run_id).await?;
        if status.phase != "active" {
            return Ok(status);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Reads YAML, of which JSON is a part, from a file or from standard input.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let refuse = |cause: String| Failure::usage(format!("cannot read {}: {cause}", path.display()));
    let mut text = String::new();
    let taken = if path == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    let bytes = taken.map_err(|error| refuse(error.to_string()))?;
    if u64::try_from(bytes).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(refuse(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    serde_saphyr::from_str(&text).map_err(|error| refuse(error.to_string()))
}

/// An id that nobody has used: the kind and the time in milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "an id for a person's submission; nothing depends on it"
)]
pub(crate) fn fresh_id(kind: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{kind}-{}", now.as_millis())
}

#[cfg(test)]
mod tests {
    use ringrift_wire::pair::Limit;

    use super::*;

    #[test]
    fn a_gauntlet_is_read_from_yaml() {
        let text = "
run_id: nightly
queue: research
spec:
  gauntlet:
    candidate: {name: new, argv: [own], limit: {nodes: 800}}
    baselines:
      - {name: old, argv: [own], limit: {nodes: 400}}
    stop: {pairs_min: 10, pairs_max: 50}
";
        let file: RunFile = serde_saphyr::from_str(text).unwrap();
        assert_eq!(file.run_id.as_deref(), Some("nightly"));
        assert_eq!(file.queue.as_deref(), Some("research"));
        let RunSpec::Gauntlet(gauntlet) = file.spec else { panic!("a gauntlet was written") };
        assert_eq!(gauntlet.candidate.limit, Limit::Nodes(800));
        assert_eq!((gauntlet.stop.pairs_min, gauntlet.stop.alpha_ppm), (10, 50_000));
    }

    #[test]
    fn flags_stand_in_for_what_the_file_reserves() {
        let text = "
spec:
  tournament:
    contestants: []
    resources: {gpus: 0.5, memory_mib: 64}
";
        let mut file: RunFile = serde_saphyr::from_str(text).unwrap();
        let asked = resources_of(&mut file.spec);
        let flags = args::Resources {
            cpu: Some(2.0),
            memory_mib: None,
            gpus: Some(1.0),
            disk_free_mib: None,
        };
        *asked = flags.over(*asked);
        assert_eq!(*asked, Resources { cpu: 2.0, memory_mib: 64, gpus: 1.0, disk_free_mib: 0 });
    }

    #[test]
    fn a_typing_error_is_not_taken_for_a_default() {
        let text = "{spec: {job: {argv: [x], completion: 3}}}";
        let error = serde_saphyr::from_str::<RunFile>(text).unwrap_err().to_string();
        assert!(error.contains("completion"), "{error}");
    }
}
