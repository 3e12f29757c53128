//! Hits at three sizes, against a service that clones a response that is ready; and requests that are left alone,
//! against the same.

use bytes::Bytes;
use http::Request;

use crate::{
    caches::{self, Cached, Origin, Visit, Wanted},
    common::{
        exchange::{Ask, Prepared, exchange, get, reply},
        timing::{Case, Times},
    },
    page::{self, grouped},
    turns::in_turn,
};

/// Nanoseconds, and how often the floor.
pub fn tables() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Some of them start tasks.
    let _entered = runtime.enter();
    let columns = [
        Column::measured("hit, 1 KiB", 1 << 10, Wanted::Caching, &runtime),
        Column::measured("hit, 64 KiB", 64 << 10, Wanted::Caching, &runtime),
        Column::measured("hit, 1 MiB", 1 << 20, Wanted::Caching, &runtime),
        Column::measured("left alone", 1 << 10, Wanted::Bypass, &runtime),
    ];
    let mut head = vec!["ns (x floor)"];
    head.extend(columns.iter().map(|column| column.name));
    let rows: Vec<Vec<String>> = (0..columns[0].rows.len())
        .map(|row| {
            let cells = columns.iter().map(|column| column.rows[row].1.clone());
            [columns[0].rows[row].0.to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    page::table(&head, &rows) + "\n"
}

struct Column {
    name: &'static str,
    rows: Vec<(&'static str, String)>,
}

impl Column {
    fn measured(name: &'static str, body_bytes: usize, wanted: Wanted, runtime: &tokio::runtime::Runtime) -> Self {
        let origin = Origin::new(body_bytes);
        let mut prepared = Prepared::new(reply(Bytes::from(vec![b'x'; body_bytes])));
        let mut alone = origin.service();
        let floor = match wanted {
            Wanted::Caching => Case::new(FLOOR, get, move |request| exchange(&mut prepared, request)),
            // The origin is asked all the same.
            Wanted::Bypass => Case::new(FLOOR, get, move |request| exchange(&mut alone, request)),
        };
        let mut gathered =
            Gathered { cases: vec![floor], rows: vec![(FLOOR, None)], wanted, origin: origin.clone(), runtime };
        caches::each(&origin, wanted, &mut gathered);

        let Gathered { mut cases, rows, .. } = gathered;
        let mut times = in_turn(&mut cases).into_iter();
        let floor = times.as_slice()[0].median();
        let told = |times: Times| format!("{} ({})", grouped(times.median()), ratio(times.median() / floor));
        let rows = rows
            .into_iter()
            .map(|(name, cannot)| (name, cannot.unwrap_or_else(|| times.next().map_or_else(String::new, told))));
        Self { name, rows: rows.collect() }
    }
}

/// A case for each cache, or why there is none.
struct Gathered<'a> {
    cases: Vec<Case<'static>>,
    rows: Vec<(&'static str, Option<String>)>,
    wanted: Wanted,
    origin: Origin,
    runtime: &'a tokio::runtime::Runtime,
}

impl Visit for Gathered<'_> {
    fn cache<Q: Send + 'static>(
        &mut self,
        name: &'static str,
        mut cache: impl Cached<Q>,
        convert: fn(Ask) -> Request<Q>,
    ) {
        let calls = self.origin.calls();
        self.runtime.block_on(async {
            caches::answer(&mut cache, convert(get())).await;
            // Some of them store in a task.
            tokio::task::yield_now().await;
            caches::answer(&mut cache, convert(get())).await;
        });
        let forwards = self.origin.calls() - calls;
        assert_eq!(forwards, if self.wanted == Wanted::Caching { 1 } else { 2 }, "{name}");
        self.rows.push((name, None));
        self.cases.push(Case::new(name, move || convert(get()), move |request| exchange(&mut cache, request)));
    }

    fn cannot(&mut self, name: &'static str, why: &'static str) {
        self.rows.push((name, Some(why.to_owned())));
    }
}

fn ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { grouped(ratio) }
}

/// What every service with a ready answer must pay.
const FLOOR: &str = "a ready response, cloned (floor)";
