//! The operator: purges by all that there is, of what is asked for most. Seldom, so that there is something to purge.

use http::HeaderValue;
use microcache::{Purge, Tenant};

use crate::{
    endings::{OF_ALL, of_tag, of_target, of_tenant},
    origin::TAGS,
    world::{Ask, Dice},
};

/// What is to be purged.
pub(crate) struct Order {
    pub(crate) purge: Purge,
    /// What that ends, for the history.
    pub(crate) scope: String,
    pub(crate) is_soft: bool,
    /// For the tally.
    pub(crate) name: &'static str,
}

impl Order {
    /// Something to purge, once in a while.
    pub(crate) fn draw(dice: &mut Dice) -> Option<Self> {
        if !dice.one_in(300) {
            return None;
        }
        let mut ask = Ask::random(dice, 0, None);
        ask.headers.entry("x-tenant").or_insert(HeaderValue::from_static("acme"));
        let name = ask.tenant().unwrap_or_default().to_owned();
        let tenant = Tenant::named(name.as_str());
        let (purge, scope, name): (Purge, _, _) = match dice.roll(24) {
            0 => (Purge::all(), OF_ALL.to_owned(), "purges of all"),
            1..3 => (Purge::tenant(tenant), of_tenant(&name), "purges of a tenant"),
            3..10 => {
                let tag = dice.pick(&TAGS);
                (Purge::tag(tag).tenant(tenant).into(), of_tag(&name, tag), "purges of a tag")
            }
            10..17 => {
                let url = format!("https://{}{}", ask.text("host"), ask.uri);
                (Purge::url(url).tenant(tenant).into(), of_target(&ask), "purges of a URL")
            }
            _ => (Purge::request(&ask.request()), of_target(&ask), "purges of a request"),
        };
        let is_soft = dice.one_in(3);
        Some(Self { purge: if is_soft { purge.soft() } else { purge }, scope, is_soft, name })
    }
}
