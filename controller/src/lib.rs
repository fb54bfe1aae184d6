//! RingRift's Kubernetes controller: turns `Job`, `Gauntlet` and `Tournament` objects into runs on the
//! agents' queue, and mirrors the runs' progress into the objects' status.
//!
//! It holds no state of its own. What is wished stands in the objects, what is done stands with the
//! agents, and a run's id follows from its object's uid, so any replica can go on where another one
//! stopped. No task of a run ever waits for this program or for the API server.

pub mod args;
mod clock;
mod http;
mod leadership;
mod metrics;
mod reconcile;
pub mod run;
