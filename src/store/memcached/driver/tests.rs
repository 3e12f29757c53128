//! Against a real memcached, and against servers that hang, cut, lie or refuse.

use std::{
    future::poll_fn,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_test::task;

use self::memcached::Memcached;
use super::*;

#[path = "../../../../tests/common/memcached.rs"]
pub(in crate::store::memcached) mod memcached;

/// Settings for tests that are not about time.
fn patient() -> Settings {
    Settings { deadline: Duration::from_secs(20), ..Settings::default() }
}

fn server_at(address: &str, settings: Settings) -> Server {
    Server::new(Address::parse(address).unwrap(), settings)
}

fn on(memcached: &Memcached, settings: Settings) -> Server {
    server_at(&memcached.address(), settings)
}

fn parts(value: &[&'static str]) -> Vec<Bytes> {
    value.iter().map(|part| Bytes::from_static(part.as_bytes())).collect()
}

/// The value of an item that nobody holds a lease for.
fn value(got: &Got) -> &[u8] {
    match got {
        Got::Value { bytes, won: false, pending: false, stale: false, .. } => bytes,
        other => panic!("{other:?}"),
    }
}

fn cas(got: &Got) -> u64 {
    match got {
        Got::Value { cas, .. } => *cas,
        Got::Miss => panic!("a miss"),
    }
}

fn kind<T: fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.unwrap_err().kind()
}

/// How many connections memcached has taken, beside those that ask for it.
struct Connections<'a> {
    memcached: &'a Memcached,
    before: u64,
    asked: u64,
}

impl<'a> Connections<'a> {
    fn of(memcached: &'a Memcached) -> Self {
        Self { memcached, before: memcached.stat("total_connections"), asked: 0 }
    }

    fn made(&mut self) -> u64 {
        self.asked += 1;
        self.memcached.stat("total_connections") - self.before - self.asked
    }
}

#[tokio::test]
async fn a_value_is_set_found_and_deleted_by_port_and_by_socket() {
    for memcached in [Memcached::start(&[]), Memcached::start_on_socket(&[])] {
        let server = on(&memcached, patient());
        server.probe().await.unwrap();
        assert_eq!(server.get("a", None).await.unwrap(), Got::Miss);
        assert_eq!(server.delete("a", None).await.unwrap(), Outcome::NotFound);

        assert_eq!(server.set("a", parts(&["head", "", "\r\nbody\r\n"]), 60, None).await.unwrap(), Outcome::Done);
        let got = server.get("a", None).await.unwrap();
        assert_eq!(value(&got), b"head\r\nbody\r\n");

        let stale = Some(cas(&got) + 1);
        assert_eq!(server.set("a", parts(&["other"]), 60, stale).await.unwrap(), Outcome::Exists);
        assert_eq!(server.delete("a", stale).await.unwrap(), Outcome::Exists);
        assert_eq!(server.set("a", parts(&[]), 60, Some(cas(&got))).await.unwrap(), Outcome::Done);
        assert_eq!(value(&server.get("a", None).await.unwrap()), b"");
        assert_eq!(server.delete("a", None).await.unwrap(), Outcome::Done);
        assert_eq!(server.set("a", parts(&["late"]), 60, Some(cas(&got))).await.unwrap(), Outcome::NotFound);
    }
}

#[tokio::test]
async fn one_caller_wins_the_lease_and_the_others_know() {
    let memcached = Memcached::start(&[]);
    let server = on(&memcached, patient());
    let stub = server.get("a", Some(30)).await.unwrap();
    assert!(matches!(&stub, Got::Value { bytes, won: true, pending: false, .. } if bytes.is_empty()), "{stub:?}");
    let other = server.get("a", Some(30)).await.unwrap();
    assert!(matches!(&other, Got::Value { bytes, won: false, pending: true, .. } if bytes.is_empty()), "{other:?}");

    assert_eq!(server.set("a", parts(&["filled"]), 60, Some(cas(&stub))).await.unwrap(), Outcome::Done);
    assert_eq!(value(&server.get("a", Some(30)).await.unwrap()), b"filled");

    let stub = server.get("b", Some(30)).await.unwrap();
    assert_eq!(server.delete("b", Some(cas(&stub))).await.unwrap(), Outcome::Done, "handed back");
    assert!(matches!(server.get("b", Some(30)).await.unwrap(), Got::Value { won: true, .. }));
}

