//! The items of a memcached, and what it says to the commands that the store knows.

use std::collections::HashMap;

use bytes::{Buf, Bytes, BytesMut};

/// One server's. It is never full.
#[derive(Debug, Default)]
pub(crate) struct Items {
    items: HashMap<String, Item>,
    last_cas: u64,
    /// How often each was looked up.
    lookups: HashMap<String, u64>,
}

#[derive(Debug)]
struct Item {
    value: Bytes,
    cas: u64,
    /// The second in which it is gone.
    until: Option<u64>,
    /// A stub whose lease somebody has won.
    is_stub: bool,
}

/// A command and its flags.
struct Command<'a> {
    name: &'a str,
    flags: Vec<&'a str>,
    value: &'a [u8],
}

impl Command<'_> {
    fn number(&self, flag: char) -> Option<u64> {
        let flag = self.flags.iter().find_map(|word| word.strip_prefix(flag))?;
        Some(flag.parse().unwrap())
    }

    /// With the token that came, if one did.
    fn said(&self, code: &str) -> String {
        match self.flags.iter().find(|flag| flag.starts_with('O')) {
            Some(token) => format!("{code} {token}\r\n"),
            None => format!("{code}\r\n"),
        }
    }
}

impl Items {
    /// Takes all commands that are whole, and replies. `second`: memcached's own clock. Says how many there were beside
    /// those that only ask whether it is alive.
    pub(crate) fn reply(&mut self, input: &mut BytesMut, second: u64, output: &mut Vec<u8>) -> usize {
        let mut commands = 0;
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = str::from_utf8(&input[..end]).unwrap().trim_end();
            let words: Vec<&str> = line.split(' ').collect();
            // The value, and its line end.
            let (flags_from, bytes) = match words[0] {
                "ms" => (3, words[2].parse::<usize>().unwrap() + 2),
                _ => (2, 0),
            };
            let Some(value) = input.get(end + 1..end + 1 + bytes) else { break };
            let flags = words.get(flags_from..).unwrap_or_default().to_vec();
            let name = words.get(1).copied().unwrap_or_default();
            let command = Command { name, flags, value: value.strip_suffix(b"\r\n").unwrap_or(value) };
            match words[0] {
                "mg" => self.get(&command, second, output),
                "ms" => output.extend_from_slice(self.set(&command, second).as_bytes()),
                "md" => output.extend_from_slice(self.delete(&command, second).as_bytes()),
                "mn" => output.extend_from_slice(b"MN\r\n"),
                _ => output.extend_from_slice(b"ERROR\r\n"),
            }
            commands += usize::from(words[0] != "mn");
            input.advance(end + 1 + bytes);
        }
        commands
    }

    /// How often what is stored for a path was looked up.
    pub(crate) fn lookups(&self, path: &str) -> u64 {
        let of_path = |name: &str| name.starts_with("microcache:1:") && name.ends_with(&format!("|{path}"));
        self.lookups.iter().filter(|(name, _)| of_path(name)).map(|(_, count)| count).sum()
    }

    fn there(&mut self, name: &str, second: u64) -> Option<&mut Item> {
        self.items.get_mut(name).filter(|item| item.until.is_none_or(|until| until > second))
    }

    fn put(&mut self, name: &str, value: Bytes, seconds: u64, second: u64, is_stub: bool) -> u64 {
        self.last_cas += 1;
        let until = (seconds > 0).then_some(second + seconds);
        self.items.insert(name.to_owned(), Item { value, cas: self.last_cas, until, is_stub });
        self.last_cas
    }

    fn get(&mut self, command: &Command<'_>, second: u64, output: &mut Vec<u8>) {
        let vivify = command.number('N');
        if vivify.is_none() {
            match self.lookups.get_mut(command.name) {
                Some(count) => *count += 1,
                None => drop(self.lookups.insert(command.name.to_owned(), 1)),
            }
        }
        let (value, cas, lease) = match (self.there(command.name, second), vivify) {
            (Some(item), _) => (item.value.clone(), item.cas, if item.is_stub { " Z" } else { "" }),
            (None, Some(seconds)) => (Bytes::new(), self.put(command.name, Bytes::new(), seconds, second, true), " W"),
            (None, None) => return output.extend_from_slice(command.said("EN").as_bytes()),
        };
        output.extend_from_slice(format!("VA {}", value.len()).as_bytes());
        for flag in &command.flags {
            match flag.as_bytes()[0] {
                b'c' => output.extend_from_slice(format!(" c{cas}").as_bytes()),
                b'O' => output.extend_from_slice(format!(" {flag}").as_bytes()),
                _ => {}
            }
        }
        output.extend_from_slice(lease.as_bytes());
        output.extend_from_slice(b"\r\n");
        output.extend_from_slice(&value);
        output.extend_from_slice(b"\r\n");
    }

    fn set(&mut self, command: &Command<'_>, second: u64) -> String {
        if let Some(cas) = command.number('C') {
            match self.there(command.name, second) {
                None => return command.said("NF"),
                Some(item) if item.cas != cas => return command.said("EX"),
                Some(_) => {}
            }
        }
        let seconds = command.number('T').unwrap_or_default();
        self.put(command.name, Bytes::copy_from_slice(command.value), seconds, second, false);
        command.said("HD")
    }

    fn delete(&mut self, command: &Command<'_>, second: u64) -> String {
        let expected = command.number('C');
        match self.there(command.name, second) {
            None => return command.said("NF"),
            Some(item) if expected.is_some_and(|cas| item.cas != cas) => return command.said("EX"),
            Some(_) => {}
        }
        self.items.remove(command.name);
        command.said("HD")
    }
}
