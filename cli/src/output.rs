//! What a person, or a program with `--json`, gets to see.

use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use ringrift_wire::client::ClientError;
use serde::Serialize;

/// Why a command failed, and its exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) exit: u8,
}

/// A refusal, or anything else that went wrong.
const EXIT_FAILED: u8 = 1;
/// The flags or a file make no sense.
const EXIT_USAGE: u8 = 2;
/// No agent answered.
const EXIT_UNREACHABLE: u8 = 3;

impl Failure {
    pub(crate) fn usage(message: String) -> Self {
        Self { message, exit: EXIT_USAGE }
    }

    pub(crate) fn failed(message: String) -> Self {
        Self { message, exit: EXIT_FAILED }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { tried, cause } => Self {
                message: format!(
                    "no agent answers at {tried} ({cause}). Start one with `ringrift-agent`, or name \
                     another address with --agent HOST:PORT or RINGRIFT_AGENTS."
                ),
                exit: EXIT_UNREACHABLE,
            },
            ClientError::Unanswered { .. } => {
                Self { message: error.to_string(), exit: EXIT_UNREACHABLE }
            }
            ClientError::Refused(problem) => {
                let hint = if problem.status == 401 {
                    " Give the cluster's token with --token or --token-file."
                } else {
                    ""
                };
                Self { message: format!("{problem}.{hint}"), exit: EXIT_FAILED }
            }
            ClientError::Foreign { .. } => Self { message: error.to_string(), exit: EXIT_FAILED },
        }
    }
}

/// One line on standard output.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// Pretty JSON on standard output.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure { message: error.to_string(), exit: EXIT_FAILED })?;
    line(&text);
    Ok(())
}

/// JSON in one line on standard output.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure { message: error.to_string(), exit: EXIT_FAILED })?;
    line(&text);
    Ok(())
}

/// Says something on standard error that is none of the output.
#[expect(clippy::print_stderr, reason = "notes and errors go to standard error")]
pub(crate) fn note(message: &str) {
    eprintln!("ringrift: {message}");
}

/// Says on standard error what failed.
pub(crate) fn fail(message: &str, exit: u8) -> ExitCode {
    note(message);
    ExitCode::from(exit)
}

/// An empty table in the one style.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| title.to_uppercase()));
    table
}

/// A table without trailing blanks.
pub(crate) fn print_table(table: &Table) {
    for row in table.lines() {
        line(row.trim_end());
    }
}

/// Seconds in a form for people: `42s`, `3m05s`, `2h10m`.
pub(crate) fn age(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "0s".to_owned();
    }
    let whole = std::time::Duration::from_secs_f64(seconds.min(1e12)).as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3_600, whole % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let shown: Vec<String> = [-1.0, 0.4, 59.9, 185.0, 7_800.0, f64::NAN].map(age).into();
        assert_eq!(shown, ["0s", "0s", "59s", "3m05s", "2h10m", "0s"]);
    }

    #[test]
    fn an_unreachable_cluster_is_said_in_one_clear_sentence() {
        let failure = Failure::from(ClientError::Unreachable {
            tried: "http://127.0.0.1:1".to_owned(),
            cause: "Connection refused".to_owned(),
        });
        assert_eq!(failure.exit, EXIT_UNREACHABLE);
        assert!(
            failure
                .message
                .starts_with("no agent answers at http://127.0.0.1:1 (Connection refused).")
        );
    }
}
