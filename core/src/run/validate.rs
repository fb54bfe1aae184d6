//! Whether a spec can be run. The edge asks once; everything behind it trusts the answer.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;
use core::ops::RangeInclusive;

use crate::limits;
use crate::queue::item::Needs;
use crate::queue::resources::{DEVICE_MILLI, Demand};
use crate::run::spec::{Contestant, JobSpec, Limit, Play, RunSpec, Sprt, Stop};
use crate::time::Span;

#[cfg(test)]
mod tests;

/// The first fault of a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct SpecError {
    /// Path of the field inside the Job, Gauntlet or Tournament, such as `baselines[1].name`.
    /// Fields are spelt as the HTTP interface spells them, for its callers are the readers.
    pub field: String,
    /// What it must be, with the refused value.
    pub problem: String,
}

type Checked = Result<(), SpecError>;

impl RunSpec {
    /// Refuses what no planner or runner could carry out.
    ///
    /// # Errors
    /// The first fault, with its field.
    pub fn validate(&self) -> Result<(), SpecError> {
        match self {
            Self::Job(spec) => job(spec),
            Self::Gauntlet(spec) => {
                within("baselines", spec.baselines.len(), 1..=limits::CONTESTANTS_MAX - 1)?;
                let baselines = spec.baselines.iter().enumerate();
                let baselines = baselines.map(|(i, one)| (format!("baselines[{i}]"), one));
                let all = core::iter::once(("candidate".to_string(), &spec.candidate));
                contestants(all.chain(baselines), &spec.play)?;
                play(&spec.play)?;
                stop(&spec.stop)?;
                in_all("stop.pairs_max", self, &spec.play)
            }
            Self::Tournament(spec) => {
                within("contestants", spec.contestants.len(), 2..=limits::CONTESTANTS_MAX)?;
                let all = spec.contestants.iter().enumerate();
                contestants(all.map(|(i, one)| (format!("contestants[{i}]"), one)), &spec.play)?;
                play(&spec.play)?;
                within("pairs", spec.pairs, 1..=limits::RUN_ITEMS_MAX)?;
                in_all("pairs", self, &spec.play)
            }
        }
    }
}

fn job(spec: &JobSpec) -> Checked {
    let JobSpec {
        task,
        completions,
        parallelism,
        attempts_max,
        attempt_timeout,
        priority,
        needs: wanted,
    } = spec;
    program("argv", &task.argv)?;
    within("env", task.env.len(), 0..=limits::TASK_WORDS_MAX)?;
    for (name, value) in &task.env {
        refuse_if(name.is_empty() || name.contains(['=', '\0']), "env", || {
            format!("has the name {}, but names are not empty and have no '='", quoted(name))
        })?;
        refuse_if(value.contains('\0'), "env", || format!("has a zero byte in {}", quoted(name)))?;
    }
    let bytes = words_bytes(&task.argv) + entries_bytes(&task.env);
    at_most("argv", "bytes with env", bytes, limits::PAYLOAD_BYTES_MAX)?;
    within("completions", *completions, 1..=limits::RUN_ITEMS_MAX)?;
    within("parallelism", *parallelism, 1..=limits::RUN_OUTSTANDING_MAX)?;
    within("max_attempts", *attempts_max, 1..=limits::ATTEMPTS_MAX)?;
    let (least, most) = (Span(1), limits::ATTEMPT_TIMEOUT_MAX);
    refuse_if(!(least..=most).contains(attempt_timeout), "timeout_seconds", || {
        format!("must be above 0 and at most {most}, but is {attempt_timeout}")
    })?;
    within("priority", *priority, 0..=limits::PRIORITY_MAX)?;
    needs(wanted)
}

fn needs(needs: &Needs) -> Checked {
    let Needs { capabilities, labels, demand: asked } = needs;
    within("capabilities", capabilities.len(), 0..=limits::NEEDS_MAX)?;
    within("labels", labels.len(), 0..=limits::NEEDS_MAX)?;
    let words = capabilities.iter().chain(labels.keys()).chain(labels.values());
    for word in words {
        at_most("labels", "bytes in one word", word.len(), limits::NAME_BYTES_MAX)?;
    }
    demand(asked)
}

/// As for items: what no node could ever place is refused, what is merely large waits.
fn demand(demand: &Demand) -> Checked {
    let Demand { cpu_milli: _, memory_mib: _, gpu_milli, disk_floor_mib: _ } = demand;
    refuse_if(!demand.is_placeable(), "resources.gpus", || {
        let device = u32::from(DEVICE_MILLI);
        let (whole, part) = (gpu_milli / device, gpu_milli % device);
        format!("must be a part of one device or whole devices, but is {whole}.{part:03}")
    })
}

/// Checks each contestant, and that no two share a name.
fn contestants<'a>(all: impl Iterator<Item = (String, &'a Contestant)>, play: &Play) -> Checked {
    let mut names = BTreeSet::new();
    let mut bytes = 0;
    for (field, one) in all {
        contestant(&field, one, play)?;
        let taken = !names.insert(one.name.as_str());
        refuse_if(taken, &format!("{field}.name"), || {
            format!("must be unique, but {} is taken", quoted(&one.name))
        })?;
        bytes += one.name.len() + words_bytes(&one.argv) + entries_bytes(&one.options);
        let noun = "bytes with the contestants before it";
        at_most(&field, noun, bytes, limits::PAYLOAD_BYTES_MAX)?;
    }
    Ok(())
}

