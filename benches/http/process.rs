//! Servers on one core, that end with the measuring, and the processor time that they have used.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A command that runs on one core alone.
pub fn on_core(core: usize, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// A port that nobody uses now.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A server and all that it has started.
pub struct Process {
    child: Child,
}

impl Process {
    /// Returns when it accepts connections.
    pub fn start(mut command: Command, address: SocketAddr) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut process = Self { child };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(io::Error::other(format!("{command:?} ended at once: {status}")));
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{command:?} does not listen on {address}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Seconds of processor time, of it and what it has started. As the scheduler counts them, to the nanosecond.
    pub fn cpu_seconds(&self) -> f64 {
        let parents = parents();
        let mut family = vec![self.child.id()];
        let mut seconds = 0.0;
        while let Some(id) = family.pop() {
            seconds += seconds_of(id);
            family.extend(parents.iter().filter(|(_, parent)| *parent == id).map(|(id, _)| *id));
        }
        seconds
    }
}

impl Drop for Process {
    /// Asks it to end, as what it has started would stay if it was killed.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Of all its threads.
fn seconds_of(id: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return 0.0 };
    let text = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = text.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum()).as_secs_f64()
}

/// All processes, and who has started them.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, parent(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))).collect()
}

/// It comes after the name of the program, in parentheses, which may contain anything, and the state.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

const PATIENCE: Duration = Duration::from_secs(20);
