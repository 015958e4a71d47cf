//! Which lines of which clients were taken, and which are durable.
//!
//! Owns the numbers of lines: a client that gives itself an id sends line after line, and is told how many are
//! durable. A line that comes again, because its client did not hear of it, is known by its number. Knows nothing
//! of sockets: `E` is whoever tells a client. Invariants: a client has one connection, the newest; lines of one
//! client go on in the order of their numbers, each once; what is told as durable is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::body::Marks;
use super::clients::{CLIENTS_MAX, ClientTable, FORGOTTEN_AFTER_MS};
use crate::planted::{self, Bug};

/// A client that numbers its lines.
struct Client<E> {
    /// Number of the last line that went on.
    accepted: u64,
    /// Number of the last line that is durable.
    durable: u64,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    used_ms: i64,
    /// Its connection: the number, and who is told of durable lines.
    connection: Option<(u64, E)>,
}

impl<E> Client<E> {
    fn is_forgotten(&self, now_ms: i64) -> bool {
        let is_settled = self.accepted == self.durable && self.connection.is_none();
        is_settled && self.used_ms < now_ms.saturating_sub(FORGOTTEN_AFTER_MS)
    }
}

/// The clients of one listener.
pub struct Numbering<E> {
    clients: BTreeMap<Arc<str>, Client<E>>,
    connections: u64,
}

/// A connection of a client that numbers its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    client: Arc<str>,
    connection: u64,
    /// Number of the line that comes next.
    next_line: u64,
}

/// What is to be done with lines that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// All but the first `known` are to go on, and then [`Numbering::taken`] to be called.
    Fresh {
        /// How many of the first came before.
        known: u64,
        /// Number of the last line.
        last_line: u64,
    },
    /// A newer connection of this client has its place.
    Replaced,
}

impl Session {
    /// The client's id.
    pub fn client(&self) -> &Arc<str> {
        &self.client
    }

    /// Number of the last line that came.
    pub fn last_line(&self) -> u64 {
        self.next_line - 1
    }
}

impl<E> Numbering<E> {
    /// Begins with what the log knows of clients.
    pub fn new(table: &ClientTable) -> Self {
        let known = table.iter().map(|(id, known)| {
            let (accepted, durable) = (known.line, known.line);
            let used_ms = known.used_ms;
            (id.clone(), Client { accepted, durable, used_ms, connection: None })
        });
        Self { clients: known.collect(), connections: 0 }
    }

    /// A client has said who it is; `ear` is made from the number of its last durable line. An older connection
    /// loses its ear. `None` when too many clients are known to know one more.
    pub fn hello(&mut self, id: &str, now_ms: i64, ear: impl FnOnce(u64) -> E) -> Option<Session> {
        if !self.clients.contains_key(id) && self.clients.len() >= CLIENTS_MAX {
            self.clients.retain(|_, client| !client.is_forgotten(now_ms));
            if self.clients.len() >= CLIENTS_MAX {
                return None;
            }
        }
        self.connections += 1;
        let connection = self.connections;
        let client: Arc<str> = id.into();
        let known = self.clients.entry(client.clone()).or_insert(Client {
            accepted: 0,
            durable: 0,
            used_ms: now_ms,
            connection: None,
        });
        known.used_ms = now_ms;
        known.connection = Some((connection, ear(known.durable)));
        let next_line = known.durable + 1;
        Some(Session { client, connection, next_line })
    }

    /// What is to be done with the next `lines` lines, all of them whole.
    pub fn offer(&mut self, session: &Session, lines: u64) -> Offer {
        let Some(client) = self.current(session) else { return Offer::Replaced };
        let last_line = session.last_line() + lines;
        let known = client.accepted.min(last_line).saturating_sub(session.last_line());
        let known = if planted::is(Bug::ResentLinesTaken) { 0 } else { known };
        Offer::Fresh { known, last_line }
    }

    /// The lines up to `last_line` have gone on, or were known.
    pub fn taken(&mut self, session: &mut Session, last_line: u64, now_ms: i64) {
        if let Some(client) = self.current(session) {
            client.accepted = client.accepted.max(last_line);
            client.used_ms = now_ms;
        }
        session.next_line = last_line + 1;
    }

    fn current(&mut self, session: &Session) -> Option<&mut Client<E>> {
        let client = self.clients.get_mut(&session.client)?;
        let connection = client.connection.as_ref().map(|(connection, _)| *connection);
        (connection == Some(session.connection)).then_some(client)
    }

    /// A connection is gone.
    pub fn bye(&mut self, session: &Session) {
        let Some(client) = self.current(session) else { return };
        client.connection = None;
        // Who never sent a line takes nobody's place.
        if client.accepted == 0 {
            self.clients.remove(&session.client);
        }
    }

    /// Lines have become durable: those who listen are told up to which.
    pub fn durable(&mut self, marks: &Marks, mut tell: impl FnMut(&E, u64)) {
        for (id, line) in marks {
            if let Some(client) = self.clients.get_mut(id) {
                client.durable = client.durable.max(*line);
                if let Some((_, ear)) = &client.connection {
                    tell(ear, client.durable);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_clients_are_known_than_the_table_has_room_for() {
        let mut numbering = Numbering::new(&ClientTable::default());
        let mut hello = |id: &str, now_ms| {
            let mut session = numbering.hello(id, now_ms, |_| ())?;
            let Offer::Fresh { known: 0, last_line } = numbering.offer(&session, 1) else {
                panic!("{id}");
            };
            numbering.taken(&mut session, last_line, now_ms);
            numbering.bye(&session);
            numbering.durable(&[(id.into(), last_line)].into(), |(), _| ());
            Some(())
        };
        for client in 0..CLIENTS_MAX {
            hello(&client.to_string(), if client == 9 { 0 } else { 60_000 }).unwrap();
        }
        assert!(hello("late", 60_000).is_none());
        assert!(hello("7", 60_000).is_some());
        assert!(hello("late", FORGOTTEN_AFTER_MS + 60_000).is_some(), "one is forgotten");
        assert!(hello("later", FORGOTTEN_AFTER_MS + 60_000).is_none());
    }

    #[test]
    fn who_sent_nothing_takes_nobodys_place() {
        let mut numbering = Numbering::new(&ClientTable::default());
        let session = numbering.hello("a", 0, |_| ()).unwrap();
        numbering.bye(&session);
        assert!(numbering.clients.is_empty());
    }
}
