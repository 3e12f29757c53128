//! A fill that a purge overtakes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Feed, Origin, TestBody, reply};

/// Where a fill is when the purge comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    Asked,
    Head,
    Body,
    Put,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Asked, Self::Head, Self::Body, Self::Put];

    /// For a [`Gated`](super::Gated) store: closed if it is the put that is late.
    pub(crate) fn gate(self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(if self == Self::Put { 0 } else { 1 }))
    }

    /// The origin, which was asked, says as much of "old" as it has by then.
    pub(crate) fn begin(self, origin: &Origin, fields: &[(&str, &str)]) -> Feed {
        let (body, feed) = TestBody::streamed();
        match self {
            Self::Asked => {}
            Self::Head | Self::Body => {
                if self == Self::Body {
                    feed.data("o");
                }
                origin.reply(reply(200, fields, body));
            }
            Self::Put => drop(origin.reply(reply(200, fields, "old"))),
        }
        feed
    }

    /// It says the rest, and the gate is open.
    pub(crate) fn end(self, origin: &Origin, fields: &[(&str, &str)], feed: &Feed, gate: &Semaphore) {
        if self == Self::Asked {
            origin.reply(reply(200, fields, "old"));
        }
        feed.data(if self == Self::Body { "ld" } else { "old" });
        feed.end();
        gate.add_permits(100);
    }
}
