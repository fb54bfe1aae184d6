//! A real Kubernetes API server with its etcd, without nodes: objects are stored, validated, watched
//! and authorized, and nothing runs. Up in a few seconds; it ends with its [`ApiServer`].

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::program::{Program, ProgramError, free_port};

/// Names the folder of etcd, kube-apiserver, kubectl and helm, here as for other projects.
const FOLDER_VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// The token of the administrator.
const ADMIN_TOKEN: &str = "administrator";
/// The port is taken by another process between its choice and its use, at worst a few times.
const START_ATTEMPTS: usize = 3;
/// Etcd and the API server together take 3 s on an idle machine.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How often readiness is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One call of kubectl or helm.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// Why the API server is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiServerError {
    /// The programs are missing.
    #[error(
        "{looked_for} is missing; run `make tools`, which builds it, and name its folder in {FOLDER_VARIABLE}"
    )]
    NotBuilt {
        /// What was looked for.
        looked_for: String,
    },
    /// A program could not be started or ended.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The file system refused.
    #[error("{action}: {cause}")]
    System {
        /// What was tried.
        action: String,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// A command failed.
    #[error("{command} failed: {output}")]
    Command {
        /// What was called.
        command: String,
        /// What it said.
        output: String,
    },
    /// It did not become ready.
    #[error("the API server is not ready after {READY_LIMIT:?}:\n{logs}")]
    NotReady {
        /// The ends of the logs.
        logs: String,
    },
}

fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> ApiServerError {
    let action = action.into();
    |cause| ApiServerError::System { action, cause }
}

/// The programs that `make tools` builds.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Finds them by the variable, else where `make tools` puts them.
    ///
    /// # Errors
    /// [`ApiServerError::NotBuilt`] names what is missing, and says how to get it.
    pub fn locate() -> Result<Self, ApiServerError> {
        let folder = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from).or_else(newest_built);
        let folder = folder
            .ok_or_else(|| ApiServerError::NotBuilt { looked_for: "kube-apiserver".to_owned() })?;
        let tools = Self { folder };
        for name in ["etcd", "kube-apiserver", "kubectl", "helm"] {
            let path = tools.path(name);
            if !path.is_file() {
                return Err(ApiServerError::NotBuilt { looked_for: path.display().to_string() });
            }
        }
        Ok(tools)
    }

    /// One of the programs.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Calls helm, and gives what it said.
    ///
    /// # Errors
    /// [`ApiServerError::Command`] with what helm said when it failed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String, ApiServerError> {
        called(Command::new(self.path("helm")).args(arguments), "helm", arguments, None).await
    }
}

/// The folder of the highest version among those that `make tools` has built.
fn newest_built() -> Option<PathBuf> {
    let cache = std::env::var_os("RINGRIFT_CACHE").map(PathBuf::from).or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        Some(base?.join("ringrift"))
    })?;
    let mut built: Vec<PathBuf> = std::fs::read_dir(cache)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("kube-apiserver").is_file())
        .collect();
    built.sort();
    built.pop()
}

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    /// The programs.
    pub tools: Tools,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    dir: TempDir,
    port: u16,
    etcd_url: String,
    etcd: Program,
    server: Option<Program>,
}

