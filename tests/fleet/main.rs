//! A fleet in a time of its own: every node is the real cache on the real memcached store, and the network and the servers
//! are simulated. `benches/fleet.rs` is the same for as many nodes as one likes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[expect(dead_code, reason = "the bench prints all of it")]
mod findings;
#[expect(dead_code, reason = "each crate of tests uses its part")]
#[path = "../common/memcached.rs"]
mod memcached;
mod network;
mod node;
mod records;
mod run;
mod server;
#[path = "../common/zipf.rs"]
mod zipf;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bytes::BytesMut;

use crate::{findings::Findings, run::Settings};

#[test]
fn whatever_dies_a_fleet_keeps_what_is_promised() {
    for (nodes, leases) in [(1, true), (5, true), (5, false)] {
        let settings = Settings { nodes, servers: 3, keys: 100, requests_a_second: 20.0, leases, seed: 1 };

        let run = run::run(settings);

        let findings = Findings::of(&run);
        assert!(findings.broken.is_empty(), "{settings:?}: {:#?}", findings.broken);
        // All of it happens, or there is nothing to promise.
        let Findings { steady, gone, died, purged, .. } = findings;
        assert!(steady.hottest > 0.5 && steady.lookups > 0.5, "{steady:?}");
        let has_missed_it = nodes == 1 || gone.waited.most.is_some() && gone.all > gone.all_before;
        assert!(gone.keys > 1 && has_missed_it, "{gone:?}");
        assert_eq!(died.nodes, usize::from(nodes > 1), "{died:?}");
        let has_waited = died.slowest.is_some_and(|slowest| slowest > Duration::from_secs(1));
        assert_eq!(has_waited, nodes > 1 && leases, "{died:?}");
        assert_eq!(purged.old.most.is_some_and(|late| !late.is_zero()), nodes > 1, "{purged:?}");
    }
}

#[test]
fn a_simulated_server_says_what_memcached_says() {
    let memcached = memcached::Memcached::start(&[]);
    let mut real = TcpStream::connect(memcached.address()).unwrap();
    real.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut simulated = server::Items::default();
    let mut cas = [String::new(), String::new()];
    for command in [
        "mg a v c Off",
        "mg a v c N30 O1",
        "mg a v c N30 O2",
        "mg a v c O3",
        "ms a 5 T60 C99999 O4\r\nhello",
        "ms a 5 T60 C{cas} O5\r\nhello",
        "mg a v c N30 O6",
        "ms a 2 T60 C{cas} O7\r\n\r\n",
        "mg a v c O8",
        "md a C99999 O9",
        "md a C{cas} Oa",
        "md a Ob",
        "mg a v c Oc",
        "ms b 5 T60 C1 Od\r\nhello",
        "ms b 0 T0 Oe\r\n",
        "mg b v c N30 Of",
        "mn",
    ] {
        let [one, other] = [0, 1].map(|which: usize| command.replace("{cas}", &cas[which]) + "\r\n");
        let mut ours = Vec::new();
        simulated.reply(&mut BytesMut::from(&*one), 1, &mut ours);
        let ours = String::from_utf8(ours).unwrap();
        let theirs = reply(&mut real, &other);
        assert_eq!(masked(&ours, &mut cas[0]), masked(&theirs, &mut cas[1]), "{command}");
    }
}

/// What a real server says, before its reply to a command that marks the end.
fn reply(server: &mut TcpStream, command: &str) -> String {
    server.write_all(format!("{command}mg end k\r\n").as_bytes()).unwrap();
    let (mut said, end) = (Vec::new(), b"EN kend\r\n");
    while !said.ends_with(end) {
        let mut more = [0; 1024];
        let length = server.read(&mut more).unwrap();
        assert!(length > 0, "{command:?}: {said:?}");
        said.extend_from_slice(&more[..length]);
    }
    said.truncate(said.len() - end.len());
    String::from_utf8(said).unwrap()
}

/// A reply with every CAS alike; the last is kept.
fn masked(said: &str, last: &mut String) -> String {
    let mask = |word: &str| match word.strip_prefix('c') {
        Some(cas) => {
            cas.clone_into(last);
            "c".to_owned()
        }
        None => word.to_owned(),
    };
    said.split(' ').map(mask).collect::<Vec<_>>().join(" ")
}
