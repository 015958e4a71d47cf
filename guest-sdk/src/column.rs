//! Columns of byte strings, and bit sets of what is present in them.
//!
//! Invariant of a [`Column`]: with a width, `ends` is empty and the data is a whole number of
//! items; without one, `ends` never decreases and its last item is the length of the data.

use crate::bindings::tidemill::operator::types::BytesColumn;
use crate::codec::{CodecError, Encode};
use crate::error::{Error, Result};

#[expect(clippy::derivable_impls, reason = "the type is generated")]
impl Default for BytesColumn {
    fn default() -> Self {
        Self { data: Vec::new(), ends: Vec::new() }
    }
}

/// Appends bytes. Up to 16 of them, as most keys have, go by way of registers: a copy whose length is not a constant
/// is a call out of the sandbox, which costs more than the copy.
#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len();
    let word = |at: usize| {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let half = |at: usize| {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
    };
    // The last part overlaps the first, and is shifted so that equal bytes meet.
    let (low, high) = match length {
        0..4 => (bytes.iter().rev().fold(0, |low, byte| low << 8 | u64::from(*byte)), 0),
        4..8 => (half(0) | half(length - 4) << (8 * (length - 4)), 0),
        8 => (word(0), 0),
        9..=16 => (word(0), word(length - 8) >> (8 * (16 - length))),
        _ => return out.extend_from_slice(bytes),
    };
    let end = out.len() + length;
    let mut packed = [0; 16];
    packed[..8].copy_from_slice(&low.to_le_bytes());
    packed[8..].copy_from_slice(&high.to_le_bytes());
    out.extend_from_slice(&packed);
    out.truncate(end);
}

/// A column of byte strings that is being built.
///
/// ```
/// use tidemill_sdk::Column;
///
/// let mut words = Column::new(None);
/// words.push("tide").unwrap();
/// words.push("mill").unwrap();
/// assert_eq!(words.len(), 2);
/// assert_eq!(words.item(1), b"mill");
/// ```
#[derive(Clone, Debug)]
pub struct Column {
    pub(crate) raw: BytesColumn,
    width: Option<u32>,
}

impl Column {
    /// An empty column; with a width every item has that many bytes.
    pub const fn new(width: Option<u32>) -> Self {
        Self { raw: BytesColumn { data: Vec::new(), ends: Vec::new() }, width }
    }

    /// Appends a value, which must fit the width of the column.
    ///
    /// A value that cannot be encoded is a bad record, one of the wrong width is fatal: it does
    /// not fit the description. Either way the column is as before.
    #[inline(always)]
    pub fn push<T: Encode + ?Sized>(&mut self, value: &T) -> Result<()> {
        let start = self.raw.data.len();
        if let Err(source) = value.encode(&mut self.raw.data) {
            return Err(self.refuse(start, source));
        }
        match (T::WIDTH, self.width) {
            (Some(width), Some(expected)) if width == expected => {}
            (_, Some(expected)) => self.check_width(start, expected)?,
            (_, None) => self.raw.ends.push(offset(self.raw.data.len())),
        }
        Ok(())
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        items(&self.raw, self.width)
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.raw.data.is_empty() && self.raw.ends.is_empty()
    }

    /// The bytes of an item.
    ///
    /// # Panics
    /// If there is no such item.
    #[inline]
    pub fn item(&self, index: usize) -> &[u8] {
        item(&self.raw, self.width, index)
    }

    pub(crate) fn clear(&mut self) {
        self.raw.data.clear();
        self.raw.ends.clear();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.raw.data.len()
    }

