//! Two replicas: one writes, whatever happens to the other.

use std::time::{Duration, Instant};

use ringrift_tests::agents::wait_for;
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{Checked, SYSTEM, World, sleepers};

/// A Lease runs out after 15 s, and is looked at every 2 s.
const TAKE_OVER: Duration = Duration::from_secs(40);

pub(crate) async fn one_of_two_writes(world: &mut World) -> Checked<()> {
    assert_eq!(holder(world).await?, "first");
    world.start_controller("second").await?;
    ends(world, "with-two").await?;
    assert_eq!(leaders(world, &["first", "second"]).await?, ["first"]);
    let writes = "ringrift_controller_status_writes_total";
    assert!(world.metric("second", writes).await? < 0.5, "the replica that waits wrote");

    // The holder is killed.
    world.controller("first")?.kill().await?;
    taken_over(world, "second", "a kill").await?;
    ends(world, "after-a-kill").await?;

    // The holder is paused beyond its Lease, and goes on: it must find itself parked.
    world.start_controller("first").await?;
    world.signal("second", Signal::STOP)?;
    taken_over(world, "first", "a pause").await?;
    world.signal("second", Signal::CONT)?;
    let parked = wait_for("the paused replica is parked", TAKE_OVER, async || {
        let seen = leaders(world, &["first", "second"]).await.map_err(|error| error.to_string())?;
        if seen == ["first"] { Ok(Some(())) } else { Err(format!("{seen:?}")) }
    });
    parked.await?;
    assert!(world.is_alive("second").await?, "losing the Lease ends nobody");
    ends(world, "after-a-pause").await?;

    // The holder leaves in order.
    let begin = Instant::now();
    let ended = world.controller("first")?.stop(Duration::from_secs(15)).await?;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    taken_over(world, "second", "an orderly end").await?;
    assert!(begin.elapsed() < Duration::from_secs(12), "it waited for the Lease to run out");
    ends(world, "after-an-orderly-end").await
}

async fn ends(world: &World, name: &str) -> Checked<()> {
    world.apply(&sleepers(name, 0, 2)).await?;
    world.complete(&format!("rrj/{name}")).await?;
    Ok(())
}

async fn taken_over(world: &World, by: &str, after: &str) -> Checked<()> {
    let begin = Instant::now();
    let condition = format!("{by} has taken over");
    let taken = wait_for(&condition, TAKE_OVER, async || {
        let holder = holder(world).await.map_err(|error| error.to_string())?;
        if holder == by { Ok(Some(())) } else { Err(holder) }
    });
    taken.await?;
    println!("{by} took over {:?} after {after}", begin.elapsed());
    Ok(())
}

async fn holder(world: &World) -> Checked<String> {
    let get = ["get", "lease", "ringrift-controller", "--namespace", SYSTEM, "--output=json"];
    let lease: Value = serde_json::from_str(&world.api.kubectl(&get).await?)?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

async fn leaders<'a>(world: &World, names: &[&'a str]) -> Checked<Vec<&'a str>> {
    let mut leaders = Vec::new();
    for name in names {
        if world.metric(name, "ringrift_controller_leader").await? > 0.5 {
            leaders.push(*name);
        }
    }
    Ok(leaders)
}
