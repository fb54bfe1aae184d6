//! The whole path on a real three-node Kubernetes: images, charts, three examples to their ends, work
//! that goes on while the API server is down, and an uninstall that leaves nothing.
//!
//! Run with `make e2e`. Needs root: the cluster's nodes are network namespaces.
#![expect(clippy::disallowed_methods, reason = "a test of a running product waits by the clock")]
#![expect(clippy::print_stdout, reason = "the test shows what a person would see")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringrift_tests::cluster::{Kubernetes, KubernetesError, Look, write_images};
use serde_json::Value;

const NAMESPACE: &str = "ringrift";
/// A real engine: Debian's package, in the image beside our own programs.
const STOCKFISH: &str = "/usr/games/stockfish";
/// Images are on the nodes already, so only processes have to start.
const READY_LIMIT: &str = "--timeout=180s";
/// Each example is small; two cores share three agents, the control plane and the engines.
const RUN_LIMIT: Duration = Duration::from_secs(420);
/// How long the API server is down.
const OUTAGE: Duration = Duration::from_secs(30);
/// How much longer than the outage the gauntlet around it should take.
const GAUNTLET_SECONDS: u64 = 100;

type Checked<T> = Result<T, Box<dyn std::error::Error>>;

#[test]
fn from_apply_to_verdict_through_an_outage_to_uninstall() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let images = root.join("target/e2e/images");
    println!("{}", write_images(&images, &[STOCKFISH]).unwrap());
    // Short, since paths of sockets are bounded; unique, since two checkouts may run this at once.
    let state = PathBuf::from(format!("/tmp/ringrift-e2e-{}", std::process::id()));
    let cluster = Kubernetes::up(&state, &images).unwrap();
    println!("{}", cluster.kubectl(&["get", "nodes", "--output=wide"]).unwrap());
    if let Err(error) = whole_path(&cluster, &root) {
        println!("{}", cluster.report());
        drop(cluster);
        panic!("{error}");
    }
    cluster.down().unwrap();
    assert!(!state.exists(), "the cluster left {}", state.display());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&*state.to_string_lossy()), "mounts are left: {mounts}");
}

fn whole_path(cluster: &Kubernetes, root: &Path) -> Checked<()> {
    install(cluster, root)?;
    examples(cluster, root)?;
    let pairs_per_minute = real_engine(cluster)?;
    outage(cluster, pairs_per_minute)?;
    uninstall(cluster)
}

fn install(cluster: &Kubernetes, root: &Path) -> Checked<()> {
    let begin = Instant::now();
    let chart = |name: &str| root.join("charts").join(name).to_string_lossy().into_owned();
    cluster.helm(&["install", "ringrift-crds", &chart("ringrift-crds"), "--wait", READY_LIMIT])?;
    let values = root.join("tests/cluster/values.yaml").to_string_lossy().into_owned();
    let notes = cluster.helm(&[
        "install",
        "ringrift",
        &chart("ringrift"),
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--values",
        &values,
        "--wait",
        READY_LIMIT,
    ])?;
    println!("{notes}\ninstalled and ready in {:?}", begin.elapsed());
    println!("{}", cluster.kubectl(&["get", "pods", "--namespace", NAMESPACE, "--output=wide"])?);
    Ok(())
}

/// Applies the three examples and waits for their ends.
fn examples(cluster: &Kubernetes, root: &Path) -> Checked<()> {
    let begin = Instant::now();
    for example in ["job.yaml", "gauntlet.yaml", "tournament.yaml"] {
        let path = root.join("examples").join(example).to_string_lossy().into_owned();
        print!("{}", cluster.kubectl(&["apply", "--filename", &path])?);
    }
    let job = complete(cluster, "jobs.ringrift.dev")?;
    assert_eq!(job["status"]["done"], job["spec"]["completions"], "every task ended well");
    let gauntlet = complete(cluster, "gauntlets.ringrift.dev")?;
    assert_eq!(gauntlet["status"]["verdict"], "Promote", "the candidate searches more nodes");
    for matchup in array(&gauntlet["status"]["matchups"]) {
        assert!(
            matchup["pairs"].as_i64() >= gauntlet["spec"]["stop"]["pairsMin"].as_i64(),
            "{matchup}"
        );
        assert_eq!(matchup["decision"], "AcceptH1", "{matchup}");
    }
    let tournament = complete(cluster, "tournaments.ringrift.dev")?;
    let contestants = array(&tournament["spec"]["contestants"]).len();
    assert_eq!(array(&tournament["status"]["standings"]).len(), contestants);
    assert_eq!(tournament["status"]["done"], tournament["status"]["total"]);
    println!("{}", cluster.kubectl(&["get", "ringrift", "--output=wide"])?);
    println!("the examples' ends are in status after {:?}", begin.elapsed());
    Ok(())
}

