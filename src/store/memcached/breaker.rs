//! Circuit breakers: a server that fails is left alone for a while, so that requests do not wait for it.
//!
//! Pure: `now` is the time since an origin that the caller chooses, chance comes in as `jitter`. A breaker is *closed*
//! (all may go), *open* (nobody may), or *half-open* (one probe is out and decides). What was permitted before the last
//! change decides nothing any more: a permit has the generation of the breaker, and each change starts a new one.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::store::BreakerState;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerSettings {
    /// So many failures in a row open it; zero counts as one. Half of the last 20 open it in any case.
    pub(crate) failures: u32,
    /// How long it is open at first.
    pub(crate) first_backoff: Duration,
    /// How long it is open at most: each probe that fails doubles the backoff. A probe that is lost is given up after
    /// as long, so let operations time out before.
    pub(crate) longest_backoff: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, first_backoff: Duration::from_millis(250), longest_backoff: Duration::from_secs(4) }
    }
}

/// Whether an operation may begin.
#[derive(Debug)]
pub(crate) enum Permit {
    /// It may.
    Go(Ticket),
    /// It may, and what becomes of it decides for the others.
    Probe(Ticket),
    /// It may not.
    Refused,
}

/// Says which permit an outcome belongs to. Each has one outcome, so it can not be copied.
#[derive(Debug)]
pub(crate) struct Ticket {
    generation: u64,
}

/// The breaker of one server.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Counts the changes of state; begins at one.
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// The last outcomes, the newest in the lowest bit; a failure is a one.
        outcomes: u32,
    },
    Open {
        until: Duration,
        backoff: Backoff,
    },
    HalfOpen {
        /// When the probe counts as lost.
        until: Duration,
        backoff: Backoff,
    },
}

#[derive(Clone, Copy, Debug)]
struct Backoff {
    /// Without jitter: what the next one doubles.
    full: Duration,
    /// With jitter: what is waited.
    shortened: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) const fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { outcomes: 0 }, generation: 1 }
    }

    /// Whether an operation may begin now. Report what becomes of it.
    pub(crate) fn permit(&mut self, now: Duration) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::Go(self.ticket()),
            // Nobody may have to wait for a probe of which nothing will ever be heard.
            State::Open { until, backoff } | State::HalfOpen { until, backoff } if now >= until => {
                let until = now.saturating_add(self.settings.longest_backoff);
                self.change(State::HalfOpen { until, backoff });
                Permit::Probe(self.ticket())
            }
            State::Open { .. } | State::HalfOpen { .. } => Permit::Refused,
        }
    }

    /// The server did what it was asked.
    pub(crate) fn succeeded(&mut self, ticket: Ticket) {
        if !self.is_current(ticket) {
            return;
        }
        match self.state {
            State::Closed { outcomes } => self.state = State::Closed { outcomes: (outcomes << 1) & LAST_OUTCOMES },
            State::HalfOpen { .. } => self.change(State::Closed { outcomes: 0 }),
            // Nothing is permitted in this generation.
            State::Open { .. } => {}
        }
    }

    /// The server did not do what it was asked, or not in time.
    ///
    /// If this opens the breaker, `jitter` shortens the backoff: zero not at all, the greatest by half. Take it at
    /// random, so that the processes that share a server do not come back to it all at once.
    pub(crate) fn failed(&mut self, ticket: Ticket, now: Duration, jitter: u16) {
        if !self.is_current(ticket) {
            return;
        }
        match self.state {
            State::Closed { outcomes } => {
                let outcomes = (outcomes << 1 | 1) & LAST_OUTCOMES;
                self.state = State::Closed { outcomes };
                let in_a_row = self.settings.failures.max(1);
                if outcomes.trailing_ones() >= in_a_row || outcomes.count_ones() >= HALF_OF_LAST {
                    self.open(self.settings.first_backoff, now, jitter);
                }
            }
            State::HalfOpen { backoff, .. } => self.open(backoff.full.saturating_mul(2), now, jitter),
            // Nothing is permitted in this generation.
            State::Open { .. } => {}
        }
    }

    /// It will never be known what the server did, as when the operation was dropped. Counts as nothing; after a probe
    /// the same backoff begins again, no longer than it was.
    pub(crate) fn abandoned(&mut self, ticket: Ticket, now: Duration) {
        if self.is_current(ticket)
            && let State::HalfOpen { backoff, .. } = self.state
        {
            self.change(State::Open { until: now.saturating_add(backoff.shortened), backoff });
        }
    }

    fn open(&mut self, backoff: Duration, now: Duration, jitter: u16) {
        let full = backoff.min(self.settings.longest_backoff);
        // At most half of it, which no multiplication can exceed.
        let shortened = full.saturating_sub(full / 2 / u32::from(u16::MAX) * u32::from(jitter));
        let until = now.saturating_add(shortened);
        self.change(State::Open { until, backoff: Backoff { full, shortened } });
    }

    /// What was permitted so far decides nothing from here on.
    fn change(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    fn ticket(&self) -> Ticket {
        Ticket { generation: self.generation }
    }

    fn is_current(&self, Ticket { generation }: Ticket) -> bool {
        generation == self.generation
    }

    /// What [`SharedBreaker`] reads without a lock.
    fn summary(&self) -> u64 {
        match self.state {
            State::Closed { outcomes } => self.ticket().closed(outcomes == 0),
            State::Open { .. } | State::HalfOpen { .. } => NOT_CLOSED,
        }
    }
}

