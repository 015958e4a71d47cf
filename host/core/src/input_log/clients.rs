//! What is known of clients that number their lines.
//!
//! Owns the table as of one place in the log, how it is kept in a position's detail, and what it forgets.
//! Invariants: at most [`CLIENTS_MAX`] clients; one that was not heard of for [`FORGOTTEN_AFTER_MS`] is
//! forgotten; a line number never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::body::Head;
use super::bytes::{Cut, put_bytes, put_number};

/// Clients in the table at most.
pub const CLIENTS_MAX: usize = 10_000;
/// A client is forgotten so long after its last line.
pub const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60 * 1000;
/// Bytes of a client's id at most.
const ID_BYTES_MAX: usize = 64;
/// First byte of a detail that holds a table.
const FORMAT: u8 = 1;

/// A client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Number of its last line.
    pub line: u64,
    /// When it came, in milliseconds since the Unix epoch.
    pub used_ms: i64,
}

/// Clients by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTable(BTreeMap<Arc<str>, Known>);

/// Whether a client may call itself that.
pub fn is_client_id(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_allowed)
}

impl ClientTable {
    /// Takes what a logged batch says.
    pub fn note(&mut self, head: &Head) {
        for (client, line) in &head.marks {
            let known = match self.0.get_mut(client) {
                Some(known) => known,
                None => self.0.entry(client.clone()).or_default(),
            };
            known.line = known.line.max(*line);
            known.used_ms = known.used_ms.max(head.time_ms);
        }
    }

    /// Forgets those not heard of for long, as of the latest that was, and the oldest of too many.
    pub fn forget(&mut self) {
        let newest_ms = self.0.values().map(|known| known.used_ms).max().unwrap_or(0);
        let since_ms = newest_ms.saturating_sub(FORGOTTEN_AFTER_MS);
        self.0.retain(|_, known| known.used_ms >= since_ms);
        if self.0.len() > CLIENTS_MAX {
            let used = |(id, known): (&Arc<str>, &Known)| (known.used_ms, id.clone());
            let mut oldest_first: Vec<_> = self.0.iter().map(used).collect();
            oldest_first.sort_unstable();
            for (_, id) in &oldest_first[..oldest_first.len() - CLIENTS_MAX] {
                self.0.remove(id);
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Known)> {
        self.0.iter().map(|(client, known)| (client, *known))
    }

    /// The table as a position's detail; empty when it is.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.0.is_empty() {
            return out;
        }
        out.push(FORMAT);
        for (client, known) in &self.0 {
            put_bytes(&mut out, client.as_bytes());
            put_number(&mut out, known.line);
            out.extend_from_slice(&known.used_ms.to_le_bytes());
        }
        out
    }

    /// The table that a detail holds; `None` when it holds none.
    pub fn decode(detail: &[u8]) -> Option<Self> {
        let mut rest = Cut(detail);
        if !detail.is_empty() && rest.byte()? != FORMAT {
            return None;
        }
        let mut table = BTreeMap::new();
        while !rest.0.is_empty() {
            let client = str::from_utf8(rest.bytes()?).ok().filter(|id| is_client_id(id))?;
            let line = rest.number()?;
            table.insert(client.into(), Known { line, used_ms: rest.word()? });
        }
        Some(Self(table))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn head(client: &str, line: u64, time_ms: i64) -> Head {
        Head { marks: [(client.into(), line)].into(), time_ms, inner: None }
    }

    proptest! {
        #[test]
        fn a_table_comes_back(clients in btree_map("[a-z0-9._-]{1,64}", any::<(u64, i64)>(), 0..9)) {
            let known = |(id, (line, used_ms)): (String, _)| (id.into(), Known { line, used_ms });
            let table = ClientTable(clients.into_iter().map(known).collect());
            let detail = table.encode();
            prop_assert_eq!(ClientTable::decode(&detail), Some(table));
            if let Some(cut) = detail.len().checked_sub(1).filter(|cut| *cut > 1) {
                prop_assert_eq!(ClientTable::decode(&detail[..cut]), None);
            }
        }
    }

    #[test]
    fn lines_never_go_back_and_old_clients_are_forgotten() {
        let mut table = ClientTable::default();
        table.note(&head("old", 3, 0));
        table.note(&head("a", 7, 10));
        table.note(&head("a", 5, 5));
        table.forget();
        assert_eq!(table.iter().count(), 2);
        table.note(&head("b", 1, FORGOTTEN_AFTER_MS + 1));
        table.forget();
        let left: Vec<_> = table.iter().map(|(id, known)| (&**id, known.line)).collect();
        assert_eq!(left, [("a", 7), ("b", 1)]);
    }

    #[test]
    fn of_too_many_clients_the_oldest_are_forgotten() {
        let mut table = ClientTable::default();
        for client in 0..CLIENTS_MAX + 10 {
            table.note(&head(&client.to_string(), 1, client as i64));
        }
        table.forget();
        assert_eq!(table.iter().count(), CLIENTS_MAX);
        assert!(table.iter().all(|(_, known)| known.used_ms >= 10));
    }

    #[test]
    fn ids_are_short_and_plain() {
        for good in ["a", "A-1_b.c", &"x".repeat(64)] {
            assert!(is_client_id(good), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "\u{e9}", "a\r", &"x".repeat(65)] {
            assert!(!is_client_id(bad), "{bad}");
        }
        assert_eq!(ClientTable::decode(&[FORMAT, 1, b' ', 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ClientTable::decode(&[9]), None);
    }
}
