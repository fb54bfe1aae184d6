//! The binary stream of real agents: life cycles, redirects, faults, bounds.

mod bounds;
mod faults;
mod leader;
mod raw;
mod work;
