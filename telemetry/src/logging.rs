//! Logs go to standard error, so that standard output stays free for what a program has to say.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("log filter {filter:?} cannot be read: {cause}; write a level or target=level,...")]
    Filter {
        /// The refused filter.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The format is not known.
    #[error("log format {text:?} is not known; choose text or json")]
    Format {
        /// The refused text.
        text: String,
    },
    /// This process logs already.
    #[error("logging is set up already: {cause}")]
    Repeated {
        /// What the first subscriber says.
        cause: String,
    },
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = LoggingError;
    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format { text: other.chars().take(32).collect() }),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Sets up the process-wide subscriber. `filter` is a level such as `info`, or directives such as
/// `info,ringrift_agent::gossip=debug`.
///
/// # Errors
/// [`LoggingError`] when the filter cannot be read, or when the process logs already.
pub fn start(format: Format, filter: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| LoggingError::Filter {
        filter: filter.to_owned(),
        cause: error.to_string(),
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = match format {
        Format::Text => registry.with(lines.with_ansi(false)).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    outcome.map_err(|error| LoggingError::Repeated { cause: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_back_what_they_write() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
        let refused = "xml".parse::<Format>().unwrap_err();
        assert!(refused.to_string().contains("xml"), "{refused}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        let refused = start(Format::Text, "ringrift=shout").unwrap_err();
        assert!(matches!(refused, LoggingError::Filter { .. }), "{refused}");
        assert!(refused.to_string().contains("ringrift=shout"), "{refused}");
    }
}
