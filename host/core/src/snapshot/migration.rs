//! Rewriting items of an older schema version while they are put back.
//!
//! Owns how the stored items of a state become columns for the operator's `migrate`, and its answers become
//! items again. A key, a map key, an expiry and the order of a list stay as they are: only the bytes of items
//! change. What a column is to blame for is found by halving it, down to one item. Knows nothing of sandboxes:
//! [`MigrateItems`] is the seam.
//!
//! Invariants: items of one state are put back in the order in which they are stored; no more is held at once
//! than one column and its answer; a list chunk that has grown is parted, so that no entry passes its limit.

use std::fmt;
use std::ops::Range;

use super::dump::DumpedPlace;
use super::entry::{Item, RawEntry, put_chunk};
use crate::column::{BytesColumn, Layout};
use crate::failure::{Failure, FaultCode, GuestFault, Remedy};
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, KIB};
use crate::state::{ExpiresAt, NEVER, RestoreError, StateBackend};

/// A chunk takes no more items once it has this many bytes, as in a state backend.
const CHUNK_BYTES: usize = 64 * KIB;
/// Bytes of a key that a message shows.
const SHOWN_BYTES: usize = 64;

/// The operator's own code for items of older schema versions.
pub trait MigrateItems {
    /// Rewrites items of a state (by its id in the snapshot), in their old layout; answers as many in the new.
    /// The answer depends on nothing but the items.
    ///
    /// # Errors
    /// As for any call of an operator.
    fn migrate(&mut self, state: usize, items: &BytesColumn) -> Result<BytesColumn, Failure>;
}

/// How states of older schema versions are put back.
pub struct Migrations<'m> {
    /// Whose code it is.
    pub migrate: &'m mut dyn MigrateItems,
    /// Bytes of keyed state that the task may hold.
    pub state_bytes: u64,
}

/// An item that cannot be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationError {
    /// The state.
    pub state: String,
    /// The schema version of the stored items.
    pub stored: u32,
    /// The schema version of the operator.
    pub found: u32,
    /// The key of the item, and which of the key's items it is; `None` when it is not known which is to blame.
    pub item: Option<(Vec<u8>, DumpedPlace)>,
    /// What came of the call.
    pub failure: Failure,
}

impl std::error::Error for MigrationError {}

impl fmt::Display for MigrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, stored, found, item, failure } = self;
        write!(f, "state {state:?} cannot be migrated from schema version {stored} to {found}")?;
        if let Some((key, place)) = item {
            match place {
                DumpedPlace::Value => write!(f, ", item of key {}", shown(key))?,
                DumpedPlace::MapKey(entry) => {
                    write!(f, ", entry {} of key {}", shown(entry), shown(key))?;
                }
                DumpedPlace::Index(index) => write!(f, ", item {index} of key {}", shown(key))?,
            }
        }
        write!(f, ": {failure}")
    }
}

/// Bytes for people: text as text, anything else in hexadecimal, cut where it is long.
fn shown(bytes: &[u8]) -> String {
    let cut = if bytes.len() > SHOWN_BYTES { ".." } else { "" };
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let text: String = text.chars().take(SHOWN_BYTES).collect();
            format!("{text:?}{cut}")
        }
        Err(_) => {
            let hex = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}"));
            format!("0x{}{cut}", hex.collect::<String>())
        }
    }
}

/// Items of one state that wait to be rewritten.
pub(super) struct Pending {
    pub(super) stored: usize,
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) versions: (u32, u32),
    pub(super) layouts: (Layout, Layout),
    /// The items, in their old layout.
    items: BytesColumn,
    /// For each item where it goes.
    places: Vec<Place>,
    /// The keys and map keys of all places.
    keys: Vec<u8>,
    taken: ListAt,
    put: ListAt,
}

/// Where an item goes.
struct Place {
    hash: u64,
    key: Range<usize>,
    expires_at: ExpiresAt,
    at: At,
}

enum At {
    Value,
    MapEntry(Range<usize>),
    ListItem { chunk: u64, index: u64 },
}

/// A list, and a number of it: the index of its next item, or the number of its next chunk.
#[derive(Default)]
struct ListAt {
    hash: u64,
    key: Vec<u8>,
    next: u64,
}

impl ListAt {
    /// The number of this list; a list that is new begins at 0.
    fn of(&mut self, hash: u64, key: &[u8]) -> &mut u64 {
        if self.hash != hash || self.key != key {
            (self.hash, self.next) = (hash, 0);
            self.key.clear();
            self.key.extend_from_slice(key);
        }
        &mut self.next
    }
}