#[tokio::test]
async fn the_largest_value_is_stored_and_a_larger_one_leaves_what_is_there() {
    let memcached = Memcached::start(&[]);
    let server = on(&memcached, patient());
    let most = Settings::default().max_value_bytes;
    let (key, large) = ("k".repeat(250), Bytes::from(vec![7; most]));
    assert_eq!(server.set(&key, vec![large.clone()], 60, None).await.unwrap(), Outcome::Done);

    let larger = server.set(&key, vec![large.clone(), Bytes::from_static(b"x")], 60, None).await;

    assert_eq!(kind(larger), StoreErrorKind::Refused);
    assert_eq!(value(&server.get(&key, None).await.unwrap()), large);
}

#[tokio::test]
async fn what_the_server_will_not_store_fails_alone() {
    let memcached = Memcached::start(&[]);
    let mut connections = Connections::of(&memcached);
    let server = on(&memcached, Settings { max_value_bytes: 4 << 20, ..patient() });
    let large = Bytes::from(vec![7; 2 << 20]);
    let (before, set, after) = tokio::join!(
        server.set("a", parts(&["a"]), 60, None),
        server.set("b", vec![large], 60, None),
        server.get("a", None),
    );

    assert_eq!(before.unwrap(), Outcome::Done);
    assert_eq!(kind(set), StoreErrorKind::Refused);
    assert_eq!(value(&after.unwrap()), b"a");
    assert_eq!(connections.made(), 1);
}

