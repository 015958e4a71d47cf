//! Receives lines over TCP.
//!
//! Owns the listener, the connections and the thread on which tokio drives them. Must not know what
//! a lane does with the lines. Invariants: only whole lines go on, so lines of several clients
//! never mix; a client that sends an over-long line is told so and cut off, and nobody else
//! notices; after a stop nothing more is read, and the whole lines that were read go on. The last
//! line of a client that closes its connection needs no end.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidemill_core::connector::{ConnectorError, ConnectorFault, Wake};
use tidemill_core::limits::LINE_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connectors::inlet::Inlet;
use crate::connectors::settings::{Format, StreamFormat};
use crate::connectors::stream::{Stop, StreamReader};

/// Id of the one partition.
pub(super) const PARTITION: &str = "listener";
/// Connections at a time; more are turned away.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// How long a client that is turned away may take to hear why.
const FAREWELL: Duration = Duration::from_secs(1);
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

/// Starts to accept connections.
pub(super) fn reader(
    listener: StdListener,
    waker: Arc<dyn Wake>,
) -> Result<StreamReader<StopListener>, ConnectorError> {
    let failed = |error: io::Error| {
        let message =
            format!("cannot start to accept connections: {error}; free files and threads");
        ConnectorError::new(ConnectorFault::Io, message)
    };
    let name =
        listener.local_addr().map_or_else(|_| "tcp".to_owned(), |address| address.to_string());
    let inlet = Arc::new(Inlet::new(waker));
    let (stop, stopped) = watch::channel(false);
    let receiver = Arc::clone(&inlet);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let started = thread::Builder::new().name("tidemill-tcp".to_owned()).spawn(move || {
        let served = runtime.block_on(serve(listener, Arc::clone(&receiver), stopped));
        match served {
            Ok(()) => receiver.end(),
            Err(error) => receiver.fail(failed(error)),
        }
    });
    started.map_err(failed)?;
    let format = StreamFormat { format: Format::Lines, key: None };
    let stop = StopListener { stop, inlet: Arc::clone(&inlet) };
    Ok(StreamReader::new(PARTITION, name, &format, inlet, stop))
}

/// Ends the listener and its connections.
pub(super) struct StopListener {
    stop: watch::Sender<bool>,
    inlet: Arc<Inlet>,
}

impl Stop for StopListener {
    fn stop(&mut self) {
        self.stop.send_replace(true);
        self.inlet.stop();
    }
}

type Stopped = watch::Receiver<bool>;

/// Returns when a stop was asked for, or can never be asked for any more.
async fn stop_asked(stopped: &mut Stopped) {
    stopped.wait_for(|stop| *stop).await.ok();
}

async fn serve(listener: StdListener, inlet: Arc<Inlet>, mut stopped: Stopped) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop_asked(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    let (inlet, stopped) = (Arc::clone(&inlet), stopped.clone());
                    let connection = Connection::new(stream);
                    connections.spawn(async move { connection.receive(&inlet, stopped).await });
                }
                // Best effort: there is no room to wait for this client.
                Ok((stream, _)) => drop(stream.try_write(b"error: too many connections\n")),
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

