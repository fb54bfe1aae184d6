//! What the API server itself accepts and refuses, by schema and CEL alone.

use ringrift_tests::agents::wait_for;

use crate::world::{Checked, SOON, USERS, World};

/// A contestant that is in order.
const ENGINE: &str = "{name: a, command: [own], nodes: 10}";

pub(crate) async fn definitions_install_without_a_warning(world: &World) -> Checked<()> {
    let folder = world.file("crds/yaml");
    // A warning header is an error here: a newer server must not find fault with the schema.
    let create = ["--warnings-as-errors", "create", "--filename", &folder];
    println!("{}", world.api.kubectl(&create).await?);
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", "--filename", &folder];
    world.api.kubectl(&wait).await?;
    // The description follows the definition after a moment.
    let explained = wait_for("kubectl explains", SOON, async || {
        let explain = ["explain", "gauntlets.spec.stop", "--recursive"];
        match world.api.kubectl(&explain).await {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    assert!(explained.contains("pairsMin"), "{explained}");
    let known = world.api.kubectl(&["api-resources", "--categories=ringrift"]).await?;
    for short in ["rrg", "rrj", "rrt"] {
        assert!(known.contains(short), "{short} is missing in {known}");
    }
    Ok(())
}

/// A spec, and a part of the refusal; nothing when it is accepted.
type Case = (&'static str, String, Option<&'static str>);

fn gauntlets() -> Vec<Case> {
    let with =
        |rest: &str| format!("{{candidate: {{name: new, command: [own], nodes: 9}}, {rest}}}");
    let candidate = |candidate: &str| format!("{{candidate: {candidate}, baselines: [{ENGINE}]}}");
    let stop = |stop: &str| with(&format!("baselines: [{ENGINE}], stop: {stop}"));
    let play = |play: &str| with(&format!("baselines: [{ENGINE}], play: {play}"));
    let one_of = "exactly one of nodes, depth, moveTimeMilliseconds must be set";
    [
        (with(&format!("baselines: [{ENGINE}]")), None),
        (with("baselines: []"), Some("should have at least 1 items")),
        (with(&format!("baselines: [{ENGINE}, {ENGINE}]")), Some("Duplicate value")),
        (
            with("baselines: [{name: new, command: [own], nodes: 1}]"),
            Some("candidate.name must not be"),
        ),
        (candidate("{name: new, command: [own]}"), Some(one_of)),
        (candidate("{name: new, command: [own], nodes: 1, depth: 1}"), Some(one_of)),
        (candidate("{name: new, command: [own], moveTimeMilliseconds: 50}"), None),
        (candidate("{name: new, command: [], nodes: 1}"), Some("should have at least 1 items")),
        (candidate("{name: new, nodes: 1}"), Some("Required value")),
        (candidate("{name: 'a b', command: [own], nodes: 1}"), Some("should match")),
        (candidate("{name: new, command: [own], nodes: 0}"), Some("greater than or equal to 1")),
        (stop("{pairsMin: 10, pairsMax: 10}"), None),
        (stop("{pairsMin: 11, pairsMax: 10}"), Some("pairsMin must be less than or equal")),
        (stop("{pairsMin: 3000}"), Some("pairsMin must be less than or equal")),
        (stop("{elo0Milli: 5, elo1Milli: 5}"), Some("elo0Milli must be less than elo1Milli")),
        (stop("{model: Bayesian}"), Some("Unsupported value")),
        (stop("{alphaPpm: 500000}"), Some("less than or equal to 499999")),
        (play("{seed: -1}"), Some("greater than or equal to 0")),
        (play("{seed: 1.5}"), Some("must be of type integer")),
        (play("{openningPlies: 3}"), Some("unknown field")),
    ]
    .into_iter()
    .map(|(spec, refusal)| ("Gauntlet", spec, refusal))
    .collect()
}

fn jobs() -> Vec<Case> {
    let with = |rest: &str| format!("{{command: [/bin/true]{rest}}}");
    [
        (with(""), None),
        (with(", env: [{name: A, value: b}, {name: B}], nodeLabels: {pool: a100}"), None),
        ("{}".to_owned(), Some("Required value")),
        (with(", env: [{name: A}, {name: A}]"), Some("Duplicate value")),
        (
            with(", env: [{name: RINGRIFT_RUN}]"),
            Some("names that begin with RINGRIFT_ must not be set"),
        ),
        (with(", env: [{name: 'A=B'}]"), Some("should match")),
        (with(", completions: 0"), Some("greater than or equal to 1")),
        (with(", completions: 2000000"), Some("less than or equal to 1000000")),
        (with(", priority: 101"), Some("less than or equal to 100")),
        (with(", timeoutSeconds: 1h"), Some("must be of type integer")),
    ]
    .into_iter()
    .map(|(spec, refusal)| ("Job", spec, refusal))
    .collect()
}

fn tournaments() -> Vec<Case> {
    let other = "{name: b, command: [own], depth: 2}";
    [
        (format!("{{contestants: [{ENGINE}, {other}]}}"), None),
        (format!("{{contestants: [{ENGINE}]}}"), Some("should have at least 2 items")),
        (format!("{{contestants: [{ENGINE}, {ENGINE}]}}"), Some("Duplicate value")),
        (
            format!("{{contestants: [{ENGINE}, {other}], pairs: 0}}"),
            Some("greater than or equal to 1"),
        ),
    ]
    .into_iter()
    .map(|(spec, refusal)| ("Tournament", spec, refusal))
    .collect()
}

pub(crate) async fn what_breaks_a_rule_is_refused_by_name(world: &World) -> Checked<()> {
    let cases: Vec<Case> = gauntlets().into_iter().chain(jobs()).chain(tournaments()).collect();
    let count = cases.len();
    for (kind, spec, refusal) in cases {
        let manifest = format!(
            "{{apiVersion: ringrift.dev/v1alpha1, kind: {kind}, metadata: {{name: case}}, spec: {spec}}}"
        );
        let create = [
            "create",
            "--namespace",
            USERS,
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
        ];
        let answer = world.api.kubectl_with(&create, Some(&manifest)).await;
        match (answer, refusal) {
            (Ok(_), None) => {}
            (Ok(_), Some(refusal)) => {
                return Err(format!("{manifest}: not refused: {refusal}").into());
            }
            (Err(error), None) => return Err(format!("{manifest}: {error}").into()),
            (Err(error), Some(refusal)) => {
                let said = error.to_string();
                assert!(said.contains(refusal), "{manifest}: {refusal:?} is not in {said}");
            }
        }
    }
    println!("{count} specs were accepted or refused as they should");
    Ok(())
}

pub(crate) async fn a_spec_does_not_change(world: &World) -> Checked<()> {
    let job = |completions: u32| {
        format!(
            "{{apiVersion: ringrift.dev/v1alpha1, kind: Job, metadata: {{name: fixed}}, \
             spec: {{command: [/bin/true], completions: {completions}}}}}"
        )
    };
    world.apply(&job(1)).await?;
    let stored = world.object("rrj/fixed").await?;
    assert_eq!(stored["spec"]["maxAttempts"], 3, "defaults are stored");
    let refused = match world.apply(&job(2)).await {
        Ok(()) => return Err("a changed spec was accepted".into()),
        Err(error) => error.to_string(),
    };
    assert!(refused.contains("spec must not change: create a new Job"), "{refused}");
    let label = ["label", "--namespace", USERS, "rrj/fixed", "team=lab"];
    world.api.kubectl(&label).await?;
    world.api.kubectl(&["delete", "--namespace", USERS, "rrj/fixed"]).await?;
    Ok(())
}
