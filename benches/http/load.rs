//! Load by wrk, and what a server counts meanwhile.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::process::on_core;

/// What wrk has measured. The times are in milliseconds.
pub struct Load {
    pub requests: f64,
    pub seconds: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// What 64 connections ask for.
#[derive(Clone, Copy)]
pub enum Asked {
    /// One page.
    Page,
    /// The same, by a method that no cache looks up.
    Options,
    /// The same, by one that ends what is stored.
    Post,
    /// Each request another page.
    Others,
}

impl Asked {
    /// As `wrk.lua` knows it.
    fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Others => "others",
        }
    }
}

/// 64 connections that stay open, each asking for the next page when it has the last.
pub fn wrk(address: SocketAddr, asked: Asked, seconds: u64) -> io::Result<Load> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/wrk.lua");
    let output = on_core(CLIENT_CORE, "wrk")
        .args(["-t1", "-c64", "--timeout", "10s", "-s", script, "-d", &format!("{seconds}s")])
        .arg(format!("http://{address}/page?category=books&page=3&per_page=50&sort=price_asc"))
        .args(["--", asked.word()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("measured "));
    let numbers: Vec<f64> = line.unwrap_or_default().split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [requests, micros, p50, p99, max, 0.0] => {
            Ok(Load { requests, seconds: micros / 1e6, p50: p50 / 1e3, p99: p99 / 1e3, max: max / 1e3 })
        }
        _ => Err(io::Error::other(format!("wrk against {address} failed: {text}"))),
    }
}

/// How many requests a server of ours has answered, and how many have reached its handler.
pub fn counts(address: SocketAddr) -> io::Result<(u64, u64)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /-/counts HTTP/1.1\r\nhost: counts\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.rsplit_once("\r\n\r\n").map(|(_, body)| body.split_once(' '));
    let numbers = body.flatten().and_then(|(answered, calls)| Some((answered.parse().ok()?, calls.parse().ok()?)));
    numbers.ok_or_else(|| io::Error::other(format!("{address} does not count: {text}")))
}

const CLIENT_CORE: usize = 1;
