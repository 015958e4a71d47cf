//! The entry: one change to one item of one key, and its bytes.
//!
//! Owns the encoding that state backends write into segments and that blocks of snapshot files hold as it
//! is. Knows nothing of files, groups or states. An entry is
//!
//! ```text
//! tag u8 | [expires_at i64] | key length | [sub length] | [value length] | key | sub | value
//! ```
//!
//! little-endian, lengths as LEB128. The hash of the key, by which entries are ordered, is not among it: it would be
//! eight bytes that nothing compresses, often more than all the rest of an entry, and whoever has the key can work
//! it out. Whoever decodes an entry says the hash, once. `sub` tells the items of one key apart: a map's key, or
//! the number of a list chunk (big-endian, so that its bytes sort as it does). Entries of one key are ordered with
//! those that concern the whole key first, then by `sub`.
//!
//! Invariants: decoding never panics and never allocates; what does not decode to exactly one meaning is
//! refused.

use std::cmp::Ordering;

use crate::column::BytesColumn;
use crate::state::{ExpiresAt, NEVER};

/// Longest entry, in bytes: a key, a map key and a value at their limits, or a list chunk with one item at
/// its limit, with room to spare.
pub const ENTRY_BYTES_MAX: usize = 8 * crate::limits::MIB;

const VALUE: u8 = 1;
const VALUE_GONE: u8 = 2;
const MAP_CLEARED: u8 = 3;
const MAP_ENTRY: u8 = 4;
const MAP_ENTRY_GONE: u8 = 5;
const LIST_HEAD: u8 = 6;
const LIST_CHUNK: u8 = 7;
/// The entry carries an expiry.
const EXPIRES: u8 = 0x80;

/// What an entry says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The value is this.
    Value {
        /// Its bytes.
        bytes: &'a [u8],
        /// When it expires.
        expires_at: ExpiresAt,
    },
    /// There is no value any more.
    ValueGone,
    /// Whatever an older snapshot holds of this map is gone.
    MapCleared,
    /// The map has this entry.
    MapEntry {
        /// The map's key.
        key: &'a [u8],
        /// Its bytes.
        bytes: &'a [u8],
        /// When it expires.
        expires_at: ExpiresAt,
    },
    /// The map has no such entry any more.
    MapEntryGone {
        /// The map's key.
        key: &'a [u8],
    },
    /// What of an older snapshot of this list is gone.
    ListHead {
        /// All of it.
        cleared: bool,
        /// The chunks with a number below this.
        first: u64,
    },
    /// The list has this chunk.
    ListChunk {
        /// Its place: chunks of a list come in the order of their numbers.
        number: u64,
        /// Its items.
        chunk: ChunkBytes<'a>,
    },
}

/// The encoded items of a list chunk: `has_expiries u8 | count | a length per item | an i64 per item, if it
/// has expiries | the items`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkBytes<'a>(&'a [u8]);

/// An entry as it lies in its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEntry<'a> {
    tag: u8,
    /// Of the key, as whoever decoded the entry said.
    pub(super) hash: u64,
    pub(super) expires_at: ExpiresAt,
    pub(super) key: &'a [u8],
    pub(super) sub: &'a [u8],
    value: &'a [u8],
    /// The entry's own bytes.
    pub(super) bytes: &'a [u8],
}

/// Where the parts of an entry lie in its bytes, so that it is decoded only once.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryParts {
    tag: u8,
    pub(super) hash: u64,
    expires_at: ExpiresAt,
    /// Where the key begins; then follow sub and value.
    key: usize,
    sub: usize,
    value: usize,
    /// Bytes of the entry.
    pub(super) end: usize,
}

const fn has_sub(kind: u8) -> bool {
    matches!(kind, MAP_ENTRY | MAP_ENTRY_GONE | LIST_CHUNK)
}

const fn has_value(kind: u8) -> bool {
    matches!(kind, VALUE | MAP_ENTRY | LIST_HEAD | LIST_CHUNK)
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Reads from the front of bytes; `None` when they end or mean nothing.
pub(super) struct Front<'a>(pub(super) &'a [u8]);

impl<'a> Front<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A length in its shortest form, at most 32 bits.
    #[inline]
    pub(super) fn length(&mut self) -> Option<usize> {
        let mut length = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            length |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let is_shortest = byte != 0 || shift == 0;
                return (is_shortest && length <= u64::from(u32::MAX)).then_some(length as usize);
            }
        }
        None
    }
}

