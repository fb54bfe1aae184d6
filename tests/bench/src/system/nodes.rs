//! A peer's node: its command line, and its process while it runs.

use std::path::PathBuf;

use ringrift_tests::agents::free_port;
use ringrift_tests::program::Program;

use super::{Failure, LEAVE_LIMIT, Nodes};

/// One node of a peer.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name, and that of its log.
    pub(super) name: String,
    /// What is started.
    pub(super) program: PathBuf,
    /// With which arguments.
    pub(super) arguments: Vec<String>,
    /// And with which environment.
    pub(super) environment: Vec<(&'static str, PathBuf)>,
    /// Where its data and its log lie.
    pub(super) dir: PathBuf,
    /// The process.
    pub(super) running: Option<Program>,
}

impl Node {
    /// Starts it, for the first time or again.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (*name, value.as_path())).collect();
        let started =
            Program::start(&self.name, &self.program, &self.arguments, &environment, &self.dir)?;
        self.running = Some(started);
        Ok(())
    }

    /// SIGKILL, and gone when this returns.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        match self.running.take() {
            Some(program) => Ok(program.kill().await?),
            None => Ok(()),
        }
    }

    /// SIGTERM, and gone when this returns.
    pub(super) async fn leave(&mut self) -> Result<(), Failure> {
        if let Some(program) = self.running.take() {
            let _status = program.stop(LEAVE_LIMIT).await?;
        }
        Ok(())
    }

    /// The end of its log, for an error message.
    pub(super) fn tail(&self) -> String {
        self.running.as_ref().map(Program::tail).unwrap_or_default()
    }
}

impl Nodes for Vec<Node> {
    async fn kill(&mut self, node: usize) -> Result<(), Failure> {
        self[node].kill().await
    }

    async fn leave(&mut self, node: usize) -> Result<(), Failure> {
        self[node].leave().await
    }

    fn restart(&mut self, node: usize) -> Result<(), Failure> {
        self[node].start()
    }

    fn pid(&self, node: usize) -> Option<u32> {
        self[node].running.as_ref().and_then(Program::pid)
    }

    fn log(&self, node: usize) -> PathBuf {
        self[node].dir.join(format!("{}.log", self[node].name))
    }
}

/// So many free ports.
pub(super) fn ports<const N: usize>() -> Result<[u16; N], Failure> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

/// The numbers of three nodes, `first` in front: a client asks them in this order.
pub(super) fn beginning_with<T: Clone>(first: usize, all: &[T]) -> Vec<T> {
    let mut all = all.to_vec();
    let length = all.len().max(1);
    all.rotate_left(first % length);
    all
}

/// A folder of its own for a node.
pub(super) fn folder(path: PathBuf) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(&path).map_err(Failure::file(format!("create {}", path.display())))?;
    Ok(path)
}

/// A program that must be there.
pub(super) fn installed(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::Setup(format!(
        "{} is missing; run `make bench`, which installs it",
        path.display()
    )))
}

/// The first line that `program argument` prints.
pub(super) async fn first_line(
    program: &std::path::Path,
    argument: &str,
) -> Result<String, Failure> {
    let output = tokio::process::Command::new(program)
        .arg(argument)
        .output()
        .await
        .map_err(Failure::file(format!("start {}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
