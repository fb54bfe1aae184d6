//! Not yet laid.
