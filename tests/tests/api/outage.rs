//! Without the agents, and without the API server.

use std::time::Duration;

use serde_json::Value;

use crate::world::{Checked, SOON, World, condition, sleepers};

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(15);

pub(crate) async fn work_goes_on_without_agents_or_api_server(world: &mut World) -> Checked<()> {
    world.apply(&sleepers("outage", 1, 50)).await?;
    let begun = |job: &Value| job["status"]["done"].as_i64() > Some(0);
    let job = world.wait("rrj/outage", "has begun", SOON, begun).await?;

    world.api.stop().await?;
    let before = world.run(&job).await?.done;
    tokio::time::sleep(OUTAGE).await;
    let after = world.run(&job).await?.done;
    assert!(after > before, "work stood still at {before} while the API server was away");
    assert!(world.is_alive("first").await?, "an outage restarts nothing");
    world.api.restart().await?;
    let caught_up = |job: &Value| job["status"]["done"].as_u64() >= Some(after);
    world.wait("rrj/outage", "has caught up", SOON, caught_up).await?;
    println!("{before} tasks were done before the outage, {after} after it");

    world.stop_agent().await?;
    let away = |job: &Value| condition(job, "Running")["reason"] == "AgentsUnreachable";
    let told = world.wait("rrj/outage", "tells that the agents are away", SOON, away).await?;
    assert_eq!(condition(&told, "Running")["status"], "Unknown");
    assert_eq!(condition(&told, "Complete")["status"], "False");
    assert!(told["status"]["done"].as_u64() >= Some(after), "figures stay: {}", told["status"]);
    world.start_agent().await?;
    let job = world.complete("rrj/outage").await?;
    assert_eq!(job["status"]["done"].as_i64(), Some(50), "{}", job["status"]);
    Ok(())
}
