//! Somebody else who can write to memcached.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use microcache::{KeySpec, RequestHead, Tenant};

use crate::{common::get, memcached::Memcached};

/// What the store calls the GET of a path at shop.example.
pub(crate) fn name(path: &str) -> String {
    let request = get(path);
    let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::shared()).unwrap();
    let prefix = "microcache:1:";
    assert!(prefix.len() + key.as_str().len() <= 250, "a key that is not shortened");
    format!("{prefix}{}", key.as_str())
}

pub(crate) fn set(memcached: &Memcached, name: &str, value: &[u8]) {
    let mut stream = connect(memcached);
    write!(stream, "ms {name} {} T600\r\n", value.len()).unwrap();
    stream.write_all(value).unwrap();
    stream.write_all(b"\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(line, "HD\r\n", "{name}");
}

/// None if there is nothing.
pub(crate) fn value(memcached: &Memcached, name: &str) -> Option<Vec<u8>> {
    let mut stream = connect(memcached);
    write!(stream, "mg {name} v\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let length = line.strip_prefix("VA ")?.split_whitespace().next().unwrap().parse().unwrap();
    let mut value = vec![0; length];
    reader.read_exact(&mut value).unwrap();
    Some(value)
}

fn connect(memcached: &Memcached) -> TcpStream {
    TcpStream::connect(memcached.address()).unwrap()
}
