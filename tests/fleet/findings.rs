//! What a run shows, and whether that is what was promised.

use std::time::Duration;

use crate::{
    network::ROUND_TRIP,
    node::{NEAR_FRESHNESS, ORIGIN_TAKES},
    records::{Forward, Recorded, Request},
    run::{FRESHNESS, Run},
};

/// The numbers of a run. What nothing was seen of is none.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) steady: Steady,
    pub(crate) gone: Gone,
    pub(crate) died: Died,
    pub(crate) purged: Purged,
    /// What was promised, and is not so.
    pub(crate) broken: Vec<String>,
}

/// All nodes and servers are there.
#[derive(Debug)]
pub(crate) struct Steady {
    pub(crate) requests_a_second: f64,
    /// For the key that is asked for most; for the one that was forwarded most; for a key in the middle.
    pub(crate) hottest: f64,
    pub(crate) most: f64,
    pub(crate) mean: f64,
    /// How often memcached is asked for the hottest key.
    pub(crate) lookups: f64,
}

/// The server of the hottest key is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) keys: usize,
    pub(crate) hottest: f64,
    /// For all keys, and what it was before.
    pub(crate) all: f64,
    pub(crate) all_before: f64,
    pub(crate) slowest: Option<Duration>,
    /// Of each node: how long its clients had to wait for the server now and then.
    pub(crate) waited: Spread,
    /// Of each node: when the server that is back answers it again.
    pub(crate) heard: Spread,
}

/// A tenth of the nodes dies.
#[derive(Debug)]
pub(crate) struct Died {
    pub(crate) nodes: usize,
    /// Keys that nobody but these was forwarding.
    pub(crate) orphans: usize,
    /// Until an orphan that is asked for has come from elsewhere.
    pub(crate) longest: Option<Duration>,
    /// Forwards for all keys, and what it was before.
    pub(crate) all: f64,
    pub(crate) all_before: f64,
    pub(crate) slowest: Option<Duration>,
}

/// All is purged.
#[derive(Debug)]
pub(crate) struct Purged {
    pub(crate) took: Duration,
    /// Of each node: its last old answer, after the purge was asked for.
    pub(crate) old: Spread,
    /// For each key, in all until nobody has the old answer.
    pub(crate) forwards: f64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) median: Option<Duration>,
    pub(crate) most: Option<Duration>,
}

impl Spread {
    fn of(values: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = values.collect();
        sorted.sort_unstable();
        Self { median: sorted.get(sorted.len() / 2).copied(), most: sorted.last().copied() }
    }
}

impl Findings {
    pub(crate) fn of(run: &Run) -> Self {
        let mut findings =
            Self { steady: steady(run), gone: gone(run), died: died(run), purged: purged(run), broken: Vec::new() };
        findings.broken = broken(run, &findings);
        findings
    }
}

fn steady(run: &Run) -> Steady {
    let [seconds, keys] = [seconds(run.steady), run.settings.keys as f64];
    let counts: Vec<usize> = (0..run.settings.keys).map(|key| forwards(run, run.steady, key)).collect();
    Steady {
        requests_a_second: requests(run, run.steady).count() as f64 / seconds,
        hottest: counts[0] as f64 / seconds,
        most: counts.iter().copied().max().unwrap_or_default() as f64 / seconds,
        mean: counts.iter().sum::<usize>() as f64 / seconds / keys,
        lookups: run.lookups as f64 / seconds,
    }
}

fn gone(run: &Run) -> Gone {
    // Longer than the origin alone takes.
    let has_waited = |request: &&Request| {
        run.on_it[request.key] && took(request).is_some_and(|took| took > ORIGIN_TAKES + 20 * ROUND_TRIP)
    };
    let mut last = vec![None; run.settings.nodes];
    for request in requests(run, run.gone).filter(has_waited) {
        last[request.node] = Some(request.asked - run.gone[0]);
    }
    Gone {
        keys: run.on_it.iter().filter(|is_on_it| **is_on_it).count(),
        hottest: forwards(run, run.gone, 0) as f64 / seconds(run.gone),
        all: of_all_keys(run, run.gone),
        all_before: of_all_keys(run, run.steady),
        slowest: requests(run, run.gone).filter_map(took).max(),
        waited: Spread::of(last.into_iter().flatten()),
        heard: Spread::of(run.heard.iter().flatten().map(|at| *at - run.gone[1])),
    }
}

