//! What every scenario needs: the API server with the definitions and the chart's own roles, an agent,
//! and controllers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringrift_tests::agents::wait_for;
use ringrift_tests::apiserver::ApiServer;
use ringrift_tests::program::{Program, free_port};
use ringrift_wire::client::Client;
use ringrift_wire::run::RunStatus;
use serde_json::Value;

pub(crate) type Checked<T> = Result<T, Box<dyn std::error::Error>>;

/// Where the release would be installed.
pub(crate) const SYSTEM: &str = "ringrift-system";
/// Where people's objects are.
pub(crate) const USERS: &str = "default";
/// A run of the examples on a busy machine.
pub(crate) const RUN_LIMIT: Duration = Duration::from_secs(300);
/// Something that the controller does within a look or two.
pub(crate) const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "of-the-api-tier";

/// Everything.
pub(crate) struct World {
    pub(crate) api: ApiServer,
    pub(crate) agents: Client,
    /// The controllers by name, each with the address of its probes and metrics.
    controllers: BTreeMap<String, (Program, Client)>,
    agent: Option<Program>,
    agent_port: u16,
    root: PathBuf,
}

impl World {
    pub(crate) async fn start() -> Checked<Self> {
        let begin = Instant::now();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let api = ApiServer::start().await?;
        let agent_port = free_port()?;
        let address = format!("127.0.0.1:{agent_port}");
        let agents = Client::new(&[address], Some(TOKEN.to_owned()), Duration::from_secs(5))?;
        let controllers = BTreeMap::new();
        let mut world = Self { api, agents, controllers, agent: None, agent_port, root };
        world.start_agent().await?;
        println!("an API server and an agent are ready after {:?}", begin.elapsed());
        Ok(world)
    }

    /// Starts the agent (again, with the data that it had).
    pub(crate) async fn start_agent(&mut self) -> Checked<()> {
        std::fs::write(self.api.dir().join("token"), TOKEN)?;
        let arguments = [
            format!("--listen=127.0.0.1:{}", self.agent_port),
            format!("--data-dir={}", self.api.dir().join("agent").display()),
            format!("--token-file={}", self.api.dir().join("token").display()),
            "--swim-port=0".to_owned(),
            "--raft-port=0".to_owned(),
            "--slots=2".to_owned(),
        ];
        let path = self.binary("ringrift-agent")?;
        self.agent = Some(Program::start("agent", &path, &arguments, &[], self.api.dir())?);
        let agents = &self.agents;
        wait_for("the agent leads", SOON, async || {
            let status = agents.status().await.map_err(|error| error.to_string())?;
            Ok(status.leader_id)
        })
        .await?;
        Ok(())
    }

    /// Ends the agent as a person would.
    pub(crate) async fn stop_agent(&mut self) -> Checked<()> {
        if let Some(agent) = self.agent.take() {
            let ended = agent.stop(Duration::from_secs(20)).await?;
            let well = ended.is_some_and(|status| status.success());
            if !well {
                return Err(format!("the agent ended with {ended:?}").into());
            }
        }
        Ok(())
    }

    /// A program of ours, from the folder of the build.
    pub(crate) fn binary(&self, name: &str) -> Checked<PathBuf> {
        // A folder of its own for test programs lies in the folder of the build.
        let own = std::env::current_exe()?;
        let folder = std::env::var_os("RINGRIFT_BIN_DIR").map(PathBuf::from);
        let folder = folder.or_else(|| Some(own.parent()?.parent()?.to_owned()));
        let path = folder.unwrap_or_default().join(name);
        if path.is_file() {
            return Ok(path);
        }
        let path = path.display();
        Err(format!("{path} is missing; run `cargo build --release --workspace --bins`").into())
    }

