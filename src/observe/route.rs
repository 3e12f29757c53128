//! The routes of a cache: their names, their switches, and what became of the requests on them.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{
    histogram::Snapshot,
    stats::{Requests, RouteStats},
    tally::{Tally, Took},
    tenants::SLOTS,
};

/// One route. Policies of the same name are on the same one.
pub(crate) struct Route {
    name: Arc<str>,
    is_paused: AtomicBool,
    /// By the numbers of tenants.
    tallies: Box<[OnceLock<Arc<Tally>>]>,
    took: Arc<Took>,
}

impl Route {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let tallies = (0..SLOTS).map(|_| OnceLock::new()).collect();
        Arc::new(Self { name: name.into(), is_paused: AtomicBool::new(false), tallies, took: Arc::default() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Relaxed)
    }

    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Relaxed);
    }

    /// The tally of the tenant with this number, and what it is called if it is the first time.
    #[inline]
    pub(super) fn tally(&self, number: usize, label: impl FnOnce() -> Arc<str>) -> &Arc<Tally> {
        self.tallies[number].get_or_init(|| Arc::new(Tally::new(&self.name, label(), &self.took)))
    }

    /// How long hits, forwards and waits took.
    pub(super) fn took(&self) -> [Snapshot; 3] {
        [&self.took.hit, &self.took.forward, &self.took.wait].map(|timer| timer.snapshot())
    }

    /// `each`: is told of each tenant and its requests.
    pub(super) fn stats<'a>(&'a self, mut each: impl FnMut(&'a str, &Requests)) -> RouteStats {
        let mut requests = Requests::default();
        for tally in self.tallies.iter().filter_map(OnceLock::get) {
            let of_tenant = tally.requests();
            requests.add(&of_tenant);
            each(tally.tenant(), &of_tenant);
        }
        RouteStats { route: (*self.name).to_owned(), is_paused: self.is_paused(), requests }
    }
}

/// All routes of one cache.
#[derive(Default)]
pub(crate) struct RouteBook {
    routes: Mutex<Vec<Arc<Route>>>,
}

impl RouteBook {
    /// The route of this name.
    pub(crate) fn named(&self, name: &str) -> Arc<Route> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = routes.iter().find(|route| route.name() == name) {
            return Arc::clone(there);
        }
        let route = Route::new(name);
        routes.push(Arc::clone(&route));
        route
    }

    /// In the order in which they were named.
    pub(crate) fn all(&self) -> Vec<Arc<Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
