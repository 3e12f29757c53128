//! The caches of a round: settings by its seed.

use std::{
    borrow::Cow,
    io,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, header};
use http_body_util::BodyExt;
use microcache::{
    CacheLayer, CacheLayerBuilder, Collapse, Content, KeySpec, MemcachedStore, MemoryStore, Overflow, Policy,
    Principal, QueryRule, RequestContent, Tenancy, Tenant, Tiered,
};

use crate::{
    checker::Settings,
    history::{History, MILLI},
    leaks::{Frozen, Leak, Mixed},
    run::Round,
    world::{Carried, Dice},
};

/// One, or one for each process; and what the checker has to know of them.
pub(crate) fn layers(round: &Round, history: &History, dice: &mut Dice) -> (Vec<CacheLayer>, Settings) {
    let settings = Settings {
        default_freshness: dice.pick(&[300, 1_000]) * MILLI,
        while_revalidate: dice.pick(&[0, 0, 500]) * MILLI,
        if_error: dice.pick(&[0, 3_000, 3_000]) * MILLI,
        honours_wishes: dice.one_in(3),
        pace: dice.pick(&[12, 32, 96]),
        seen_elsewhere: round.memcached.as_ref().map(|_| SEEN_ELSEWHERE),
    };
    let policy = policy(dice, &settings);
    // So small that most rounds evict.
    let bytes = dice.pick(&[48 << 10, 200 << 10, 2 << 20]);
    let near_freshness = Duration::from_millis(dice.pick(&[0, 10]));
    let finish = |builder: CacheLayerBuilder| {
        let builder = builder
            .tenant(Tenancy::from_fn(|head| match head.headers().get("x-tenant") {
                Some(tenant) => Tenant::named(tenant.to_str().unwrap()),
                None => Tenant::unidentified(),
            }))
            .policy(policy.clone())
            .route("/stale/{*rest}", lenient(&policy, &settings))
            .route("/keyed/{*rest}", keyed(&policy))
            .route("/ask", keyed_by_content(&policy))
            .route("/own/token", keyed_by(&policy, Principal::header(header::AUTHORIZATION)))
            .route("/own/session", keyed_by(&policy, Principal::cookie("sid")))
            .route("/own/named", keyed_by(&policy, Principal::from_fn(|head| named(head.headers()))))
            .store_deadline(STORE_PATIENCE);
        match round.leak {
            Some(Leak::FrozenClock) => builder.clock(Frozen(UNIX_EPOCH)),
            _ => builder.clock(history.ticks.clone()),
        }
        .build()
        .unwrap()
    };
    let memory = || MemoryStore::with_max_bytes(bytes);
    let Some(address) = &round.memcached else {
        let builder = match round.leak {
            Some(leak) => CacheLayer::builder(Mixed::new(memory(), leak)),
            None => CacheLayer::builder(memory()),
        };
        return (vec![finish(builder)], settings);
    };
    let process = |_| {
        let far = MemcachedStore::builder([address]).namespace(format!("hunt-{}", round.seed)).deadline(STORE_PATIENCE);
        finish(CacheLayer::builder(Tiered::new(memory(), far.build().unwrap()).near_freshness(near_freshness)))
    };
    ((0..2).map(process).collect(), settings)
}

fn policy(dice: &mut Dice, settings: &Settings) -> Policy {
    let brief = Collapse::new().marker_lifetime(Duration::from_millis(5));
    let collapse = match dice.roll(5) {
        0 => Collapse::off(),
        1 => brief.wait_at_most(Duration::from_millis(3)).lock_age(Duration::from_millis(2)),
        2 => brief.max_followers(2).attempts(1).overflow(Overflow::Unavailable),
        3 => Collapse::new().marker_lifetime(Duration::ZERO).attempts(2),
        _ => brief,
    };
    let policy = if settings.honours_wishes { Policy::new().honour_request_directives() } else { Policy::new() };
    policy
        .default_freshness(Duration::from_nanos(settings.default_freshness))
        .max_body_bytes(dice.pick(&[2_000, 1 << 20]))
        .collapse(collapse)
}

/// For the path whose answers may be stale.
fn lenient(policy: &Policy, settings: &Settings) -> Policy {
    policy
        .clone()
        .stale_while_revalidate(Duration::from_nanos(settings.while_revalidate))
        .stale_if_error(Duration::from_nanos(settings.if_error))
}

/// For the path whose key has more in it, and less.
fn keyed(policy: &Policy) -> Policy {
    let region = HeaderName::from_static("x-region");
    let key = KeySpec::new().query(QueryRule::without(["utm_*"])).header(region).cookie("lang");
    policy.clone().key(key).ignore_cookie("theme")
}

/// For a path where each has its own.
fn keyed_by(policy: &Policy, principal: Principal) -> Policy {
    policy.clone().key(KeySpec::new().principal(principal))
}

/// As a layer that authenticates would say it.
fn named(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    headers.get("x-user")?.to_str().ok().map(Cow::Borrowed)
}

/// For the path where a `POST` only asks.
fn keyed_by_content(policy: &Policy) -> Policy {
    let replay = |content: RequestContent| -> Carried { content.map_err(io::Error::other).boxed_unsync() };
    policy.clone().content(Content::new(replay).ignore_json_members(["id"]))
}

/// More patience than a busy machine needs.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// An invalidation is told in the background, and nobody says when that is over. It does not take that long.
const SEEN_ELSEWHERE: Duration = Duration::from_secs(1);
