//! The HTTP surface of real agents: shapes, errors, life cycles, forwarding.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod http {
    mod capacity;
    mod cluster;
    mod events;
    mod failover;
    mod faults;
    mod harness;
    mod killed;
    mod locks;
    mod own_worker;
    mod pending;
    mod runs;
    mod stream;
    mod tenancy;
    mod views;
    mod work;
}
