//! RingRift's decisions.
//!
//! This crate decides and does nothing: it reads no clock, file, socket, environment or entropy, and
//! it knows no async runtime. It is `no_std`, so that such a thing does not even resolve. Time,
//! chance and identity are arguments. The agent and the simulator run the same code.
//!
//! Reading order: [`time`], [`id`], [`limits`], [`queue`] (work items, claims, locks), [`run`] (what
//! a Job, Gauntlet or Tournament is inside the agents), [`event`] (what others react to), [`machine`]
//! (the one replicated state machine over them), [`plan`] (planners), [`stats`] (what a match result
//! proves), [`membership`], [`voters`] (who shall vote), [`room`]
//! (when full disks refuse new work).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod event;
pub mod id;
pub mod limits;
pub mod machine;
pub mod membership;
pub mod pages;
pub mod plan;
pub mod queue;
pub mod room;
pub mod run;
pub mod stats;
pub mod time;
pub mod voters;
