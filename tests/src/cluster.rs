//! A real three-node Kubernetes, made by `tests/cluster/cluster`. It ends when its [`Kubernetes`] is
//! dropped, and also when the process that holds it is killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Where the repository lies on the machine that built this.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// How often a wait looks again: each look starts a process.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lines of each pod's log that a report holds.
const REPORT_LOG_LINES: &str = "--tail=40";

/// Why the cluster is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// A command could not be started.
    #[error("starting {command}: {cause}")]
    Start {
        /// What was called.
        command: String,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// A command failed.
    #[error("{command} failed ({status}): {output}")]
    Failed {
        /// What was called.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("{condition} did not come true within {limit:?}; the last look saw {seen}")]
    TooLate {
        /// What was waited for.
        condition: String,
        /// For how long.
        limit: Duration,
        /// What was there instead.
        seen: String,
    },
}

/// A running cluster.
#[derive(Debug)]
pub struct Kubernetes {
    state: PathBuf,
}

impl Kubernetes {
    /// Brings a cluster up; its state goes to `state`, its nodes get the images in the folder `images`.
    ///
    /// # Errors
    /// What the script said, such as which package is missing. Nothing is left then.
    pub fn up(state: &Path, images: &Path) -> Result<Self, KubernetesError> {
        let cluster = Self { state: state.to_owned() };
        let owner = std::process::id().to_string();
        cluster.script(&["up"], &[&images.to_string_lossy(), &owner])?;
        Ok(cluster)
    }

    /// Ends everything and checks that the machine is as it was.
    ///
    /// # Errors
    /// What is left.
    pub fn down(self) -> Result<(), KubernetesError> {
        self.script(&["down"], &[]).map(drop)
    }

    /// `kubectl` as the administrator.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, KubernetesError> {
        self.script(&["kubectl"], arguments)
    }

    /// `helm` as the administrator.
    ///
    /// # Errors
    /// What helm said.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, KubernetesError> {
        self.script(&["helm"], arguments)
    }

    /// Any command inside the control plane's network, from where all pods can be reached.
    ///
    /// # Errors
    /// What the command said.
    pub fn exec(&self, arguments: &[&str]) -> Result<String, KubernetesError> {
        self.script(&["exec"], arguments)
    }

    /// Kills the API server. Pods, kubelets and controllers stay.
    ///
    /// # Errors
    /// What the script said.
    pub fn stop_api_server(&self) -> Result<(), KubernetesError> {
        self.script(&["api-stop"], &[]).map(drop)
    }

    /// Starts the API server again, as it was, and waits until it serves.
    ///
    /// # Errors
    /// What the script said.
    pub fn start_api_server(&self) -> Result<(), KubernetesError> {
        self.script(&["api-start"], &[]).map(drop)
    }

    /// Looks until `look` finds something or `limit` has passed.
    ///
    /// # Errors
    /// [`KubernetesError::TooLate`] with the last answer or error of `look`.
    pub fn wait_for<T>(
        &self,
        condition: &str,
        limit: Duration,
        mut look: impl FnMut(&Self) -> Result<Look<T>, KubernetesError>,
    ) -> Result<T, KubernetesError> {
        let looks = limit.as_millis() / LOOK_EVERY.as_millis();
        let mut seen = String::new();
        for _ in 0..=looks {
            match look(self) {
                Ok(Look::Found(found)) => return Ok(found),
                Ok(Look::NotYet(answer)) => seen = answer,
                Err(error) => seen = error.to_string(),
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(KubernetesError::TooLate { condition: condition.to_owned(), limit, seen })
    }

    /// What a person wants to see when a test has failed: objects, events, the pods' last words.
    #[must_use]
    pub fn report(&self) -> String {
        let questions: [&[&str]; 6] = [
            &["get", "nodes,pods", "--all-namespaces", "--output=wide"],
            &[
                "get",
                "jobs.ringrift.dev,gauntlets,tournaments",
                "--all-namespaces",
                "--output=yaml",
            ],
            &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
            &["describe", "pods", "--namespace=ringrift"],
            &[
                "logs",
                "--namespace=ringrift",
                "--selector=app.kubernetes.io/name=ringrift",
                "--all-containers",
                "--prefix",
                REPORT_LOG_LINES,
            ],
            &[
                "logs",
                "--namespace=ringrift",
                "--selector=app.kubernetes.io/name=ringrift",
                "--all-containers",
                "--prefix",
                "--previous",
                REPORT_LOG_LINES,
            ],
        ];
        let mut report = String::new();
        for question in questions {
            let answer = self.kubectl(question).unwrap_or_else(|error| error.to_string());
            report.push_str(&format!("--- kubectl {}\n{answer}\n", question.join(" ")));
        }
        report
    }

    /// `tests/cluster/cluster COMMAND STATE ARGUMENTS`.
    fn script(&self, command: &[&str], arguments: &[&str]) -> Result<String, KubernetesError> {
        run(Command::new(format!("{ROOT}/tests/cluster/cluster"))
            .args(command)
            .arg(&self.state)
            .args(arguments)
            .current_dir(ROOT))
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        // A second `down` finds nothing and is harmless; a failure was said by the first.
        drop(self.script(&["down"], &[]));
    }
}

/// What a look saw.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition is true.
    Found(T),
    /// Not yet; this is there instead.
    NotYet(String),
}

/// Writes the product's image, and the test cluster's own, to `folder`; `programs` are further
/// programs of this machine that tasks in the agents' pods call.
///
/// # Errors
/// What the script said, such as which binary was not built.
pub fn write_images(folder: &Path, programs: &[&str]) -> Result<String, KubernetesError> {
    run(Command::new(format!("{ROOT}/tests/image/build"))
        .arg(folder)
        .arg("docker.io/local/ringrift:dev")
        .args(programs)
        .current_dir(ROOT))
}

fn run(command: &mut Command) -> Result<String, KubernetesError> {
    let said = format!("{command:?}");
    let Output { status, stdout, stderr } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| KubernetesError::Start { command: said.clone(), cause })?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    let output = format!("{}\n{stdout}", String::from_utf8_lossy(&stderr)).trim().to_owned();
    Err(KubernetesError::Failed { command: said, status, output })
}
