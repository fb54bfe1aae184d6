//! What the demo and the tests of the built product share: real agents as processes, and what they
//! must prove.

pub mod agents;
pub mod apiserver;
pub mod cluster;
pub mod evidence;
pub mod program;
