//! A memcached of one test: started by it, ended with it. No assertions about the cache in here.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// A memcached of its own, on a free port or socket. Killed when it is dropped.
pub(crate) struct Memcached {
    process: Child,
    place: Place,
    options: Vec<String>,
}

enum Place {
    Port(u16),
    Socket(PathBuf),
}

impl Memcached {
    /// One on a port that was free a moment ago, with these command line options.
    pub(crate) fn start(options: &[&str]) -> Self {
        for _ in 0..PORTS {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // Somebody else may have taken it since: then this one ends, and the next port is tried.
            if let Some(started) = Self::try_start(Place::Port(free), options) {
                return started;
            }
        }
        panic!("memcached did not start on any of {PORTS} free ports");
    }

    /// One on a Unix socket in the directory for temporary files.
    pub(crate) fn start_on_socket(options: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("microcache-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = Place::Socket(std::env::temp_dir().join(name));
        Self::try_start(place, options).expect("memcached did not start on a socket")
    }

    fn try_start(place: Place, options: &[&str]) -> Option<Self> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let mut started = Self { process: spawn(&place, &options), place, options };
        started.is_up().then_some(started)
    }

    /// As the settings of the cache have it.
    pub(crate) fn address(&self) -> String {
        match &self.place {
            Place::Port(port) => format!("127.0.0.1:{port}"),
            Place::Socket(path) => format!("unix:{}", path.display()),
        }
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // Only fails when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again in the same place, empty. It was killed before.
    pub(crate) fn restart(&mut self) {
        for _ in 0..PORTS {
            self.process = spawn(&self.place, &self.options);
            if self.is_up() {
                return;
            }
        }
        panic!("memcached did not start again on {}", self.address());
    }

    /// It hangs: connections are taken by the system, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
        // The signal is sent before it is taken: it may answer for a moment yet.
        while !self.is_stopped() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// As the system lists it; a system that does not list processes is believed.
    fn is_stopped(&self) -> bool {
        let listed = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        listed.map_or(true, |status| status.lines().any(|line| line.starts_with("State:") && line.contains('T')))
    }

    /// It goes on after a [`pause`](Self::pause).
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    }

    /// One of the numbers that it keeps of itself, asked for on a connection of its own.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let lines = self.stats().unwrap();
        let wanted = format!("STAT {name} ");
        let value = lines.iter().find_map(|line| line.strip_prefix(&wanted));
        value.unwrap_or_else(|| panic!("memcached has no number {name}")).parse().unwrap()
    }

    fn stats(&self) -> io::Result<Vec<String>> {
        match &self.place {
            Place::Port(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                ask_for_stats(stream)
            }
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                ask_for_stats(stream)
            }
        }
    }

    /// Whether it answers before it ends or the patience does. Somebody else on its port does not count.
    fn is_up(&mut self) -> bool {
        let itself = format!("STAT pid {}", self.process.id());
        for _ in 0..LOOKS {
            if self.stats().is_ok_and(|lines| lines.contains(&itself)) {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.kill();
        if let Place::Socket(path) = &self.place {
            // It removes the socket itself if it had the time.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memcached").field("address", &self.address()).finish_non_exhaustive()
    }
}

fn spawn(place: &Place, options: &[String]) -> Child {
    let mut command = Command::new("memcached");
    match place {
        Place::Port(port) => command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]),
        Place::Socket(path) => command.arg("-s").arg(path),
    };
    // The user counts only when root starts it, which it refuses otherwise.
    command.args(["-u", "root"]).args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("memcached could not be started ({error}): run scripts/memcached, which installs it")
    })
}

fn ask_for_stats(mut stream: impl Read + Write) -> io::Result<Vec<String>> {
    stream.write_all(b"stats\r\n")?;
    BufReader::new(stream).lines().take_while(|line| !matches!(line, Ok(line) if line == "END")).collect()
}

/// Ports that are tried.
const PORTS: usize = 20;

/// Looks at one while it starts, ten milliseconds apart.
const LOOKS: usize = 500;

const PATIENCE: Duration = Duration::from_secs(2);
