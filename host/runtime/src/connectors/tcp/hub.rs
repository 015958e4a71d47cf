//! Who the clients are, and which of their lines are known.
//!
//! Owns the numbers of lines: a client that gives itself an id sends line after line, and the host tells it how
//! many are durable. A line that comes again, because its client did not hear of it, is known by its number,
//! dropped and counted. Knows nothing of sockets. Invariants: a client has one connection, the newest; lines
//! of one client go on in the order of their numbers, each once; what is told as durable is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::connectors::inlet::Inlet;
use crate::connectors::logged::{
    CLIENTS_MAX, ClientTable, DurableListener, FORGOTTEN_AFTER_MS, Marks, wall_ms,
};

/// A client that numbers its lines.
struct Client {
    /// Number of the last line that went on.
    accepted: u64,
    /// Number of the last line that is durable.
    durable: u64,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    used_ms: i64,
    /// Its connection: the number, and who is told of durable lines.
    connection: Option<(u64, watch::Sender<u64>)>,
}

impl Client {
    fn is_forgotten(&self, now_ms: i64) -> bool {
        let is_settled = self.accepted == self.durable && self.connection.is_none();
        is_settled && self.used_ms < now_ms.saturating_sub(FORGOTTEN_AFTER_MS)
    }
}

#[derive(Default)]
struct State {
    clients: BTreeMap<Arc<str>, Client>,
    connections: u64,
}

/// The clients of one listener.
pub(in crate::connectors) struct Hub {
    pub(super) inlet: Arc<Inlet>,
    state: Mutex<State>,
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
    client: Arc<str>,
    connection: u64,
    /// Number of the line that comes next.
    next_line: u64,
    /// Number of the last durable line.
    pub(super) durable: watch::Receiver<u64>,
}

impl Hub {
    /// Begins with what the log knows of clients.
    pub(super) fn new(inlet: Arc<Inlet>, table: &ClientTable, duplicates: Arc<AtomicU64>) -> Self {
        let known = table.iter().map(|(id, known)| {
            let (accepted, durable) = (known.line, known.line);
            let used_ms = known.used_ms;
            (id.clone(), Client { accepted, durable, used_ms, connection: None })
        });
        let state = State { clients: known.collect(), connections: 0 };
        Self { inlet, state: Mutex::new(state), duplicates }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has said who it is. `None` when too many clients are known to know one more.
    pub(super) fn hello(self: &Arc<Self>, id: &str) -> Option<Session> {
        let now_ms = wall_ms();
        let mut state = self.lock();
        if !state.clients.contains_key(id) && state.clients.len() >= CLIENTS_MAX {
            state.clients.retain(|_, client| !client.is_forgotten(now_ms));
            if state.clients.len() >= CLIENTS_MAX {
                return None;
            }
        }
        state.connections += 1;
        let connection = state.connections;
        let client: Arc<str> = id.into();
        let known = state.clients.entry(client.clone()).or_insert(Client {
            accepted: 0,
            durable: 0,
            used_ms: now_ms,
            connection: None,
        });
        known.used_ms = now_ms;
        let (sender, durable) = watch::channel(known.durable);
        // The older connection sees its sender go.
        known.connection = Some((connection, sender));
        let next_line = known.durable + 1;
        drop(state);
        Some(Session { hub: self.clone(), client, connection, next_line, durable })
    }
}

impl Session {
    /// Number of the last durable line when the client said who it is.
    pub(super) fn greeted_with(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Number of the last line that came.
    pub(super) fn last_line(&self) -> u64 {
        self.next_line - 1
    }

    /// Waits until `offer` may find room.
    pub(super) async fn room(&self) {
        self.hub.inlet.room().await;
    }

    /// Takes the next lines, all of them whole, at least one.
    pub(super) fn offer(&mut self, lines: &[u8]) -> Offered {
        let mut state = self.hub.lock();
        let client = state.clients.get_mut(&self.client);
        let is_current = |client: &&mut Client| {
            client.connection.as_ref().is_some_and(|c| c.0 == self.connection)
        };
        let Some(client) = client.filter(is_current) else { return Offered::Replaced };
        let ends = || memchr::memchr_iter(b'\n', lines);
        let last_line = self.last_line() + ends().count() as u64;
        let known = client.accepted.min(last_line).saturating_sub(self.last_line());
        let start = match known.checked_sub(1) {
            Some(index) => ends().nth(index as usize).map_or(lines.len(), |end| end + 1),
            None => 0,
        };
        let fresh = &lines[start..];
        if !fresh.is_empty() && !self.hub.inlet.append(fresh, Some((&self.client, last_line))) {
            return Offered::NoRoom;
        }
        self.hub.duplicates.fetch_add(known, Relaxed);
        client.accepted = client.accepted.max(last_line);
        client.used_ms = wall_ms();
        self.next_line = last_line + 1;
        Offered::Taken
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let Some(client) = state.clients.get_mut(&self.client) else { return };
        if client.connection.as_ref().is_some_and(|c| c.0 == self.connection) {
            client.connection = None;
            // Who never sent a line takes nobody's place.
            if client.accepted == 0 {
                state.clients.remove(&self.client);
            }
        }
    }
}

impl DurableListener for Hub {
    fn durable(&self, marks: &Marks) {
        if marks.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (id, line) in marks {
            if let Some(client) = state.clients.get_mut(id) {
                client.durable = client.durable.max(*line);
                if let Some((_, sender)) = &client.connection {
                    sender.send_replace(client.durable);
                }
            }
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
        assert_eq!(first.greeted_with(), 0);
        assert_eq!(first.offer(b"1\n2\n3\n"), Offered::Taken);
        assert_eq!(received(&hub), "1\n2\n3\n");
        durable(&hub, 2);
        assert_eq!(*first.durable.borrow(), 2);
        // The third is on its way, and its client does not know.
        let mut second = hub.hello("a").unwrap();
        assert_eq!(second.greeted_with(), 2);
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

    #[test]
    fn no_more_clients_are_known_than_the_table_has_room_for() {
        let hub = hub();
        for client in 0..CLIENTS_MAX {
            assert_eq!(hub.hello(&client.to_string()).unwrap().offer(b"x\n"), Offered::Taken);
            received(&hub);
        }
        assert!(hub.hello("late").is_none());
        assert!(hub.hello("7").is_some());
        let marks = (0..CLIENTS_MAX).map(|client| (client.to_string().into(), 1)).collect();
        hub.durable(&marks);
        hub.lock().clients.get_mut("9").unwrap().used_ms -= FORGOTTEN_AFTER_MS + 60_000;
        let session = hub.hello("late").unwrap();
        assert!(hub.hello("later").is_none());
        drop(session);
        assert!(hub.hello("later").is_some(), "who sent nothing takes nobody's place");
    }
}
