//! One connection: lines in, and for a client that numbers them, what is durable out.
//!
//! Owns the words of the protocol. A client may begin with `TIDEMILL-CLIENT <id>`; the host answers
//! `TIDEMILL-OK <n>`, the number of its last durable line, and what the client sends then are lines n+1, n+2,
//! and so on. After each sync that makes lines of it durable the host sends `TIDEMILL-ACK <n>`. Any other first
//! line is a record, and nothing is ever answered.
//!
//! Invariants: only whole lines go on; the last line of a client without id needs no end, but one of a
//! client with id that has none is not counted, for it may have been cut; a client that does not read what it
//! is told is read all the same; an over-long line costs its client the connection and nobody else anything.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::input_log::is_client_id;
use tidemill_core::limits::LINE_BYTES_MAX;
use tidemill_core::quota::Holding;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::hub::{Hub, Offered, Session};
use super::{Stopped, stop_asked};

const HELLO: &[u8] = b"TIDEMILL-CLIENT ";
/// Bytes of one read.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// How long a client that is turned away may take to hear why.
const FAREWELL: Duration = Duration::from_secs(1);

/// What was received and has not gone on.
struct Lines {
    held: Vec<u8>,
    /// What of it is more than one read.
    long: Holding,
    /// How much of it is known to hold no line end.
    scanned: usize,
    /// The client sends no more.
    is_closed: bool,
}

/// Why lines come, or come no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Whole lines, up to here.
    Whole(usize),
    /// The client has closed its side; what is held has no end.
    Closed,
    /// The connection broke.
    Broken,
    /// The first line is longer than a line may be.
    TooLong,
    /// Too much is held of the lines of others.
    NoRoom,
}

impl Lines {
    fn new(hub: &Hub) -> Self {
        let long = Holding::of(&hub.long_lines);
        Self { held: Vec::new(), long, scanned: 0, is_closed: false }
    }

