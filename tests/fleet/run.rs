//! One run: a fleet in its steady state, without one of its servers, without a tenth of its nodes, and after a purge.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use microcache::{CacheLayer, Placement, Purge};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

use crate::{
    network::Network,
    node::{Node, TAG, cache_key, layer, path},
    records::{Forward, Recorded, Records, Time},
    zipf::Zipf,
};

/// The fleet, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) nodes: usize,
    pub(crate) servers: usize,
    pub(crate) keys: usize,
    /// Of each node.
    pub(crate) requests_a_second: f64,
    pub(crate) leases: bool,
    pub(crate) seed: u64,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) settings: Settings,
    pub(crate) recorded: Recorded,
    /// From, to.
    pub(crate) steady: [Duration; 2],
    /// In that time, of the key that is asked for most.
    pub(crate) lookups: u64,
    /// The same key's server is gone.
    pub(crate) gone: [Duration; 2],
    /// Which of the keys are on that server.
    pub(crate) on_it: Vec<bool>,
    /// When each node was first answered by it again.
    pub(crate) heard: Vec<Option<Duration>>,
    /// From when nodes die until it is judged.
    pub(crate) died: [Duration; 2],
    /// When the purge was asked for, and when it was over.
    pub(crate) purged: [Duration; 2],
}

/// Runs it, in a time of its own.
pub(crate) fn run(settings: Settings) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(Fleet::new(settings).run())
}

struct Fleet {
    settings: Settings,
    layers: Vec<CacheLayer>,
    network: Network,
    records: Records,
    random: Rng,
}

impl Fleet {
    fn new(settings: Settings) -> Self {
        let network = Network::new(settings.nodes, settings.servers);
        let records = Records::new(Time::begin(), settings.nodes, FRESHNESS);
        let layers = (0..settings.nodes).map(|node| layer(&settings, node, &network, &records)).collect();
        Self { settings, layers, network, records, random: Rng::with_seed(settings.seed) }
    }

    async fn run(mut self) -> Run {
        let Settings { keys, servers, requests_a_second, .. } = self.settings;
        let popular = Zipf::new(1.0, keys);
        for (number, layer) in self.layers.iter().enumerate() {
            let (node, random) = (Node::new(number, layer, &self.records), self.random.fork());
            tokio::spawn(node.serve(random, popular.clone(), requests_a_second));
        }
        sleep(WARM_UP).await;
        let before = self.network.lookups(&path(0));
        let steady = self.lasting(STEADY).await;
        let lookups = self.network.lookups(&path(0)) - before;

        let placement = Placement::new(Network::addresses(servers)).unwrap();
        let server_of = |key| Network::number(placement.server_of(&cache_key(key)));
        let server = server_of(0);
        let on_it = (0..keys).map(|key| server_of(key) == server).collect();
        self.network.take_away(server);
        let gone = self.lasting(GONE).await;
        self.network.bring_back(server);
        sleep(RECOVERY).await;
        let heard = self.network.heard(server).into_iter().map(|at| Some(self.records.time.at(at?))).collect();

        self.kill_a_tenth().await;
        let died = self.lasting(MOURNING).await;

        self.records.lock().freshness = LONG_FRESHNESS;
        sleep(WARM_UP).await;
        let purged = self.purge().await;
        sleep(AFTER_PURGE).await;

        self.records.lock().is_over = true;
        sleep(LAST_ANSWERS).await;
        let over = Recorded { forwards: Vec::new(), requests: Vec::new(), died: Vec::new(), ..*self.records.lock() };
        let recorded = std::mem::replace(&mut *self.records.lock(), over);
        Run { settings: self.settings, recorded, steady, lookups, gone, on_it, heard, died, purged }
    }

    /// From now on for so long.
    async fn lasting(&self, span: Duration) -> [Duration; 2] {
        let from = self.records.time.elapsed();
        sleep(span).await;
        [from, from + span]
    }

    /// Of those that are about to forward, as many as make a tenth of all; if they are too few, others too. The first
    /// node stays.
    async fn kill_a_tenth(&mut self) {
        // One of a few is more than that.
        let tenth = if self.settings.nodes > 1 { self.settings.nodes.div_ceil(10) } else { 0 };
        let until = Instant::now() + MOURNING;
        let is_on_its_way = |forward: &&Forward| forward.ended.is_none() && forward.node > 0;
        let mut busy: Vec<Forward> = Vec::new();
        while tenth > 0 && Instant::now() < until && !busy.iter().any(|forward| forward.key == 0) {
            sleep(Duration::from_millis(1)).await;
            busy = self.records.lock().forwards.iter().filter(is_on_its_way).copied().collect();
        }
        busy.sort_by_key(|forward| forward.key);
        let mut dead: BTreeSet<usize> = busy.iter().map(|forward| forward.node).take(tenth).collect();
        while dead.len() < tenth {
            dead.insert(self.random.usize(1..self.settings.nodes));
        }
        let mut recorded = self.records.lock();
        for node in dead {
            self.network.cut_off(node);
            recorded.died[node] = Some(self.records.time.elapsed());
        }
    }

    /// The origin has something new for all keys, and the first node purges what it had.
    async fn purge(&self) -> [Duration; 2] {
        self.records.lock().version += 1;
        let asked = self.records.time.elapsed();
        self.layers[0].handle().purge(Purge::tag(TAG)).await.unwrap();
        [asked, self.records.time.elapsed()]
    }
}

/// How long answers are fresh.
pub(crate) const FRESHNESS: Duration = Duration::from_secs(1);

/// Before the purge: so long that they are not stale before they are purged.
const LONG_FRESHNESS: Duration = Duration::from_secs(30);

const WARM_UP: Duration = Duration::from_secs(3);
const STEADY: Duration = Duration::from_secs(5);
const GONE: Duration = Duration::from_secs(7);
const RECOVERY: Duration = Duration::from_secs(7);
const MOURNING: Duration = Duration::from_secs(5);
const AFTER_PURGE: Duration = Duration::from_secs(2);
/// More than anybody waits.
const LAST_ANSWERS: Duration = Duration::from_secs(11);
