//! The partitions of a file source: found in the world, or taken from a checkpoint.
//!
//! Owns how files are cut into partitions, their ids, and whether a file still is the one that a
//! position speaks of, as far as that can be seen without reading it. Knows nothing of bytes or
//! records. Invariants: an id says path and range, so a partition can be made from its position
//! alone; files that came since the job was created are no part of it; a partition that has ended
//! needs no file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tidemill_core::connector::{ConnectorError, ConnectorFault, PartitionPosition, Position};
use tidemill_storage::files::{self, FoundFile, Packing};
use xxhash_rust::xxh3::xxh3_64;

use crate::connectors::file::detail::{Detail, format_name};
use crate::connectors::file::tail::TAIL_BYTES;
use crate::connectors::formats::{BadRecord, Part};
use crate::connectors::settings::{FileSource, Format};

/// Partitions of all sources of a job at most; more are a mistake in a pattern or a split size. Every checkpoint says how far each
/// was read.
pub(super) const PARTITIONS_MAX: u64 = 100_000;
/// Bytes of their ids, which say the path of the file.
const ID_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of the range behind the path in an id, about.
const RANGE_BYTES: u64 = 24;

/// What the sources of a job have room for while they are listed, and whether that is to go on.
pub struct Listing<'a> {
    stop: Option<&'a AtomicBool>,
    partitions: u64,
    id_bytes: u64,
}

impl Default for Listing<'_> {
    fn default() -> Self {
        Self { stop: None, partitions: PARTITIONS_MAX, id_bytes: ID_BYTES_MAX }
    }
}

impl<'a> Listing<'a> {
    /// For a job that has listed nothing yet, until `stop` says that it is to stop.
    pub fn until(stop: &'a AtomicBool) -> Self {
        Self { stop: Some(stop), ..Self::default() }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(SeqCst))
    }

    /// Takes room for so many partitions of a file; answers whether there is as much.
    fn take(&mut self, count: u64, path: &str) -> bool {
        let id_bytes = count.saturating_mul(path.len() as u64 + RANGE_BYTES);
        let left = self.partitions.checked_sub(count).zip(self.id_bytes.checked_sub(id_bytes));
        if let Some((partitions, id_bytes)) = left {
            (self.partitions, self.id_bytes) = (partitions, id_bytes);
        }
        left.is_some()
    }
}

/// A partition, and how far it was read.
#[derive(Clone, Debug)]
pub(in crate::connectors) struct FilePartition {
    pub(in crate::connectors) at: PartitionPosition,
    /// What is left to read; `None` when it has ended.
    pub(in crate::connectors) rest: Option<Rest>,
}

/// What is left of a partition: the records that begin in a byte range of a file, from a place on.
#[derive(Clone, Debug)]
pub(in crate::connectors) struct Rest {
    pub(super) file: Arc<FoundFile>,
    /// The range.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in it the next record begins, at the earliest.
    pub(super) offset: u64,
    /// Of the bytes from `checked_from` to there.
    pub(super) digest: u64,
    /// Names of the columns, if they stand before the offset.
    pub(super) header: Option<Vec<String>>,
}

impl Rest {
    /// What a parser is to cut into records.
    pub(super) fn part(&self) -> Part {
        // How long a compressed file is when it is decompressed is not known.
        let end = (self.file.packing == Packing::None).then_some(self.end);
        Part { offset: self.offset, end, header: self.header.clone() }
    }

    /// Bytes from `offset` to the end of the range; not known for a compressed file.
    pub(super) fn remaining(&self, offset: u64) -> Option<u64> {
        (self.file.packing == Packing::None).then(|| self.end.saturating_sub(offset))
    }

    /// Where the bytes begin by which the file is known again at `offset`.
    pub(super) fn checked_from(&self, offset: u64) -> u64 {
        offset.saturating_sub(TAIL_BYTES).max(self.start)
    }

    pub(super) fn bad(&self, bad: BadRecord) -> ConnectorError {
        let (name, of) = (self.file.name(), self.of_what());
        let message = format!("`{name}`, byte {}{of}: {}", bad.offset, bad.what);
        ConnectorError::new(ConnectorFault::BadData, message)
    }

    /// What stands before the offset is not what stood there.
    pub(super) fn changed(&self) -> ConnectorError {
        let (offset, bytes) = (self.offset, self.offset - self.checked_from(self.offset));
        let (name, of) = (self.file.name(), self.of_what());
        ConnectorError::new(
            ConnectorFault::BadData,
            format!(
                "`{name}` was changed since the checkpoint: the {bytes} bytes before byte \
                 {offset}{of} are not those that were read; {ADVICE}"
            ),
        )
    }

    fn of_what(&self) -> &'static str {
        if self.file.packing == Packing::None { "" } else { " of the decompressed data" }
    }
}

const ADVICE: &str = "put the file back as it was, or start the job anew with --fresh";

/// Whether a file is one partition: a compressed one can only be read from its beginning, and in CSV
/// only the rows before tell whether a line end stands inside quotes.
fn is_whole(packing: Packing, format: Format) -> bool {
    packing != Packing::None || format == Format::Csv
}