#[tokio::test]
async fn a_key_that_is_not_one_of_memcacheds_is_refused() {
    let server = server_at("127.0.0.1:1", patient());
    for key in ["", "a b", "a\r\n", &"k".repeat(251)] {
        assert_eq!(kind(server.get(key, None).await), StoreErrorKind::Refused, "{key:?}");
        assert_eq!(kind(server.set(key, vec![], 1, None).await), StoreErrorKind::Refused, "{key:?}");
        assert_eq!(kind(server.delete(key, None).await), StoreErrorKind::Refused, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_share_one_connection_and_each_has_its_own_reply() {
    let memcached = Memcached::start(&[]);
    let mut connections = Connections::of(&memcached);
    let server = on(&memcached, Settings { queue: 2_000, ..patient() });
    let tasks = (0..1_000).map(|number| {
        let server = server.clone();
        Handle::current().spawn(async move {
            let (key, stored) = (format!("key-{number}"), Bytes::from(format!("value-{number}").repeat(number % 50)));
            assert_eq!(server.get(&key, None).await.unwrap(), Got::Miss);
            assert_eq!(server.set(&key, vec![stored.clone()], 60, None).await.unwrap(), Outcome::Done);
            assert_eq!(value(&server.get(&key, None).await.unwrap()), stored);
        })
    });
    for result in join_all(tasks).await {
        result.unwrap();
    }

    assert_eq!(connections.made(), 1);
}

#[tokio::test]
async fn large_values_in_both_directions_do_not_wait_for_each_other() {
    let memcached = Memcached::start(&["-m", "256"]);
    let server = on(&memcached, patient());
    let large = |number: u8| Bytes::from(vec![number; 300_000]);
    let keys: Vec<_> = (0..64).map(|number: u8| (number, format!("key-{number}"))).collect();
    for round in 0..2 {
        let both = keys.iter().map(|(number, key)| async {
            let got = server.get(key, None).await.unwrap();
            assert!(round == 0 || value(&got) == large(*number));
            assert_eq!(server.set(key, vec![large(*number)], 60, None).await.unwrap(), Outcome::Done);
        });
        join_all(both).await;
    }
}

#[tokio::test]
async fn two_connections_share_the_keys() {
    let memcached = Memcached::start(&[]);
    let mut connections = Connections::of(&memcached);
    let server = on(&memcached, Settings { connections: 2, ..patient() });
    for number in 0..100 {
        let key = format!("key-{number}");
        server.set(&key, parts(&["a"]), 60, None).await.unwrap();
        assert_eq!(value(&server.get(&key, None).await.unwrap()), b"a");
    }

    assert_eq!(connections.made(), 2);
}

/// Polls `future` as often as that, with others at work in between; drops it then.
async fn abandoned<T>(future: impl Future<Output = T>, polls: u64) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_at_any_moment_mispair_no_reply_and_cut_no_connection() {
    const TASKS: u64 = 32;
    const EACH: u64 = 1_500;
    let memcached = Memcached::start(&[]);
    let mut connections = Connections::of(&memcached);
    let server = on(&memcached, Settings { queue: 100_000, ..patient() });
    let tasks = (0..TASKS).map(|number| {
        let server = server.clone();
        Handle::current().spawn(async move {
            let (mut dice, mut found) = (Rng::with_seed(number), 0);
            for _ in 0..EACH {
                let key = format!("key-{}", dice.u64(..200));
                let stored = Bytes::from(format!("value of {key};").repeat(20));
                let polls = dice.u64(..6);
                match dice.u64(..4) {
                    0 => drop(abandoned(server.set(&key, vec![stored], 60, None), polls).await),
                    1 => drop(abandoned(server.delete(&key, None), polls).await),
                    _ => {
                        // Some stay, however fast the others are gone.
                        let polls = if dice.u64(..8) == 0 { u64::MAX } else { polls };
                        let got = abandoned(server.get(&key, None), polls).await.map(Result::unwrap);
                        if let Some(got @ Got::Value { .. }) = got {
                            assert_eq!(value(&got), stored);
                            found += 1;
                        }
                    }
                }
            }
            found
        })
    });
    let found: u64 = join_all(tasks).await.into_iter().map(Result::unwrap).sum();

    assert!(found > 0, "no caller stayed for a value");
    for number in 0..200 {
        let key = format!("key-{number}");
        server.set(&key, vec![Bytes::from(key.clone())], 60, None).await.unwrap();
        assert_eq!(value(&server.get(&key, None).await.unwrap()), key.as_bytes());
    }
    assert_eq!(connections.made(), 1);
}

#[tokio::test]
async fn an_operation_whose_caller_has_gone_is_completed() {
    let memcached = Memcached::start(&[]);
    let server = on(&memcached, patient());
    drop(abandoned(server.set("a", parts(&["a"]), 60, None), 1).await);

    assert_eq!(value(&server.get("a", None).await.unwrap()), b"a");
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again_when_it_is_back() {
    let mut memcached = Memcached::start(&[]);
    let server = on(&memcached, patient());
    server.set("a", parts(&["a"]), 60, None).await.unwrap();

    memcached.kill();
    for _ in 0..3 {
        assert_eq!(kind(server.get("a", None).await), StoreErrorKind::Io);
    }

    memcached.restart();
    assert_eq!(server.get("a", None).await.unwrap(), Got::Miss, "it starts empty");
    server.set("a", parts(&["a"]), 60, None).await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_restarted_unnoticed_costs_no_error() {
    let mut memcached = Memcached::start(&[]);
    let server = on(&memcached, patient());
    server.set("a", parts(&["a"]), 60, None).await.unwrap();
    memcached.kill();
    memcached.restart();
    // The task of the connection hears of its end.
    sleep(Duration::from_millis(50)).await;

    assert_eq!(server.get("a", None).await.unwrap(), Got::Miss);
}

#[tokio::test]
async fn a_server_that_hangs_fails_within_the_deadline_and_is_back_when_it_goes_on() {
    let memcached = Memcached::start(&[]);
    let server = on(&memcached, Settings { deadline: Duration::from_millis(100), ..Settings::default() });
    server.set("a", parts(&["a"]), 60, None).await.unwrap();

    memcached.pause();
    for _ in 0..8 {
        let (began, got) = (monotonic(), server.get("a", None).await);
        let waited = began.elapsed();
        assert_eq!(kind(got), StoreErrorKind::Timeout);
        assert!(waited < Duration::from_secs(1), "{waited:?}");
    }

    memcached.resume();
    let mut got = server.get("a", None).await;
    for _ in 0..50 {
        if got.is_ok() {
            break;
        }
        got = server.get("a", None).await;
    }
    assert_eq!(value(&got.unwrap()), b"a");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_known_at_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [free.to_string(), "unix:/nonexistent/microcache.sock".to_owned()] {
        let server = server_at(&address, patient());
        let asked = (0..10).map(|number| {
            let server = server.clone();
            async move { server.get(&format!("key-{number}"), None).await }
        });
        for got in join_all(asked).await {
            assert_eq!(kind(got), StoreErrorKind::Io);
        }
    }
}

#[test]
fn outside_of_a_runtime_it_is_refused() {
    let server = server_at("127.0.0.1:1", patient());
    let mut asked = task::spawn(server.get("a", None));

    match asked.poll() {
        Poll::Ready(got) => assert_eq!(kind(got), StoreErrorKind::Refused),
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_runtime_that_ends_takes_the_connection_and_the_next_makes_another() {
    let memcached = Memcached::start(&[]);
    let server = on(&memcached, patient());
    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let got = server.get("a", None).await.unwrap();
            assert!(round == 0 || value(&got) == b"a");
            server.set("a", parts(&["a"]), 60, None).await.unwrap();
        });
    }
}

/// A server in the hands of the test: `serve` has each connection, with its number.
fn fake<S, F>(serve: S) -> String
where
    S: Fn(usize, BufReader<TcpStream>) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let listener = TcpListener::from_std(listener).unwrap();
    Handle::current().spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            Handle::current().spawn(serve(number, BufReader::new(stream)));
        }
    });
    address
}