fn contestant(field: &str, one: &Contestant, play: &Play) -> Checked {
    let Contestant { name, argv, options, limit } = one;
    let name_field = format!("{field}.name");
    refuse_if(name.trim().is_empty() || has_control(name), &name_field, || {
        format!("must be a plain, visible text, but is {}", quoted(name))
    })?;
    at_most(&name_field, "bytes", name.len(), limits::NAME_BYTES_MAX)?;
    program(&format!("{field}.argv"), argv)?;
    let options_field = format!("{field}.options");
    within(&options_field, options.len(), 0..=limits::TASK_WORDS_MAX)?;
    for (option, value) in options {
        // Engines are told their options line by line: a line break would be a command of its own.
        refuse_if(option.trim().is_empty() || has_control(option), &options_field, || {
            format!("must have plain, visible names, but has {}", quoted(option))
        })?;
        refuse_if(has_control(value), &options_field, || {
            format!("must have plain values, but {} has control characters", quoted(option))
        })?;
    }
    let field = format!("{field}.limit");
    match limit {
        Limit::Nodes(0) | Limit::Depth(0) | Limit::MoveTime(Span(0)) => {
            Err(fault(&field, "must be above 0".to_string()))
        }
        Limit::MoveTime(time) => refuse_if(*time >= play.reply_timeout, &field, || {
            format!("must be below the reply timeout of {}, but is {time}", play.reply_timeout)
        }),
        Limit::Nodes(_) | Limit::Depth(_) => Ok(()),
    }
}

fn program(field: &str, argv: &[String]) -> Checked {
    within(field, argv.len(), 1..=limits::TASK_WORDS_MAX)?;
    let nameless = argv.first().is_none_or(|program| program.trim().is_empty());
    refuse_if(nameless, field, || "must begin with a program".to_string())?;
    refuse_if(argv.iter().any(|word| word.contains('\0')), field, || {
        "must not contain a zero byte".to_string()
    })
}

fn play(play: &Play) -> Checked {
    let Play { seed: _, opening_plies, plies_max, reply_timeout, window, priority, demand: asked } =
        play;
    within("play.opening_plies", *opening_plies, 0..=limits::OPENING_PLIES_MAX)?;
    within("play.plies_max", *plies_max, 1..=limits::PLIES_MAX)?;
    let silent = *reply_timeout == Span(0) || *reply_timeout > limits::PAIR_TIMEOUT_MAX;
    refuse_if(silent, "play.reply_timeout_seconds", || {
        format!("must be above 0 and at most {}, but is {reply_timeout}", limits::PAIR_TIMEOUT_MAX)
    })?;
    within("play.window", *window, 1..=limits::RUN_OUTSTANDING_MAX)?;
    within("play.priority", *priority, 0..=limits::PRIORITY_MAX)?;
    demand(asked)
}

fn stop(stop: &Stop) -> Checked {
    let Stop { pairs_min, pairs_max, sprt } = stop;
    within("stop.pairs_max", *pairs_max, 1..=limits::RUN_ITEMS_MAX)?;
    within("stop.pairs_min", *pairs_min, 0..=*pairs_max)?;
    let Sprt { model: _, elo0_milli, elo1_milli, alpha_ppm, beta_ppm } = sprt;
    let elo = -limits::ELO_MILLI_MAX..=limits::ELO_MILLI_MAX;
    within("stop.elo0_milli", *elo0_milli, elo.clone())?;
    within("stop.elo1_milli", *elo1_milli, elo)?;
    refuse_if(elo0_milli >= elo1_milli, "stop.elo1_milli", || {
        format!("must be above elo0_milli ({elo0_milli}), but is {elo1_milli}")
    })?;
    within("stop.alpha_ppm", *alpha_ppm, 1..=ERROR_PPM_MAX)?;
    within("stop.beta_ppm", *beta_ppm, 1..=ERROR_PPM_MAX)
}

/// A test that errs in every second case, or more often, is a coin.
const ERROR_PPM_MAX: u32 = 499_999;

/// Checks what all match-ups together ask for.
fn in_all(pairs_field: &str, spec: &RunSpec, play: &Play) -> Checked {
    let matchups = u64::try_from(spec.matchups()).unwrap_or(u64::MAX).max(1);
    let share = |all: u32| u64::from(all) / matchups;
    let among = |field: &str, each: u32, all: u32| {
        refuse_if(u64::from(each) > share(all), field, || {
            let share = share(all);
            format!("must be at most {share} with {matchups} match-ups, but is {each}")
        })
    };
    among(pairs_field, spec.pairs_max(), limits::RUN_ITEMS_MAX)?;
    among("play.window", play.window, limits::RUN_OUTSTANDING_MAX)
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn words_bytes(words: &[String]) -> usize {
    words.iter().map(String::len).sum()
}

fn entries_bytes(entries: &BTreeMap<String, String>) -> usize {
    entries.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn within<T: PartialOrd + Display>(field: &str, value: T, range: RangeInclusive<T>) -> Checked {
    refuse_if(!range.contains(&value), field, || {
        let (low, high) = (range.start(), range.end());
        format!("must be {low} to {high}, but is {value}")
    })
}

fn at_most(field: &str, noun: &str, value: usize, most: usize) -> Checked {
    refuse_if(value > most, field, || format!("must have at most {most} {noun}, but has {value}"))
}

fn refuse_if(faulty: bool, field: &str, problem: impl FnOnce() -> String) -> Checked {
    if faulty { Err(fault(field, problem())) } else { Ok(()) }
}

fn fault(field: &str, problem: String) -> SpecError {
    SpecError { field: field.to_string(), problem }
}

/// A refused text, cut to a length that fits a message.
fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 64;
    format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>())
}