fn died(run: &Run) -> Died {
    let Recorded { forwards, requests: all, died, .. } = &run.recorded;
    let (at, is_dead) = (run.died[0], |node: usize| died[node].is_some());
    let under_way = |forward: &&Forward| forward.began <= at && forward.ended.is_none_or(|ended| ended > at);
    let is_orphan = |key: &usize| {
        let mut under_way = forwards.iter().filter(under_way).filter(|forward| forward.key == *key).peekable();
        under_way.peek().is_some() && under_way.all(|forward| is_dead(forward.node))
    };
    // None: nobody has asked, or somebody had it yet.
    let refreshed = |key: &usize| {
        let of_key = |forward: &&Forward| forward.key == *key && !is_dead(forward.node);
        let ended =
            forwards.iter().filter(of_key).filter_map(|forward| forward.ended).filter(|ended| *ended > at).min()?;
        let has_waited = |request: &&Request| {
            let forward = request.forward.map(|forward| forwards[forward]);
            request.key == *key && !is_dead(request.node) && forward.is_some_and(|it| it.ended == Some(ended))
        };
        Some(ended.saturating_sub(all.iter().find(has_waited)?.asked.max(at)))
    };
    let orphans: Vec<usize> = (0..run.settings.keys).filter(is_orphan).collect();
    Died {
        nodes: died.iter().flatten().count(),
        longest: orphans.iter().filter_map(refreshed).max(),
        orphans: orphans.len(),
        all: of_all_keys(run, run.died),
        all_before: of_all_keys(run, run.steady),
        slowest: requests(run, run.died).filter_map(took).max(),
    }
}

fn purged(run: &Run) -> Purged {
    let [asked, over] = run.purged;
    let mut last = vec![Duration::ZERO; run.settings.nodes];
    for request in run.recorded.requests.iter().filter(|request| request.asked >= asked) {
        if is_old(run, request) {
            let late = request.answered.unwrap_or_default() - asked;
            last[request.node] = last[request.node].max(late);
        }
    }
    let alive = last.iter().zip(&run.recorded.died).filter(|(_, died)| died.is_none());
    let forwards: usize = (0..run.settings.keys).map(|key| forwards(run, [asked, over + UNSEEN], key)).sum();
    Purged {
        took: over - asked,
        old: Spread::of(alive.map(|(late, _)| *late)),
        forwards: forwards as f64 / run.settings.keys as f64,
    }
}

/// Whether the answer is from before the purge.
fn is_old(run: &Run, request: &Request) -> bool {
    request.forward.is_some_and(|forward| run.recorded.forwards[forward].version < run.recorded.version)
}