/// A gauntlet of Stockfish; answers how many pairs were played in a minute.
fn real_engine(cluster: &Kubernetes) -> Checked<u64> {
    let begin = Instant::now();
    apply(cluster, &stockfish("stockfish", 12, 60))?;
    let gauntlet = complete(cluster, "gauntlet/stockfish")?;
    assert_eq!(gauntlet["status"]["verdict"], "Promote", "five times the nodes");
    let pairs = gauntlet["status"]["done"].as_u64().unwrap_or_default();
    println!("{pairs} pairs of Stockfish in {:?}", begin.elapsed());
    Ok(pairs * 60 / begin.elapsed().as_secs().max(1))
}

/// A gauntlet with the API server away in its middle.
fn outage(cluster: &Kubernetes, pairs_per_minute: u64) -> Checked<()> {
    let pairs = (pairs_per_minute * GAUNTLET_SECONDS / 60).clamp(40, 100_000);
    apply(cluster, &stockfish("outage", pairs, pairs))?;
    let run = cluster.wait_for("the long gauntlet is under way", RUN_LIMIT, |cluster| {
        let status = object(cluster, "gauntlet/outage")?["status"].clone();
        let done = status["done"].as_i64().unwrap_or_default();
        Ok(match status["runId"].as_str() {
            Some(run) if done > 0 => Look::Found(run.to_owned()),
            Some(_) | None => Look::NotYet(status.to_string()),
        })
    })?;
    let last = while_away(cluster, &run)?;
    let back = Instant::now();
    cluster.wait_for(
        "status shows the pairs of the outage",
        Duration::from_secs(90),
        |cluster| {
            let status = object(cluster, "gauntlet/outage")?["status"].clone();
            let caught_up = status["done"].as_i64().is_some_and(|done| done >= last);
            Ok(if caught_up { Look::Found(()) } else { Look::NotYet(status.to_string()) })
        },
    )?;
    println!("status caught up {:?} after the API server was back", back.elapsed());
    let gauntlet = complete(cluster, "gauntlet/outage")?;
    assert!(gauntlet["status"]["done"].as_u64() >= Some(pairs), "all pairs were needed");
    let restarts = cluster.kubectl(&[
        "get",
        "pods",
        "--namespace",
        NAMESPACE,
        "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}",
    ])?;
    println!("restarts of our containers: {restarts}");
    assert!(restarts.split_whitespace().all(|count| count == "0"), "an outage restarts nothing");
    println!("{}", cluster.kubectl(&["get", "gauntlets", "--output=wide"])?);
    Ok(())
}

/// Takes the API server away for [`OUTAGE`] and brings it back; answers how many pairs of the run were
/// done at the end of that time.
fn while_away(cluster: &Kubernetes, run: &str) -> Checked<i64> {
    let agents = Agents::of(cluster)?;
    cluster.stop_api_server()?;
    let stopped = Instant::now();
    assert!(cluster.kubectl(&["get", "nodes"]).is_err(), "the API server must be away");
    let first = agents.done(cluster, run)?;
    let mut last = first;
    let mut growths = 0;
    while stopped.elapsed() < OUTAGE {
        std::thread::sleep(Duration::from_secs(2));
        let done = agents.done(cluster, run)?;
        growths += u32::from(done > last);
        last = done;
    }
    println!("API server away for {:?}: pairs went from {first} to {last}", stopped.elapsed());
    assert!(last > first && growths >= 3, "work stood still: {first} to {last}, {growths} growths");
    cluster.start_api_server()?;
    Ok(last)
}

fn uninstall(cluster: &Kubernetes) -> Checked<()> {
    // The controller lets an ended object go with its next look, and must not be removed before.
    cluster.wait_for("the last object is let go", RUN_LIMIT, |cluster| {
        let finalizers = object(cluster, "gauntlet/outage")?["metadata"]["finalizers"].clone();
        let held = !array(&finalizers).is_empty();
        Ok(if held { Look::NotYet(finalizers.to_string()) } else { Look::Found(()) })
    })?;
    let begin = Instant::now();
    cluster.helm(&["uninstall", "ringrift", "--namespace", NAMESPACE, "--wait", READY_LIMIT])?;
    let kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,networkpolicies,poddisruptionbudgets";
    let ours = "--selector=app.kubernetes.io/instance=ringrift";
    cluster.wait_for("nothing of the release is left", Duration::from_secs(90), |cluster| {
        let mut left =
            cluster.kubectl(&["get", kinds, "--all-namespaces", ours, "--output=name"])?;
        left += &cluster.kubectl(&[
            "get",
            "clusterroles,clusterrolebindings",
            ours,
            "--output=name",
        ])?;
        Ok(if left.is_empty() { Look::Found(()) } else { Look::NotYet(left) })
    })?;
    println!("uninstalled after {:?}", begin.elapsed());
    // What people wrote stays, with its results, and can be deleted while no controller runs.
    let verdict = object(cluster, "gauntlet/outage")?["status"]["verdict"].clone();
    assert!(verdict.is_string(), "the verdict outlives the release");
    cluster.kubectl(&[
        "delete",
        "jobs.ringrift.dev,gauntlets,tournaments",
        "--all",
        "--timeout=30s",
    ])?;
    cluster.helm(&["uninstall", "ringrift-crds", "--wait", READY_LIMIT])?;
    // Removing a definition deletes every object of its kind: that is left to a person.
    let definitions = cluster.kubectl(&["get", "customresourcedefinitions", "--output=name"])?;
    let ours = definitions.lines().filter(|name| name.ends_with(".ringrift.dev"));
    assert_eq!(ours.count(), 3, "the chart keeps its definitions: {definitions}");
    Ok(())
}

