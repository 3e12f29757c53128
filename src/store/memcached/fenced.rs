//! A server and its fences: what is asked together with them, and how it is told of new ones.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    format::Format,
    known::{Known, Lately, Seen},
    node::Node,
    owed::Owed,
    wire::{FOR_EVER, Got, Outcome},
};
use crate::{
    clock::{Clock, monotonic},
    key::CacheKey,
    store::{StoreError, StoreErrorKind},
    stored::raised::Raised,
};

/// A server that keeps fences, each in the item for its tenant or in that for all.
pub(super) struct FencedNode {
    pub(super) node: Node,
    format: Arc<Format>,
    clock: Arc<dyn Clock>,
    /// The key of the fences for all.
    all: CacheKey,
    lately: Lately,
    owed: Mutex<Owed>,
    /// The last turn that the server has been told of.
    paid: watch::Sender<u64>,
}

impl FencedNode {
    pub(super) fn new(node: Node, format: Arc<Format>, clock: Arc<dyn Clock>) -> Self {
        let all = CacheKey::of_fences(None);
        let (lately, owed, paid) = (Lately::default(), Mutex::default(), watch::Sender::new(0));
        Self { node, format, clock, all, lately, owed, paid }
    }

    /// What is there under the name of `key`, with what covers it as of lately.
    pub(super) async fn find(&self, key: &CacheKey, name: &str) -> Result<(Got, Seen), StoreError> {
        let tenant = fences_of(key);
        match self.lately.seen(&self.all, &tenant, monotonic()) {
            Some(seen) => Ok((self.node.get(name, None).await?, seen)),
            // Apart, so that what most do does not carry it.
            None => Box::pin(self.ask(&tenant, name, None)).await,
        }
    }

    /// The same, or a stub for so many seconds, with what covers it as of now.
    pub(super) async fn find_now(&self, key: &CacheKey, name: &str, seconds: u32) -> Result<(Got, Seen), StoreError> {
        self.ask(&fences_of(key), name, Some(seconds)).await
    }

    /// What covers what is under `key`, as of lately.
    pub(super) async fn fences(&self, key: &CacheKey) -> Result<Seen, StoreError> {
        let tenant = fences_of(key);
        match self.lately.seen(&self.all, &tenant, monotonic()) {
            Some(seen) => Ok(seen),
            None => Ok(self.ask(&tenant, &self.format.name_of_fences(&tenant), None).await?.1),
        }
    }

    async fn ask(&self, tenant: &CacheKey, name: &str, vivify: Option<u32>) -> Result<(Got, Seen), StoreError> {
        let at = monotonic();
        let names = [self.format.name_of_fences(&self.all), self.format.name_of_fences(tenant)];
        let (got, [all, own]) = self.node.get_then(name, vivify, [&names[0], &names[1]]).await?;
        Ok((got, Seen { all: self.learn(&self.all, all, at).await?, tenant: self.learn(tenant, own, at).await? }))
    }

    /// What the server has said of the fences under a key. Where it has none, they are begun anew.
    async fn learn(&self, key: &CacheKey, got: Got, at: Instant) -> Result<Known, StoreError> {
        let raised = match got {
            Got::Value { bytes, .. } => self.format.decode_fences(key, &bytes),
            Got::Miss => None,
        };
        match raised {
            Some(raised) => Ok(self.remember(key, raised, at)),
            None => self.tell(key, &Raised::default()).await,
        }
    }

    fn remember(&self, key: &CacheKey, raised: Raised, at: Instant) -> Known {
        let known = Known::new(raised, at);
        self.lately.remember(key, &known, monotonic());
        known
    }

