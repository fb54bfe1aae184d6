//! The load generator, the same for all systems.

pub(crate) mod closed;
pub(crate) mod drain;
pub(crate) mod open;
mod pace;
pub(crate) mod patient;
pub(crate) mod quantiles;
pub(crate) mod start;
pub(crate) mod worker;
