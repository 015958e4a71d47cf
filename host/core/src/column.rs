//! Columns of byte strings: the representation of records everywhere in the host and at the guest
//! boundary.
//!
//! Owns the layout (one data buffer plus end offsets, or a fixed width and no offsets) and the checks
//! that a column from a guest must pass. Knows nothing of keys, batches or Wasm.
//! Invariant: in a column built or validated here `ends` never decreases and its last item is the
//! length of `data`; with a width, `ends` is empty and `data` holds whole items.

use crate::failure::{FaultCode, GuestFault};

/// A column of byte strings, dense in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BytesColumn {
    /// All items, one after the other.
    pub data: Vec<u8>,
    /// For each item the offset of its end; empty when the column has a fixed width.
    pub ends: Vec<u32>,
}

/// How many items a column holds and how they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Item ends are in `ends`.
    Variable,
    /// Every item has this many bytes; `ends` is empty.
    Fixed(u32),
}

impl Layout {
    /// The layout that a described width asks for.
    pub fn of(width: Option<u32>) -> Self {
        width.map_or(Self::Variable, Self::Fixed)
    }
}

impl BytesColumn {
    /// An empty column with room for `items` items of `bytes` bytes in all.
    pub fn with_capacity(items: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(items) }
    }

    /// Number of items of a column with variable layout.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether a column with variable layout has no item.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends an item (variable layout).
    ///
    /// # Panics
    /// When the data would pass 4 GiB; every caller is bounded far below by `limits`.
    #[inline]
    pub fn push(&mut self, item: &[u8]) {
        self.data.extend_from_slice(item);
        self.ends.push(u32::try_from(self.data.len()).expect("columns stay under 4 GiB"));
    }

    /// Item `index` (variable layout).
    ///
    /// # Panics
    /// When `index` is out of range.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.data[start..self.ends[index] as usize]
    }

    /// Item `index` in the given layout.
    ///
    /// # Panics
    /// When `index` is out of range.
    #[inline]
    pub fn item(&self, layout: Layout, index: usize) -> &[u8] {
        match layout {
            Layout::Variable => self.get(index),
            Layout::Fixed(width) => {
                let width = width as usize;
                &self.data[index * width..(index + 1) * width]
            }
        }
    }

    /// All items in order (variable layout).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let item = &self.data[start..end as usize];
            start = end as usize;
            item
        })
    }

    /// Appends items `from..to` of `other` (variable layout).
    pub fn extend_range(&mut self, other: &Self, from: usize, to: usize) {
        if from >= to {
            return;
        }
        let start = if from == 0 { 0 } else { other.ends[from - 1] };
        let base = u32::try_from(self.data.len()).expect("columns stay under 4 GiB");
        self.data.extend_from_slice(&other.data[start as usize..other.ends[to - 1] as usize]);
        assert!(self.data.len() <= u32::MAX as usize, "columns stay under 4 GiB");
        self.ends.extend(other.ends[from..to].iter().map(|end| end - start + base));
    }

    /// Bytes of items `from..to` (variable layout).
    pub fn range_bytes(&self, from: usize, to: usize) -> usize {
        if from >= to {
            return 0;
        }
        let start = if from == 0 { 0 } else { self.ends[from - 1] };
        (self.ends[to - 1] - start) as usize
    }

    /// Memory that the column holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.ends.len() * size_of::<u32>()
    }

    /// Memory that the column takes, in bytes, with room that is not used.
    pub fn held_bytes(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Fills in `ends` of a column that came with a fixed width, so that it becomes variable.
    pub fn spread(&mut self, width: u32) {
        if !self.ends.is_empty() || self.data.is_empty() {
            return;
        }
        let items = self.data.len() / width.max(1) as usize;
        self.ends = (1..=items as u32).map(|item| item * width).collect();
    }

    /// Drops `ends` of a column all of whose items have `width` bytes.
    ///
    /// # Errors
    /// `false` when an item has another size; the column is unchanged then.
    #[must_use]
    pub fn narrow(&mut self, width: u32) -> bool {
        let regular = (1u32..).zip(&self.ends).all(|(n, end)| n.checked_mul(width) == Some(*end));
        if regular {
            self.ends.clear();
        }
        regular
    }

    /// Checks a column that a guest handed over and returns its number of items.
    ///
    /// # Errors
    /// [`FaultCode::BadColumn`] when the ends decrease, pass the data or leave some of it over, or
    /// when a fixed-width column does not hold whole items.
    pub fn validate(&self, layout: Layout, what: &'static str) -> Result<usize, GuestFault> {
        let bad = |detail: String| {
            Err(GuestFault::new(FaultCode::BadColumn, format!("{what}: {detail}")))
        };
        match layout {
            Layout::Fixed(width) => {
                if !self.ends.is_empty() {
                    return bad(format!("a column of width {width} must have no ends"));
                }
                if width == 0 || !self.data.len().is_multiple_of(width as usize) {
                    return bad(format!("{} bytes are no whole items of {width}", self.data.len()));
                }
                Ok(self.data.len() / width as usize)
            }
            Layout::Variable => {
                let mut previous = 0;
                let mut sorted = true;
                for &end in &self.ends {
                    sorted &= previous <= end;
                    previous = end;
                }
                if !sorted {
                    return bad("ends decrease".to_owned());
                }
                if previous as usize != self.data.len() {
                    return bad(format!(
                        "last end {previous}, but {} bytes of data",
                        self.data.len()
                    ));
                }
                Ok(self.ends.len())
            }
        }
    }

    /// The length of the longest item (variable layout).
    pub fn longest(&self) -> usize {
        let mut previous = 0;
        let mut longest = 0;
        for &end in &self.ends {
            longest = longest.max(end - previous);
            previous = end;
        }
        longest as usize
    }
}

