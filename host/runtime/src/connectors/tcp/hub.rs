//! Who the clients are, and which of their lines are known.
//!
//! Owns the lock around the core's [`Numbering`], which decides, and the way to those who tell clients what is
//! durable. Knows nothing of sockets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::input_log::{self as core, ClientTable, Marks, Numbering, Offer};
use tidemill_core::quota::Allowance;
use tokio::sync::watch;

use super::LONG_LINES_BYTES_MAX;
use crate::connectors::inlet::Inlet;
use crate::connectors::logged::DurableListener;
use crate::machine::wall_ms;

/// The clients of one listener.
pub(in crate::connectors) struct Hub {
    pub(super) inlet: Arc<Inlet>,
    /// What long lines that are not whole take of.
    pub(super) long_lines: Arc<Allowance>,
    /// A client is told by the sender of its connection.
    state: Mutex<Numbering<watch::Sender<u64>>>,
    duplicates: Arc<AtomicU64>,
}

/// What became of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// They went on, or were known.
    Taken,
    /// There is no room; nothing was taken.
    NoRoom,
    /// A newer connection of this client has its place.
    Replaced,
}

/// A connection of a client that numbers its lines.
pub(super) struct Session {
    hub: Arc<Hub>,
    session: core::Session,
    /// Number of the last durable line.
    pub(super) durable: watch::Receiver<u64>,
}

impl Hub {
    /// Begins with what the log knows of clients.
    pub(super) fn new(inlet: Arc<Inlet>, table: &ClientTable, duplicates: Arc<AtomicU64>) -> Self {
        let long_lines = Arc::new(Allowance::new(LONG_LINES_BYTES_MAX));
        Self { inlet, long_lines, state: Mutex::new(Numbering::new(table)), duplicates }
    }

    fn lock(&self) -> MutexGuard<'_, Numbering<watch::Sender<u64>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has said who it is. `None` when too many clients are known to know one more.
    pub(super) fn hello(self: &Arc<Self>, id: &str) -> Option<Session> {
        // The older connection sees its sender go.
        let (sender, durable) = watch::channel(0);
        let ear = |line| {
            sender.send_replace(line);
            sender
        };
        let session = self.lock().hello(id, wall_ms(), ear)?;
        Some(Session { hub: self.clone(), session, durable })
    }
}

impl Session {
    /// Number of the last line that came; before any did, that of the last durable line when the client said who
    /// it is. It is greeted with this and never with what is durable by now: its lines are counted from here.
    pub(super) fn last_line(&self) -> u64 {
        self.session.last_line()
    }

    /// Waits until `offer` may find room.
    pub(super) async fn room(&self) {
        self.hub.inlet.room().await;
    }

    /// Takes the next lines, all of them whole, at least one.
    pub(super) fn offer(&mut self, lines: &[u8]) -> Offered {
        let ends = || memchr::memchr_iter(b'\n', lines);
        let mut state = self.hub.lock();
        let offer = state.offer(&self.session, ends().count() as u64);
        let Offer::Fresh { known, last_line } = offer else { return Offered::Replaced };
        let start = match known.checked_sub(1) {
            Some(index) => ends().nth(index as usize).map_or(lines.len(), |end| end + 1),
            None => 0,
        };
        let (fresh, client) = (&lines[start..], self.session.client());
        if !fresh.is_empty() && !self.hub.inlet.append(fresh, Some((client, last_line))) {
            return Offered::NoRoom;
        }
        self.hub.duplicates.fetch_add(known, Relaxed);
        state.taken(&mut self.session, last_line, wall_ms());
        Offered::Taken
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hub.lock().bye(&self.session);
    }
}

impl DurableListener for Hub {
    fn durable(&self, marks: &Marks) {
        if !marks.is_empty() {
            self.lock().durable(marks, |sender, line| {
                sender.send_replace(line);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::inlet::Chunk;

    fn hub() -> Arc<Hub> {
        Arc::new(Hub::new(Arc::default(), &ClientTable::default(), Arc::default()))
    }

    fn received(hub: &Hub) -> String {
        let mut chunk = Chunk::default();
        hub.inlet.take(&mut chunk, Some(std::time::Instant::now())).unwrap();
        String::from_utf8(chunk.bytes).unwrap()
    }

    fn durable(hub: &Hub, line: u64) {
        hub.durable(&[("a".into(), line)].into());
    }

    #[test]
    fn lines_that_come_again_are_known_by_their_number() {
        let hub = hub();
        let mut first = hub.hello("a").unwrap();
        assert_eq!(first.last_line(), 0);
        assert_eq!(first.offer(b"1\n2\n3\n"), Offered::Taken);
        assert_eq!(received(&hub), "1\n2\n3\n");
        durable(&hub, 2);
        assert_eq!(*first.durable.borrow(), 2);
        // The third is on its way, and its client does not know.
        let mut second = hub.hello("a").unwrap();
        assert_eq!(second.last_line(), 2);
        assert_eq!(second.offer(b"3\n4\n"), Offered::Taken);
        assert_eq!(received(&hub), "4\n");
        assert_eq!(second.last_line(), 4);
        assert_eq!(hub.duplicates.load(Relaxed), 1);
        let mut third = hub.hello("a").unwrap();
        assert_eq!(third.offer(b"3\n"), Offered::Taken);
        assert_eq!(third.offer(b"4\n"), Offered::Taken);
        assert_eq!(received(&hub), "");
        durable(&hub, 4);
        assert_eq!(*third.durable.borrow(), 4);
    }

    #[test]
    fn a_client_is_greeted_with_the_number_that_its_lines_are_counted_from() {
        let hub = hub();
        let mut first = hub.hello("a").unwrap();
        assert_eq!(first.offer(b"1\n2\n"), Offered::Taken);
        let mut second = hub.hello("a").unwrap();
        // The log's thread is faster than the greeting.
        durable(&hub, 2);
        assert_eq!((second.last_line(), *second.durable.borrow()), (0, 2));
        assert_eq!(second.offer(b"1\n2\n3\n"), Offered::Taken);
        assert_eq!(received(&hub), "1\n2\n3\n");
    }

    #[test]
    fn the_newer_connection_of_a_client_wins() {
        let hub = hub();
        let mut older = hub.hello("a").unwrap();
        let mut newer = hub.hello("a").unwrap();
        assert_eq!(older.offer(b"x\n"), Offered::Replaced);
        assert!(older.durable.has_changed().is_err(), "it is told");
        drop(older);
        assert_eq!(newer.offer(b"x\n"), Offered::Taken);
        assert_eq!(hub.hello("b").unwrap().offer(b"y\n"), Offered::Taken);
        assert_eq!(received(&hub), "x\ny\n");
    }

    #[test]
    fn a_full_buffer_takes_nothing_and_loses_nothing() {
        let hub = hub();
        assert!(hub.inlet.append(&vec![b'\n'; 2 << 20], None));
        let mut session = hub.hello("a").unwrap();
        assert_eq!(session.offer(b"1\n2\n"), Offered::NoRoom);
        received(&hub);
        assert_eq!(session.offer(b"1\n2\n"), Offered::Taken);
        assert_eq!((received(&hub).as_str(), session.last_line()), ("1\n2\n", 2));
    }
}