fn apply(cluster: &Kubernetes, manifest: &str) -> Checked<()> {
    let path = std::env::temp_dir().join(format!("ringrift-e2e-{}.yaml", std::process::id()));
    std::fs::write(&path, manifest)?;
    let said = cluster.kubectl(&["apply", "--filename", &path.to_string_lossy()]);
    std::fs::remove_file(&path)?;
    print!("{}", said?);
    Ok(())
}

/// Waits until the one object that `name` means is complete.
fn complete(cluster: &Kubernetes, name: &str) -> Checked<Value> {
    let ended = cluster.wait_for(&format!("{name} is complete"), RUN_LIMIT, |cluster| {
        let object = object(cluster, name)?;
        let holds = |wanted: &str| {
            array(&object["status"]["conditions"])
                .iter()
                .any(|condition| condition["type"] == wanted && condition["status"] == "True")
        };
        Ok(if holds("Complete") || holds("Failed") {
            Look::Found(object)
        } else {
            Look::NotYet(object["status"].to_string())
        })
    })?;
    let status = &ended["status"];
    println!("{name}: {} {} {}", status["reason"], status["verdict"], status["message"]);
    let complete = array(&status["conditions"])
        .iter()
        .any(|condition| condition["type"] == "Complete" && condition["status"] == "True");
    if complete { Ok(ended) } else { Err(format!("{name} failed: {status}").into()) }
}

/// The object `kind/name`, or the one object of a kind.
fn object(cluster: &Kubernetes, name: &str) -> Result<Value, KubernetesError> {
    let text = cluster.kubectl(&["get", name, "--output=json"])?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    Ok(if is_list { value["items"][0].clone() } else { value })
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The agents, asked without the help of the API server.
struct Agents {
    cli: String,
    addresses: String,
    token: String,
}

impl Agents {
    fn of(cluster: &Kubernetes) -> Checked<Self> {
        let addresses = cluster.kubectl(&[
            "get",
            "pods",
            "--namespace",
            NAMESPACE,
            "--selector=app.kubernetes.io/component=agent",
            "--output=jsonpath={range .items[*]}{.status.podIP}:8770 {end}",
        ])?;
        let addresses = addresses.split_whitespace().collect::<Vec<_>>().join(",");
        if addresses.is_empty() {
            return Err("no agent has an address".into());
        }
        let cli = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("ringrift");
        Ok(Self {
            cli: cli.to_string_lossy().into_owned(),
            addresses,
            token: "end-to-end".to_owned(),
        })
    }

    /// Pairs of a run that are done.
    fn done(&self, cluster: &Kubernetes, run: &str) -> Checked<i64> {
        let answer = cluster.exec(&[
            &self.cli,
            "--agent",
            &self.addresses,
            "--token",
            &self.token,
            "--json",
            "get",
            run,
        ])?;
        let run: Value = serde_json::from_str(&answer)?;
        run["done"].as_i64().ok_or_else(|| format!("no pairs in {answer}").into())
    }
}

/// A gauntlet between two strengths of Stockfish. Bounds that far apart need only the least number of
/// pairs, and with both numbers equal nothing is decided before the last one.
fn stockfish(name: &str, pairs_min: u64, pairs_max: u64) -> String {
    let engine = |name: &str, nodes: u32| {
        format!(
            "{{name: {name}, command: [{STOCKFISH}], options: {{Hash: \"16\"}}, nodes: {nodes}}}"
        )
    };
    format!(
        "apiVersion: ringrift.dev/v1alpha1
kind: Gauntlet
metadata: {{name: {name}, namespace: default}}
spec:
  candidate: {candidate}
  baselines: [{baseline}]
  stop: {{pairsMin: {pairs_min}, pairsMax: {pairs_max}, elo0Milli: 0, elo1Milli: 300000}}
",
        candidate = engine("candidate", 1_000),
        baseline = engine("baseline", 200),
    )
}