/// A [`Breaker`] for many threads. While it is closed a permit costs one atomic load, and so does a success after which
/// no failure is remembered, since it changes nothing.
#[derive(Debug)]
pub(crate) struct SharedBreaker {
    breaker: Mutex<Breaker>,
    /// Its [`summary`](Breaker::summary), written only by who has the lock.
    summary: AtomicU64,
}

impl SharedBreaker {
    /// A closed breaker.
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        let breaker = Breaker::new(settings);
        let summary = AtomicU64::new(breaker.summary());
        Self { breaker: Mutex::new(breaker), summary }
    }

    /// As [`Breaker::permit`].
    pub(crate) fn permit(&self, now: Duration) -> Permit {
        match self.summary.load(SeqCst) {
            NOT_CLOSED => self.locked(|breaker| breaker.permit(now)),
            closed => Permit::Go(Ticket { generation: closed >> 1 }),
        }
    }

    /// As [`Breaker::succeeded`].
    pub(crate) fn succeeded(&self, ticket: Ticket) {
        if self.summary.load(SeqCst) != ticket.closed(true) {
            self.locked(|breaker| breaker.succeeded(ticket));
        }
    }

    /// As [`Breaker::failed`].
    pub(crate) fn failed(&self, ticket: Ticket, now: Duration, jitter: u16) {
        self.locked(|breaker| breaker.failed(ticket, now, jitter));
    }

    /// As [`Breaker::abandoned`].
    pub(crate) fn abandoned(&self, ticket: Ticket, now: Duration) {
        self.locked(|breaker| breaker.abandoned(ticket, now));
    }

    /// What it does now.
    pub(crate) fn state(&self) -> BreakerState {
        if self.is_closed() {
            return BreakerState::Closed;
        }
        match self.breaker.lock().unwrap_or_else(PoisonError::into_inner).state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.summary.load(SeqCst) != NOT_CLOSED
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut breaker);
        self.summary.store(breaker.summary(), SeqCst);
        result
    }
}

impl Ticket {
    /// The summary of a breaker that is closed in this generation, with or without a failure that it remembers.
    fn closed(&self, calm: bool) -> u64 {
        self.generation << 1 | u64::from(calm)
    }
}

/// The summary of a breaker that is not closed. Generations begin at one, so it is that of no other.
const NOT_CLOSED: u64 = 0;

/// The bits of the last 20 outcomes. Those before the first count as successes.
const LAST_OUTCOMES: u32 = (1 << 20) - 1;

