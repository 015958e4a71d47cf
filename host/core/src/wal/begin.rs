//! The first effect of an incarnation: a segment of its own.
//!
//! Owns what is taken over from the segment before. Order: the new segment made, with the needed records of
//! the newest one copied into it, and it and its directory durable -> what it replaces removed -> the directory
//! synced. A crash in between leaves the old log or the new one, and leftovers that both pass over.
//!
//! The newest segment is always replaced, sealed or not: what the system showed of it may lie in memory alone,
//! after a sync that failed and was not told to us, and copying is what makes it durable for sure.

use std::sync::Arc;

use super::error::WalError;
use super::open_segment::{Draft, OpenSegment};
use super::record::{Kind, Tail};
use super::recover::Recovered;
use super::segment::{Previous, SegmentHeader, in_directory, segment_name};
use super::sizes::{Sizes, Usage};
use super::walk::Walk;
use super::writer::WalWriter;
use crate::disk::Disk;
use crate::ids::Incarnation;

/// A new incarnation's segment, and the log's end.
pub(super) struct Begun {
    pub(super) open: OpenSegment,
    pub(super) tail: Tail,
    pub(super) last_input_lsn: u64,
    pub(super) holds_input: bool,
}

impl WalWriter {
    /// Begins an incarnation on what was recovered. `salt` is random bytes, other ones each time.
    ///
    /// # Errors
    /// [`WalError::Overtaken`] when a later incarnation has begun, [`WalError::Full`] when there is no space
    /// for what must be copied (the log is as it was), and others.
    pub fn begin(
        disk: Arc<dyn Disk>,
        mut recovered: Recovered,
        incarnation: Incarnation,
        salt: [u8; 16],
        sizes: Sizes,
    ) -> Result<Self, WalError> {
        sizes.check()?;
        let directory = recovered.directory.clone();
        let number = recovered.newest.map_or(1, |(newest, _)| newest.segment + 1);
        let file = in_directory(&directory, &segment_name(number));
        if incarnation <= recovered.incarnation {
            return Err(WalError::Overtaken { file, incarnation });
        }
        disk.make_directory(&directory).map_err(|error| WalError::disk(&directory, error))?;
        let (base_lsn, input_floor, previous) = recovered.goes_on_from();
        let salt_of = segment_salt(&salt, number);
        let header = SegmentHeader {
            segment: number,
            base_lsn,
            input_floor,
            incarnation,
            salt: salt_of,
            previous,
        };
        let begun = match make(&*disk, &recovered, header, &sizes) {
            Ok(begun) => begun,
            Err(error) => {
                Draft::discard(&*disk, &directory, &header);
                return Err(error);
            }
        };
        recovered.remove_replaced(&*disk, begun.open.header.previous)?;
        Ok(Self::new(disk, recovered, salt, sizes, begun))
    }
}

/// Makes the segment, with what is still needed of the one that it replaces.
fn make(
    disk: &dyn Disk,
    recovered: &Recovered,
    header: SegmentHeader,
    sizes: &Sizes,
) -> Result<Begun, WalError> {
    let older: u64 = recovered.older.iter().map(|closed| closed.bytes).sum();
    let usage = Usage { used_bytes: older, quota_bytes: sizes.quota_bytes };
    let mut draft = Draft::create(disk, &recovered.directory, header, usage)?;
    let mut holds_input = false;
    let mut last_input_lsn = header.input_floor - 1;
    if let Some((newest, tail)) = recovered.newest {
        let mut walk = Walk::open(disk, &recovered.directory, newest.segment)?;
        while walk.tail.lsn < tail.lsn {
            let found = match walk.next()? {
                Ok(found) => found,
                Err(stop) => return Err(walk.corrupt(stop.describe())),
            };
            if found.header.lsn < header.base_lsn {
                continue;
            }
            // The seal has lost its place, but its LSN may be known as durable.
            let kind = if found.kind == Kind::Seal { Kind::Idle } else { found.kind };
            if kind == Kind::Input {
                holds_input = true;
                last_input_lsn = found.header.lsn;
            }
            draft.push(kind, walk.payload(&found)?)?;
        }
    }
    draft.push(Kind::Incarnation, &header.incarnation.0.to_le_bytes())?;
    let tail = draft.tail;
    let open = draft.publish(disk, |end| sizes.filled_for_input(end))?;
    Ok(Begun { open, tail, last_input_lsn, holds_input })
}

impl Recovered {
    /// First LSN of the segment that replaces the newest, its input floor, and what lies before it.
    fn goes_on_from(&self) -> (u64, u64, Option<Previous>) {
        match self.newest {
            None => (1, 1, None),
            Some((newest, _)) if self.first_needed <= newest.base_lsn => {
                (newest.base_lsn, newest.input_floor, newest.previous)
            }
            // Some of it is not needed any more, and so nothing before it.
            Some((_, tail)) => {
                let base_lsn = self.first_needed.min(tail.lsn + 1);
                (base_lsn, base_lsn, None)
            }
        }
    }

    /// Removes what the new segment, which follows `previous`, makes needless.
    fn remove_replaced(
        &mut self,
        disk: &dyn Disk,
        previous: Option<Previous>,
    ) -> Result<(), WalError> {
        let mut names = std::mem::take(&mut self.leftovers);
        let in_directory = |segment| in_directory(&self.directory, &segment_name(segment));
        if previous.is_none() {
            names.extend(self.older.iter().map(|closed| in_directory(closed.header.segment)));
            self.older.clear();
        }
        names.extend(self.newest.map(|(newest, _)| in_directory(newest.segment)));
        for name in &names {
            disk.remove(name).map_err(|error| WalError::disk(name, error))?;
        }
        disk.sync_dir(&self.directory).map_err(|error| WalError::disk(&self.directory, error))
    }
}

/// A segment's salt, from the incarnation's.
pub(super) fn segment_salt(salt: &[u8; 16], segment: u64) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("tidemill wal 1 segment salt");
    hasher.update(salt);
    hasher.update(&segment.to_le_bytes());
    let mut derived = [0; 16];
    hasher.finalize_xof().fill(&mut derived);
    derived
}
