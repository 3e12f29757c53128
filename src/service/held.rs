//! Which flights the current task leads, so that a handler that asks for its own route does not wait for itself.

use std::{future::Future, sync::Arc};

tokio::task_local! {
    static HELD: Arc<Held>;
}

struct Held {
    flight: Arc<str>,
    outer: Option<Arc<Self>>,
}

/// Runs `forward` as the leader of `flight`.
pub(super) fn hold<F: Future>(flight: Arc<str>, forward: F) -> impl Future<Output = F::Output> {
    let outer = HELD.try_with(Arc::clone).ok();
    // Not in a future of its own, which would hold `forward` twice.
    HELD.scope(Arc::new(Held { flight, outer }), forward)
}

/// Whether this task waits inside a forward for `flight`.
pub(super) fn is_held(flight: &str) -> bool {
    HELD.try_with(|innermost| {
        let mut held = Some(innermost);
        while let Some(current) = held {
            if *current.flight == *flight {
                return true;
            }
            held = current.outer.as_ref();
        }
        false
    })
    .unwrap_or(false)
}