/// Why items were not put back.
pub(super) enum Stop {
    Failed(Box<MigrationError>),
    Refused(RestoreError),
}

impl From<RestoreError> for Stop {
    fn from(error: RestoreError) -> Self {
        Self::Refused(error)
    }
}

impl Pending {
    pub(super) fn new(
        (stored, id): (usize, usize),
        name: &str,
        versions: (u32, u32),
        widths: (Option<u32>, Option<u32>),
    ) -> Self {
        Self {
            stored,
            id,
            name: name.to_owned(),
            versions,
            layouts: (Layout::of(widths.0), Layout::of(widths.1)),
            items: BytesColumn::default(),
            places: Vec::new(),
            keys: Vec::new(),
            taken: ListAt::default(),
            put: ListAt::default(),
        }
    }

    /// Takes in an entry of the snapshot; full columns are rewritten and put back.
    pub(super) fn take(
        &mut self,
        entry: &RawEntry<'_>,
        with: &mut Migrations<'_>,
        backend: &mut dyn StateBackend,
    ) -> Result<(), Stop> {
        let hash = entry.hash;
        match entry.item() {
            Item::Value { bytes, expires_at } => {
                let key = self.keep(entry.key);
                self.push(bytes, Place { hash, key, expires_at, at: At::Value })?;
            }
            Item::MapEntry { key: sub, bytes, expires_at } => {
                let (key, sub) = (self.keep(entry.key), self.keep(sub));
                self.push(bytes, Place { hash, key, expires_at, at: At::MapEntry(sub) })?;
            }
            Item::ListChunk { number, chunk } => {
                let (items, expires) = chunk.decode();
                let mut key = self.keep(entry.key);
                for (at, bytes) in items.iter().enumerate() {
                    if self.is_full() {
                        self.flush(with, backend)?;
                        key = self.keep(entry.key);
                    }
                    let next = self.taken.of(hash, entry.key);
                    let at_list = At::ListItem { chunk: number, index: *next };
                    *next += 1;
                    let expires_at = expires.get(at).copied().unwrap_or(NEVER);
                    self.push(bytes, Place { hash, key: key.clone(), expires_at, at: at_list })?;
                }
            }
            // A chain that begins with a base has none of these.
            Item::ValueGone
            | Item::MapCleared
            | Item::MapEntryGone { .. }
            | Item::ListHead { .. } => return Err(RestoreError::Kind.into()),
        }
        if self.is_full() { self.flush(with, backend) } else { Ok(()) }
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.keys.len();
        self.keys.extend_from_slice(bytes);
        start..self.keys.len()
    }

    fn push(&mut self, bytes: &[u8], place: Place) -> Result<(), RestoreError> {
        match self.layouts.0 {
            Layout::Variable => self.items.push(bytes),
            Layout::Fixed(width) if bytes.len() == width as usize => {
                self.items.data.extend_from_slice(bytes);
            }
            Layout::Fixed(expected) => {
                return Err(RestoreError::Width { expected, found: bytes.len() });
            }
        }
        self.places.push(place);
        Ok(())
    }

    fn is_full(&self) -> bool {
        let bytes = self.items.data.len() + self.keys.len();
        self.places.len() >= BATCH_RECORDS_MAX || bytes >= BATCH_BYTES_MAX
    }

    /// Rewrites what waits and puts it back, in order.
    pub(super) fn flush(
        &mut self,
        with: &mut Migrations<'_>,
        backend: &mut dyn StateBackend,
    ) -> Result<(), Stop> {
        let whole = 0..self.places.len();
        let mut ranges = if whole.is_empty() { Vec::new() } else { vec![whole] };
        while let Some(range) = ranges.pop() {
            let items = self.cut(&range);
            match with.migrate.migrate(self.stored, &items) {
                Ok(answer) => self.put(&range, &answer, with.state_bytes, backend)?,
                Err(failure) if range.len() > 1 && may_be_halved(&failure) => {
                    let middle = range.start + range.len() / 2;
                    ranges.extend([middle..range.end, range.start..middle]);
                }
                Err(failure) => return Err(self.failed(&range, failure)),
            }
        }
        self.items = BytesColumn::default();
        self.places.clear();
        self.keys.clear();
        Ok(())
    }

    /// The items of a range, as a column.
    fn cut(&self, range: &Range<usize>) -> BytesColumn {
        match self.layouts.0 {
            Layout::Variable => {
                let mut cut = BytesColumn::default();
                cut.extend_range(&self.items, range.start, range.end);
                cut
            }
            Layout::Fixed(width) => {
                let width = width as usize;
                let data = self.items.data[range.start * width..range.end * width].to_vec();
                BytesColumn { data, ends: Vec::new() }
            }
        }
    }