/// A column in which items may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalColumn {
    /// Bit `i % 8` of byte `i / 8` is 1 when item `i` is there.
    pub present: Vec<u8>,
    /// The items; an absent one has no bytes, or `width` zero bytes in a fixed-width column.
    pub values: BytesColumn,
}

impl OptionalColumn {
    /// Whether item `index` is there. Out of range is absent.
    #[inline]
    pub fn is_present(&self, index: usize) -> bool {
        self.present.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Marks item `index` as there; `present` must already reach it.
    #[inline]
    pub fn mark(&mut self, index: usize) {
        self.present[index / 8] |= 1 << (index % 8);
    }

    /// Item `index` when it is there.
    #[inline]
    pub fn item(&self, layout: Layout, index: usize) -> Option<&[u8]> {
        self.is_present(index).then(|| self.values.item(layout, index))
    }

    /// Appends an item at position `index`, which must be the current number of items.
    pub fn push(&mut self, layout: Layout, index: usize, item: Option<&[u8]>) {
        if index / 8 >= self.present.len() {
            self.present.push(0);
        }
        // A column from a guest may have bits set behind its last item.
        self.present[index / 8] &= !(1 << (index % 8));
        if item.is_some() {
            self.mark(index);
        }
        match layout {
            Layout::Variable => self.values.push(item.unwrap_or_default()),
            Layout::Fixed(width) => match item {
                Some(bytes) => self.values.data.extend_from_slice(bytes),
                None => self.values.data.resize(self.values.data.len() + width as usize, 0),
            },
        }
    }

    /// Checks a column that a guest handed over for `items` items.
    ///
    /// # Errors
    /// [`FaultCode::BadColumn`] when the values or the bitmap do not fit `items`.
    pub fn validate(
        &self,
        layout: Layout,
        items: usize,
        what: &'static str,
    ) -> Result<(), GuestFault> {
        let found = self.values.validate(layout, what)?;
        if found != items || self.present.len() != items.div_ceil(8) {
            return Err(GuestFault::new(
                FaultCode::BadColumn,
                format!(
                    "{what}: {found} items and {} bytes of presence for {items} slots",
                    self.present.len()
                ),
            ));
        }
        Ok(())
    }

    /// Memory that the column holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.present.len() + self.values.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(items: &[&[u8]]) -> BytesColumn {
        let mut column = BytesColumn::default();
        items.iter().for_each(|item| column.push(item));
        column
    }

    #[test]
    fn items_come_back_as_they_were_pushed() {
        let c = column(&[b"a", b"", b"ccc"]);
        assert_eq!(c.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
        assert_eq!(
            (c.get(0), c.get(1), c.get(2), c.longest()),
            (&b"a"[..], &b""[..], &b"ccc"[..], 3)
        );
    }

    #[test]
    fn a_range_keeps_its_items_when_appended_elsewhere() {
        let mut c = column(&[b"x"]);
        c.extend_range(&column(&[b"a", b"bb", b"", b"d"]), 1, 4);
        assert_eq!(c.iter().collect::<Vec<_>>(), [&b"x"[..], b"bb", b"", b"d"]);
        assert_eq!(c.validate(Layout::Variable, "c").unwrap(), 4);
    }

    #[test]
    fn ends_that_lie_are_refused() {
        for ends in [vec![2, 1, 3], vec![4], vec![1], vec![]] {
            let c = BytesColumn { data: vec![0; 3], ends };
            assert_eq!(c.validate(Layout::Variable, "c").unwrap_err().code, FaultCode::BadColumn);
        }
    }

    #[test]
    fn a_fixed_width_column_holds_whole_items_and_no_ends() {
        let c = BytesColumn { data: vec![0; 16], ends: vec![] };
        assert_eq!(c.validate(Layout::Fixed(8), "c").unwrap(), 2);
        assert!(c.validate(Layout::Fixed(5), "c").is_err());
        assert!(c.validate(Layout::Fixed(0), "c").is_err());
        assert!(column(&[b"12345678"]).validate(Layout::Fixed(8), "c").is_err());
    }

    #[test]
    fn spreading_and_narrowing_are_inverse() {
        let mut c = BytesColumn { data: vec![7; 12], ends: vec![] };
        c.spread(4);
        assert_eq!(c.len(), 3);
        assert!(c.narrow(4) && c.ends.is_empty());
        let mut odd = column(&[b"1", b"22"]);
        assert!(!odd.narrow(1));
    }

    #[test]
    fn an_absent_item_is_absent_whatever_bits_a_guest_left_behind_the_end() {
        let mut c = OptionalColumn { present: vec![0xff], values: column(&[b"a"]) };
        c.push(Layout::Variable, 1, None);
        assert_eq!((c.is_present(0), c.is_present(1)), (true, false));
    }

    #[test]
    fn absent_items_of_a_fixed_width_column_take_zero_bytes_of_meaning() {
        let mut c = OptionalColumn::default();
        c.push(Layout::Fixed(2), 0, Some(b"ab"));
        c.push(Layout::Fixed(2), 1, None);
        assert_eq!(
            (c.item(Layout::Fixed(2), 0), c.item(Layout::Fixed(2), 1)),
            (Some(&b"ab"[..]), None)
        );
        assert!(c.validate(Layout::Fixed(2), 2, "c").is_ok());
        assert!(c.validate(Layout::Fixed(2), 3, "c").is_err());
    }
}
