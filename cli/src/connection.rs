//! The client that all commands share.

use std::time::Duration;

use ringrift_wire::client::Client;

use crate::args::Connection;
use crate::output::Failure;

/// Longer than a leader election, so that one command outlives one.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of the agents that the flags name.
pub(crate) fn open(connection: &Connection) -> Result<Client, Failure> {
    let token = match (&connection.token, &connection.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("cannot read the token file {}: {error}", path.display()))
            })?;
            Some(text.trim().to_owned())
        }
        (None, None) => None,
    };
    Client::new(&connection.agents, token, CALL_TIMEOUT).map_err(Failure::from)
}
