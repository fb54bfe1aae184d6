//! The charts: what they render is what a real API server takes, and a typing error in the values is
//! refused.
//!
//! Run with `make test`, or alone: `cargo test --release --workspace --test chart -- --nocapture`.
#![expect(clippy::print_stdout, reason = "the test shows what it has looked at")]

use std::path::{Path, PathBuf};

use ringrift_tests::apiserver::{ApiServer, Tools};

type Checked<T> = Result<T, Box<dyn std::error::Error>>;

/// Where the charts are installed.
const NAMESPACE: &str = "of-the-chart";
/// The least that has to be said.
const LEAST: [&str; 2] = ["--set", "auth.token=of-a-test"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn chart(name: &str) -> String {
    root().join("charts").join(name).display().to_string()
}

/// The arguments that name each set of values that has to work.
fn sets_of_values() -> Checked<Vec<Vec<String>>> {
    let mut sets = vec![LEAST.map(str::to_owned).to_vec()];
    let mut files = vec![root().join("tests/cluster/values.yaml")];
    for entry in std::fs::read_dir(root().join("charts/ringrift/ci"))? {
        files.push(entry?.path());
    }
    files.sort();
    sets.extend(files.iter().map(|file| vec![format!("--values={}", file.display())]));
    Ok(sets)
}

async fn rendered(tools: &Tools, values: &[String]) -> Checked<String> {
    let chart = chart("ringrift");
    let mut arguments = vec!["template", "ringrift", &chart, "--namespace", NAMESPACE];
    arguments.extend(values.iter().map(String::as_str));
    Ok(tools.helm(&arguments).await?)
}

#[tokio::test]
async fn helm_finds_no_fault() {
    let tools = Tools::locate().unwrap();
    tools.helm(&["lint", "--strict", &chart("ringrift-crds")]).await.unwrap();
    for values in sets_of_values().unwrap() {
        let chart = chart("ringrift");
        let mut arguments = vec!["lint", "--strict", &chart];
        arguments.extend(values.iter().map(String::as_str));
        tools.helm(&arguments).await.unwrap();
        let first = rendered(&tools, &values).await.unwrap();
        assert_eq!(first, rendered(&tools, &values).await.unwrap(), "the same on each render");
        println!("{values:?}: {} lines", first.lines().count());
    }
}

#[tokio::test]
async fn what_is_wrong_in_the_values_is_refused_by_name() {
    let tools = Tools::locate().unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&[], "choose exactly one of auth.token, auth.existingSecret"),
        (&["auth.token=of-a-test", "auth.insecureNoToken=true"], "choose exactly one"),
        (&["auth.token=short"], "/auth/token"),
        (&["auth.token=of-a-test", "voters.replica=3"], "replica"),
        (&["auth.token=of-a-test", "voters.replicas=2"], "/voters/replicas"),
        (&["auth.token=of-a-test", "voters.zone=east/1"], "/voters/zone"),
        (&["auth.token=of-a-test", "persistence.type=disk"], "/persistence/type"),
        (&["auth.token=of-a-test", "image.pullPolicy=Sometimes"], "/image/pullPolicy"),
        (&["auth.token=of-a-test", "agents.slots=many"], "/agents/slots"),
        (&["auth.token=of-a-test", "persistance.type=emptyDir"], "persistance"),
    ];
    for (settings, refusal) in cases {
        let values: Vec<String> = settings.iter().map(|one| format!("--set={one}")).collect();
        match rendered(&tools, &values).await {
            Ok(_) => panic!("{settings:?} must be refused"),
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains(refusal), "{settings:?}: {refusal:?} is not in {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_real_api_server_takes_what_is_rendered() {
    let mut api = ApiServer::start().await.unwrap();
    if let Err(error) = server_side(&api).await {
        println!("{}", api.logs());
        panic!("{error}");
    }
    api.stop().await.unwrap();
}

async fn server_side(api: &ApiServer) -> Checked<()> {
    for namespace in [NAMESPACE, "lab"] {
        api.kubectl(&["create", "namespace", namespace]).await?;
    }
    // The strictest of the Pod Security Standards: a warning is an error below.
    let label = format!("namespace/{NAMESPACE}");
    let restricted = "pod-security.kubernetes.io/warn=restricted";
    api.kubectl(&["label", &label, restricted]).await?;
    for values in sets_of_values()? {
        let manifests = rendered(&api.tools, &values).await?;
        let mut apply = vec!["apply", "--dry-run=server", "--validate=strict", "--filename=-"];
        // A folder of the node is what the profile warns of, for whoever asks for one.
        if !manifests.contains("hostPath:") {
            apply.push("--warnings-as-errors");
        }
        let taken = api.kubectl_with(&apply, Some(&manifests)).await?;
        println!("{values:?}: {} objects", taken.lines().count());
        for kind in ["statefulset.apps", "deployment.apps", "lease.coordination", "service/"] {
            assert!(taken.contains(kind), "{kind} is missing in {taken}");
        }
    }
    installed_and_uninstalled(api).await
}

/// What Helm itself does, without nodes: nothing becomes ready, so it does not wait.
async fn installed_and_uninstalled(api: &ApiServer) -> Checked<()> {
    let kubeconfig = format!("--kubeconfig={}", api.kubeconfig.display());
    let namespace = format!("--namespace={NAMESPACE}");
    let (crds, ringrift) = (chart("ringrift-crds"), chart("ringrift"));
    for (release, chart) in [("ringrift-crds", crds), ("ringrift", ringrift)] {
        let mut arguments = vec!["upgrade", "--install", release, &chart, &kubeconfig, &namespace];
        if release == "ringrift" {
            arguments.extend(LEAST);
        }
        println!("{}", api.tools.helm(&arguments).await?);
        if release == "ringrift" {
            // As a controller does. The upgrade that follows must neither fight with it nor undo it.
            let patch = r#"{"spec":{"holderIdentity":"somebody","leaseDurationSeconds":15}}"#;
            let lease = "lease/ringrift-controller";
            api.kubectl(&["patch", lease, &namespace, "--type=merge", "--patch", patch]).await?;
        }
        api.tools.helm(&arguments).await?;
    }
    let holder = "--output=jsonpath={.spec.holderIdentity}";
    let held = api.kubectl(&["get", "lease/ringrift-controller", &namespace, holder]).await?;
    assert_eq!(held, "somebody", "an upgrade leaves the leadership alone");
    let everything = "all,secrets,serviceaccounts,roles,rolebindings,leases,poddisruptionbudgets";
    let ours = "--selector=app.kubernetes.io/instance=ringrift";
    let get = ["get", everything, &namespace, ours, "--output=name"];
    let present = api.kubectl(&get).await?;
    assert!(present.lines().count() >= 12, "{present}");
    api.tools.helm(&["uninstall", "ringrift", &kubeconfig, &namespace]).await?;
    api.tools.helm(&["uninstall", "ringrift-crds", &kubeconfig, &namespace]).await?;
    let left = api.kubectl(&get).await?;
    assert!(left.trim().is_empty(), "left over: {left}");
    let kept = api.kubectl(&["get", "crd", "--output=name"]).await?;
    assert!(kept.contains("gauntlets.ringrift.dev"), "definitions stay: {kept}");
    Ok(())
}
