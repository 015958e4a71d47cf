//! Reading plain and compressed files as one stream of bytes.
//!
//! Owns the choice of decompressor and telling a damaged file from a failing device. Invariant: all
//! members of a gzip file and all frames of a Zstandard file are read; bytes after the last one are
//! an error, not the end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::error::FileError;
use crate::files::FoundFile;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// gzip, one or more members.
    Gzip,
    /// Zstandard, one or more frames.
    Zstd,
}

impl Packing {
    /// The compression that a file's name stands for: `.gz`, `.gzip`, `.zst` or `.zstd` at its end.
    pub fn of(path: &Path) -> Self {
        let Some(ending) = path.extension().and_then(|ending| ending.to_str()) else {
            return Self::None;
        };
        match ending.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Self::Gzip,
            "zst" | "zstd" => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "Zstandard",
        })
    }
}

/// Compressed bytes that one turn reads at most. What comes of them need be nothing at all: empty members and frames that are
/// to be skipped go on for as long as a file does.
const TURN_BYTES: u64 = 128 * 1024;
/// The largest window of a Zstandard frame, as a power of two: 8 MiB, which the format asks every decoder for. It lies in memory.
const WINDOW_LOG_MAX: u32 = 23;

/// How far the file under a decompressor was read, and whether reading it failed.
#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    failed: AtomicBool,
    /// Where this turn is to end.
    turn_end: AtomicU64,
}

struct Counted {
    file: File,
    progress: Arc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.progress.bytes.load(Ordering::Relaxed);
        if at >= self.progress.turn_end.load(Ordering::Relaxed) {
            // Decompressors go on behind it when they are asked again.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = self.file.read(buffer);
        match &result {
            Ok(count) => {
                self.progress.bytes.fetch_add(*count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.progress.failed.store(true, Ordering::Relaxed),
        }
        result
    }
}

/// An open file of either kind.
pub(super) struct Unpacked {
    found: FoundFile,
    /// For looking at its length while a decompressor owns the file.
    witness: File,
    body: Box<dyn Read + Send>,
    progress: Arc<Progress>,
}

impl Unpacked {
    /// Opens a file; a plain one at `start`.
    pub(super) fn open(found: &FoundFile, start: u64) -> Result<Self, FileError> {
        let failed = |error| FileError::open(&found.path, error);
        let mut file = found.open()?;
        let witness = file.try_clone().map_err(failed)?;
        let progress = Arc::new(Progress::default());
        if found.packing == Packing::None && start > 0 {
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
            progress.bytes.store(start, Ordering::Relaxed);
        }
        let counted = Counted { file, progress: Arc::clone(&progress) };
        let body: Box<dyn Read + Send> = match found.packing {
            // An empty file holds no records, whatever it is called.
            _ if found.bytes == 0 => Box::new(io::empty()),
            Packing::None => Box::new(counted),
            Packing::Gzip => Box::new(MultiGzDecoder::new(counted)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::new(counted).map_err(failed)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
                Box::new(decoder)
            }
        };
        Ok(Self { found: found.clone(), witness, body, progress })
    }

    /// Puts the next `bytes` bytes into `chunk` in place of what was there: fewer, or none, at the end of the file, which
    /// is answered, and where a turn would take too long for more.
    pub(super) fn read(&mut self, chunk: &mut Vec<u8>, bytes: usize) -> Result<bool, FileError> {
        // A chunk that comes back keeps its length, so that growing it to its full size clears
        // nothing.
        chunk.resize(bytes, 0);
        let turn_end = self.progress.bytes.load(Ordering::Relaxed) + TURN_BYTES;
        self.progress.turn_end.store(turn_end, Ordering::Relaxed);
        let (mut filled, mut is_at_end) = (0, false);
        while filled < bytes {
            match self.body.read(&mut chunk[filled..]) {
                Ok(0) => {
                    is_at_end = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.explain(error)),
            }
        }
        chunk.truncate(filled);
        let metadata =
            self.witness.metadata().map_err(|error| FileError::open(&self.found.path, error))?;
        self.found.check(&metadata)?;
        Ok(is_at_end)
    }

    fn explain(&self, error: io::Error) -> FileError {
        // A file that was cut while it was read looks like a damaged one.
        if let Ok(metadata) = self.witness.metadata()
            && let Err(changed) = self.found.check(&metadata)
        {
            return changed;
        }
        let path = self.found.path.clone();
        let offset = self.progress.bytes.load(Ordering::Relaxed);
        if self.found.packing == Packing::None || self.progress.failed.load(Ordering::Relaxed) {
            return FileError::Read { path, offset, source: Arc::new(error) };
        }
        // So says the decoder, and has no code for it.
        if self.found.packing == Packing::Zstd && error.to_string().contains("too much memory") {
            return FileError::Window { path, offset };
        }
        FileError::Damaged { path, packing: self.found.packing, offset, reason: error.to_string() }
    }
}