    /// A file of the repository.
    pub(crate) fn file(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    /// Starts a controller, which has the rights of the chart's service account and no others.
    pub(crate) async fn start_controller(&mut self, name: &str) -> Checked<()> {
        let kubeconfig = self.account().await?;
        let port = free_port()?;
        let arguments = [
            format!("--agents=127.0.0.1:{}", self.agent_port),
            format!("--token-file={}", self.api.dir().join("token").display()),
            format!("--namespace={SYSTEM}"),
            format!("--identity={name}"),
            format!("--listen=127.0.0.1:{port}"),
            "--log=info,ringrift_controller=debug".to_owned(),
        ];
        let path = self.binary("ringrift-controller")?;
        let environment = [("KUBECONFIG", kubeconfig.as_path())];
        let log = format!("controller-{name}");
        let program = Program::start(&log, &path, &arguments, &environment, self.api.dir())?;
        let probes = Client::new(&[format!("127.0.0.1:{port}")], None, Duration::from_secs(5))?;
        wait_for(&format!("controller {name} is ready"), SOON, async || {
            match probes.get_text("/readyz").await {
                Ok(_) => Ok(Some(())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        self.controllers.insert(name.to_owned(), (program, probes));
        Ok(())
    }

    /// Takes a controller's process out of the world, to end it.
    pub(crate) fn controller(&mut self, name: &str) -> Checked<Program> {
        let found = self.controllers.remove(name);
        Ok(found.ok_or_else(|| format!("no controller {name}"))?.0)
    }

    /// Whether the controller still runs and says that it is alive.
    pub(crate) async fn is_alive(&mut self, name: &str) -> Checked<bool> {
        let found = self.controllers.get_mut(name);
        let (program, probes) = found.ok_or_else(|| format!("no controller {name}"))?;
        Ok(program.is_running() && probes.get_text("/healthz").await.is_ok())
    }

    pub(crate) fn signal(&self, name: &str, signal: rustix::process::Signal) -> Checked<()> {
        let found = self.controllers.get(name);
        Ok(found.ok_or_else(|| format!("no controller {name}"))?.0.signal(signal)?)
    }

    /// The value of a metric, all its labels together.
    pub(crate) async fn metric(&self, name: &str, metric: &str) -> Checked<f64> {
        let found = self.controllers.get(name);
        let (_, probes) = found.ok_or_else(|| format!("no controller {name}"))?;
        let text = probes.get_text("/metrics").await?;
        let lines = text.lines().filter(|line| line.starts_with(metric));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// The kubeconfig of the chart's service account for the controller, with the chart's own roles: a
    /// right that is missing there fails the scenarios.
    async fn account(&self) -> Checked<PathBuf> {
        let path = self.api.dir().join("controller.conf");
        if path.is_file() {
            return Ok(path);
        }
        self.api.kubectl(&["create", "namespace", SYSTEM]).await?;
        let mut arguments = vec!["template", "ringrift"];
        let chart = self.file("charts/ringrift");
        arguments.extend([chart.as_str(), "--namespace", SYSTEM, "--set", "auth.token=of-a-test"]);
        let shown: Vec<String> =
            ["clusterrole", "clusterrolebinding", "lease", "role", "rolebinding", "serviceaccount"]
                .map(|file| format!("--show-only=templates/controller-{file}.yaml"))
                .to_vec();
        arguments.extend(shown.iter().map(String::as_str));
        let manifests = self.api.tools.helm(&arguments).await?;
        self.api.kubectl_with(&["apply", "--filename=-"], Some(&manifests)).await?;
        let create = ["create", "token", "ringrift-controller", "--namespace", SYSTEM];
        let token = self.api.kubectl(&create).await?;
        Ok(self.api.write_kubeconfig("controller", token.trim())?)
    }

    pub(crate) async fn apply(&self, manifest: &str) -> Checked<()> {
        let apply = ["apply", "--namespace", USERS, "--filename=-"];
        self.api.kubectl_with(&apply, Some(manifest)).await?;
        Ok(())
    }

    /// An object as it is stored.
    pub(crate) async fn object(&self, name: &str) -> Checked<Value> {
        let get = ["get", "--namespace", USERS, name, "--output=json"];
        Ok(serde_json::from_str(&self.api.kubectl(&get).await?)?)
    }

    /// Waits until an object is as wanted, and gives it.
    pub(crate) async fn wait(
        &self,
        name: &str,
        wanted: &str,
        limit: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Checked<Value> {
        let condition = format!("{name}: {wanted}");
        let found = wait_for(&condition, limit, async || match self.object(name).await {
            Ok(object) if is_so(&object) => Ok(Some(object)),
            Ok(object) => Err(object["status"].to_string()),
            Err(error) => Err(error.to_string()),
        });
        Ok(found.await?)
    }

    /// Waits until an object has ended, and gives it when it ended well.
    pub(crate) async fn complete(&self, name: &str) -> Checked<Value> {
        let ended = |object: &Value| holds(object, "Complete") || holds(object, "Failed");
        let object = self.wait(name, "has ended", RUN_LIMIT, ended).await?;
        if holds(&object, "Complete") {
            println!("{name}: {} {}", object["status"]["reason"], object["status"]["message"]);
            Ok(object)
        } else {
            Err(format!("{name} failed: {}", object["status"]).into())
        }
    }

    /// The run of an object, as the agents see it.
    pub(crate) async fn run(&self, object: &Value) -> Checked<RunStatus> {
        let run_id = object["status"]["runId"].as_str().ok_or("no run in status")?;
        Ok(self.agents.run(run_id).await?)
    }

    pub(crate) async fn logs(&self) -> String {
        let objects = self.api.kubectl(&["get", "ringrift", "--all-namespaces"]).await;
        let mut logs = objects.unwrap_or_else(|error| error.to_string());
        logs.push_str(&self.api.logs());
        logs.extend(self.agent.as_ref().map(Program::tail));
        logs.extend(self.controllers.values().map(|(program, _)| program.tail()));
        logs
    }

    /// Ends everything politely; what has to be killed fails the test.
    pub(crate) async fn end(mut self) -> Checked<()> {
        for (name, (program, _)) in std::mem::take(&mut self.controllers) {
            let ended = program.stop(Duration::from_secs(15)).await?;
            let well = ended.is_some_and(|status| status.success());
            if !well {
                return Err(format!("controller {name} ended with {ended:?}").into());
            }
        }
        self.stop_agent().await?;
        Ok(self.api.stop().await?)
    }
}

/// Whether a condition of an object is true.
pub(crate) fn holds(object: &Value, wanted: &str) -> bool {
    condition(object, wanted)["status"] == "True"
}

/// A condition of an object; null when it is absent.
pub(crate) fn condition<'a>(object: &'a Value, wanted: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut found = conditions.into_iter().flatten().filter(|one| one["type"] == wanted);
    found.next().unwrap_or(&Value::Null)
}

/// A Job of `/bin/sleep`.
pub(crate) fn sleepers(name: &str, seconds: u32, completions: u32) -> String {
    format!(
        "apiVersion: ringrift.dev/v1alpha1
kind: Job
metadata: {{name: {name}}}
spec: {{command: [/bin/sleep, '{seconds}'], completions: {completions}, parallelism: 2}}
"
    )
}
