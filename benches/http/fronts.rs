//! What is measured: each kind of service, and how it is started.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use crate::process::{Process, free_address, on_core};

/// One row of the table.
pub struct Front {
    pub name: &'static str,
    pub address: SocketAddr,
    process: Process,
    /// Where the handler is, if it has a process of its own.
    behind: Option<usize>,
}

/// All of them, started. What they have written on disk goes with them.
pub struct Fronts {
    pub all: Vec<Front>,
    dir: PathBuf,
}

impl Fronts {
    pub fn start(work: &str) -> io::Result<Self> {
        let dir = Path::new(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
        let dir = dir.join(format!("microcache-http-{}", process::id()));
        fs::create_dir_all(&dir)?;
        let mut fronts = Self { all: Vec::new(), dir };
        fronts.add("axum, static `Bytes`", None, |address| Ok(server("static", address, work)))?;
        fronts.add("axum, no cache", None, |address| Ok(server("bare", address, work)))?;
        fronts.add("axum + microcache", None, |address| Ok(server("cached", address, work)))?;
        fronts.add("the same, around the router", None, |address| Ok(server("around", address, work)))?;
        fronts.add("axum + microcache, `stale_while_revalidate`", None, |address| Ok(server("swr", address, work)))?;
        let (origin, dir) = (fronts.all[BARE].address, fronts.dir.clone());
        fronts.add("nginx `proxy_cache` in front of axum", Some(BARE), |address| {
            nginx(address, origin, dir.join("nginx"), "off")
        })?;
        fronts.add("the same, `open_file_cache`", Some(BARE), |address| {
            nginx(address, origin, dir.join("nginx-open"), "max=1000 inactive=60s")
        })?;
        fronts.add("Varnish in front of axum", Some(BARE), |address| varnish(address, origin, &dir))?;
        fronts.add("`reverse_proxy` in front of axum", Some(BARE), |address| Ok(proxy(address, origin, "0s")))?;
        fronts.add("the same, `--stale-while-revalidate`", Some(BARE), |address| Ok(proxy(address, origin, "1s")))?;
        Ok(fronts)
    }

    fn add(
        &mut self,
        name: &'static str,
        behind: Option<usize>,
        command: impl FnOnce(SocketAddr) -> io::Result<Command>,
    ) -> io::Result<()> {
        let address = free_address()?;
        let process = Process::start(command(address)?, address)?;
        self.all.push(Front { name, address, process, behind });
        Ok(())
    }

    /// Where the handler of this one counts its calls; none if it has no handler.
    pub fn handler(&self, front: &Front) -> SocketAddr {
        front.behind.map_or(front.address, |behind| self.all[behind].address)
    }

    /// Of the front and of the handler behind it.
    pub fn cpu_seconds(&self, front: &Front) -> f64 {
        front.process.cpu_seconds() + front.behind.map_or(0.0, |behind| self.all[behind].process.cpu_seconds())
    }
}

impl Drop for Fronts {
    fn drop(&mut self) {
        self.all.clear();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// One of our services. It was built beside this program.
pub fn server(mode: &str, address: SocketAddr, work: &str) -> Command {
    let mut command = on_core(SERVER_CORE, &beside("server"));
    command.args([mode, &address.to_string(), work]);
    command
}

/// How much work two milliseconds are.
pub fn calibrated() -> io::Result<String> {
    let output = on_core(SERVER_CORE, &beside("server")).arg("calibrate").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn proxy(address: SocketAddr, origin: SocketAddr, stale: &str) -> Command {
    let mut command = on_core(SERVER_CORE, &beside("examples/reverse_proxy"));
    command.args(["--upstream", &format!("http://{origin}"), "--listen", &address.to_string()]);
    command.args(["--threads", "1", "--stale-while-revalidate", stale]);
    command
}

fn nginx(address: SocketAddr, origin: SocketAddr, dir: PathBuf, open_files: &str) -> io::Result<Command> {
    fs::create_dir(&dir)?;
    let settings = include_str!("nginx.conf")
        .replace("{dir}", &dir.display().to_string())
        .replace("{listen}", &address.to_string())
        .replace("{origin}", &origin.to_string())
        .replace("{open_files}", open_files);
    let path = dir.join("nginx.conf");
    fs::write(&path, settings)?;
    let mut command = on_core(SERVER_CORE, "nginx");
    command.arg("-c").arg(path).arg("-e").arg(dir.join("error.log"));
    Ok(command)
}

fn varnish(address: SocketAddr, origin: SocketAddr, dir: &Path) -> io::Result<Command> {
    let settings = include_str!("varnish.vcl")
        .replace("{host}", &origin.ip().to_string())
        .replace("{port}", &origin.port().to_string());
    let path = dir.join("varnish.vcl");
    fs::write(&path, settings)?;
    let mut command = on_core(SERVER_CORE, "varnishd");
    command.args(["-F", "-j", "none", "-T", "none", "-s", "malloc,64m", "-a", &address.to_string(), "-f"]);
    command.arg(path).arg("-n").arg(dir.join("varnish"));
    // It tells its whole life there.
    command.stderr(Stdio::null());
    Ok(command)
}

fn beside(program: &str) -> String {
    let here = env::current_exe().ok().and_then(|path| Some(path.parent()?.join(program)));
    here.map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

const SERVER_CORE: usize = 0;

// Their places among all.
const BARE: usize = 1;
pub const CACHED: usize = 2;
pub const NGINX: usize = 5;
pub const NGINX_OPEN: usize = 6;
pub const VARNISH: usize = 7;
pub const PROXY: usize = 8;
