//! What stands between, and what stands under our names, is not to be trusted: users get the origin's answer.

use std::time::Duration;

use microcache::{MemcachedStore, Policy, Store};

use crate::{
    common::{ask, get, status, text},
    fault::{HOUR, answers, ask_with_spare, landed, recovers},
    memcached::Memcached,
    proxy::{Proxy, Replies},
    raw,
    shared::{far, process},
};

/// One that is not waited for as long as in other tests, since it is asked in vain.
fn through(proxy: &Proxy) -> impl Store {
    MemcachedStore::builder([proxy.address()]).deadline(Duration::from_millis(100)).build().unwrap()
}

#[tokio::test]
async fn a_server_that_answers_half_a_second_late_is_left_alone_until_it_is_faster() {
    let memcached = Memcached::start(&[]);
    let proxy = Proxy::start(&memcached).await;
    let (mut cache, origin) = process(through(&proxy), Policy::new());
    answers(&mut cache, &origin, "/a").await;
    proxy.does(Replies::Late(Duration::from_millis(500)));
    for number in 0..50 {
        answers(&mut cache, &origin, &format!("/slow/{number}")).await;
    }
    proxy.does(Replies::Whole);
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_within_a_reply_costs_no_answer() {
    let memcached = Memcached::start(&[]);
    let proxy = Proxy::start(&memcached).await;
    let (mut cache, origin) = process(through(&proxy), Policy::new());
    for bytes in [0, 1, 2, 3, 10, 30, 100] {
        let path = format!("/{bytes}");
        proxy.does(Replies::Whole);
        recovers(&mut cache, &origin).await;
        answers(&mut cache, &origin, &path).await;
        proxy.does(Replies::CutAfter(bytes));
        for number in 0..10 {
            answers(&mut cache, &origin, &format!("/cut/{bytes}/{number}")).await;
        }
    }
    proxy.does(Replies::Whole);
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn garbage_and_the_replies_to_others_are_no_answers() {
    let memcached = Memcached::start(&[]);
    let proxy = Proxy::start(&memcached).await;
    let (mut cache, origin) = process(through(&proxy), Policy::new());
    for (number, lie) in [
        Replies::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Replies::Garbage(b"VA 5 c1 O1\r\nother\r\n"),
        Replies::Garbage(b"HD\r\nHD\r\nHD\r\n"),
        Replies::Garbage(b"\0\xff\n"),
        Replies::Garbage(b"SERVER_ERROR out of memory\r\n"),
        Replies::SomebodyElses,
    ]
    .into_iter()
    .enumerate()
    {
        recovers(&mut cache, &origin).await;
        proxy.does(lie);
        for ask in 0..10 {
            answers(&mut cache, &origin, &format!("/lies/{number}/{ask}")).await;
        }
        proxy.does(Replies::Whole);
    }
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_value_that_is_not_ours_is_a_miss_and_is_overwritten() {
    let memcached = Memcached::start(&[]);
    let (mut cache, origin) = process(far(&memcached), Policy::new());
    answers(&mut cache, &origin, "/whole").await;
    landed(&mut cache, "/whole").await;
    let whole = raw::value(&memcached, &raw::name("/whole")).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (number, value) in [
        &b""[..],
        b"\0",
        b"somebody else's",
        &whole[..whole.len() - 1],
        &whole[..whole.len() / 2],
        &changed,
        // It is whole, and of another key.
        &whole,
        &vec![b'x'; 1_000_000],
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        raw::set(&memcached, &raw::name(&path), value);
        answers(&mut cache, &origin, &path).await;
        landed(&mut cache, &path).await;
        let again = ask(&mut cache, get(&path)).await;
        assert!(status(&again).starts_with("hit"), "{number}: {}", status(&again));
        assert_eq!(text(again).await.unwrap(), "page", "{number}");
    }
}

#[tokio::test]
async fn a_server_with_all_its_connections_taken_is_done_without_until_one_is_free() {
    let memcached = Memcached::start(&["-t", "1", "-c", "32"]);
    let store = MemcachedStore::builder([memcached.address()]).deadline(Duration::from_millis(100)).build().unwrap();
    let (mut cache, origin) = process(store, Policy::new());
    let taken: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(memcached.address()).unwrap()).collect();
    for number in 0..50 {
        answers(&mut cache, &origin, &format!("/full/{number}")).await;
    }
    drop(taken);
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_server_that_is_full_forgets_and_goes_on() {
    let memcached = Memcached::start(&["-m", "2"]);
    let (mut cache, origin) = process(far(&memcached), Policy::new());
    let body = |number: usize| bytes::Bytes::from(format!("{number:0>60000}"));
    for number in 0..100 {
        origin.queue([crate::common::reply(200, HOUR, body(number))]);
        let answer = ask(&mut cache, get(&format!("/{number}"))).await;
        assert_eq!(text(answer).await.unwrap().as_bytes(), body(number), "{number}");
    }
    assert!(memcached.stat("evictions") > 0);
    let again = ask_with_spare(&mut cache, &origin, "/new").await;
    assert!(!again.starts_with("hit"), "{again}");
    recovers(&mut cache, &origin).await;
}

#[tokio::test]
async fn a_server_that_is_restarted_empty_while_leases_are_out_gives_new_ones() {
    let mut memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..2).map(|_| process(far(&memcached), crate::lease::patient())).collect();
    let asked = crate::lease::stampede(&processes, 5);
    crate::lease::until(|| crate::lease::forwards(&processes) == 1).await;
    memcached.kill();
    memcached.restart();
    // The one that has waited forwards now: nobody knows of the lease any more.
    crate::lease::until(|| crate::lease::forwards(&processes) == 2).await;
    for (_, origin) in &processes {
        origin.reply(crate::common::reply(200, HOUR, "page"));
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "page");
    }
    let (mut cache, origin) = processes.into_iter().next().unwrap();
    recovers(&mut cache, &origin).await;
}
