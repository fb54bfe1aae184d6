//! `ringrift gauntlet run`: from the submission to the verdict.

pub(crate) mod crosstable;
mod watch;

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::run::{GauntletSpec, Play, RunSpec, Stop, Submit};
use ringrift_wire::work::Resources;

use crate::args::GauntletRun;
use crate::output::{self, Failure};
use crate::submit;

/// The verdict is another one than `--expect` named.
const EXIT_OTHER_VERDICT: u8 = 5;

pub(crate) async fn run(
    client: &Client,
    args: GauntletRun,
    json: bool,
) -> Result<ExitCode, Failure> {
    let run_id = args.run_id.clone().unwrap_or_else(|| submit::fresh_id("gauntlet"));
    let (detach, expect) = (args.detach, args.expect.clone());
    let queue = args.queue.clone();
    let submit = Submit { run_id: run_id.clone(), queue, spec: RunSpec::Gauntlet(spec(args)?) };
    let submitted = client.submit(&submit).await?;
    if detach {
        if json {
            output::json(&submitted)?;
        } else {
            output::line(&format!("run {} {}", submitted.run_id, submitted.status));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let status = watch::to_the_end(client, &run_id, json).await?;
    if json {
        output::json(&status)?;
    } else {
        crosstable::show(&status);
    }
    match (&status.verdict, expect) {
        (Some(verdict), Some(expected)) if *verdict != expected => Ok(output::fail(
            &format!("the verdict is {verdict}, not {expected}"),
            EXIT_OTHER_VERDICT,
        )),
        (Some(_), _) => Ok(submit::exit_code(&status)),
        (None, _) => Ok(output::fail(
            &format!("run {run_id} {} without a verdict: {}", status.phase, status.message),
            submit::EXIT_RUN_FAILED,
        )),
    }
}

fn spec(args: GauntletRun) -> Result<GauntletSpec, Failure> {
    let mut spec = match (&args.file, args.candidate) {
        (Some(path), _) => submit::read::<GauntletSpec>(path)?,
        (None, Some(candidate)) => GauntletSpec {
            candidate,
            baselines: args.baselines,
            play: Play::default(),
            stop: Stop::default(),
            resources: Resources::default(),
        },
        (None, None) => {
            return Err(Failure::usage("give --file, or --candidate and --baseline".to_owned()));
        }
    };
    let milli = |elo: i32| {
        elo.checked_mul(1_000).ok_or_else(|| Failure::usage(format!("{elo} Elo is out of range")))
    };
    spec.resources = args.resources.over(spec.resources);
    spec.play.seed = args.seed.unwrap_or(spec.play.seed);
    spec.stop.pairs_min = args.pairs_min.unwrap_or(spec.stop.pairs_min);
    spec.stop.pairs_max = args.pairs_max.unwrap_or(spec.stop.pairs_max);
    spec.stop.elo0_milli = args.elo0.map_or(Ok(spec.stop.elo0_milli), milli)?;
    spec.stop.elo1_milli = args.elo1.map_or(Ok(spec.stop.elo1_milli), milli)?;
    Ok(spec)
}