/// Appends the entry of `item` to `out`.
#[inline]
pub fn put_entry(out: &mut Vec<u8>, key: &[u8], item: Item<'_>) {
    match item {
        Item::Value { bytes, expires_at } => put(out, VALUE, expires_at, key, &[], bytes),
        Item::ValueGone => put(out, VALUE_GONE, NEVER, key, &[], &[]),
        Item::MapCleared => put(out, MAP_CLEARED, NEVER, key, &[], &[]),
        Item::MapEntry { key: sub, bytes, expires_at } => {
            put(out, MAP_ENTRY, expires_at, key, sub, bytes);
        }
        Item::MapEntryGone { key: sub } => put(out, MAP_ENTRY_GONE, NEVER, key, sub, &[]),
        Item::ListHead { cleared, first } => {
            let mut value = [u8::from(cleared); 9];
            value[1..].copy_from_slice(&first.to_le_bytes());
            put(out, LIST_HEAD, NEVER, key, &[], &value);
        }
        Item::ListChunk { number, chunk } => {
            put(out, LIST_CHUNK, NEVER, key, &number.to_be_bytes(), chunk.0);
        }
    }
}

/// Appends the entry of a value that does not expire. Key and value are the first of the bytes that stand before their
/// lengths: a copy whose length is known is a few instructions, and what is too much is overwritten or cut off.
///
/// The lane encodes each changed value by this or by [`put_entry`], which gives the same entry.
#[inline]
pub fn put_short_value<const K: usize, const V: usize>(
    out: &mut Vec<u8>,
    (key, key_bytes): (&[u8; K], usize),
    (value, value_bytes): (&[u8; V], usize),
) {
    const { assert!(K < 0x80 && V < 0x80, "a length takes a byte") };
    out.extend_from_slice(&[VALUE, key_bytes as u8, value_bytes as u8]);
    put_first(out, key, key_bytes);
    put_first(out, value, value_bytes);
}

#[inline]
fn put_first<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N], count: usize) {
    debug_assert!(count <= N, "the first {count} of {N} bytes");
    let end = out.len() + count;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

#[inline]
fn put(out: &mut Vec<u8>, kind: u8, expires_at: ExpiresAt, key: &[u8], sub: &[u8], value: &[u8]) {
    put_head(out, kind, expires_at, key, sub, value.len());
    out.extend_from_slice(value);
}

/// All of an entry but its value.
#[inline]
fn put_head(
    out: &mut Vec<u8>,
    kind: u8,
    expires_at: ExpiresAt,
    key: &[u8],
    sub: &[u8],
    value_bytes: usize,
) {
    let expires = expires_at != NEVER;
    out.push(if expires { kind | EXPIRES } else { kind });
    if expires {
        out.extend_from_slice(&expires_at.to_le_bytes());
    }
    put_length(out, key.len());
    if has_sub(kind) {
        put_length(out, sub.len());
    }
    if has_value(kind) {
        put_length(out, value_bytes);
    }
    out.extend_from_slice(key);
    out.extend_from_slice(sub);
}

const fn length_bytes(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0xfff_ffff => 4,
        _ => 5,
    }
}

/// Appends the entry of a list chunk to `out`, its items encoded where they will lie. `expires` has one
/// expiry for each item, or is empty.
pub fn put_chunk(
    out: &mut Vec<u8>,
    key: &[u8],
    number: u64,
    items: &BytesColumn,
    expires: &[ExpiresAt],
) {
    let lengths: usize = items.iter().map(|item| length_bytes(item.len())).sum();
    let value_bytes =
        1 + length_bytes(items.len()) + lengths + size_of_val(expires) + items.data.len();
    put_head(out, LIST_CHUNK, NEVER, key, &number.to_be_bytes(), value_bytes);
    out.push(u8::from(!expires.is_empty()));
    put_length(out, items.len());
    items.iter().for_each(|item| put_length(out, item.len()));
    expires.iter().for_each(|expiry| out.extend_from_slice(&expiry.to_le_bytes()));
    out.extend_from_slice(&items.data);
}

impl EntryParts {
    /// Where the parts of the entry at the front of `bytes` lie; `None` when there is none. `hash` says that
    /// of its key.
    #[inline]
    pub(super) fn find(bytes: &[u8], hash: impl FnOnce(&[u8]) -> u64) -> Option<Self> {
        let mut front = Front(bytes);
        let [tag] = front.array()?;
        let kind = tag & !EXPIRES;
        let expires_at = match tag & EXPIRES {
            0 => NEVER,
            _ => i64::from_le_bytes(front.array()?),
        };
        let key_length = front.length()?;
        let sub_length = if has_sub(kind) { front.length()? } else { 0 };
        let value_length = if has_value(kind) { front.length()? } else { 0 };
        let key = bytes.len() - front.0.len();
        let sub = key + key_length;
        let value = sub + sub_length;
        let end = value + value_length;
        let parts = Self { tag, hash: 0, expires_at, key, sub, value, end };
        let entry = parts.of(bytes)?;
        entry.is_sound().then(|| Self { hash: hash(entry.key), ..parts })
    }

