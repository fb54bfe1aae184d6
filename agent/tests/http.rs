//! The HTTP surface of real agents: shapes, errors, life cycles, forwarding.

mod http {
    mod cluster;
    mod faults;
    mod harness;
    mod runs;
    mod views;
    mod work;
}