/// Half of [`LAST_OUTCOMES`].
const HALF_OF_LAST: u32 = 10;

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What a test does with a breaker. Permits are counted back from the last one, which is zero.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Ask,
        Succeed(usize),
        /// With this jitter.
        Fail(usize, u16),
        Abandon(usize),
        /// Its outcome is never reported.
        Lose(usize),
        Wait(u64),
    }
    use Event::{Abandon, Ask, Fail, Lose, Succeed, Wait};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Said {
        Go,
        Probe,
        Refused,
    }
    use Said::{Go, Probe, Refused};

    fn said(permit: Permit) -> (Said, Option<Ticket>) {
        match permit {
            Permit::Go(ticket) => (Go, Some(ticket)),
            Permit::Probe(ticket) => (Probe, Some(ticket)),
            Permit::Refused => (Refused, None),
        }
    }

    /// A breaker and a shared one, which always say the same, with the permits that they gave.
    struct Run {
        plain: Breaker,
        shared: SharedBreaker,
        now: Duration,
        tickets: Vec<Option<(Ticket, Ticket)>>,
    }

    impl Run {
        fn new(settings: BreakerSettings) -> Self {
            let (plain, shared) = (Breaker::new(settings), SharedBreaker::new(settings));
            Self { plain, shared, now: ms(1000), tickets: Vec::new() }
        }

        fn ask(&mut self) -> Said {
            let (plain, ticket) = said(self.plain.permit(self.now));
            let (shared, shared_ticket) = said(self.shared.permit(self.now));
            assert_eq!(plain, shared);
            self.tickets.extend(ticket.zip(shared_ticket).map(Some));
            plain
        }

        /// The number of a permit from the first one, which is zero.
        fn number(&self, back: usize) -> Option<usize> {
            self.tickets.len().checked_sub(back + 1)
        }

        fn take(&mut self, back: usize) -> Option<(Ticket, Ticket)> {
            let number = self.number(back)?;
            self.tickets[number].take()
        }

        fn does(&mut self, event: Event) {
            match event {
                Ask => drop(self.ask()),
                Wait(millis) => self.now += ms(millis),
                Lose(back) => drop(self.take(back)),
                Succeed(back) | Fail(back, _) | Abandon(back) => {
                    let Some((plain, shared)) = self.take(back) else { return };
                    if let Fail(_, jitter) = event {
                        self.plain.failed(plain, self.now, jitter);
                        self.shared.failed(shared, self.now, jitter);
                    } else if let Abandon(_) = event {
                        self.plain.abandoned(plain, self.now);
                        self.shared.abandoned(shared, self.now);
                    } else {
                        self.plain.succeeded(plain);
                        self.shared.succeeded(shared);
                    }
                }
            }
        }

        /// After each line's events the next that asks is told this.
        fn walk(mut self, lines: &[(&[Event], Said)]) {
            for (number, (events, expected)) in lines.iter().enumerate() {
                events.iter().for_each(|event| self.does(*event));
                assert_eq!(self.ask(), *expected, "line {number}: {events:?}");
            }
        }
    }

    fn two_in_a_row() -> BreakerSettings {
        BreakerSettings { failures: 2, ..BreakerSettings::default() }
    }

    #[test]
    fn the_defaults_are_five_failures_in_a_row_and_250_ms_to_4_s() {
        let expected = BreakerSettings { failures: 5, first_backoff: ms(250), longest_backoff: ms(4000) };
        assert_eq!(BreakerSettings::default(), expected);

        Run::new(expected).walk(&[
            (&[], Go),
            (&[Fail(0, 0)], Go),
            (&[Fail(0, 0)], Go),
            (&[Fail(0, 0)], Go),
            (&[Fail(0, 0)], Go),
            (&[Fail(0, 0)], Refused),
        ]);
    }

    #[test]
    fn a_breaker_opens_probes_backs_off_and_closes() {
        Run::new(two_in_a_row()).walk(&[
            (&[], Go),
            (&[Fail(0, 0)], Go),
            // A success ends the row, and what was dropped does not.
            (&[Succeed(0)], Go),
            (&[Fail(0, 0)], Go),
            (&[Abandon(0)], Go),
            (&[Fail(0, 0)], Refused),
            (&[Wait(249)], Refused),
            (&[Wait(1)], Probe),
            (&[], Refused),
            // Each probe that fails doubles the backoff, up to the longest.
            (&[Fail(0, 0)], Refused),
            (&[Wait(499)], Refused),
            (&[Wait(1)], Probe),
            (&[Fail(0, 0), Wait(999)], Refused),
            (&[Wait(1)], Probe),
            (&[Fail(0, 0), Wait(1999)], Refused),
            (&[Wait(1)], Probe),
            (&[Fail(0, 0), Wait(3999)], Refused),
            (&[Wait(1)], Probe),
            (&[Fail(0, 0), Wait(3999)], Refused),
            (&[Wait(1)], Probe),
            // A success of one closes it, and all is as it was at first.
            (&[Succeed(0)], Go),
            (&[Fail(0, 0)], Go),
            (&[Fail(0, 0), Wait(249)], Refused),
            (&[Wait(1)], Probe),
        ]);
    }

    #[test]
    fn jitter_shortens_the_backoff_by_up_to_a_half() {
        for (jitter, earliest) in [(0, 250), (1 << 15, 188), (u16::MAX, 126)] {
            let [too_early, longer] = [earliest - 1, 2 * earliest - 2];
            Run::new(two_in_a_row()).walk(&[
                (&[Ask, Fail(0, 0), Ask, Fail(0, jitter), Wait(too_early)], Refused),
                (&[Wait(1)], Probe),
                // It is not the shortened one that doubles.
                (&[Fail(0, jitter), Wait(longer)], Refused),
                (&[Wait(2)], Probe),
            ]);
        }
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_makes_room_for_the_next() {
        let open: &[Event] = &[Ask, Fail(0, 0), Ask, Fail(0, u16::MAX)];
        Run::new(two_in_a_row()).walk(&[
            (open, Refused),
            (&[Wait(126)], Probe),
            // Dropped: the same backoff again, with the jitter that it had.
            (&[Abandon(0), Wait(125)], Refused),
            (&[Wait(1)], Probe),
            (&[Lose(0), Wait(3999)], Refused),
            (&[Wait(1)], Probe),
            // Given up, so its outcome decides nothing while the next one is out.
            (&[Wait(4000)], Probe),
            (&[Succeed(1)], Refused),
            (&[Succeed(0)], Go),
        ]);
        Run::new(two_in_a_row()).walk(&[
            (open, Refused),
            (&[Wait(126)], Probe),
            (&[Wait(4000)], Probe),
            (&[Fail(1, 0), Abandon(1)], Refused),
            // Late, but no other was asked for since.
            (&[Wait(9000), Succeed(0)], Go),
        ]);
    }

    #[test]
    fn what_began_before_the_last_change_decides_nothing() {
        let open: &[Event] = &[Ask, Ask, Ask, Ask, Ask, Ask, Ask, Ask, Fail(0, 0), Fail(1, 0)];
        Run::new(two_in_a_row()).walk(&[
            (open, Refused),
            // A late success does not close it, a late failure does not extend it.
            (&[Succeed(2)], Refused),
            (&[Wait(200), Fail(3, 0), Wait(50)], Probe),
            // One is permitted more, so all the others are one further back.
            (&[Succeed(5)], Refused),
            (&[Fail(6, 0), Abandon(7)], Refused),
            (&[Succeed(0)], Go),
            (&[Fail(9, 0)], Go),
        ]);
        // Nor do late failures open it again.
        Run::new(two_in_a_row()).walk(&[
            (open, Refused),
            (&[Wait(250)], Probe),
            (&[Succeed(0), Fail(3, 0), Fail(4, 0), Fail(5, 0)], Go),
            (&[Fail(0, 0)], Go),
        ]);
    }

    #[test]
    fn a_clock_that_steps_back_or_ends_does_no_harm() {
        let mut breaker = Breaker::new(two_in_a_row());
        for _ in 0..2 {
            let (_, ticket) = said(breaker.permit(Duration::MAX));
            breaker.failed(ticket.unwrap(), Duration::MAX, 0);
        }
        assert_eq!(said(breaker.permit(Duration::ZERO)).0, Refused);
        assert_eq!(said(breaker.permit(Duration::MAX)).0, Probe);
    }

    #[test]
    fn a_closed_breaker_needs_no_lock() {
        let shared = SharedBreaker::new(BreakerSettings::default());
        let lock = shared.breaker.lock().unwrap();
        let Permit::Go(ticket) = shared.permit(ms(0)) else { panic!("it is closed") };
        shared.succeeded(ticket);
        drop(lock);
    }

    #[test]
    fn of_many_threads_one_probes() {
        let shared = SharedBreaker::new(BreakerSettings { failures: 1, ..BreakerSettings::default() });
        for round in 1..100 {
            let now = ms(10_000 * round);
            let Permit::Go(ticket) = shared.permit(now) else { panic!("it is closed") };
            shared.failed(ticket, now, 0);

            let ask = || said(shared.permit(now + ms(250)));
            let said: Vec<_> = thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(ask));
                threads.map(|thread| thread.join().unwrap()).into()
            });

            assert!(said.iter().all(|(said, _)| *said != Go));
            let mut probes: Vec<_> = said.into_iter().filter_map(|(_, ticket)| ticket).collect();
            assert_eq!(probes.len(), 1);
            shared.succeeded(probes.remove(0));
        }
    }

    fn any_settings() -> impl Strategy<Value = BreakerSettings> {
        (0..8_u32, 1..1000_u64, 1..5000_u64).prop_map(|(failures, first, longest)| BreakerSettings {
            failures,
            first_backoff: ms(first),
            longest_backoff: ms(longest),
        })
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Ask),
            2 => (0..4_usize).prop_map(Succeed),
            4 => (0..4_usize, any::<u16>()).prop_map(|(back, jitter)| Fail(back, jitter)),
            1 => (0..4_usize).prop_map(Abandon),
            1 => (0..4_usize).prop_map(Lose),
            2 => (0..3000_u64).prop_map(Wait),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_one_probe_is_out_and_only_its_success_closes(
            settings in any_settings(),
            events in prop::collection::vec(any_event(), 0..120),
        ) {
            let mut run = Run::new(settings);
            let mut not_closed = false;
            // The number of the probe that is out, and when it is given up.
            let mut probe: Option<(usize, Duration)> = None;
            for event in events {
                let decides = |back| run.number(back).is_some_and(|number| {
                    probe.is_some_and(|(out, _)| out == number) && run.tickets[number].is_some()
                });
                match event {
                    Ask => match run.ask() {
                        Go => prop_assert!(!not_closed && probe.is_none()),
                        Probe => {
                            prop_assert!(probe.is_none_or(|(_, until)| until <= run.now));
                            let newest = run.number(0).unwrap();
                            (not_closed, probe) = (true, Some((newest, run.now + settings.longest_backoff)));
                        }
                        Refused => not_closed = true,
                    },
                    Succeed(back) if decides(back) => {
                        run.does(event);
                        (not_closed, probe) = (false, None);
                        prop_assert_eq!(run.ask(), Go);
                    }
                    Fail(back, _) | Abandon(back) if decides(back) => {
                        run.does(event);
                        probe = None;
                        prop_assert_eq!(run.ask(), Refused);
                    }
                    _ => run.does(event),
                }
                let latest = run.now + settings.longest_backoff;
                prop_assert_ne!(said(run.plain.clone().permit(latest)).0, Refused);
                prop_assert_eq!(run.shared.summary.load(SeqCst), run.plain.summary());
            }
        }

        #[test]
        fn it_opens_by_failures_in_a_row_or_half_of_the_last_twenty_and_not_before(
            settings in any_settings(),
            outcomes in prop::collection::vec(prop::bool::weighted(0.6), 0..200),
        ) {
            let mut run = Run::new(settings);
            for done in 0..outcomes.len() {
                prop_assert_eq!(run.ask(), Go);
                run.does(if outcomes[done] { Succeed(0) } else { Fail(0, 0) });

                let mut newest_first = outcomes[..=done].iter().rev();
                let failed = newest_first.clone().take(20).filter(|succeeded| !**succeeded).count();
                let in_a_row = newest_first.position(|succeeded| *succeeded).unwrap_or(done + 1);
                if in_a_row >= settings.failures.max(1) as usize || failed >= 10 {
                    prop_assert_eq!(run.ask(), Refused);
                    break;
                }
            }
        }
    }
}
