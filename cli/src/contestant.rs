//! A contestant on the command line: `NAME=COMMAND@nodes=N`.

use std::collections::BTreeMap;

use ringrift_wire::pair::{Contestant, Limit};

/// Reads `NAME=COMMAND@nodes=N`, `@depth=N` or `@movetime=MS`. The command is split at blanks.
pub(crate) fn parse(text: &str) -> Result<Contestant, String> {
    let form = || format!("{text:?} must be NAME=COMMAND@nodes=N, @depth=N or @movetime=MS");
    let (rest, limit) = text.rsplit_once('@').ok_or_else(form)?;
    let (name, command) = rest.split_once('=').ok_or_else(form)?;
    let (unit, value) = limit.split_once('=').ok_or_else(form)?;
    let number =
        |value: &str| value.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(form);
    let limit = match unit {
        "nodes" => Limit::Nodes(number(value)?),
        "depth" => Limit::Depth(u32::try_from(number(value)?).ok().ok_or_else(form)?),
        "movetime" => Limit::MovetimeMs(number(value)?),
        _ => return Err(form()),
    };
    let argv: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if name.is_empty() || argv.is_empty() {
        return Err(form());
    }
    Ok(Contestant { name: name.to_owned(), argv, options: BTreeMap::new(), limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_limits_are_read() {
        let contestant = parse("sf=/usr/games/stockfish bench=1@nodes=1000");
        let expected = Contestant {
            name: "sf".to_owned(),
            argv: vec!["/usr/games/stockfish".to_owned(), "bench=1".to_owned()],
            options: BTreeMap::new(),
            limit: Limit::Nodes(1_000),
        };
        assert_eq!(contestant, Ok(expected));
        assert_eq!(parse("a=own@depth=3").map(|c| c.limit), Ok(Limit::Depth(3)));
        assert_eq!(parse("a=own@movetime=50").map(|c| c.limit), Ok(Limit::MovetimeMs(50)));
    }

    #[test]
    fn what_is_not_a_contestant_is_refused_with_the_form() {
        for bad in [
            "",
            "own",
            "a=own",
            "a=own@nodes",
            "a=own@nodes=0",
            "=own@nodes=1",
            "a=@nodes=1",
            "a=own@plies=3",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("must be NAME=COMMAND@nodes=N"), "{bad:?}: {error}");
        }
    }
}