    /// The entry, given the bytes that it was found in.
    #[inline]
    pub(super) fn of<'a>(&self, bytes: &'a [u8]) -> Option<RawEntry<'a>> {
        let bytes = bytes.get(..self.end)?;
        Some(RawEntry {
            tag: self.tag,
            hash: self.hash,
            expires_at: self.expires_at,
            key: bytes.get(self.key..self.sub)?,
            sub: bytes.get(self.sub..self.value)?,
            value: bytes.get(self.value..)?,
            bytes,
        })
    }
}

impl<'a> RawEntry<'a> {
    /// The entry at the front of `bytes`; `None` when there is none. `hash` says that of its key.
    #[inline]
    pub(super) fn decode(bytes: &'a [u8], hash: impl FnOnce(&[u8]) -> u64) -> Option<Self> {
        EntryParts::find(bytes, hash)?.of(bytes)
    }

    /// Whether the parts fit together, so that [`RawEntry::item`] has an answer.
    #[inline]
    fn is_sound(&self) -> bool {
        match self.kind() {
            VALUE | MAP_ENTRY => self.tag & EXPIRES == 0 || self.expires_at != NEVER,
            VALUE_GONE | MAP_CLEARED | MAP_ENTRY_GONE => self.tag & EXPIRES == 0,
            LIST_HEAD => {
                let is_flag = self.value.first().is_some_and(|flag| *flag <= 1);
                self.tag & EXPIRES == 0 && self.value.len() == 9 && is_flag
            }
            LIST_CHUNK => {
                let is_chunk = self.sub.len() == 8 && ChunkBytes(self.value).is_sound();
                self.tag & EXPIRES == 0 && is_chunk
            }
            _ => false,
        }
    }

    fn kind(&self) -> u8 {
        self.tag & !EXPIRES
    }

    /// What the entry says.
    pub(super) fn item(&self) -> Item<'a> {
        let expires_at = self.expires_at;
        match self.kind() {
            VALUE => Item::Value { bytes: self.value, expires_at },
            VALUE_GONE => Item::ValueGone,
            MAP_CLEARED => Item::MapCleared,
            MAP_ENTRY => Item::MapEntry { key: self.sub, bytes: self.value, expires_at },
            MAP_ENTRY_GONE => Item::MapEntryGone { key: self.sub },
            LIST_HEAD => {
                let mut first = Front(self.value.get(1..).unwrap_or_default());
                let first = first.array().map_or(0, u64::from_le_bytes);
                Item::ListHead { cleared: self.value.first() == Some(&1), first }
            }
            _ => {
                let number = Front(self.sub).array().map_or(0, u64::from_be_bytes);
                Item::ListChunk { number, chunk: ChunkBytes(self.value) }
            }
        }
    }

    /// Where the entry stands among those of its state and key group.
    #[inline]
    pub(super) fn compare(&self, other: &RawEntry<'_>) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| {
            self.key
                .cmp(other.key)
                .then(has_sub(self.kind()).cmp(&has_sub(other.kind())))
                .then_with(|| self.sub.cmp(other.sub))
        })
    }
}

impl<'a> ChunkBytes<'a> {
    /// Whether the parts fit together.
    fn is_sound(self) -> bool {
        let mut front = Front(self.0);
        let (Some([flag @ 0..=1]), Some(count)) = (front.array(), front.length()) else {
            return false;
        };
        let mut bytes = if flag == 1 { count as u64 * size_of::<ExpiresAt>() as u64 } else { 0 };
        // Every length takes a byte at least, so that a count that lies ends this soon.
        for _ in 0..count {
            let Some(length) = front.length() else {
                return false;
            };
            bytes += length as u64;
        }
        count > 0 && front.0.len() as u64 == bytes
    }

    /// The items and, when any of them expires, an expiry for each.
    pub fn decode(self) -> (BytesColumn, Vec<ExpiresAt>) {
        let mut front = Front(self.0);
        let has_expiries = front.array() == Some([1]);
        let count = front.length().unwrap_or(0).min(self.0.len());
        let mut items = BytesColumn::with_capacity(count, self.0.len());
        let lengths: Vec<usize> = (0..count).map_while(|_| front.length()).collect();
        let expires = match has_expiries {
            true => (0..count).map_while(|_| front.array().map(i64::from_le_bytes)).collect(),
            false => Vec::new(),
        };
        for length in lengths {
            items.push(front.take(length).unwrap_or_default());
        }
        (items, expires)
    }

    /// Whether all items have expired by `now_ms`.
    pub(super) fn has_expired(self, now_ms: i64) -> bool {
        let mut front = Front(self.0);
        if front.array() != Some([1]) {
            return false;
        }
        let count = front.length().unwrap_or(0);
        for _ in 0..count {
            front.length();
        }
        let mut expiries = (0..count).map_while(|_| front.array().map(i64::from_le_bytes));
        expiries.all(|expires_at| expires_at <= now_ms)
    }
}