/// Lists the files of a source, cut into partitions, and gives each its id.
pub(in crate::connectors) fn list(
    name: &str,
    settings: &FileSource,
    listing: &mut Listing<'_>,
) -> Result<Vec<FilePartition>, ConnectorError> {
    let mut partitions = Vec::new();
    for file in files::list(&settings.patterns, &|| listing.is_stopped())? {
        let file = Arc::new(file);
        let is_whole = is_whole(file.packing, settings.format);
        let step = if is_whole { u64::MAX } else { settings.split_bytes.max(1) };
        let count = file.bytes.div_ceil(step).max(1);
        if !listing.take(count, file.name()) {
            let split_bytes = settings.split_bytes;
            return Err(ConnectorError::new(
                ConnectorFault::MissingInput,
                format!(
                    "source `{name}`: with it the job has more than {PARTITIONS_MAX} partitions, or their names \
                     more than {ID_BYTES_MAX} bytes; narrow the patterns or raise split-size, which is \
                     {split_bytes} bytes"
                ),
            ));
        }
        for part in 0..count {
            let start = part * step;
            let end = file.bytes.min(start.saturating_add(step));
            let partition = match is_whole {
                true => file.name().to_owned(),
                false => format!("{}:{start}-{end}", file.name()),
            };
            let file = Arc::clone(&file);
            partitions.push(unread(partition, settings.format, file, start, end));
        }
    }
    Ok(partitions)
}

/// A partition that nothing was read of.
fn unread(
    partition: String,
    format: Format,
    file: Arc<FoundFile>,
    start: u64,
    end: u64,
) -> FilePartition {
    let (digest, header) = (xxh3_64(&[]), None);
    let (format, size_bytes) = (Cow::Borrowed(format_name(format)), file.bytes);
    let detail = Detail { format, size_bytes, digest, header }.encode();
    let position = Position { offset: start, detail, ended: false };
    let rest = Rest { file, start, end, offset: start, digest, header: None };
    FilePartition { at: PartitionPosition { partition, position }, rest: Some(rest) }
}

/// Makes the partitions anew from how far they were read.
pub(in crate::connectors) fn resume(
    name: &str,
    settings: &FileSource,
    positions: &[PartitionPosition],
) -> Result<Vec<FilePartition>, ConnectorError> {
    let mut partitions = Vec::with_capacity(positions.len());
    // Partitions of one file follow each other: it is looked at once.
    let mut last: Option<Arc<FoundFile>> = None;
    for at in positions {
        let rest = if at.position.ended {
            None
        } else {
            let rest = find_rest(settings.format, at, &mut last).map_err(|error| {
                let what = format!("source `{name}` cannot go on from its checkpoint");
                ConnectorError::new(error.fault, format!("{what}: {}", error.message))
            })?;
            Some(rest)
        };
        partitions.push(FilePartition { at: at.clone(), rest });
    }
    Ok(partitions)
}

fn find_rest(
    format: Format,
    at: &PartitionPosition,
    last: &mut Option<Arc<FoundFile>>,
) -> Result<Rest, ConnectorError> {
    let PartitionPosition { partition, position } = at;
    let offset = position.offset;
    let unusable = |why: &str| {
        let what = format!("the position of `{partition}` cannot be used ({why})");
        let advice = "run the version of Tidemill that wrote the checkpoint, or start the job anew \
                      with --fresh";
        ConnectorError::new(ConnectorFault::BadData, format!("{what}; {advice}"))
    };
    let detail = Detail::decode(&position.detail).map_err(|error| unusable(&error))?;
    if detail.format != format_name(format) {
        let (was, is) = (&detail.format, format_name(format));
        let what = format!("its format was `{was}` and is `{is}` now");
        let advice = "set it back, or start the job anew with --fresh";
        let message = format!("{what}; {advice}");
        return Err(ConnectorError::new(ConnectorFault::MissingInput, message));
    }
    let (path, start, end) = if is_whole(Packing::of(Path::new(partition)), format) {
        (&**partition, 0, detail.size_bytes)
    } else {
        split(partition).ok_or_else(|| unusable("its name says no range of bytes"))?
    };
    if offset < start {
        return Err(unusable("it lies before its range"));
    }
    let file = look(path, detail.size_bytes, last)?;
    Ok(Rest {
        file,
        start,
        end,
        offset,
        digest: detail.digest,
        header: detail.header.map(Cow::into_owned),
    })
}

/// Path and range of a partition that is a part of a file.
fn split(partition: &str) -> Option<(&str, u64, u64)> {
    let (path, range) = partition.rsplit_once(':')?;
    let (start, end) = range.split_once('-')?;
    Some((path, start.parse().ok()?, end.parse().ok()?))
}

/// The file of a position, if it still has its length.
fn look(
    path: &str,
    size_bytes: u64,
    last: &mut Option<Arc<FoundFile>>,
) -> Result<Arc<FoundFile>, ConnectorError> {
    let file = match last.take().filter(|last| last.path == Path::new(path)) {
        Some(file) => file,
        None => {
            let found = FoundFile::look(PathBuf::from(path));
            Arc::new(found.map_err(|error| {
                ConnectorError::new(error.fault(), format!("{error}; {ADVICE}"))
            })?)
        }
    };
    if file.bytes != size_bytes {
        let now = file.bytes;
        let what = format!(
            "`{path}` had {size_bytes} bytes when the job was created and has {now} now; {ADVICE}"
        );
        return Err(ConnectorError::new(ConnectorFault::BadData, what));
    }
    *last = Some(Arc::clone(&file));
    Ok(file)
}
