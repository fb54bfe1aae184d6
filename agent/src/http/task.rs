//! What a claimer receives as `config`: a submitter's own JSON, or a part of a run written out.

use std::collections::BTreeMap;

use ringrift_core::limits;
use ringrift_core::machine::Machine;
use ringrift_core::queue::item::{Item, Origin, Payload};
use ringrift_core::run::{Contestant, JobSpec, Limit, Play, RunSpec, Task};
use ringrift_wire::pair::{self, PairSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;
use super::failure::Failure;

/// Work type whose items agents run as processes.
const PROCESS: &str = "process";
/// Work type whose items agents play as pairs of games.
const PAIR: &str = "pair";

/// The shape of `config` for a process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    argv: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// Whether agents run items of this type themselves.
pub(crate) fn is_ours(work_type: &str) -> bool {
    matches!(work_type, PROCESS | PAIR)
}

/// Refuses a config that this cluster's own agents could not run. Other work types are for workers
/// of the submitter's own, and so is their config.
pub(crate) fn check(work_type: &str, config: &Value) -> Result<(), Failure> {
    match work_type {
        PROCESS => {
            let Process { argv, env } = body::parse_field("config", config)?;
            let most = limits::TASK_WORDS_MAX;
            if argv.first().is_none_or(String::is_empty) || argv.len() > most {
                let problem = format!("must be a program and its arguments, at most {most} words");
                return Err(Failure::invalid("config.argv", problem));
            }
            if env.len() > most {
                return Err(Failure::invalid(
                    "config.env",
                    format!("must have at most {most} names"),
                ));
            }
            Ok(())
        }
        PAIR => body::parse_field::<PairSpec>("config", config).map(drop),
        _of_the_submitter => Ok(()),
    }
}

/// The config of an item. Null when its run has been forgotten.
pub(crate) fn render(machine: &Machine, item: &Item) -> Value {
    match &item.request.payload {
        // It was JSON when it came in.
        Payload::Opaque(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        Payload::OfArray(element) => {
            let request = machine.array_request(element.array);
            request.map_or(Value::Null, |request| of_array(&request.payload, element.index))
        }
        Payload::OfRun(origin) => {
            machine.run(&origin.run).and_then(|run| part(&run.spec, origin)).unwrap_or(Value::Null)
        }
    }
}

/// The config that all items of an array share, with the index of one of them: as a field, and in
/// the environment of a process.
fn of_array(shared: &Payload, index: u32) -> Value {
    let Payload::Opaque(text) = shared else {
        return Value::Null;
    };
    let mut config = serde_json::from_str(text).unwrap_or(Value::Null);
    if let Some(fields) = config.as_object_mut() {
        if fields.contains_key("argv") {
            let env = fields.entry("env").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(env) = env.as_object_mut() {
                env.insert("RINGRIFT_INDEX".to_owned(), Value::String(index.to_string()));
            }
        } else {
            fields.insert("array_index".to_owned(), Value::from(index));
        }
    }
    config
}

fn part(spec: &RunSpec, origin: &Origin) -> Option<Value> {
    match spec {
        RunSpec::Job(JobSpec { task: Task { argv, env }, .. }) => {
            let mut env = env.clone();
            env.insert("RINGRIFT_RUN".to_owned(), origin.run.to_string());
            env.insert("RINGRIFT_INDEX".to_owned(), origin.index.to_string());
            serde_json::to_value(Process { argv: argv.clone(), env }).ok()
        }
        RunSpec::Gauntlet(_) | RunSpec::Tournament(_) => {
            let contestants = spec.contestants(origin.matchup)?;
            let pair = pair_spec(contestants, spec.play()?, origin.index);
            serde_json::to_value(pair).ok()
        }
    }
}

fn pair_spec(contestants: [&Contestant; 2], play: &Play, index: u32) -> PairSpec {
    let Play { seed, opening_plies, plies_max, reply_timeout, window: _, priority: _, demand: _ } =
        play;
    PairSpec {
        contestants: contestants.map(contestant),
        seed: *seed,
        index,
        opening_plies: *opening_plies,
        plies_max: *plies_max,
        reply_timeout_ms: reply_timeout.0,
    }
}

fn contestant(contestant: &Contestant) -> pair::Contestant {
    let Contestant { name, argv, options, limit } = contestant;
    pair::Contestant {
        name: name.clone(),
        argv: argv.clone(),
        options: options.clone(),
        limit: match limit {
            Limit::Nodes(nodes) => pair::Limit::Nodes(*nodes),
            Limit::Depth(plies) => pair::Limit::Depth(*plies),
            Limit::MoveTime(span) => pair::Limit::MovetimeMs(span.0),
        },
    }
}
