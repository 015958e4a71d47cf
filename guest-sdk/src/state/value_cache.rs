//! One value state during one call: read once for all slots, changed in place, written back once.
//!
//! Items of fixed width lie in the column as the host gave it, and are changed there. Items of
//! varying width lie in an arena: a new version goes to its end, and the arena is compacted when
//! most of it is dead. Invariants: a slot's flags, place and bytes agree; the version before the
//! record at hand is kept until the next record touches the cache, so that it can come back; the
//! type that is read and written has the described width, which `open` has checked.

use super::About;
use crate::bindings::tidemill::operator::types::{BytesColumn, OptionalColumn};
use crate::codec::{Codec, Encode};
use crate::column::{self, Column, is_present, push_present};
use crate::error::Result;
use crate::host;
use crate::limits::STATE_WRITE_BYTES_TARGET;

const PRESENT: u8 = 1;
const DIRTY: u8 = 2;

/// Items of up to this width are kept without a look at a vector.
const SHORT_BYTES: usize = 16;

/// Dead bytes that an arena may hold beside as many as are alive.
const ARENA_SLACK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct ValueCache {
    about: About,
    slots: u32,
    /// One per slot once the state was read in this call, none before.
    flags: Vec<u8>,
    /// With a width the column, without one the arena.
    data: Vec<u8>,
    /// Without a width: start and end of each slot's item in the arena.
    places: Vec<(u32, u32)>,
    live_bytes: usize,
    undo: Undo,
}

/// The item of one slot before a record.
///
/// A short item is kept in two words that do not lie side by side: together they would be read by one load, and that has
/// to wait until the words that the last record of the same key has written are out of the store buffer, which took
/// nearly half of the time of a count by key.
#[derive(Debug, Default)]
#[repr(C)]
struct Undo {
    /// With a width of up to [`SHORT_BYTES`]: the bytes, the first eight here.
    short_low: u64,
    serial: u64,
    short_high: u64,
    slot: u32,
    flags: u8,
    place: (u32, u32),
    arena_bytes: usize,
    /// With a greater width: the bytes.
    long_item: Vec<u8>,
}

impl Undo {
    /// Keeps the item of a slot, which is of fixed width, once before a record changes it.
    #[inline(always)]
    fn keep(&mut self, serial: u64, slot: u32, flags: u8, item: &[u8]) {
        if self.serial == serial {
            return;
        }
        self.begin(serial, slot, flags);
        // The width is a constant to the compiler, and to copy so many bytes needs no call.
        if item.len() <= SHORT_BYTES {
            let (low, high) = item.split_at(item.len().min(8));
            self.short_low = word(low);
            // What is not of the item is never read.
            if !high.is_empty() {
                self.short_high = word(high);
            }
        } else {
            self.long_item.clear();
            self.long_item.extend_from_slice(item);
        }
    }

    #[inline(always)]
    fn begin(&mut self, serial: u64, slot: u32, flags: u8) {
        (self.serial, self.slot, self.flags) = (serial, slot, flags);
    }

    fn short_item(&self) -> [u8; SHORT_BYTES] {
        (u128::from(self.short_low) | u128::from(self.short_high) << 64).to_le_bytes()
    }
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

impl ValueCache {
    pub(crate) fn new(about: About) -> Self {
        Self {
            about,
            slots: 0,
            flags: Vec::new(),
            data: Vec::new(),
            places: Vec::new(),
            live_bytes: 0,
            undo: Undo::default(),
        }
    }

    pub(crate) fn begin(&mut self, slots: u32) {
        self.slots = slots;
        self.flags.clear();
        self.data.clear();
        self.places.clear();
        self.undo.serial = 0;
    }

    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// The item of a slot.
    #[inline]
    pub(crate) fn item(&mut self, slot: u32) -> Result<Option<&[u8]>> {
        let flags = self.flags_of(slot)?;
        Ok((flags & PRESENT != 0).then(|| self.bytes_of(slot)))
    }

    #[inline(always)]
    pub(crate) fn get<T: Codec>(&mut self, slot: u32) -> Result<Option<T>> {
        if self.flags_of(slot)? & PRESENT == 0 {
            return Ok(None);
        }
        let bytes = match T::WIDTH {
            Some(width) => {
                let start = slot as usize * width as usize;
                &self.data[start..start + width as usize]
            }
            None => self.bytes_of(slot),
        };
        match T::decode(bytes) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(self.about.unreadable(&source)),
        }
    }

