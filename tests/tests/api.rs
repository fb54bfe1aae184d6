//! The controller as a process, an agent as a process, and a real API server: what is refused, what
//! ends in a status, what a deletion does, who writes, and what an outage leaves.
//!
//! Run with `make test`, or alone: `cargo test --release --workspace --test api -- --nocapture`.
#![expect(clippy::disallowed_methods, reason = "a test of a running product waits by the clock")]
#![expect(clippy::print_stdout, reason = "the test shows what a person would see")]

#[path = "api/admission.rs"]
mod admission;
#[path = "api/leadership.rs"]
mod leadership;
#[path = "api/lifecycle.rs"]
mod lifecycle;
#[path = "api/outage.rs"]
mod outage;
#[path = "api/world.rs"]
mod world;

use world::{Checked, World};

/// One server for all scenarios, one after the other: two would fight for the processors.
#[tokio::test]
async fn the_controller_on_a_real_api_server() {
    let mut world = World::start().await.unwrap();
    if let Err(error) = scenarios(&mut world).await {
        println!("{}", world.logs().await);
        panic!("{error}");
    }
    world.end().await.unwrap();
}

async fn scenarios(world: &mut World) -> Checked<()> {
    admission::definitions_install_without_a_warning(world).await?;
    admission::what_breaks_a_rule_is_refused_by_name(world).await?;
    admission::a_spec_does_not_change(world).await?;
    world.start_controller("first").await?;
    lifecycle::each_kind_reaches_its_end(world).await?;
    lifecycle::a_spec_that_the_agents_refuse_fails(world).await?;
    lifecycle::a_deleted_object_cancels_its_run(world).await?;
    lifecycle::a_killed_controller_goes_on_with_the_same_run(world).await?;
    lifecycle::objects_that_cannot_be_read_stop_nobody(world).await?;
    outage::work_goes_on_without_agents_or_api_server(world).await?;
    leadership::one_of_two_writes(world).await
}
