//! The checker's third part: what was invalidated or purged before the request was sent, and is not to be had any more.

use crate::{
    checker::{Answer, Asked, Rule, Source, Verdict},
    history::{Ending, History, Record},
    world::Ask,
};

impl Ending {
    /// Whether it had happened for the cache that the request was sent to, before it was sent.
    fn is_known_to(&self, asked: &Asked) -> bool {
        if self.process == asked.process {
            return self.known < asked.sent;
        }
        self.elsewhere.is_some_and(|after| self.known_at + after < asked.sent_at)
    }

    fn ends(&self, record: &Record) -> bool {
        record.began < self.before
    }
}

/// RFC 9111 §4.4: nothing that began before a change that was known when the request was sent.
pub(crate) fn is_not_invalidated(asked: &Asked, record: &Record, history: &History) -> Verdict {
    let ending = history.ending(&invalidated(&asked.ask), |ending| ending.is_known_to(asked) && ending.ends(record));
    Rule::Invalidated.holds_if(ending.is_none(), || {
        format!("forward {} began at {}, before {ending:?}", record.number, record.began)
    })
}

/// Nothing that began before a hard purge, not even confirmed. Nothing that began before a soft one, unless it is served
/// as stale, and may be.
pub(crate) fn is_not_purged(asked: &Asked, answer: &Answer, source: &Source, history: &History) -> Verdict {
    let control = source.latest.control;
    let is_fresh = answer.cache.is_some_and(|cache| cache.is_hit() && cache.ttl().is_some_and(|ttl| ttl > 0));
    let may_be_served = !(is_fresh || control.is_strict || control.no_cache);
    for record in source.both() {
        let is_latest = record.number == source.latest.number;
        // Others may have confirmed it in between, with other tags but for the one that all of the resource have.
        let tags = if is_latest { &record.tags } else { &record.tags[..record.tags.len().min(1)] };
        let is_broken = |ending: &Ending| {
            let is_spared = ending.is_soft && (may_be_served || !is_latest);
            ending.is_known_to(asked) && ending.ends(record) && !is_spared
        };
        for scope in scopes(&asked.ask, tags) {
            let ending = history.ending(&scope, is_broken);
            Rule::Purged.holds_if(ending.is_none(), || {
                format!("forward {} began at {}, before {scope}: {ending:?}", record.number, record.began)
            })?;
        }
    }
    Ok(())
}

/// All that a purge can be of that ends what has these tags.
fn scopes<'a>(ask: &'a Ask, tags: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let tenant = ask.tenant().unwrap_or_default();
    let of_tags = tags.iter().map(move |tag| of_tag(tenant, tag));
    [of_target(ask), of_tenant(tenant), OF_ALL.to_owned()].into_iter().chain(of_tags)
}

/// What an unsafe request ends.
pub(crate) fn invalidated(ask: &Ask) -> String {
    ask.target()
}

/// What a purge ends. No tenant has a space in its name.
pub(crate) fn of_target(ask: &Ask) -> String {
    format!("purge {}", ask.target())
}

pub(crate) fn of_tag(tenant: &str, tag: &str) -> String {
    format!("purge tag {tenant}|{tag}")
}

pub(crate) fn of_tenant(tenant: &str) -> String {
    format!("purge tenant {tenant}")
}

pub(crate) const OF_ALL: &str = "purge all";