    /// Waits for the next whole lines. Nothing is lost when it is dropped in between.
    async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Next {
        loop {
            if self.is_over_limit() {
                return Next::TooLong;
            }
            if let Some(last) = memchr::memrchr(b'\n', &self.held[self.scanned..]) {
                return Next::Whole(self.scanned + last + 1);
            }
            self.scanned = self.held.len();
            if self.is_closed {
                return Next::Closed;
            }
            let long = self.held.len().saturating_sub(READ_BYTES) as u64;
            if !self.long.grow(long.saturating_sub(self.long.amount())) {
                return Next::NoRoom;
            }
            self.held.reserve(READ_BYTES);
            // There may be room for more, in which a second long line could come.
            match (&mut *stream).take(READ_BYTES as u64).read_buf(&mut self.held).await {
                Ok(count) => self.is_closed = count == 0,
                // Reset by the client: what came as whole lines was taken.
                Err(_) => return Next::Broken,
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

    fn consume(&mut self, end: usize) {
        self.held.drain(..end);
        self.scanned = 0;
        if self.long.amount() > 0 {
            self.held.shrink_to(2 * READ_BYTES);
            self.long.settle(self.held.len().saturating_sub(READ_BYTES) as u64);
        }
    }
}

/// Serves a client until it closes its connection or the source stops.
pub(super) async fn serve(mut stream: TcpStream, hub: Arc<Hub>, mut stopped: Stopped) {
    let mut lines = Lines::new(&hub);
    let first = tokio::select! {
        biased;
        () = stop_asked(&mut stopped) => return,
        first = lines.next(&mut stream) => first,
    };
    let Next::Whole(_) = first else {
        return serve_nobody(stream, lines, &hub, stopped).await;
    };
    let end = memchr::memchr(b'\n', &lines.held).unwrap_or(lines.held.len());
    let Some(id) = lines.held[..end].strip_prefix(HELLO) else {
        return serve_nobody(stream, lines, &hub, stopped).await;
    };
    let id = str::from_utf8(id.strip_suffix(b"\r").unwrap_or(id)).unwrap_or("");
    let session = match is_client_id(id) {
        true => hub.hello(id).ok_or("too many client ids are in use; try again in a day"),
        false => Err("a client id is 1 to 64 letters, digits, -, _ and ."),
    };
    match session {
        Ok(session) => {
            lines.consume(end + 1);
            serve_client(stream, lines, session, stopped).await;
        }
        Err(why) => refuse(stream, why).await,
    }
}

/// A client without id: its lines are records, and that is all.
async fn serve_nobody(mut stream: TcpStream, mut lines: Lines, hub: &Hub, mut stopped: Stopped) {
    loop {
        let next = tokio::select! {
            biased;
            () = stop_asked(&mut stopped) => return,
            next = lines.next(&mut stream) => next,
        };
        match next {
            Next::Whole(end) => {
                while !hub.inlet.append(&lines.held[..end], None) {
                    hub.inlet.room().await;
                }
                lines.consume(end);
            }
            Next::Closed if !lines.held.is_empty() => lines.held.push(b'\n'),
            Next::Closed | Next::Broken => return,
            Next::TooLong => return refuse(stream, &too_long()).await,
            Next::NoRoom => return refuse(stream, NO_ROOM).await,
        }
    }
}

/// How a session comes to its end.
enum Over {
    Closed,
    Broken,
    TooLong,
    NoRoom,
    Replaced,
}

/// A client with id: its lines are numbered, and it hears which are durable.
async fn serve_client(
    mut stream: TcpStream,
    mut lines: Lines,
    mut session: Session,
    mut stopped: Stopped,
) {
    let (mut reader, mut writer) = stream.split();
    let mut told = Told::new(session.durable.clone(), session.last_line());
    let over = tokio::select! {
        biased;
        () = stop_asked(&mut stopped) => Over::Closed,
        over = receive(&mut lines, &mut reader, &mut session) => over,
        () = told.tell(&mut writer, None) => Over::Replaced,
    };
    let why = match over {
        Over::Broken => return,
        Over::Replaced => "a newer connection uses this client id".to_owned(),
        Over::Closed | Over::TooLong | Over::NoRoom => {
            // The client hears of all that it sent, unless the source stops in between.
            let too_late = async {
                stop_asked(&mut stopped).await;
                sleep(FAREWELL).await;
            };
            tokio::select! {
                () = told.tell(&mut writer, Some(session.last_line())) => {}
                () = too_late => {}
            }
            match over {
                Over::TooLong => too_long(),
                Over::NoRoom => NO_ROOM.to_owned(),
                _ => return,
            }
        }
    };
    refuse(stream, &why).await;
}

async fn receive(lines: &mut Lines, stream: &mut ReadHalf<'_>, session: &mut Session) -> Over {
    loop {
        match lines.next(stream).await {
            Next::Whole(end) => {
                loop {
                    match session.offer(&lines.held[..end]) {
                        Offered::Taken => break,
                        Offered::NoRoom => session.room().await,
                        Offered::Replaced => return Over::Replaced,
                    }
                }
                lines.consume(end);
            }
            Next::Closed => return Over::Closed,
            Next::Broken => return Over::Broken,
            Next::TooLong => return Over::TooLong,
            Next::NoRoom => return Over::NoRoom,
        }
    }
}

/// What a client is told of its lines.
struct Told {
    durable: watch::Receiver<u64>,
    /// Number that it was last told.
    line: u64,
    /// What is not written yet.
    out: Vec<u8>,
}

impl Told {
    fn new(durable: watch::Receiver<u64>, line: u64) -> Self {
        Self { durable, line, out: format!("TIDEMILL-OK {line}\n").into_bytes() }
    }

    /// Tells the client what is durable: up to `last`, or until another connection has its place. Nothing is
    /// lost when it is dropped in between.
    async fn tell(&mut self, stream: &mut WriteHalf<'_>, last: Option<u64>) {
        loop {
            while !self.out.is_empty() {
                match stream.write(&self.out).await {
                    Ok(count) => drop(self.out.drain(..count)),
                    // It does not listen, but may have sent more.
                    Err(_) => std::future::pending().await,
                }
            }
            let line = *self.durable.borrow_and_update();
            if line > self.line {
                self.line = line;
                self.out = format!("TIDEMILL-ACK {line}\n").into_bytes();
            } else if last.is_some_and(|last| line >= last) || self.durable.changed().await.is_err()
            {
                return;
            }
        }
    }
}

/// What a client hears that has to wait until long lines of others are whole.
const NO_ROOM: &str = "too many long lines at once";

fn too_long() -> String {
    format!("a line is longer than {LINE_BYTES_MAX} bytes")
}

/// Tells the client why and waits a little for it to stop sending: closing at once would throw
/// away the message together with what the client has sent since.
async fn refuse(mut stream: TcpStream, why: &str) {
    let peer = stream.peer_addr().ok();
    tracing::debug!(?peer, why, "A client was cut off.");
    let message = format!("error: {why}; connection closed\n");
    let farewell = async {
        stream.write_all(message.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = vec![0; READ_BYTES];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    timeout(FAREWELL, farewell).await.ok();
}
