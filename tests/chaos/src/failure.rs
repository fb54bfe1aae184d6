//! Why a run cannot be made, as opposed to what it finds.

use std::path::Path;

use tokio::process::Command;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// This machine does not allow it.
    #[error("{what}; {advice}")]
    Machine {
        /// What is missing.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A program of the system failed.
    #[error("`{command}` failed: {cause}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        cause: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action}: {cause}")]
    File {
        /// What was tried.
        action: String,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// The agents are not as they should be.
    #[error("{0}")]
    Agents(String),
}

impl Failure {
    pub(crate) fn file(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        |cause| Self::File { action, cause }
    }

    pub(crate) fn create(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::file(format!("create {}", path.display()))
    }
}

/// Runs a program of the system to its end.
///
/// # Errors
/// With what it said, when its status is not 0.
pub(crate) async fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), Failure> {
    use tokio::io::AsyncWriteExt as _;
    let command = format!("{program} {}", arguments.join(" "));
    let failed = |cause: String| Failure::Command { command: command.clone(), cause };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(format!("{}: {said}", output.status)))
}
