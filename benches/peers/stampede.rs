//! A thousand identical misses at once, over an origin that takes 50 ms; and what becomes of those that wait when the
//! client of the first one leaves.

use std::time::{Duration, Instant};

use http::Request;
use tokio::{runtime::Builder, task::JoinSet, time};

use crate::{
    caches::{self, Cached, Origin, Visit, Wanted},
    common::{
        exchange::{Ask, get},
        timing::Times,
    },
    page,
};

/// Forwards, and the time to the last answer; then the same for those that are left.
pub fn table() -> String {
    let (together, leaving) = (rounds(Scenario::Together), rounds(Scenario::FirstLeaves));
    let head = ["1,000 misses at once", "forwards", "last ms", "the first leaves: forwards", "answered", "last ms"];
    let rows = together.iter().zip(&leaving).map(|((name, together), (_, leaving))| {
        vec![
            (*name).to_owned(),
            median(together, |round| f64::from(round.forwards)),
            median(together, |round| round.last_ms),
            median(leaving, |round| f64::from(round.forwards)),
            format!("{} of {FOLLOWERS}", median(leaving, |round| round.answered as f64)),
            median(leaving, |round| round.last_ms),
        ]
    });
    page::table(&head, &rows.collect::<Vec<_>>())
}

type Rounds = Vec<(&'static str, Vec<Round>)>;

fn rounds(scenario: Scenario) -> Rounds {
    let mut gathered = Gathered { scenario, origin: Origin::new(1 << 10), rounds: Vec::new() };
    for _ in 0..ROUNDS {
        gathered.origin = Origin::new(1 << 10).taking(TAKES);
        let bare = gathered.origin.service();
        gathered.cache("no cache", bare, |ask| ask);
        caches::each(&gathered.origin.clone(), Wanted::Caching, &mut gathered);
    }
    gathered.rounds
}

fn median(rounds: &[Round], of: fn(&Round) -> f64) -> String {
    format!("{:.0}", Times::new(rounds.iter().map(of).collect()).median())
}

#[derive(Clone, Copy)]
enum Scenario {
    /// All come together, and all wait.
    Together,
    /// The first comes first, and leaves while the others wait.
    FirstLeaves,
}

/// What came of one stampede.
struct Round {
    forwards: u32,
    answered: usize,
    last_ms: f64,
}

struct Gathered {
    scenario: Scenario,
    origin: Origin,
    rounds: Rounds,
}

impl Visit for Gathered {
    fn cache<Q: Send + 'static>(&mut self, name: &'static str, cache: impl Cached<Q>, convert: fn(Ask) -> Request<Q>) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ask = move || {
            let (mut cache, request) = (cache.clone(), convert(get()));
            async move { caches::answer(&mut cache, request).await }
        };
        let calls = self.origin.calls();
        let (answered, last) = runtime.block_on(async {
            match self.scenario {
                Scenario::Together => all_at_once(REQUESTS, ask).await,
                Scenario::FirstLeaves => {
                    let first = tokio::spawn(ask());
                    time::sleep(TAKES / 10).await;
                    let leaves = async {
                        time::sleep(TAKES / 2).await;
                        first.abort();
                    };
                    tokio::join!(all_at_once(FOLLOWERS, ask), leaves).0
                }
            }
        });
        let round = Round { forwards: self.origin.calls() - calls, answered, last_ms: last.as_secs_f64() * 1e3 };
        match self.rounds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(round),
            None => self.rounds.push((name, vec![round])),
        }
    }

    fn cannot(&mut self, _: &'static str, _: &'static str) {}
}

/// How many were answered before we gave up, and when the last of them was.
async fn all_at_once<F>(requests: usize, ask: impl Fn() -> F) -> (usize, Duration)
where
    F: Future<Output = usize> + Send + 'static,
{
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..requests {
        clients.spawn(time::timeout(PATIENCE, ask()));
    }
    let answered = clients.join_all().await.iter().filter(|answer| answer.is_ok()).count();
    (answered, start.elapsed())
}

const REQUESTS: usize = 1_000;
const FOLLOWERS: usize = 200;
const TAKES: Duration = Duration::from_millis(50);
/// Who has waited for this long, waits for ever.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
