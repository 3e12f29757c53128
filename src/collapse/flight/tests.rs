//! The state machine alone, step by step.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::advance;
use tokio_test::{assert_ready, task};

use super::*;
use crate::{
    clock::monotonic,
    collapse::{Role, TenantLimits},
};

type Board = Arc<Collapser<&'static str>>;

fn board() -> Board {
    Arc::new(Collapser::new(TenantLimits::new()))
}

fn join(board: &Board, settings: &Collapse) -> Role<&'static str> {
    board.join("/a", "acme", settings, None, monotonic())
}

fn leader(board: &Board) -> Leader<&'static str> {
    match join(board, &Collapse::new()) {
        Role::Leader(leader) => leader,
        _ => panic!("not the leader"),
    }
}

fn follower(board: &Board) -> Follower<&'static str> {
    match join(board, &Collapse::new()) {
        Role::Follower(follower) => follower,
        _ => panic!("not a follower"),
    }
}

fn soon() -> Instant {
    monotonic() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_the_others_follow_and_all_see_what_was_announced() {
    let board = board();
    let leads = leader(&board);
    let followers: Vec<_> = (0..3).map(|_| follower(&board)).collect();
    let mut waits: Vec<_> = followers.iter().map(|f| task::spawn(f.landing(soon()))).collect();
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));

    leads.announce("page", soon());

    for wait in &mut waits {
        assert!(matches!(assert_ready!(wait.poll()), Landing::Reusable("page")));
    }
    assert!(matches!(join(&board, &Collapse::new()), Role::Follower(_)), "an announced flight takes followers");
    leads.land();
    assert_eq!(board.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_knows_how_long_after_the_forward_it_came() {
    let board = board();
    let leads = leader(&board);
    let began = monotonic();
    let early = follower(&board);
    advance(Duration::from_millis(300)).await;
    let late = follower(&board);
    assert_eq!([early.came_after(), late.came_after()], [0, 300].map(Duration::from_millis));
    assert_eq!(late.flight_began(), began);

    leads.fail();
    let Landing::Lead(next) = early.landing(soon()).await else { panic!("no successor") };
    advance(Duration::from_millis(10)).await;

    assert_eq!(follower(&board).came_after(), Duration::from_millis(10), "after the forward that is under way");
    assert_eq!(late.flight_began(), began + Duration::from_millis(300));
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn the_marker_is_there_before_anyone_is_released() {
    let board = board();
    let leads = leader(&board);
    let followers = [follower(&board), follower(&board)];
    let mut waits: Vec<_> = followers.iter().map(|f| task::spawn(f.landing(soon()))).collect();
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));

    leads.not_reusable(monotonic());

    assert!(matches!(join(&board, &Collapse::new()), Role::Marked));
    for wait in &mut waits {
        assert!(wait.is_woken());
        assert!(matches!(assert_ready!(wait.poll()), Landing::NotReusable));
    }
    advance(Duration::from_secs(10)).await;
    assert!(matches!(join(&board, &Collapse::new()), Role::Leader(_)), "a marker ends by itself");
}

#[tokio::test(start_paused = true)]
async fn a_failure_wakes_exactly_one_successor() {
    let board = board();
    let leads = leader(&board);
    let followers: Vec<_> = (0..10).map(|_| follower(&board)).collect();
    let mut waits: Vec<_> = followers.iter().map(|f| task::spawn(f.landing(soon()))).collect();
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));

    leads.fail();

    let woken: Vec<_> = waits.iter_mut().filter(|wait| wait.is_woken()).collect();
    assert_eq!(woken.len(), 1);
    let leads = woken.into_iter().map(|wait| assert_ready!(wait.poll())).next();
    assert!(matches!(leads, Some(Landing::Lead(_))));
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_leaves_before_it_looked_passes_its_turn_on() {
    let board = board();
    let leads = leader(&board);
    let followers = [follower(&board), follower(&board)];
    let mut first = task::spawn(followers[0].landing(soon()));
    let mut second = task::spawn(followers[1].landing(soon()));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());

    leads.fail();
    assert!(first.is_woken() && !second.is_woken());
    drop(first);

    assert!(second.is_woken());
    assert!(matches!(assert_ready!(second.poll()), Landing::Lead(_)));
}