    /// Merges these fences into the item of this key, and says what is in it then.
    async fn tell(&self, key: &CacheKey, news: &Raised) -> Result<Known, StoreError> {
        let name = self.format.name_of_fences(key);
        // Whatever the breaker says: it is tried until the server has it.
        let server = self.node.server();
        for _ in 0..ATTEMPTS {
            let at = monotonic();
            let Got::Value { bytes, cas, .. } = server.get(&name, Some(STUB_SECONDS)).await? else { continue };
            let mut raised = match self.format.decode_fences(key, &bytes) {
                Some(there) if there.has(news) => return Ok(self.remember(key, there, at)),
                Some(there) => there,
                None => Raised::anew(self.clock.now()),
            };
            raised.merge(news);
            let Some(parts) = self.format.encode_fences(key, &mut raised) else {
                return Err(refused("the fences are too large for a value"));
            };
            match server.set(&name, parts, FOR_EVER, Some(cas)).await? {
                Outcome::Done => return Ok(self.remember(key, raised, at)),
                // Somebody else was faster: merge again.
                Outcome::Exists | Outcome::NotFound => {}
                Outcome::NotStored => break,
            }
        }
        Err(refused("the server did not take the fences"))
    }

    /// Owes the server these fences from now on, until it has them or the store ends. The future waits for that.
    pub(super) fn owe(
        self: &Arc<Self>,
        key: &CacheKey,
        raised: &Raised,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + use<>, StoreError> {
        let mut paid = self.paid.subscribe();
        let turn = self.begin(key, raised)?;
        Ok(async move {
            let told = paid.wait_for(|paid| *paid >= turn).await;
            told.map(drop).map_err(|gone| StoreError::new(StoreErrorKind::Io, gone))
        })
    }

    fn begin(self: &Arc<Self>, key: &CacheKey, raised: &Raised) -> Result<u64, StoreError> {
        let mut owed = self.owed();
        let turn = owed.add(key, raised);
        if !owed.is_busy {
            let runtime = Handle::try_current().map_err(|_| refused("memcached is told outside of a tokio runtime"))?;
            owed.is_busy = true;
            runtime.spawn(pay(Busy { node: Arc::downgrade(self), is_over: false }));
        }
        Ok(turn)
    }

    /// Tells the server all that it is owed now. An error says that it did not take it all.
    async fn tell_all(&self) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        let all = self.owed().due();
        for due in all {
            match self.tell(&due.key, &due.raised).await {
                Ok(_) => {
                    let mut owed = self.owed();
                    owed.settle(&due);
                    self.paid.send_replace(owed.paid());
                }
                // It may take the others.
                Err(error) if error.kind() == StoreErrorKind::Refused => outcome = Err(error),
                Err(error) => return Err(error),
            }
        }
        outcome
    }

    /// Never held across an await.
    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the server what it is owed, until that is nothing, or nobody has the store any more.
async fn pay(mut busy: Busy) {
    let mut pause = PAUSE;
    while let Some(node) = busy.node.upgrade() {
        pause = match node.tell_all().await {
            Ok(()) => PAUSE,
            Err(_) => (pause * 2).min(LONGEST_PAUSE),
        };
        drop(node);
        // What is owed in the meantime is told together.
        sleep(pause).await;
        if busy.ends() {
            return;
        }
    }
}

/// One at a time tells a server what it is owed.
struct Busy {
    node: Weak<FencedNode>,
    is_over: bool,
}

impl Busy {
    fn ends(&mut self) -> bool {
        let Some(node) = self.node.upgrade() else { return true };
        let mut owed = node.owed();
        self.is_over = owed.is_empty();
        owed.is_busy = !self.is_over;
        self.is_over
    }
}

impl Drop for Busy {
    /// Where it ends before its time, as with its runtime, the next one goes on.
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade().filter(|_| !self.is_over) {
            node.owed().is_busy = false;
        }
    }
}

/// The key of the fences for the tenant of a key.
fn fences_of(key: &CacheKey) -> CacheKey {
    CacheKey::of_fences(Some(key.tenant_component()))
}

fn refused(why: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, why)
}

/// How long a stub lives that somebody has made to store something in its place.
pub(super) const STUB_SECONDS: u32 = 2;

/// How often a write that was overtaken is tried.
pub(super) const ATTEMPTS: usize = 3;

/// How long after it was told a server is told again.
const PAUSE: Duration = Duration::from_millis(10);

/// The same, at most, while it does not listen.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
