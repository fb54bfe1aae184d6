//! The game runner: plays one pair of games between two UCI engines and prints a typed result.
//!
//! A pair is the unit of evidence: two games from one opening, with sides swapped. The runner
//! knows nothing of queues and clusters. A worker hands it a pair as JSON and gets a report back.
//!
//! Three promises hold on every path:
//! - **The opening follows from the seed and the pair index alone** ([`opening`]), so that every
//!   match-up of a run meets the same openings, and a replay meets them again.
//! - **What went wrong is told apart** ([`engine`]): an illegal move and a late reply lose the game;
//!   a crash, a hang and a fault of the machine give no score, so that luck never decides.
//! - **Engines never outlive the runner** ([`group`]), not even when it is killed.
//!
//! The modules follow in reading order.

pub mod args;
pub mod spec;

pub mod chess;
pub mod opening;
pub mod pgn;

pub mod group;
pub mod leash;

pub mod engine;
pub mod pair;

pub mod misbehave;
pub mod own;

mod clock;