impl ApiServer {
    /// Starts etcd and the API server, and waits until it is ready.
    ///
    /// # Errors
    /// [`ApiServerError`] says what is missing or did not start.
    pub async fn start() -> Result<Self, ApiServerError> {
        let tools = Tools::locate()?;
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            match Self::attempt(tools.clone()).await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ApiServerError::NotReady { logs: String::new() }))
    }

    async fn attempt(tools: Tools) -> Result<Self, ApiServerError> {
        let dir = TempDir::with_prefix("ringrift-api-").map_err(system("make a folder"))?;
        let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd_arguments = [
            format!("--data-dir={}", dir.path().join("etcd").display()),
            // A test's etcd may forget; syncing to disk would only make the tests slow.
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={etcd_url}"),
            format!("--advertise-client-urls={etcd_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
        ];
        let etcd = Program::start("etcd", &tools.path("etcd"), &etcd_arguments, &[], dir.path())?;
        let keys = dir.path().join("accounts.key");
        let mut openssl = Command::new("openssl");
        let keys_text = keys.display().to_string();
        let make_keys = ["genrsa", "-out", &keys_text, "2048"];
        called(openssl.args(make_keys), "openssl", &make_keys, None).await?;
        let tokens = dir.path().join("tokens.csv");
        let line = format!("{ADMIN_TOKEN},administrator,administrator,system:masters\n");
        std::fs::write(&tokens, line).map_err(system("write the tokens"))?;
        let kubeconfig = dir.path().join("administrator.conf");
        let mut server = Self { tools, kubeconfig, dir, port, etcd_url, etcd, server: None };
        let administrator = server.write_kubeconfig("administrator", ADMIN_TOKEN)?;
        server.kubeconfig = administrator;
        server.restart().await?;
        Ok(server)
    }

    /// A folder for the test's own files; it goes with the server.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// SIGKILL for the API server; etcd keeps what it has.
    ///
    /// # Errors
    /// [`ProgramError`] when it cannot be ended.
    pub async fn stop(&mut self) -> Result<(), ApiServerError> {
        match self.server.take() {
            Some(server) => Ok(server.kill().await?),
            None => Ok(()),
        }
    }

    /// Starts the API server (again), and waits until it is ready.
    ///
    /// # Errors
    /// [`ApiServerError::NotReady`] with the logs.
    pub async fn restart(&mut self) -> Result<(), ApiServerError> {
        self.stop().await?;
        let in_dir = |name: &str| self.dir.path().join(name).display().to_string();
        let arguments = [
            format!("--etcd-servers={}", self.etcd_url),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", in_dir("certificates")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", in_dir("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", in_dir("accounts.key")),
            format!("--service-account-signing-key-file={}", in_dir("accounts.key")),
            "--allow-privileged=true".to_owned(),
        ];
        let path = self.tools.path("kube-apiserver");
        self.server = Some(Program::start("apiserver", &path, &arguments, &[], self.dir.path())?);
        let ready = async {
            while self.kubectl(&["get", "--raw", "/readyz"]).await.is_err() {
                if !self.server.as_mut().is_some_and(Program::is_running) {
                    return false;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            true
        };
        match tokio::time::timeout(READY_LIMIT, ready).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(ApiServerError::NotReady { logs: self.logs() }),
        }
    }

    /// The ends of the servers' logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let server = self.server.as_ref().map(Program::tail).unwrap_or_default();
        format!("{}\n{server}", self.etcd.tail())
    }

    /// Calls kubectl as the administrator, and gives what it said.
    ///
    /// # Errors
    /// [`ApiServerError::Command`] with what kubectl said when it failed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, ApiServerError> {
        self.kubectl_with(arguments, None).await
    }

    /// Calls kubectl with a standard input.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub async fn kubectl_with(
        &self,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<String, ApiServerError> {
        let mut command = Command::new(self.tools.path("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        // Its cache of discovery would outlive a definition that a test replaces.
        command.arg("--cache-dir").arg(self.dir.path().join("kubectl"));
        called(&mut command, "kubectl", arguments, input).await
    }

    /// Writes a kubeconfig for the bearer of `token`.
    ///
    /// # Errors
    /// [`ApiServerError::System`] when it cannot be written.
    pub fn write_kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf, ApiServerError> {
        let path = self.dir.path().join(format!("{name}.conf"));
        let authority = self.dir.path().join("certificates/apiserver.crt");
        let text = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: '{}'}}}}]
users: [{{name: test, user: {{token: '{token}'}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
",
            self.port,
            authority.display()
        );
        std::fs::write(&path, text).map_err(system(format!("write {}", path.display())))?;
        Ok(path)
    }
}

/// Runs a command to its end; both its outputs, in this order, when it succeeded.
async fn called(
    command: &mut Command,
    name: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, ApiServerError> {
    let full = || format!("{name} {}", arguments.join(" "));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(system(full()))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await.map_err(system(full()))?;
    }
    let ended = tokio::time::timeout(CALL_LIMIT, child.wait_with_output()).await;
    let Output { status, stdout, stderr } = match ended {
        Ok(ended) => ended.map_err(system(full()))?,
        Err(_late) => {
            let output = format!("no end within {CALL_LIMIT:?}");
            return Err(ApiServerError::Command { command: full(), output });
        }
    };
    let output =
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() {
        Ok(output)
    } else {
        Err(ApiServerError::Command { command: full(), output: format!("({status}) {output}") })
    }
}