    fn put(
        &mut self,
        range: &Range<usize>,
        answer: &BytesColumn,
        state_bytes: u64,
        backend: &mut dyn StateBackend,
    ) -> Result<(), Stop> {
        let layout = self.layouts.1;
        if answer.validate(layout, "migrated items") != Ok(range.len()) {
            let failure = Failure::Host("the migrated items were not checked".to_owned());
            return Err(self.failed(range, failure));
        }
        let mut index = range.start;
        while index < range.end {
            let Place { hash, key, expires_at, at } = &self.places[index];
            let (hash, key, expires_at) = (*hash, &self.keys[key.clone()], *expires_at);
            let bytes = answer.item(layout, index - range.start);
            match at {
                At::Value => {
                    backend.restore(self.id, hash, key, Item::Value { bytes, expires_at })?;
                }
                At::MapEntry(sub) => {
                    let sub = &self.keys[sub.clone()];
                    let item = Item::MapEntry { key: sub, bytes, expires_at };
                    backend.restore(self.id, hash, key, item)?;
                }
                At::ListItem { .. } => {
                    index += self.put_chunk(index..range.end, range.start, answer, backend)?;
                    continue;
                }
            }
            index += 1;
        }
        let held = backend.usage().bytes;
        // As much as a task may come to that runs.
        if held > state_bytes.saturating_add(BATCH_BYTES_MAX as u64) {
            let message = format!(
                "the task would hold {held} bytes of state; at most {state_bytes} are allowed"
            );
            let fault = GuestFault::new(FaultCode::StateQuota, message);
            return Err(self.failed(range, fault.into()));
        }
        Ok(())
    }

    /// Puts back the first items of a range that are of one chunk and fill one; answers how many. `start` is
    /// the place of the answer's first item.
    fn put_chunk(
        &mut self,
        range: Range<usize>,
        start: usize,
        answer: &BytesColumn,
        backend: &mut dyn StateBackend,
    ) -> Result<usize, RestoreError> {
        let chunk_of = |place: &Place| match place.at {
            At::ListItem { chunk, .. } => Some((chunk, place.key.clone())),
            At::Value | At::MapEntry(_) => None,
        };
        let first = &self.places[range.start];
        let chunk = chunk_of(first);
        let (hash, key) = (first.hash, &self.keys[first.key.clone()]);
        let (mut items, mut expires) = (BytesColumn::default(), Vec::new());
        for index in range {
            let place = &self.places[index];
            let bytes = answer.item(self.layouts.1, index - start);
            let has_room = items.is_empty() || items.bytes() + bytes.len() <= CHUNK_BYTES;
            if chunk_of(place) != chunk || !has_room {
                break;
            }
            items.push(bytes);
            expires.push(place.expires_at);
        }
        let count = items.len();
        if expires.iter().all(|expires_at| *expires_at == NEVER) {
            expires.clear();
        }
        // A chunk that was parted takes numbers of those behind it, which move on.
        let next = self.put.of(hash, key);
        let number = chunk.map_or(0, |(number, _)| number).max(*next);
        *next = number.saturating_add(1);
        let mut encoded = Vec::new();
        put_chunk(&mut encoded, key, number, &items, &expires);
        let entry = RawEntry::decode(&encoded, |_| hash).ok_or(RestoreError::Kind)?;
        backend.restore(self.id, hash, key, entry.item())?;
        Ok(count)
    }

    fn failed(&self, range: &Range<usize>, failure: Failure) -> Stop {
        let item = match &self.places[range.clone()] {
            [place] => {
                let at = match &place.at {
                    At::Value => DumpedPlace::Value,
                    At::MapEntry(sub) => DumpedPlace::MapKey(self.keys[sub.clone()].to_vec()),
                    At::ListItem { index, .. } => DumpedPlace::Index(*index),
                };
                Some((self.keys[place.key.clone()].to_vec(), at))
            }
            _ => None,
        };
        let (state, (stored, found)) = (self.name.clone(), self.versions);
        Stop::Failed(Box::new(MigrationError { state, stored, found, item, failure }))
    }
}

/// Whether fewer items may do better, or show which of them is to blame.
fn may_be_halved(failure: &Failure) -> bool {
    match failure {
        Failure::Guest(fault) => fault.code.remedy() != Remedy::None,
        Failure::Fatal(_) => true,
        Failure::Poison(_) | Failure::Lost { .. } | Failure::Host(_) => false,
    }
}