    /// Appends bytes that are known to fit.
    #[inline(always)]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        append(&mut self.raw.data, bytes);
        match self.width {
            Some(width) => debug_assert_eq!(bytes.len(), width as usize),
            None => self.raw.ends.push(offset(self.raw.data.len())),
        }
    }

    /// Appends a place without a value: no bytes, or meaningless ones where there is a width.
    pub(crate) fn push_absent(&mut self) {
        match self.width {
            Some(width) => self.raw.data.resize(self.raw.data.len() + width as usize, 0),
            None => self.raw.ends.push(offset(self.raw.data.len())),
        }
    }

    /// Cuts the column back to its first items.
    pub(crate) fn truncate(&mut self, items: usize) {
        let bytes = self.bytes_before(items);
        self.raw.data.truncate(bytes);
        self.raw.ends.truncate(items);
    }

    /// Bytes of the first items; of all where there are fewer.
    pub(crate) fn bytes_before(&self, items: usize) -> usize {
        match self.width {
            Some(width) => self.bytes().min(items * width as usize),
            None if items == 0 => 0,
            None => self.raw.ends.get(items - 1).map_or(self.bytes(), |&end| end as usize),
        }
    }

    #[cold]
    fn refuse(&mut self, start: usize, source: CodecError) -> Error {
        self.raw.data.truncate(start);
        source.into()
    }

    #[cold]
    fn check_width(&mut self, start: usize, expected: u32) -> Result<()> {
        let found = self.raw.data.len() - start;
        if found == expected as usize {
            return Ok(());
        }
        self.raw.data.truncate(start);
        Err(Error::fatal(format!("the description says {expected} bytes, the value has {found}")))
    }
}

/// A position in the data; the limits of a call keep columns far below 4 GiB.
#[inline]
pub(crate) fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a column is shorter than 4 GiB")
}

pub(crate) fn items(column: &BytesColumn, width: Option<u32>) -> usize {
    match width {
        Some(width) => column.data.len() / width as usize,
        None => column.ends.len(),
    }
}

#[inline]
fn span(column: &BytesColumn, width: Option<u32>, index: usize) -> (usize, usize) {
    match width {
        Some(width) => (index * width as usize, (index + 1) * width as usize),
        None => {
            let start = if index == 0 { 0 } else { column.ends[index - 1] as usize };
            (start, column.ends[index] as usize)
        }
    }
}

#[inline]
pub(crate) fn item(column: &BytesColumn, width: Option<u32>, index: usize) -> &[u8] {
    let (start, end) = span(column, width, index);
    &column.data[start..end]
}

/// Whether bit `index` of a set of bits is 1.
#[inline]
pub(crate) fn is_present(bits: &[u8], index: usize) -> bool {
    bits[index / 8] & (1 << (index % 8)) != 0
}

/// Appends one bit to a set that holds `len` bits.
#[inline]
pub(crate) fn push_present(bits: &mut Vec<u8>, len: usize, present: bool) {
    if len.is_multiple_of(8) {
        bits.push(0);
    }
    if present && let Some(last) = bits.last_mut() {
        *last |= 1 << (len % 8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_column_gives_back_what_was_pushed(words: Vec<Vec<u8>>) {
            let mut column = Column::new(None);
            for word in &words {
                column.push(word).unwrap();
            }
            prop_assert_eq!(column.len(), words.len());
            for (index, word) in words.iter().enumerate() {
                prop_assert_eq!(column.item(index), word.as_slice());
            }
            let half = words.len() / 2;
            column.truncate(half);
            prop_assert_eq!(column.len(), half);
            prop_assert_eq!(column.bytes(), words[..half].iter().map(Vec::len).sum::<usize>());
        }

        #[test]
        fn bits_give_back_what_was_pushed(flags: Vec<bool>) {
            let mut bits = Vec::new();
            for (index, &flag) in flags.iter().enumerate() {
                push_present(&mut bits, index, flag);
            }
            prop_assert_eq!(bits.len(), flags.len().div_ceil(8));
            for (index, &flag) in flags.iter().enumerate() {
                prop_assert_eq!(is_present(&bits, index), flag);
            }
        }
    }

    #[test]
    fn a_value_of_another_width_is_fatal_and_leaves_the_column_as_it_was() {
        let mut column = Column::new(Some(8));
        column.push(&1_u64).unwrap();
        assert!(column.push(&1_u32).unwrap_err().is_fatal());
        assert!(column.push("seven").unwrap_err().is_fatal());
        column.push(&[0_u8; 8]).unwrap();
        assert_eq!((column.len(), column.bytes()), (2, 16));
        assert!(column.raw.ends.is_empty());
    }

    #[test]
    fn bytes_of_any_length_are_appended_as_they_are() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..=bytes.len() {
            let mut out = vec![1, 2];
            append(&mut out, &bytes[..length]);
            append(&mut out, &[3]);
            assert_eq!(out, [&[1, 2], &bytes[..length], &[3]].concat());
        }
    }
}
