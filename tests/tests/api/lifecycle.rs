//! From the object to its end, and back.

use std::time::{Duration, Instant};

use ringrift_tests::agents::wait_for;
use serde_json::Value;

use crate::world::{Checked, SOON, USERS, World, condition, holds, sleepers};

/// For how long nothing may be written about objects that have ended.
const REST: Duration = Duration::from_secs(6);

pub(crate) async fn each_kind_reaches_its_end(world: &World) -> Checked<()> {
    let begin = Instant::now();
    let job = "apiVersion: ringrift.dev/v1alpha1
kind: Job
metadata: {name: greetings}
spec: {command: [/bin/sh, -c, 'echo hello $RINGRIFT_INDEX $WHO'], env: [{name: WHO, value: you}], completions: 7}
";
    world.apply(job).await?;
    for example in ["gauntlet", "tournament"] {
        let path = world.file(&format!("examples/{example}.yaml"));
        world.api.kubectl(&["apply", "--namespace", USERS, "--filename", &path]).await?;
    }
    let job = world.complete("rrj/greetings").await?;
    let status = &job["status"];
    assert_eq!((status["done"].as_i64(), status["progress"].as_str()), (Some(7), Some("7/7")));
    assert_eq!(condition(&job, "Complete")["reason"], "TasksSucceeded");

    let gauntlet = world.complete("rrg/nodes-2000").await?;
    let status = &gauntlet["status"];
    assert_eq!(
        (status["verdict"].as_str(), status["reason"].as_str()),
        (Some("Promote"), Some("CandidatePromoted")),
        "{status}"
    );
    assert_eq!(status["matchups"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["observedGeneration"], gauntlet["metadata"]["generation"]);
    let seen = world.run(&gauntlet).await?;
    assert_eq!(status["done"].as_u64(), Some(seen.done), "the status is what the agents say");

    let tournament = world.complete("rrt/three-depths").await?;
    let status = &tournament["status"];
    assert_eq!(
        (status["done"].as_i64(), status["total"].as_i64()),
        (Some(12), Some(12)),
        "{status}"
    );
    assert_eq!(status["standings"].as_array().map(Vec::len), Some(3), "{status}");

    printed(world).await?;
    at_rest(world).await?;
    println!("three kinds were complete and at rest after {:?}", begin.elapsed());
    Ok(())
}

async fn printed(world: &World) -> Checked<()> {
    let table = async |kind: &str| world.api.kubectl(&["get", "--namespace", USERS, kind]).await;
    let gauntlets = table("rrg").await?;
    let tournaments = table("rrt").await?;
    let jobs = table("rrj").await?;
    println!("{gauntlets}{tournaments}{jobs}");
    let has = |table: &str, words: &[&str]| {
        let missing = words.iter().find(|word| !table.contains(**word));
        assert!(missing.is_none(), "{missing:?} is missing in {table}");
    };
    has(&gauntlets, &["PROGRESS", "VERDICT", "ELO", "Promote", "±", "CandidatePromoted"]);
    has(&tournaments, &["LEADER", "12/12", "PairsPlayed"]);
    has(&jobs, &["7/7", "TasksSucceeded"]);
    let events = ["get", "events", "--namespace", USERS, "--output=jsonpath={.items[*].reason}"];
    let events = world.api.kubectl(&events).await?;
    has(&events, &["Submitted", "TasksSucceeded", "CandidatePromoted", "PairsPlayed"]);
    Ok(())
}

/// Ended objects are held by nobody and written by nobody.
async fn at_rest(world: &World) -> Checked<()> {
    let versions = async || {
        let all = [
            "get",
            "ringrift",
            "--namespace",
            USERS,
            "--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion} {.metadata.finalizers}{\"\\n\"}{end}",
        ];
        world.api.kubectl(&all).await
    };
    let settled = wait_for("ended objects are let go", SOON, async || {
        let seen = versions().await.map_err(|error| error.to_string())?;
        if seen.contains("ringrift.dev/run") { Err(seen) } else { Ok(Some(seen)) }
    });
    let before = settled.await?;
    let writes = world.metric("first", "ringrift_controller_status_writes_total").await?;
    tokio::time::sleep(REST).await;
    assert_eq!(before, versions().await?, "something was written at rest");
    let later = world.metric("first", "ringrift_controller_status_writes_total").await?;
    assert!((later - writes).abs() < f64::EPSILON, "{writes} writes became {later}");
    Ok(())
}

pub(crate) async fn a_spec_that_the_agents_refuse_fails(world: &World) -> Checked<()> {
    // Each argument is within the schema's bound; together they are beyond what a log entry carries.
    let argument = "x".repeat(4_000);
    let command = vec![format!("'{argument}'"); 200].join(", ");
    let manifest = format!(
        "{{apiVersion: ringrift.dev/v1alpha1, kind: Job, metadata: {{name: too-large}}, spec: {{command: [{command}]}}}}"
    );
    let create = ["create", "--namespace", USERS, "--filename=-"];
    world.api.kubectl_with(&create, Some(&manifest)).await?;
    let job = world.wait("rrj/too-large", "has failed", SOON, |job| holds(job, "Failed")).await?;
    assert_eq!(condition(&job, "Failed")["reason"], "SpecRefused", "{}", job["status"]);
    println!("refused: {}", job["status"]["message"]);
    world.api.kubectl(&["delete", "--namespace", USERS, "rrj/too-large"]).await?;
    Ok(())
}

pub(crate) async fn a_deleted_object_cancels_its_run(world: &World) -> Checked<()> {
    world.apply(&sleepers("forgotten", 3_600, 2)).await?;
    let is_running = |job: &Value| holds(job, "Running");
    let job = world.wait("rrj/forgotten", "is running", SOON, is_running).await?;
    assert_eq!(job["metadata"]["finalizers"][0], "ringrift.dev/run");
    let delete = ["delete", "--namespace", USERS, "rrj/forgotten", "--timeout=30s"];
    world.api.kubectl(&delete).await?;
    let run = world.run(&job).await?;
    assert_eq!(run.phase, "cancelled", "{run:?}");
    // The same name again is another run.
    world.apply(&sleepers("forgotten", 0, 1)).await?;
    let again = world.complete("rrj/forgotten").await?;
    assert_ne!(again["status"]["runId"], job["status"]["runId"]);
    Ok(())
}

pub(crate) async fn a_killed_controller_goes_on_with_the_same_run(
    world: &mut World,
) -> Checked<()> {
    world.apply(&sleepers("survivor", 1, 12)).await?;
    let begun = |job: &Value| job["status"]["done"].as_i64() > Some(0);
    let before = world.wait("rrj/survivor", "has begun", SOON, begun).await?;
    world.controller("first")?.kill().await?;
    world.start_controller("first").await?;
    let after = world.complete("rrj/survivor").await?;
    assert_eq!(before["status"]["runId"], after["status"]["runId"]);
    assert_eq!(before["status"]["startTime"], after["status"]["startTime"]);
    assert_eq!(after["status"]["done"].as_i64(), Some(12), "{}", after["status"]);
    let runs: ringrift_wire::run::RunList = world.agents.get("/runs").await?;
    let ids: Vec<&str> = runs.runs.iter().map(|run| run.run_id.as_str()).collect();
    let run_id = after["status"]["runId"].as_str().unwrap_or_default();
    assert_eq!(ids.iter().filter(|id| **id == run_id).count(), 1, "{ids:?}");
    Ok(())
}

/// Stored while the definition was open, read when it is strict again: one object without what it must
/// have, and one with a field of another type, to which not even the API server can apply a status.
pub(crate) async fn objects_that_cannot_be_read_stop_nobody(world: &World) -> Checked<()> {
    let open = r#"[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec","value":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}]"#;
    let definition = "crd/jobs.ringrift.dev";
    world.api.kubectl(&["patch", definition, "--type=json", "--patch", open]).await?;
    for (name, spec) in [("lacking", "{}"), ("strange", "{command: 7}")] {
        let manifest = format!(
            "{{apiVersion: ringrift.dev/v1alpha1, kind: Job, metadata: {{name: {name}}}, spec: {spec}}}"
        );
        let create = ["create", "--namespace", USERS, "--validate=false", "--filename=-"];
        // The server takes a moment to serve by the new schema.
        let stored = wait_for("a malformed object is stored", SOON, async || {
            match world.api.kubectl_with(&create, Some(&manifest)).await {
                Ok(_) => Ok(Some(())),
                Err(error) => Err(error.to_string()),
            }
        });
        stored.await?;
    }
    let strict = world.file("crds/yaml/ringrift.dev_jobs.yaml");
    world.api.kubectl(&["replace", "--filename", &strict]).await?;
    let told = |job: &Value| holds(job, "Malformed");
    let lacking = world.wait("rrj/lacking", "is told to be malformed", SOON, told).await?;
    println!("malformed: {}", condition(&lacking, "Malformed")["message"]);
    let events = wait_for("an event tells of the other one", SOON, async || {
        let get = ["get", "events", "--namespace", USERS, "--field-selector=reason=Malformed"];
        let events = world.api.kubectl(&get).await.map_err(|error| error.to_string())?;
        if events.contains("strange") { Ok(Some(events)) } else { Err(events) }
    });
    println!("{}", events.await?);
    world.apply(&sleepers("ordinary", 0, 1)).await?;
    world.complete("rrj/ordinary").await?;
    let delete = ["delete", "--namespace", USERS, "rrj/lacking", "rrj/strange", "--timeout=30s"];
    world.api.kubectl(&delete).await?;
    Ok(())
}
