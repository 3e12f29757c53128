//! Purges, statistics and the dashboard: over HTTP, and in a browser, which `scripts/chromium` installs.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod browser;
mod chromium;
mod evening;
mod screenshot;
mod scripted;
mod service;
