//! Receives lines over TCP.
//!
//! Owns the listener and the thread on which tokio drives it and its connections. What is said on a connection
//! is in `connection`, whose lines are whose in `hub`. Must not know what a lane does with the lines.
//! Invariants: there is one listener in the life of the process; after a stop nothing more is read, and the
//! whole lines that were read go on.

mod connection;
mod hub;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tidemill_core::connector::{ConnectorError, ConnectorFault};
use tidemill_core::input_log::ClientTable;
use tidemill_core::quota::{Allowance, Holding};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::hub::Hub;
use crate::connectors::inlet::Inlet;
use crate::connectors::logged::{Former, Forming, Intake, Stop};
use crate::connectors::no_thread;
use crate::connectors::settings::{Format, StreamFormat};
use crate::spawner;

/// Id of the one partition.
pub(super) const PARTITION: &str = "listener";
/// Connections at a time; more are turned away.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes that may have come of lines that are longer than what is read at once and not yet whole, over all connections.
const LONG_LINES_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Memory that a listener takes at most: for each connection what is read at once, behind what is left of the read before; and
/// twice what has come of long lines, for buffers double.
pub(crate) const LISTENER_BYTES: usize =
    CONNECTIONS_MAX * 2 * connection::READ_BYTES + 2 * LONG_LINES_BYTES_MAX as usize;
/// Pause after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the address.
pub(super) fn bind(address: SocketAddr) -> Result<StdListener, ConnectorError> {
    let bound = StdListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or use another port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege: use a higher one"
            }
            io::ErrorKind::AddrNotAvailable => "use an address of this machine, such as 127.0.0.1",
            _ => "use another address",
        };
        let message = format!("cannot listen on {address}: {error}; {advice}");
        ConnectorError::new(ConnectorFault::CannotCreate, message)
    })
}

/// Starts to accept connections. `table` is what the log knows of clients; lines that came again are counted in
/// `duplicates`. Each connection takes one of the open files of the account.
pub(super) fn start(
    listener: StdListener,
    table: &ClientTable,
    duplicates: Arc<AtomicU64>,
    intake: &Arc<Intake>,
    forming: Forming,
) -> Result<(), ConnectorError> {
    let failed = |error: io::Error| {
        let message =
            format!("cannot start to accept connections: {error}; free files and threads");
        ConnectorError::new(ConnectorFault::Io, message)
    };
    let no_thread = |error| no_thread("that accepts connections", &error);
    let name =
        listener.local_addr().map_or_else(|_| "tcp".to_owned(), |address| address.to_string());
    let inlet = Arc::<Inlet>::default();
    let hub = Arc::new(Hub::new(inlet.clone(), table, duplicates));
    let (stop, stopped) = watch::channel(false);
    intake.begin(Box::new(StopListener { stop, inlet: inlet.clone() }), Some(hub.clone()));
    let format = StreamFormat { format: Format::Lines, key: None };
    let account = forming.account.clone();
    // Both threads end by themselves, when they are stopped or nothing more is wanted.
    Former::new(name, &format, inlet.clone(), intake.clone(), forming)
        .start()
        .map_err(no_thread)?;
    let accepting = inlet.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let started = runtime.map_err(failed).and_then(|runtime| {
        let body = move || {
            let open_files = account.open_files().clone();
            let _employed = account.employ_thread();
            match runtime.block_on(serve(listener, hub, open_files, stopped)) {
                Ok(()) => accepting.end(),
                Err(error) => accepting.fail(failed(error)),
            }
        };
        let thread = spawner::builder("tidemill-tcp").and_then(|thread| thread.spawn(body));
        thread.map(drop).map_err(no_thread)
    });
    if started.is_err() {
        // The thread that forms records would wait for them for ever.
        inlet.end();
    }
    started
}

/// Ends the listener and its connections.
struct StopListener {
    stop: watch::Sender<bool>,
    inlet: Arc<Inlet>,
}

impl Stop for StopListener {
    fn stop(&mut self) {
        // First this: an end that follows from it must not pass for the end of the input.
        self.inlet.stop();
        self.stop.send_replace(true);
    }
}

type Stopped = watch::Receiver<bool>;

/// Returns when a stop was asked for, or can never be asked for any more.
async fn stop_asked(stopped: &mut Stopped) {
    stopped.wait_for(|stop| *stop).await.ok();
}

async fn serve(
    listener: StdListener,
    hub: Arc<Hub>,
    open_files: Arc<Allowance>,
    mut stopped: Stopped,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop_asked(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let mut place = Holding::of(&open_files);
                    if connections.len() < CONNECTIONS_MAX && place.grow(1) {
                        let served = connection::serve(stream, hub.clone(), stopped.clone());
                        connections.spawn(async move {
                            let _place = place;
                            served.await;
                        });
                    } else {
                        // Best effort: there is no room to wait for this client.
                        stream.try_write(b"error: too many connections\n").ok();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "A connection could not be accepted.");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
