//! Misses: each request for another key, over an origin that answers at once.

use http::Request;
use tokio::runtime::{Builder, Runtime};

use crate::{
    caches::{self, Cached, Origin, Visit, Wanted},
    common::{
        exchange::{Ask, request},
        timing::Case,
    },
    page::{self, grouped},
    turns::in_turn,
};

/// Nanoseconds, and how much more than without a cache. What a cache does in a task of its own is in it.
pub fn table() -> String {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let origin = Origin::new(1 << 10);
    let mut gathered = Gathered { cases: Vec::new(), runtime: &runtime };
    gathered.cache("no cache", origin.service(), |ask| ask);
    caches::each(&origin, Wanted::Caching, &mut gathered);

    let times = in_turn(&mut gathered.cases);
    let bare = times[0].median();
    let rows = gathered
        .cases
        .iter()
        .zip(&times)
        .map(|(case, times)| vec![case.name.to_owned(), grouped(times.median()), grouped(times.median() - bare)]);
    page::table(&["a miss, 1 KiB", "ns", "more than without a cache"], &rows.collect::<Vec<_>>()) + "\n"
}

struct Gathered<'a> {
    cases: Vec<Case<'a>>,
    runtime: &'a Runtime,
}

impl Visit for Gathered<'_> {
    fn cache<Q: Send + 'static>(
        &mut self,
        name: &'static str,
        mut cache: impl Cached<Q>,
        convert: fn(Ask) -> Request<Q>,
    ) {
        let (runtime, mut next) = (self.runtime, 0);
        let ask = move || {
            next += 1;
            convert(request(
                "GET",
                &format!("/api/v1/products/{next}?category=books&page=3&per_page=50&sort=price_asc"),
            ))
        };
        let run = move |request| {
            runtime.block_on(async {
                caches::answer(&mut cache, request).await;
                tokio::task::yield_now().await;
            });
        };
        self.cases.push(Case::new(name, ask, run));
    }

    fn cannot(&mut self, _: &'static str, _: &'static str) {}
}