#[tokio::test(start_paused = true)]
async fn an_arrival_may_take_a_vacant_flight_and_the_woken_follower_waits_on() {
    let board = board();
    let leads = leader(&board);
    let waiting = follower(&board);
    let mut wait = task::spawn(waiting.landing(soon()));
    assert!(wait.poll().is_pending());

    leads.fail();
    let leads = leader(&board);
    assert!(wait.poll().is_pending());
    leads.announce("page", soon());

    assert!(matches!(assert_ready!(wait.poll()), Landing::Reusable("page")));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_spent_once_for_all_and_never_one_by_one() {
    let board = board();
    let mut forwards = 1;
    let leads = leader(&board);
    let followers: Vec<_> = (0..1_000).map(|_| follower(&board)).collect();
    let mut waits: Vec<_> = followers.iter().map(|f| task::spawn(f.landing(soon()))).collect();
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));
    leads.fail();

    let mut spent = 0;
    for wait in &mut waits {
        match wait.poll() {
            std::task::Poll::Ready(Landing::Lead(leads)) => {
                forwards += 1;
                // Fails at once, before any other follower runs.
                leads.fail();
            }
            std::task::Poll::Ready(Landing::Spent(None)) => spent += 1,
            _ => panic!("still waits"),
        }
    }

    assert_eq!((forwards, spent), (3, 998));
    assert_eq!(board.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_shared() {
    let board = board();
    let settings = Collapse::new().attempts(1);
    let Role::Leader(leads) = join(&board, &settings) else { panic!("not the leader") };
    let waiting = follower(&board);
    assert!(leads.is_last_attempt());

    leads.spend(Some("503"));

    assert!(matches!(waiting.landing(soon()).await, Landing::Spent(Some("503"))));
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_followers_that_fails_leaves_nothing_behind() {
    let board = board();
    drop(leader(&board));

    assert_eq!(board.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_vacant_flight_whose_followers_all_left_is_gone() {
    let board = board();
    let leads = leader(&board);
    let waiting = follower(&board);
    leads.fail();
    assert_eq!(board.flights(), 1);

    drop(waiting);

    assert_eq!(board.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_old_flight_takes_no_followers_and_does_not_end_the_second() {
    let board = board();
    let first = leader(&board);
    let waiting = follower(&board);
    advance(Duration::from_millis(4_999)).await;
    drop(follower(&board));
    advance(Duration::from_millis(1)).await;

    let second = leader(&board);
    first.announce("old", soon());
    first.land();

    assert_eq!(board.flights(), 1, "the second is still under way");
    assert!(matches!(waiting.landing(soon()).await, Landing::Reusable("old")));
    drop(follower(&board));
    second.land();
    assert_eq!(board.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_until_its_deadline_and_no_longer() {
    let board = board();
    let _leads = leader(&board);
    let waiting = follower(&board);
    let begin = monotonic();

    let landing = waiting.landing(begin + Duration::from_millis(700)).await;

    assert!(matches!(landing, Landing::TimedOut));
    // The timer's wheel is a millisecond coarse.
    assert!(monotonic() - begin <= Duration::from_millis(702));
}

#[tokio::test(start_paused = true)]
async fn a_full_flight_takes_no_more_until_one_leaves() {
    let board = board();
    let settings = Collapse::new().max_followers(2);
    let Role::Leader(_leads) = join(&board, &settings) else { panic!("not the leader") };
    let Role::Follower(one) = join(&board, &settings) else { panic!("not a follower") };
    let Role::Follower(_two) = join(&board, &settings) else { panic!("not a follower") };

    assert!(matches!(join(&board, &settings), Role::Full { .. }));
    drop(one);
    assert!(matches!(join(&board, &settings), Role::Follower(_)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_announcement_is_tried_again_by_one_that_waited() {
    let board = board();
    let leads = leader(&board);
    let waiting = follower(&board);
    leads.announce("half a page", soon());
    assert!(matches!(waiting.landing(soon()).await, Landing::Reusable("half a page")));

    leads.fail();

    assert!(matches!(waiting.landing(soon()).await, Landing::Lead(_)));
}

#[tokio::test(start_paused = true)]
async fn an_announced_flight_takes_followers_only_while_what_it_brings_is_fresh() {
    let board = board();
    let leads = leader(&board);
    let waited = follower(&board);
    leads.announce("page", monotonic() + Duration::from_millis(100));
    advance(Duration::from_millis(99)).await;
    drop(follower(&board));
    advance(Duration::from_millis(1)).await;

    let second = leader(&board);

    assert!(matches!(waited.landing(soon()).await, Landing::Reusable("page")), "it came before");
    leads.land();
    assert_eq!(board.flights(), 1);
    second.land();
}

#[tokio::test(start_paused = true)]
async fn other_keys_do_not_wait() {
    let board = board();
    let _leads = leader(&board);

    assert!(matches!(board.join("/b", "acme", &Collapse::new(), None, monotonic()), Role::Leader(_)));
}

#[tokio::test(start_paused = true)]
async fn one_owner_has_its_quota_and_no_more_and_others_have_theirs() {
    let board = Arc::new(Collapser::<&str>::new(TenantLimits::new().max_flights(2).max_waiting(1)));
    let join = |key, owner| board.join(key, owner, &Collapse::new(), None, monotonic());
    let (Role::Leader(one), Role::Leader(two)) = (join("/1", "a"), join("/2", "a")) else { panic!("no leaders") };
    let Role::Follower(waits) = join("/1", "a") else { panic!("not a follower") };

    assert!(matches!(join("/3", "a"), Role::Full { .. }), "a third flight");
    assert!(matches!(join("/2", "a"), Role::Full { .. }), "a second that waits");
    assert!(board.lead("/3", "a", &Collapse::new(), monotonic()).is_none(), "a refresh");
    let Role::Leader(other) = join("/4", "b") else { panic!("not a leader") };
    assert_eq!((board.counts("a"), board.counts("b")), ((2, 1, 2), (1, 0, 2)));

    two.land();
    drop(waits);
    assert!(matches!((join("/3", "a"), join("/1", "a")), (Role::Leader(_), Role::Follower(_))));
    one.not_reusable(monotonic());
    other.fail();
    assert_eq!((board.counts("a"), board.flights()), ((0, 0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn a_flight_counts_once_for_all_its_leaders() {
    let board = board();
    let leads = leader(&board);
    let waiting = [follower(&board), follower(&board)];
    assert_eq!(board.counts("acme"), (1, 2, 1));
    leads.fail();
    assert_eq!(board.counts("acme"), (1, 2, 1), "while it is vacant");
    let Landing::Lead(leads) = waiting[0].landing(soon()).await else { panic!("not the successor") };
    assert_eq!(board.counts("acme"), (1, 2, 1));
    leads.fail();
    let [first, second] = waiting;
    drop(first);
    assert_eq!(board.counts("acme"), (1, 1, 1));

    drop(second);

    assert_eq!((board.counts("acme"), board.flights()), ((0, 0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn the_counts_are_exact_whatever_is_dropped_when() {
    let board = Arc::new(Collapser::<&str>::new(TenantLimits::new().max_flights(3).max_waiting(5)));
    let (mut leaders, mut followers, mut random) = (Vec::new(), Vec::new(), Rng::with_seed(7));
    for _ in 0..5_000 {
        let (choice, index) = (random.usize(..8), random.usize(..));
        match choice {
            0..=3 => match board.join(["/1", "/2", "/3", "/4"][choice], "a", &Collapse::new(), None, monotonic()) {
                Role::Leader(leader) => leaders.push(leader),
                Role::Follower(follower) => followers.push(follower),
                Role::Marked | Role::Full { .. } => {}
            },
            4 if !leaders.is_empty() => leaders.swap_remove(index % leaders.len()).land(),
            5 if !leaders.is_empty() => leaders.swap_remove(index % leaders.len()).fail(),
            6 if !followers.is_empty() => drop(followers.swap_remove(index % followers.len())),
            7 if !followers.is_empty() => {
                let follower: &Follower<_> = &followers[index % followers.len()];
                if let Landing::Lead(leader) = follower.landing(monotonic()).await {
                    leaders.push(leader);
                }
            }
            _ => {}
        }
        let (flights, waiting, _) = board.counts("a");
        assert_eq!(waiting, followers.len());
        assert!(leaders.len() <= flights && flights <= 3 && waiting <= 5, "{} led of {flights}", leaders.len());
    }
    drop((leaders, followers));

    assert_eq!((board.counts("a"), board.flights()), ((0, 0, 0), 0));
}

/// Joins, and does what chance says; whoever is to wait is woken.
async fn joined(board: Board, key: String, mut random: Rng) {
    let mut roll = |sides: u64| random.u64(..sides);
    let lock_age = if roll(8) == 0 { Duration::ZERO } else { Duration::from_secs(5) };
    let settings = Collapse::new().marker_lifetime(Duration::ZERO).lock_age(lock_age);
    let leader = match board.join(key, "acme", &settings, None, monotonic()) {
        Role::Leader(leader) => leader,
        Role::Follower(follower) => {
            let deadline = monotonic() + Duration::from_secs(20);
            let leaves = roll(4);
            if leaves < 2 {
                let mut wait = task::spawn(follower.landing(deadline));
                if leaves == 0 {
                    let _ = wait.poll();
                }
                return tokio::task::yield_now().await;
            }
            let mut landing = follower.landing(deadline).await;
            if roll(2) == 0 && matches!(landing, Landing::Reusable(_)) {
                tokio::task::yield_now().await;
                landing = follower.landing(deadline).await;
            }
            match landing {
                Landing::TimedOut => panic!("nobody woke it"),
                Landing::Lead(leader) => leader,
                _ => return,
            }
        }
        _ => return,
    };
    for _ in 0..roll(4) {
        tokio::task::yield_now().await;
    }
    if roll(2) == 0 {
        leader.announce("page", soon());
        tokio::task::yield_now().await;
    }
    match roll(6) {
        0 => leader.bring("page", monotonic()),
        1 => leader.not_reusable(monotonic()),
        2 => leader.spend(None),
        _ => leader.fail(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_leaves_whenever_nobody_waits_in_vain_and_nothing_is_left() {
    let board: Board = Arc::new(Collapser::new(TenantLimits::new().max_flights(32).max_waiting(64)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..20_000_u64 {
        // A few for each flight, so that nobody comes in the end and takes over what was left.
        let key = format!("/{}", number / 6);
        tasks.spawn(joined(Arc::clone(&board), key, Rng::with_seed(number)));
        if tasks.len() > 200 {
            tasks.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }

    assert_eq!((board.counts("acme"), board.flights()), ((0, 0, 0), 0));
    // No flight keeps the board that it was on.
    assert_eq!(Arc::strong_count(&board), 1);
}