    /// Changes a slot on behalf of the record with this number.
    #[inline(always)]
    pub(crate) fn set<T: Encode + ?Sized>(
        &mut self,
        serial: u64,
        slot: u32,
        value: &T,
    ) -> Result<()> {
        let flags = self.flags_of(slot)?;
        let Some(width) = T::WIDTH else {
            self.keep_varying(serial, slot, flags);
            self.set_varying(slot, value)?;
            self.flags[slot as usize] = PRESENT | DIRTY;
            return Ok(());
        };
        // Both places are looked up before anything is written: the compiler cannot know that to write to one leaves
        // the lengths of the other as they are.
        let Self { flags, data, undo, about, .. } = self;
        let (flags, item) = (&mut flags[slot as usize], place(data, slot, width));
        undo.keep(serial, slot, *flags, item);
        if let Err(source) = value.encode_over(item) {
            return Err(about.unwritable(&source));
        }
        *flags = PRESENT | DIRTY;
        Ok(())
    }

    /// Replaces the item of a slot by what `change` makes of it, and answers that.
    #[inline(always)]
    pub(crate) fn update<T: Codec>(
        &mut self,
        serial: u64,
        slot: u32,
        change: impl FnOnce(Option<T>) -> T,
    ) -> Result<T> {
        if slot as usize >= self.flags.len() {
            return self.load_and_update(serial, slot, change);
        }
        let Some(width) = T::WIDTH else {
            let value = change(self.get(slot)?);
            self.set(serial, slot, &value)?;
            return Ok(value);
        };
        // As in `set`.
        let Self { flags, data, undo, about, .. } = self;
        let (flags, item) = (&mut flags[slot as usize], place(data, slot, width));
        let before = if *flags & PRESENT == 0 {
            None
        } else {
            match T::decode(item) {
                Ok(value) => Some(value),
                Err(source) => return Err(about.unreadable(&source)),
            }
        };
        undo.keep(serial, slot, *flags, item);
        let value = change(before);
        if let Err(source) = value.encode_over(item) {
            return Err(about.unwritable(&source));
        }
        *flags = PRESENT | DIRTY;
        Ok(value)
    }

    /// Once in a call. Not in the middle of [`Self::update`]: what is known of the slot would have to be found out again.
    #[cold]
    #[inline(never)]
    fn load_and_update<T: Codec>(
        &mut self,
        serial: u64,
        slot: u32,
        change: impl FnOnce(Option<T>) -> T,
    ) -> Result<T> {
        self.load(slot)?;
        let value = change(self.get(slot)?);
        self.set(serial, slot, &value)?;
        Ok(value)
    }

    pub(crate) fn clear<T: Encode>(&mut self, serial: u64, slot: u32) -> Result<()> {
        let flags = self.flags_of(slot)?;
        if flags & PRESENT == 0 {
            return Ok(());
        }
        match T::WIDTH {
            Some(width) => {
                self.undo.keep(serial, slot, flags, place(&mut self.data, slot, width));
            }
            None => {
                self.keep_varying(serial, slot, flags);
                self.live_bytes -= self.bytes_of(slot).len();
                self.places[slot as usize] = (0, 0);
            }
        }
        self.flags[slot as usize] = DIRTY;
        Ok(())
    }

    pub(crate) fn undo(&mut self, serial: u64) {
        if self.undo.serial != serial {
            return;
        }
        self.undo.serial = 0;
        let slot = self.undo.slot as usize;
        self.flags[slot] = self.undo.flags;
        match self.about.width {
            Some(width) => {
                let start = slot * width as usize;
                let short = self.undo.short_item();
                let item = short.get(..width as usize).unwrap_or(&self.undo.long_item);
                self.data[start..start + width as usize].copy_from_slice(item);
            }
            None => {
                let (start, end) = self.undo.place;
                self.live_bytes -= length(self.places[slot]);
                self.live_bytes += (end - start) as usize;
                self.places[slot] = self.undo.place;
                self.data.truncate(self.undo.arena_bytes);
            }
        }
    }

    /// Hands the changed slots over.
    pub(crate) fn flush(&mut self) {
        let dirty = self.flags.iter().filter(|flags| **flags & DIRTY != 0).count();
        if dirty == 0 {
            return;
        }
        if dirty == self.slots as usize && self.about.width.is_some() {
            self.flush_whole();
        } else {
            self.flush_changed(dirty);
        }
        self.begin(0);
    }

    /// Every slot was changed: the column goes back as it is.
    fn flush_whole(&mut self) {
        let slots: Vec<u32> = (0..self.slots).collect();
        let data = std::mem::take(&mut self.data);
        let values = BytesColumn { data, ends: Vec::new() };
        let values = OptionalColumn { present: present_bits(&self.flags), values };
        host::value_write(self.about.id, &slots, &values);
        self.data = values.values.data;
    }

