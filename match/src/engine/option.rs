//! Engine options: what an engine announces, and whether it takes a value.
//!
//! An engine ignores a bad option in silence, and the games then compare something else than the
//! report says. So the runner refuses before the game.

/// Announced options that are read; the largest engines have about a hundred.
pub const ANNOUNCED_MAX: usize = 512;

/// An option that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Check,
    Spin {
        min: i64,
        max: i64,
    },
    Combo {
        values: Vec<String>,
    },
    Button,
    /// `string`, and whatever kinds engines invent.
    Free,
}

impl Announced {
    /// Reads a line such as `option name Hash type spin default 16 min 1 max 1024`; nothing when it
    /// is another line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("option ")?.trim_start().strip_prefix("name ")?;
        let (name, rest) = rest.split_once(" type ")?;
        let mut words = rest.split_ascii_whitespace();
        let kind = match words.next()? {
            "check" => Kind::Check,
            "button" => Kind::Button,
            "spin" => Kind::Spin {
                min: number_after(rest, "min").unwrap_or(i64::MIN),
                max: number_after(rest, "max").unwrap_or(i64::MAX),
            },
            "combo" => {
                // A value may hold blanks; only the word `var` parts them.
                let values = rest.split(" var ").skip(1).map(|value| value.trim().to_owned());
                Kind::Combo { values: values.collect() }
            }
            _ => Kind::Free,
        };
        Some(Self { name: name.trim().to_owned(), kind })
    }

    /// Whether this is the option of that name; the protocol does not tell cases apart.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The command that sets the option.
    ///
    /// # Errors
    /// The option does not take the value; the text says what it takes.
    pub fn set(&self, value: &str) -> Result<String, String> {
        let Self { name, kind } = self;
        match kind {
            Kind::Check if !matches!(value, "true" | "false") => {
                return Err("it takes true or false".to_owned());
            }
            Kind::Spin { min, max } => {
                let number = value.parse::<i64>();
                if !number.is_ok_and(|number| (*min..=*max).contains(&number)) {
                    return Err(format!("it takes a number from {min} to {max}"));
                }
            }
            Kind::Combo { values } => {
                if !values.iter().any(|known| known.eq_ignore_ascii_case(value)) {
                    return Err(format!("it takes one of {}", values.join(", ")));
                }
            }
            Kind::Button if !value.is_empty() => {
                return Err("it is a button: its value must be empty".to_owned());
            }
            Kind::Button => return Ok(format!("setoption name {name}")),
            Kind::Check | Kind::Free => {}
        }
        Ok(format!("setoption name {name} value {value}"))
    }
}

fn number_after(text: &str, key: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    words.find(|word| *word == key)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(line: &str, value: &str) -> Result<String, String> {
        Announced::parse(line).unwrap().set(value)
    }

    #[test]
    fn values_are_held_against_the_announcement() {
        // Lines of Stockfish 15.1 and Fairy-Stockfish 11.1.
        let spin = "option name Skill Level type spin default 20 min 0 max 20";
        assert_eq!(set(spin, "3").unwrap(), "setoption name Skill Level value 3");
        assert_eq!(set(spin, "21").unwrap_err(), "it takes a number from 0 to 20");
        assert!(set(spin, "high").is_err());
        let check = "option name Ponder type check default false";
        assert!(set(check, "true").is_ok());
        assert!(set(check, "yes").is_err());
        let button = "option name Clear Hash type button";
        assert_eq!(set(button, "").unwrap(), "setoption name Clear Hash");
        assert!(set(button, "now").is_err());
        let combo =
            "option name Analysis Contempt type combo default Both var Off var In White var Both";
        assert!(set(combo, "in white").is_ok());
        assert_eq!(set(combo, "Never").unwrap_err(), "it takes one of Off, In White, Both");
        let text = "option name SyzygyPath type string default <empty>";
        assert_eq!(set(text, "/a b").unwrap(), "setoption name SyzygyPath value /a b");
    }

    #[test]
    fn other_lines_are_no_options() {
        for line in ["", "id name x", "option", "option name", "option name X", "uciok"] {
            assert_eq!(Announced::parse(line), None, "{line:?}");
        }
        let option = Announced::parse("option name Hash type spin default 1").unwrap();
        assert!(option.is_named("hash") && !option.is_named("has"));
    }
}
