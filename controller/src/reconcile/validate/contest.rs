//! What Gauntlet and Tournament share.

use ringrift_crds::contest::{Contestant, Play};
use ringrift_wire::pair;
use ringrift_wire::run;

use super::{Invalid, unsigned};

pub(super) fn contestant(field: &str, given: &Contestant) -> Result<pair::Contestant, Invalid> {
    let Contestant { name, command, options, nodes, depth, move_time_milliseconds } = given;
    let limit = match (nodes, depth, move_time_milliseconds) {
        (Some(nodes), None, None) => {
            pair::Limit::Nodes(unsigned(&format!("{field}.nodes"), *nodes)?)
        }
        (None, Some(depth), None) => {
            pair::Limit::Depth(unsigned(&format!("{field}.depth"), *depth)?)
        }
        (None, None, Some(milliseconds)) => pair::Limit::MovetimeMs(unsigned(
            &format!("{field}.moveTimeMilliseconds"),
            *milliseconds,
        )?),
        (nodes, depth, time) => {
            return Err(Invalid {
                field: field.to_owned(),
                rule: "must have exactly one of nodes, depth, moveTimeMilliseconds",
                value: format!("nodes {nodes:?}, depth {depth:?}, moveTimeMilliseconds {time:?}"),
            });
        }
    };
    Ok(pair::Contestant {
        name: name.clone(),
        argv: command.clone(),
        options: options.clone(),
        limit,
    })
}

pub(super) fn contestants(
    field: &str,
    given: &[Contestant],
) -> Result<Vec<pair::Contestant>, Invalid> {
    let with_field = |(index, one)| contestant(&format!("{field}[{index}]"), one);
    given.iter().enumerate().map(with_field).collect()
}

pub(super) fn play(given: &Play) -> Result<run::Play, Invalid> {
    let Play { seed, opening_plies, plies_max, reply_timeout_seconds, window, priority } = *given;
    Ok(run::Play {
        seed: unsigned("spec.play.seed", seed)?,
        opening_plies: unsigned("spec.play.openingPlies", opening_plies)?,
        plies_max: unsigned("spec.play.pliesMax", plies_max)?,
        reply_timeout_seconds: unsigned("spec.play.replyTimeoutSeconds", reply_timeout_seconds)?,
        window: unsigned("spec.play.window", window)?,
        priority: unsigned("spec.play.priority", priority)?,
    })
}
