//! A streaming reverse proxy with the cache in front: puts the library before any HTTP server.
//!
//! ```text
//! cargo run --release --example reverse_proxy -- --upstream http://127.0.0.1:3000
//! ```
//!
//! This file is the server half: the runtime, the socket, the connections, the end. `flags.rs` reads the command
//! line, `proxy.rs` is the way of a request around the cache, `forward.rs` what is behind it, `fleet.rs` what it shares
//! with other nodes.

mod flags;
mod fleet;
mod forward;
mod proxy;

use std::{
    io::{self, ErrorKind, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::watch,
    task::JoinSet,
    time,
};

use self::{
    flags::{Asked, Flags, HELP},
    proxy::Proxy,
};

fn main() -> ExitCode {
    let (proxy, flags) = match set_up() {
        Ok(Some(ready)) => ready,
        Ok(None) => {
            let _ = io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            complain(&complaint);
            return ExitCode::from(2);
        }
    };
    match run(proxy, &flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What the flags ask for, or what is wrong with them; none if it is help.
fn set_up() -> Result<Option<(Proxy, Box<Flags>)>, String> {
    match flags::parse(std::env::args_os().skip(1))? {
        Asked::Help => Ok(None),
        Asked::Run(upstream, flags) => Ok(Some((Proxy::new(upstream, &flags)?, flags))),
    }
}

fn run(proxy: Proxy, flags: &Flags) -> io::Result<()> {
    let mut builder = runtime::Builder::new_multi_thread();
    if let Some(threads) = flags.threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build()?;
    let served = runtime.block_on(serve(proxy, &flags.listen));
    // A name that is still being looked up would hold the process.
    runtime.shutdown_background();
    served
}

async fn serve(proxy: Proxy, address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("--listen: {address}: {error}")))?;
    // Before anyone is told that we listen: from then on the signals are ours.
    let mut signals = Signals::new()?;
    announce(&listener)?;

    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(converse(socket, proxy.clone(), stopping.clone()));
                }
                Err(error) => recover(&error).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = signals.next() => break,
        }
    }
    drop((listener, stop));
    // A second signal, or an answer that does not end, is no reason to stay.
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = signals.next() => {}
        () = time::sleep(GRACE) => {}
    }
    Ok(())
}

fn announce(listener: &TcpListener) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()
}

/// One client. When `stopping` is closed, what is under way is finished and nothing more is read.
async fn converse(socket: TcpStream, proxy: Proxy, mut stopping: watch::Receiver<()>) {
    // Small answers go out at once; a socket that does not know the option works without it.
    let _ = socket.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| proxy.clone().answer(request));
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(socket), service));
    tokio::select! {
        // Errors here are the client's: it left, or it does not speak HTTP.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A connection that was gone before it was accepted says nothing about the next one. All else, as having no file
/// descriptors left, needs time to pass.
async fn recover(error: &io::Error) {
    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
        return;
    }
    complain(&format!("can not accept: {error}"));
    time::sleep(ACCEPT_PAUSE).await;
}

/// To the operator. Nobody may be listening, which must not end the program.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "reverse_proxy: {text}");
}

/// Ctrl-C, and SIGTERM where there is one.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// How long answers under way may take after the first signal.
const GRACE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
