//! The arrows between our crates, and what may never be in a crate's tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::Violation;

/// What each product crate may use of ours. Crates of tests and chores may use everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("ringrift-agent", &["ringrift-core", "ringrift-telemetry", "ringrift-wire"]),
    ("ringrift-cli", &["ringrift-wire"]),
    (
        "ringrift-controller",
        &["ringrift-core", "ringrift-crds", "ringrift-telemetry", "ringrift-wire"],
    ),
    ("ringrift-core", &[]),
    ("ringrift-crds", &[]),
    ("ringrift-match", &["ringrift-wire", "ringrift-core"]),
    ("ringrift-telemetry", &[]),
    ("ringrift-wire", &["ringrift-core"]),
];
/// Crates that are no part of the product.
const FREE: &[&str] =
    &["ringrift-bench", "ringrift-chaos", "ringrift-sim", "ringrift-tests", "xtask"];

/// Everything in the core's tree. None of it reads a clock, a file, a socket or entropy.
const CORE_TREE: &[&str] = &[
    "bytes",
    "cfg-if",
    "chacha20",
    "cpufeatures",
    "foca",
    "libm",
    "proc-macro2",
    "quote",
    "rand",
    "rand_core",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
];
/// What the agent's tree never holds: it works while the API server is down.
const NOT_IN_AGENT: &[&str] = &["k8s-openapi", "kube", "kube-client", "kube-core", "kube-runtime"];

/// Checks the workspace under `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Violation>, String> {
    let mut broken = arrows(&workspace(root)?);
    broken.extend(core_tree(&crate_tree(root, "ringrift-core")?));
    broken.extend(agent_tree(&crate_tree(root, "ringrift-agent")?));
    Ok(broken)
}

/// Our crates, each with those of ours that it uses, tests included.
type Workspace = BTreeMap<String, BTreeSet<String>>;

fn workspace(root: &Path) -> Result<Workspace, String> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let ours: BTreeSet<String> =
        metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let uses = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .map(|it| it.name.clone())
            .filter(|name| ours.contains(name))
            .collect()
    };
    Ok(metadata.packages.iter().map(|package| (package.name.to_string(), uses(package))).collect())
}

/// Names of everything that a crate is built from, itself included, with its own features alone.
fn crate_tree(root: &Path, name: &str) -> Result<BTreeSet<String>, String> {
    let arguments = [
        "tree",
        "--quiet",
        "--prefix",
        "none",
        "--edges",
        "normal,build",
        "--format",
        "{p}",
        "--package",
        name,
    ];
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listing.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn arrows(workspace: &Workspace) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (name, uses) in workspace {
        if FREE.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| crate_name == name) else {
            broken
                .push(Violation::of_file(name, "a new crate: give it its place among the ARROWS"));
            continue;
        };
        for used in uses.iter().filter(|used| !allowed.contains(&used.as_str())) {
            broken.push(Violation::of_file(
                name,
                format!("may not use {used}: docs/architecture.md"),
            ));
        }
    }
    broken
}

fn core_tree(tree: &BTreeSet<String>) -> Vec<Violation> {
    tree.iter()
        .filter(|name| *name != "ringrift-core" && !CORE_TREE.contains(&name.as_str()))
        .map(|name| {
            let what = format!("{name} is not on the list of what the core may be built from");
            Violation::of_file("ringrift-core", what)
        })
        .collect()
}

fn agent_tree(tree: &BTreeSet<String>) -> Vec<Violation> {
    tree.iter()
        .filter(|name| NOT_IN_AGENT.contains(&name.as_str()))
        .map(|name| {
            Violation::of_file("ringrift-agent", format!("{name}: the agent knows no Kubernetes"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn finds_the_wrong_arrow_and_the_crate_without_a_place() {
        let mut workspace = Workspace::from([
            ("ringrift-agent".to_owned(), names(&["ringrift-core", "ringrift-wire"])),
            ("ringrift-tests".to_owned(), names(&["ringrift-agent"])),
        ]);
        assert_eq!(arrows(&workspace), []);
        workspace.insert("ringrift-core".to_owned(), names(&["ringrift-wire"]));
        workspace.insert("ringrift-new".to_owned(), names(&[]));
        assert_eq!(arrows(&workspace).len(), 2);
    }

    #[test]
    fn finds_the_runtime_in_the_core_and_kubernetes_in_the_agent() {
        assert_eq!(core_tree(&names(&["ringrift-core", "serde"])), []);
        assert_eq!(core_tree(&names(&["ringrift-core", "tokio"])).len(), 1);
        assert_eq!(agent_tree(&names(&["tokio"])), []);
        assert_eq!(agent_tree(&names(&["tokio", "kube-core"])).len(), 1);
    }
}
