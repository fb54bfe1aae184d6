//! Counts panics, since a runtime that catches those of its tasks would hide them.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts from here on.
pub(crate) fn count() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            COUNT.set(COUNT.get().saturating_add(1));
            report(info);
        }));
    });
}

/// Panics on this thread so far.
pub(crate) fn on_this_thread() -> u64 {
    COUNT.get()
}
