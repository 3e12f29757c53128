//! What has really happened: each forward, and all that was invalidated or purged, from when that is known.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, LazyLock, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    origin::{Control, LONGEST},
    world::{Ask, Dice},
};

/// A clock that goes on by a microsecond whenever somebody looks, and by more when it is told to: no two moments are the
/// same, so that the order of all that happens is known. Moments are nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    start: SystemTime,
    passed: Arc<AtomicU64>,
}

impl Ticks {
    /// A little ahead of the system's clock: where a memcached has no fences, a store takes all that began before now for
    /// purged, by that clock.
    fn begin() -> Self {
        Self { start: SystemTime::now() + Duration::from_secs(60), passed: Arc::default() }
    }

    pub(crate) fn tick(&self) -> u64 {
        self.passed.fetch_add(1_000, SeqCst)
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.passed.fetch_add(millis * MILLI, SeqCst);
    }
}

impl microcache::Clock for Ticks {
    fn now(&self) -> SystemTime {
        self.start + Duration::from_nanos(self.tick())
    }
}

/// One forward: what the origin saw, and what it said.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) saw: Ask,
    /// Of the resource, when the forward came in.
    pub(crate) version: u64,
    /// When it came in.
    pub(crate) began: u64,
    /// When the head went out.
    pub(crate) answered: u64,
    /// When the head was with the cache for certain, since its body was asked for or let go; zero until then.
    pub(crate) arrived: AtomicU64,
    /// When the cache had done with the body.
    pub(crate) ended_at: OnceLock<Instant>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What it compares in conditions, whether it says so or not.
    pub(crate) validators: HeaderMap,
    pub(crate) control: &'static Control,
    /// The fields that it varies on.
    pub(crate) vary: &'static [&'static str],
    /// By which it can be purged.
    pub(crate) tags: Vec<&'static str>,
    /// What the origin said in `Age`.
    pub(crate) age: u64,
    /// The first and the last byte of the whole, if this is a part.
    pub(crate) part: Option<(usize, usize)>,
    /// How long the whole is.
    pub(crate) length: usize,
    pub(crate) has_trailers: bool,
    /// The body does not come whole.
    pub(crate) is_broken: bool,
}

impl Record {
    /// The opaque part of its entity tag, if it has one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.validators.get(header::ETAG).map(|tag| bare(tag.to_str().unwrap()))
    }

    pub(crate) fn sets_cookie(&self) -> bool {
        self.headers.contains_key(header::SET_COOKIE)
    }

    /// The content, all of it: what it was computed from, and then bytes that no other forward has.
    pub(crate) fn content(&self) -> Vec<u8> {
        let saw = &self.saw;
        let mut content = format!("{} {} {} v{}", self.number, saw.method, saw.uri, self.version).into_bytes();
        for name in SHOWN {
            content.extend_from_slice(b"; ");
            content.extend_from_slice(saw.text(name).as_bytes());
        }
        content.extend_from_slice(b"; ");
        // From another place of the noise for each forward.
        let place = usize::try_from(Dice::new(self.number).roll(NOISE as u64)).unwrap();
        let left = self.length - content.len() - 16;
        content.extend_from_slice(&NOISE_BYTES[place..place + left]);
        let digest = hash(&content);
        content.extend_from_slice(format!("{digest:016x}").as_bytes());
        content
    }
}

/// An unsafe request that has succeeded (RFC 9111 §4.4), or a purge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// What began earlier has ended: the response left the origin then, or the purge was made.
    pub(crate) before: u64,
    /// When it was known to whoever asked for it.
    pub(crate) known: u64,
    pub(crate) known_at: Instant,
    /// Through which cache it came.
    pub(crate) process: usize,
    /// How long after it is known here the other process knows; none if that need not.
    pub(crate) elsewhere: Option<Duration>,
    /// What has ended is stale, and not gone.
    pub(crate) is_soft: bool,
}

type Sharded<K, V> = Box<[Mutex<HashMap<K, V>>]>;

/// All that has happened in one round.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) ticks: Ticks,
    pub(crate) seed: u64,
    forwards: AtomicU64,
    records: Sharded<u64, Arc<Record>>,
    versions: Box<[AtomicU64]>,
    endings: Sharded<String, Vec<Ending>>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ticks: Ticks::begin(),
            seed,
            forwards: AtomicU64::new(0),
            records: (0..SHARDS).map(|_| Mutex::default()).collect(),
            versions: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            endings: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn next_forward(&self) -> u64 {
        self.forwards.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn forwards(&self) -> u64 {
        self.forwards.load(SeqCst)
    }

    pub(crate) fn keep(&self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        self.records[place(record.number)].lock().unwrap().insert(record.number, Arc::clone(&record));
        record
    }

    /// What a forward was, by the number that a response bears.
    pub(crate) fn record(&self, number: &HeaderValue) -> Option<Arc<Record>> {
        let number = number.to_str().ok()?.parse().ok()?;
        self.records[place(number)].lock().unwrap().get(&number).cloned()
    }

    /// How often a resource was changed. Some share a count, which changes nothing for the others.
    pub(crate) fn version(&self, target: &str) -> &AtomicU64 {
        &self.versions[place(hash(target.as_bytes()))]
    }

    /// Something has ended: all that the scope names.
    pub(crate) fn end(&self, scope: String, ending: Ending) {
        let mut shard = self.endings[place(hash(scope.as_bytes()))].lock().unwrap();
        let known = shard.entry(scope).or_default();
        // The old ones only matter to requests that take very long.
        if known.len() == REMEMBERED {
            known.remove(0);
        }
        known.push(ending);
    }

    /// An ending of what the scope names that this holds for.
    pub(crate) fn ending(&self, scope: &str, holds: impl Fn(&Ending) -> bool) -> Option<Ending> {
        let shard = self.endings[place(hash(scope.as_bytes()))].lock().unwrap();
        shard.get(scope)?.iter().rev().find(|ending| holds(ending)).copied()
    }
}

/// An entity tag without its mark of weakness.
pub(crate) fn bare(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn place(number: u64) -> usize {
    usize::try_from(number % SHARDS).unwrap()
}

pub(crate) const SECOND: u64 = 1_000 * MILLI;
pub(crate) const MILLI: u64 = 1_000_000;

const SHARDS: u64 = 64;
const REMEMBERED: usize = 128;

/// The fields that the content tells of.
const SHOWN: [&str; 12] = [
    "x-ask",
    "x-tenant",
    "host",
    "authorization",
    "cookie",
    "x-user",
    "accept-encoding",
    "accept-language",
    "x-flavour",
    "x-region",
    "x-forwarded-host",
    "range",
];

const NOISE: usize = 1 << 16;

/// Longer than the noise is wide, by the longest content.
static NOISE_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = Dice::new(0);
    (0..NOISE + LONGEST).map(|_| dice.pick(b"abcdefghijklmnopqrstuvwxyz")).collect()
});