struct Connection {
    stream: TcpStream,
    /// What was received and is not yet a whole line.
    held: Vec<u8>,
    /// How much of it is known to hold no line end.
    scanned: usize,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, held: Vec::new(), scanned: 0 }
    }

    async fn receive(mut self, inlet: &Inlet, mut stopped: Stopped) {
        loop {
            self.held.reserve(READ_BYTES);
            let read = tokio::select! {
                biased;
                () = stop_asked(&mut stopped) => return,
                read = self.stream.read_buf(&mut self.held) => read,
            };
            let is_closed = match read {
                Ok(count) => count == 0,
                // Reset by the client: what came as whole lines was taken.
                Err(_) => return,
            };
            if is_closed && !self.held.is_empty() {
                self.held.push(b'\n');
            }
            if self.is_over_limit() {
                return self.refuse().await;
            }
            self.pass_on(inlet).await;
            if is_closed {
                return;
            }
        }
    }

    /// Whether the first line, ended or not, is longer than a line may be. Those after it came in
    /// one read and are not.
    fn is_over_limit(&self) -> bool {
        let unknown = &self.held[self.scanned..];
        let length = self.scanned + memchr::memchr(b'\n', unknown).unwrap_or(unknown.len());
        let is_return = length > 0 && self.held[length - 1] == b'\r';
        length - usize::from(is_return) > LINE_BYTES_MAX
    }

    async fn pass_on(&mut self, inlet: &Inlet) {
        match memchr::memrchr(b'\n', &self.held[self.scanned..]) {
            Some(last) => {
                let end = self.scanned + last + 1;
                inlet.append_from_task(&self.held[..end]).await;
                self.held.drain(..end);
                self.scanned = self.held.len();
            }
            None => self.scanned = self.held.len(),
        }
    }

    /// Tells the client why and waits a little for it to stop sending: closing at once would throw
    /// away the message together with what the client has sent since.
    async fn refuse(mut self) {
        let peer = self.stream.peer_addr().ok();
        tracing::debug!(?peer, "A client sent a line that is too long and was cut off.");
        let message =
            format!("error: a line is longer than {LINE_BYTES_MAX} bytes; connection closed\n");
        let farewell = async {
            self.stream.write_all(message.as_bytes()).await?;
            self.stream.shutdown().await?;
            let mut rest = vec![0; READ_BYTES];
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        timeout(FAREWELL, farewell).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    use tidemill_core::connector::{SourcePoll, SourceReader};

    use super::*;
    use crate::connectors::tests::{bell, drain, target};

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Polls until `count` records have come.
    fn take(
        reader: &mut impl SourceReader,
        wakes: &std::sync::mpsc::Receiver<()>,
        count: usize,
    ) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while records.len() < count {
            match reader.poll(target(), Default::default()).unwrap() {
                SourcePoll::Batch(batch) => records.extend(batch.values.iter().map(<[u8]>::to_vec)),
                SourcePoll::Pending => wakes.recv().unwrap(),
                SourcePoll::Ended => panic!("ended after {} of {count}", records.len()),
            }
        }
        records
    }

    #[test]
    fn lines_of_many_clients_stay_whole_and_a_stop_ends_the_source() {
        let listener = bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let (waker, wakes) = bell();
        let mut reader = reader(listener, waker).unwrap();
        let clients = (0..8).map(|client| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for line in 0..500 {
                    // Two writes, so that a line is seldom in one packet.
                    write!(stream, "{client} ").unwrap();
                    writeln!(stream, "{line}").unwrap();
                }
                write!(stream, "{client} last").unwrap();
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut found = take(&mut reader, &wakes, 8 * 501);
        clients.into_iter().for_each(|client| client.join().unwrap());
        reader.stop();
        assert!(drain(&mut reader, &wakes).unwrap().is_empty());
        assert!(TcpStream::connect(address).is_err());
        let mut expected: Vec<Vec<u8>> = (0..8)
            .flat_map(|client| (0..500).map(move |line| format!("{client} {line}").into_bytes()))
            .chain((0..8).map(|client| format!("{client} last").into_bytes()))
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_over_long_line_costs_its_client_the_connection_and_nobody_else() {
        let listener = bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let (waker, wakes) = bell();
        let mut reader = reader(listener, waker).unwrap();
        let mut good = TcpStream::connect(address).unwrap();
        let mut bad = TcpStream::connect(address).unwrap();
        bad.write_all(b"fine\n").unwrap();
        assert_eq!(take(&mut reader, &wakes, 1), [b"fine"]);
        bad.write_all(&vec![b'x'; LINE_BYTES_MAX + 2]).unwrap();
        bad.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        bad.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "error: a line is longer than 1048576 bytes; connection closed\n");
        let longest = vec![b'y'; LINE_BYTES_MAX];
        good.write_all(&longest).unwrap();
        good.write_all(b"\r\n").unwrap();
        assert_eq!(take(&mut reader, &wakes, 1), [longest]);
    }

    #[test]
    fn an_address_in_use_says_what_to_do() {
        let listener = bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(error.fault, ConnectorFault::CannotCreate);
        assert!(error.message.contains(&address.to_string()), "{error}");
        assert!(error.message.contains("use another port"), "{error}");
    }
}