fn broken(run: &Run, findings: &Findings) -> Vec<String> {
    let mut broken = every_answer(run);
    let mut hold = |is_so: bool, what: String| {
        if !is_so {
            broken.push(what);
        }
    };
    let elected = if run.settings.leases { 1 } else { run.settings.nodes };
    for key in 0..run.settings.keys {
        let count = forwards(run, run.steady, key);
        hold(count <= at_most(elected, run.steady), format!("{count} forwards of key {key} in the steady state"));
        let count = forwards(run, run.gone, key);
        let elected = if run.on_it[key] { run.settings.nodes } else { elected };
        hold(count <= at_most(elected, run.gone), format!("{count} forwards of key {key} without a server"));
    }
    let Findings { gone, died, purged, .. } = findings;
    let unheard = run.heard.iter().filter(|at| at.is_none()).count();
    hold(unheard == 0, format!("{unheard} nodes do not ask the server that is back"));
    let heard = gone.heard.most.unwrap_or_default();
    hold(heard <= LONGEST_BACKOFF + NEXT_ASKED, format!("the server is back, and asked after {heard:?}"));
    let waited = gone.waited.most.unwrap_or_default();
    hold(waited <= FIVE_FAILURES, format!("a server is gone, and waited for after {waited:?}"));
    let slowest = gone.slowest.unwrap_or_default();
    hold(slowest <= ORIGIN_TAKES + STORE_TAKES, format!("an answer without a server took {slowest:?}"));
    for (what, took) in [("an orphan was not refreshed for", died.longest), ("an answer took", died.slowest)] {
        let took = took.unwrap_or_default();
        hold(took <= LEASE + ORIGIN_TAKES + STORE_TAKES, format!("{what} {took:?} after nodes have died"));
    }
    let old = purged.old.most.unwrap_or_default();
    hold(old <= purged.took + UNSEEN + STORE_TAKES, format!("an old answer {old:?} after the purge"));
    broken
}

/// That each request of a node that lives is answered, by something that is fresh.
fn every_answer(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    for request in run.recorded.requests.iter().filter(|request| is_alive(run, request)) {
        let Some(forward) = request.forward else {
            broken.push(format!("no answer: {request:?}"));
            continue;
        };
        let forward = run.recorded.forwards[forward];
        if forward.began + forward.freshness < request.asked {
            broken.push(format!("stale: {request:?} {forward:?}"));
        }
        let unseen_until = run.purged[1] + UNSEEN;
        if request.asked > unseen_until && forward.version < run.recorded.version {
            broken.push(format!("purged: {request:?} {forward:?}"));
        }
    }
    broken
}

/// Of nodes that were alive when they should have answered.
fn requests(run: &Run, [from, to]: [Duration; 2]) -> impl Iterator<Item = &Request> {
    run.recorded
        .requests
        .iter()
        .filter(move |request| is_alive(run, request) && request.asked >= from && request.asked < to)
}

fn is_alive(run: &Run, request: &Request) -> bool {
    let died = run.recorded.died[request.node];
    died.is_none_or(|died| request.answered.is_some_and(|answered| answered < died))
}

/// What the origin has seen.
fn forwards(run: &Run, [from, to]: [Duration; 2], key: usize) -> usize {
    let is_counted = |forward: &&Forward| forward.key == key && forward.began >= from && forward.began < to;
    run.recorded.forwards.iter().filter(is_counted).count()
}

fn of_all_keys(run: &Run, span: [Duration; 2]) -> f64 {
    (0..run.settings.keys).map(|key| forwards(run, span, key)).sum::<usize>() as f64 / seconds(span)
}

/// The most forwards of a key in this time, where so many nodes keep what came for as long as it is fresh.
fn at_most(nodes: usize, span: [Duration; 2]) -> usize {
    let kept = FRESHNESS.min(NEAR_FRESHNESS).as_secs_f64();
    nodes * ((seconds(span) / kept).ceil() as usize + 1)
}

fn took(request: &Request) -> Option<Duration> {
    Some(request.answered? - request.asked)
}

fn seconds([from, to]: [Duration; 2]) -> f64 {
    (to - from).as_secs_f64()
}

/// For so long another process may not see a purge.
pub(crate) const UNSEEN: Duration = NEAR_FRESHNESS.saturating_add(Duration::from_millis(100));

/// So soon a process that dies with a lease is replaced.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// For so long at most a server that has failed is left alone.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(4);

/// Until a node is asked for something that is on that server, which makes it probe, and then for the next: the same.
const NEXT_ASKED: Duration = Duration::from_millis(2_900);

/// Until a node has failed five times with a server, and leaves it alone: with these clients not longer than this.
const FIVE_FAILURES: Duration = Duration::from_secs(4);

/// For all that one request asks of the store, and for those that wait for their turn some round trips more.
const STORE_TAKES: Duration = Duration::from_millis(100);