/// The next line that the cache sends, without its end; none when it has closed the connection.
async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.unwrap_or(0);
    (read > 0).then(|| line.trim_end().to_owned())
}

/// The token that the line ends with.
fn token(line: &str) -> &str {
    line.rsplit_once(" O").unwrap().1
}

/// Each `mg` finds its own key as the value.
async fn answer_rightly(mut stream: BufReader<TcpStream>) {
    while let Some(line) = line(&mut stream).await {
        let key = line.split(' ').nth(1).unwrap();
        let reply = format!("VA {} c1 O{}\r\n{key}\r\n", key.len(), token(&line));
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn behind_long_values_fewer_are_asked_for_at_once_and_behind_a_miss_all() {
    const LONG: usize = 300_000;
    const ASKED: usize = 20;
    let address = fake(|_, mut stream| async move {
        let asked = line(&mut stream).await.unwrap();
        let reply = format!("VA {LONG} c1 O{}\r\n{}\r\n", token(&asked), "x".repeat(LONG));
        stream.write_all(reply.as_bytes()).await.unwrap();
        let [first, second] = [line(&mut stream).await.unwrap(), line(&mut stream).await.unwrap()];
        assert!(stream.buffer().is_empty(), "more is asked for than the socket takes");

        // One short reply, and the rest follows without waiting for another.
        stream.write_all(format!("EN O{}\r\n", token(&first)).as_bytes()).await.unwrap();
        let mut owed = vec![second];
        while owed.len() < ASKED - 1 {
            owed.push(line(&mut stream).await.unwrap());
        }
        for asked in owed {
            stream.write_all(format!("EN O{}\r\n", token(&asked)).as_bytes()).await.unwrap();
        }
        assert_eq!(line(&mut stream).await, None);
    });
    let server = server_at(&address, patient());
    assert_eq!(value(&server.get("long", None).await.unwrap()).len(), LONG);

    let asked = (0..ASKED).map(|number| {
        let server = server.clone();
        async move { server.get(&format!("key-{number}"), None).await }
    });
    for got in join_all(asked).await {
        assert_eq!(got.unwrap(), Got::Miss);
    }
}

#[tokio::test]
async fn on_any_doubt_the_connection_ends_with_all_that_is_in_flight_and_the_next_is_good() {
    use StoreErrorKind::{Corrupt, Io};
    // Replies to three `mg` of which {0} to {2} are the tokens. Afterwards the server hangs up, or it does not.
    let cases: &[(_, _, [Result<&str, _>; 3])] = &[
        ("garbage\r\n", false, [Err(Corrupt); 3]),
        ("\0\0\0\0\n", false, [Err(Corrupt); 3]),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", true, [Err(Corrupt); 3]),
        ("ERROR Too many open connections\r\n", true, [Err(Io); 3]),
        ("CLIENT_ERROR bad command line format\r\n", false, [Err(Io); 3]),
        ("", true, [Err(Io); 3]),
        ("VA 5", true, [Err(Io); 3]),
        ("VA 5 c1 O{0}\r\nhel", true, [Err(Io); 3]),
        ("VA 5 c1 O{0}\r\nhello\r\nVA 5 c1 O{1}\r\n", true, [Ok("hello"), Err(Io), Err(Io)]),
        ("VA 5 c1 O{1}\r\nhello\r\nVA 5 c1 O{0}\r\nhello\r\n", false, [Err(Corrupt); 3]),
        ("VA 5 c1 O{0}\r\nhello\r\nVA 5 c1 O{2}\r\nhello\r\n", false, [Ok("hello"), Err(Corrupt), Err(Corrupt)]),
        ("VA 5 c1 O{0}\r\nhello\r\nVA 5 c1 O{0}\r\nhello\r\n", false, [Ok("hello"), Err(Corrupt), Err(Corrupt)]),
        ("VA 5 c1\r\nhello\r\n", false, [Err(Corrupt); 3]),
        ("VA 5 O{0}\r\nhello\r\n", false, [Err(Corrupt); 3]),
        ("HD O{0}\r\n", false, [Err(Corrupt); 3]),
        ("MN\r\n", false, [Err(Corrupt); 3]),
        ("VA 4 c1 O{0}\r\nhello\r\n", false, [Err(Corrupt); 3]),
        ("VA 6 c1 O{0}\r\nhello\r\nEN O{1}\r\n", false, [Err(Corrupt); 3]),
        ("VA 9999999999 c1 O{0}\r\nhello\r\n", false, [Err(Corrupt); 3]),
        ("VA -5 c1 O{0}\r\nhello\r\n", false, [Err(Corrupt); 3]),
        ("VA 1048000 c1 O{0}\r\nhello\r\n", true, [Err(Io); 3]),
    ];
    for (reply, hangs_up, expected) in cases {
        let (reply, hangs_up) = (*reply, *hangs_up);
        let address = fake(move |number, mut stream| async move {
            if number > 0 {
                return answer_rightly(stream).await;
            }
            let mut reply = reply.to_owned();
            for position in 0..3 {
                let line = line(&mut stream).await.unwrap();
                reply = reply.replace(&format!("{{{position}}}"), token(&line));
            }
            stream.write_all(reply.as_bytes()).await.unwrap();
            if !hangs_up {
                // Until the other side does.
                assert_eq!(line(&mut stream).await, None);
            }
        });
        let server = server_at(&address, patient());
        let (first, second, third) =
            tokio::join!(server.get("first", None), server.get("second", None), server.get("third", None));

        let told = [first, second, third].map(|got| match got {
            Ok(got) => Ok(String::from_utf8(value(&got).to_vec()).unwrap()),
            Err(error) => Err(error.kind()),
        });
        assert_eq!(told, expected.map(|it| it.map(str::to_owned)), "{reply:?}");
        assert_eq!(value(&server.get("fourth", None).await.unwrap()), b"fourth", "after {reply:?}");
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_not_read_for_ever() {
    let address = fake(|_, mut stream| async move { while stream.write_all(&[b'a'; 4096]).await.is_ok() {} });

    assert_eq!(kind(server_at(&address, patient()).get("a", None).await), StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn what_was_not_asked_for_ends_the_connection() {
    let address = fake(|number, mut stream| async move {
        if number == 0 {
            let asked = line(&mut stream).await.unwrap();
            let reply = format!("EN O{}\r\nEN O{0}\r\n", token(&asked));
            stream.write_all(reply.as_bytes()).await.unwrap();
            assert_eq!(line(&mut stream).await, None);
        } else {
            answer_rightly(stream).await;
        }
    });
    let server = server_at(&address, patient());
    assert_eq!(server.get("first", None).await.unwrap(), Got::Miss);
    sleep(Duration::from_millis(50)).await;

    assert_eq!(value(&server.get("second", None).await.unwrap()), b"second");
}

#[tokio::test]
async fn a_reply_that_comes_too_late_is_dropped_and_the_next_is_right() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let address = fake(move |_, mut stream| {
        count.fetch_add(1, SeqCst);
        async move {
            let late = line(&mut stream).await.unwrap();
            sleep(Duration::from_millis(300)).await;
            let reply = format!("VA 4 c1 O{}\r\nlate\r\n", token(&late));
            stream.write_all(reply.as_bytes()).await.unwrap();
            answer_rightly(stream).await;
        }
    });
    let server = server_at(&address, Settings { deadline: Duration::from_millis(200), ..Settings::default() });
    assert_eq!(kind(server.get("first", None).await), StoreErrorKind::Timeout);

    // Asked before the late reply is there.
    assert_eq!(value(&server.get("second", None).await.unwrap()), b"second");
    assert_eq!(connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_answered_is_given_up() {
    let (ended, has_ended) = mpsc::channel(8);
    let address = fake(move |number, mut stream| {
        let ended = ended.clone();
        async move {
            if number > 0 {
                return answer_rightly(stream).await;
            }
            let mut asked = 0;
            while line(&mut stream).await.is_some() {
                asked += 1;
            }
            ended.send(asked).await.unwrap();
        }
    });
    let server = server_at(&address, Settings { deadline: Duration::from_millis(50), ..Settings::default() });
    let mut has_ended = has_ended;
    assert_eq!(kind(server.get("first", None).await), StoreErrorKind::Timeout);
    assert!(has_ended.try_recv().is_err(), "one late reply is no reason");

    assert_eq!(has_ended.recv().await, Some(1));
    assert_eq!(value(&server.get("second", None).await.unwrap()), b"second");
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_refused_at_once() {
    let address = fake(|_, mut stream| async move { while line(&mut stream).await.is_some() {} });
    let settings = Settings { queue: 4, deadline: Duration::from_millis(300), ..Settings::default() };
    let server = server_at(&address, settings);
    // Connected, and as much in flight as there may be.
    let in_flight = join_all((0..4).map(|_| server.get("a", None))).await;
    assert!(in_flight.into_iter().all(|got| kind(got) == StoreErrorKind::Timeout));

    // Four of these wait, and go on waiting when their callers have gone.
    for refused in [16, 20] {
        let kinds: Vec<_> = join_all((0..20).map(|_| server.get("a", None))).await.into_iter().map(kind).collect();
        let counted = kinds.iter().filter(|kind| **kind == StoreErrorKind::Refused).count();
        assert_eq!(counted, refused, "{kinds:?}");
    }
}

#[tokio::test]
async fn operations_that_wait_together_travel_together() {
    let reads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reads);
    let address = fake(move |_, stream| {
        let seen = Arc::clone(&seen);
        async move {
            let (mut stream, mut buffer) = (stream.into_inner(), vec![0; 64 << 10]);
            loop {
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                let asked = String::from_utf8(buffer[..read].to_vec()).unwrap();
                let replies: String = asked.lines().map(|line| format!("EN O{}\r\n", token(line))).collect();
                if read == 0 || stream.write_all(replies.as_bytes()).await.is_err() {
                    return;
                }
                seen.lock().unwrap().push(asked.lines().count());
            }
        }
    });
    let server = server_at(&address, patient());
    server.get("first", None).await.unwrap();
    for got in join_all((0..100).map(|_| server.get("together", None))).await {
        assert_eq!(got.unwrap(), Got::Miss);
    }

    assert_eq!(*reads.lock().unwrap(), [1, 100]);
}

#[tokio::test]
async fn the_connection_ends_with_the_last_of_its_servers() {
    let (ended, mut has_ended) = mpsc::channel(1);
    let address = fake(move |_, stream| {
        let ended = ended.clone();
        async move {
            answer_rightly(stream).await;
            ended.send(()).await.unwrap();
        }
    });
    let server = server_at(&address, patient());
    let other = server.clone();
    server.get("a", None).await.unwrap();
    drop(server);
    assert_eq!(value(&other.get("b", None).await.unwrap()), b"b");
    assert!(has_ended.try_recv().is_err());

    drop(other);
    assert_eq!(has_ended.recv().await, Some(()));
}