    fn flush_changed(&mut self, dirty: usize) {
        let mut slots = Vec::with_capacity(dirty);
        let mut present = Vec::new();
        let mut values = Column::new(self.about.width);
        for slot in 0..self.slots {
            let flags = self.flags[slot as usize];
            if flags & DIRTY == 0 {
                continue;
            }
            push_present(&mut present, slots.len(), flags & PRESENT != 0);
            slots.push(slot);
            if flags & PRESENT != 0 {
                values.push_bytes(self.bytes_of(slot));
            } else {
                values.push_absent();
            }
            if values.bytes() >= STATE_WRITE_BYTES_TARGET {
                write(self.about.id, &mut slots, &mut present, &mut values);
            }
        }
        if !slots.is_empty() {
            write(self.about.id, &mut slots, &mut present, &mut values);
        }
    }

    #[inline(always)]
    fn flags_of(&mut self, slot: u32) -> Result<u8> {
        if slot as usize >= self.flags.len() {
            self.load(slot)?;
        }
        Ok(self.flags[slot as usize])
    }

    /// Reads the state for all slots of the batch.
    #[cold]
    fn load(&mut self, slot: u32) -> Result<()> {
        if slot >= self.slots {
            return Err(self.about.needs_key());
        }
        let OptionalColumn { present, values } = host::value_read(self.about.id);
        let slots = self.slots as usize;
        self.flags.extend((0..slots).map(|slot| u8::from(is_present(&present, slot))));
        if self.about.width.is_none() {
            let mut start = 0;
            self.places
                .extend(values.ends.iter().map(|&end| (std::mem::replace(&mut start, end), end)));
            self.live_bytes = values.data.len();
        }
        self.data = values.data;
        Ok(())
    }

    #[inline]
    fn bytes_of(&self, slot: u32) -> &[u8] {
        let (start, end) = match self.about.width {
            Some(width) => (slot as usize * width as usize, (slot as usize + 1) * width as usize),
            None => {
                let (start, end) = self.places[slot as usize];
                (start as usize, end as usize)
            }
        };
        &self.data[start..end]
    }

    /// Keeps where the item of a slot lies, once before a record changes it.
    fn keep_varying(&mut self, serial: u64, slot: u32, flags: u8) {
        if self.undo.serial == serial {
            return;
        }
        if self.data.len() > 2 * self.live_bytes + ARENA_SLACK_BYTES {
            self.compact();
        }
        self.undo.begin(serial, slot, flags);
        self.undo.place = self.places[slot as usize];
        self.undo.arena_bytes = self.data.len();
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.live_bytes + ARENA_SLACK_BYTES);
        for place in &mut self.places {
            let start = column::offset(arena.len());
            arena.extend_from_slice(&self.data[place.0 as usize..place.1 as usize]);
            *place = (start, column::offset(arena.len()));
        }
        self.data = arena;
    }

    fn set_varying<T: Encode + ?Sized>(&mut self, slot: u32, value: &T) -> Result<()> {
        let end = self.data.len();
        let refused = match value.encode(&mut self.data) {
            Err(source) => Some(self.about.unwritable(&source)),
            Ok(()) => self.about.check_item(self.data.len() - end).err(),
        };
        if let Some(refused) = refused {
            self.data.truncate(end);
            return Err(refused);
        }
        let bytes = self.data.len() - end;
        let earlier = self.places[slot as usize];
        let mut start = end;
        // What the same record wrote before is dead at once: to go back is to an older version.
        if earlier.0 as usize >= self.undo.arena_bytes && earlier.1 as usize == end {
            start = earlier.0 as usize;
            self.data.copy_within(end.., start);
            self.data.truncate(start + bytes);
        }
        self.live_bytes -= length(earlier);
        self.live_bytes += bytes;
        self.places[slot as usize] = (column::offset(start), column::offset(start + bytes));
        Ok(())
    }
}

/// The item of a slot where items have this width.
#[inline(always)]
fn place(data: &mut [u8], slot: u32, width: u32) -> &mut [u8] {
    let start = slot as usize * width as usize;
    &mut data[start..start + width as usize]
}

fn length((start, end): (u32, u32)) -> usize {
    (end - start) as usize
}

fn present_bits(flags: &[u8]) -> Vec<u8> {
    flags
        .chunks(8)
        .map(|flags| (0..).zip(flags).fold(0, |bits, (bit, flag)| bits | (flag & PRESENT) << bit))
        .collect()
}

fn write(state: u32, slots: &mut Vec<u32>, present: &mut Vec<u8>, values: &mut Column) {
    let column = OptionalColumn {
        present: std::mem::take(present),
        values: std::mem::take(&mut values.raw),
    };
    host::value_write(state, slots, &column);
    slots.clear();
    values.raw = column.values;
    values.clear();
}
