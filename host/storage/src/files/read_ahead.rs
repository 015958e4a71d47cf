//! Reads a range of a file ahead of the lane that wants it.
//!
//! An I/O thread fills chunks, the lane takes them and gives the empty ones back. Knows nothing of
//! what the bytes mean. Invariants: at most [`CHUNKS_AHEAD`] chunks wait, one past the end of the
//! range (a record that begins in the range may end after it, but most do not); the lane never
//! waits; the waker is called whenever `take` would answer differently than before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tidemill_core::connector::Wake;
use tidemill_core::quota::Account;

use crate::error::FileError;
use crate::files::packed::Unpacked;
use crate::files::{FoundFile, Packing};
use crate::pool::{self, Turn, Work, lock};

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a chunk past the end of the range.
const TAIL_BYTES: usize = 16 * 1024;
/// Chunks that are read before the lane has asked for them.
const CHUNKS_AHEAD: usize = 4;

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// The file.
    pub file: FoundFile,
    /// First byte to hand out. A compressed file is decompressed from its beginning and what lies before
    /// this byte is thrown away.
    pub start: u64,
    /// End of the range. Reading goes on after it for as long as chunks are taken, but no longer
    /// ahead. Of no meaning for a compressed file, which is read to its end.
    pub end: u64,
}

/// What comes next.
#[derive(Debug)]
pub enum Chunk {
    /// The next bytes; never empty.
    Bytes(Vec<u8>),
    /// Nothing yet; the waker will be called.
    Pending,
    /// The file has ended.
    End,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    spent: Vec<Vec<u8>>,
    /// Whether the pool has this file.
    submitted: bool,
    /// Whether there is nothing more to read.
    finished: bool,
    failure: Option<FileError>,
    /// Whether the lane has lost interest.
    dropped: bool,
    /// Whether chunks now come from behind the end of the range.
    is_past_end: bool,
}

impl State {
    fn has_room(&self) -> bool {
        self.chunks.len() < if self.is_past_end { 1 } else { CHUNKS_AHEAD }
    }
}

/// What a turn has come to.
enum Filled {
    /// Bytes that the lane wants.
    Wanted,
    /// No bytes, or only such as lie before the start.
    Nothing,
    /// The file has ended.
    End,
}

struct Cursor {
    file: Option<Unpacked>,
    /// The next byte that is read, of the decompressed data where there is some.
    at: u64,
}

struct Shared {
    plan: ReadPlan,
    state: Mutex<State>,
    /// Used by the one turn that runs.
    cursor: Mutex<Cursor>,
    waker: Arc<dyn Wake>,
    account: Arc<dyn Account>,
}

/// The lane's end of a file that is being read.
pub struct ReadAhead {
    shared: Arc<Shared>,
}

impl ReadAhead {
    /// Begins to read, for `account`.
    ///
    /// # Errors
    /// No I/O thread can be started.
    pub fn start(
        plan: ReadPlan,
        waker: Arc<dyn Wake>,
        account: Arc<dyn Account>,
    ) -> Result<Self, FileError> {
        let at = if plan.file.packing == Packing::None { plan.start } else { 0 };
        let cursor = Mutex::new(Cursor { file: None, at });
        let state = Mutex::new(State { submitted: true, ..State::default() });
        let reader = Self { shared: Arc::new(Shared { plan, state, cursor, waker, account }) };
        reader.submit()?;
        Ok(reader)
    }

    fn submit(&self) -> Result<(), FileError> {
        pool::submit(Arc::clone(&self.shared) as Arc<dyn Work>)
            .map_err(|error| FileError::Thread { source: Arc::new(error) })
    }

    /// The next chunk. `spent` is an earlier one (or an empty vector) that may be filled again.
    ///
    /// # Errors
    /// The file cannot be opened, read or decompressed, or it changed.
    pub fn take(&mut self, spent: Vec<u8>) -> Result<Chunk, FileError> {
        let mut state = lock(&self.shared.state);
        if spent.capacity() >= CHUNK_BYTES && state.spent.len() < CHUNKS_AHEAD {
            state.spent.push(spent);
        }
        let chunk = state.chunks.pop_front();
        // Half empty, not just one: a lane that keeps up would wake the thread for every chunk.
        let is_due = state.chunks.len() <= CHUNKS_AHEAD / 2 && state.has_room();
        let submit = is_due && !state.submitted && !state.finished;
        state.submitted |= submit;
        let answer = match (chunk, &state.failure) {
            (Some(chunk), _) => Ok(Chunk::Bytes(chunk)),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) if state.finished => Ok(Chunk::End),
            (None, None) => Ok(Chunk::Pending),
        };
        drop(state);
        if submit {
            self.submit()?;
        }
        answer
    }

    /// Whether `take` would answer something other than `Pending`.
    pub fn is_ready(&self) -> bool {
        let state = lock(&self.shared.state);
        !state.chunks.is_empty() || state.finished
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.dropped = true;
        let is_submitted = state.submitted && !state.finished;
        drop(state);
        if is_submitted {
            // It would keep the file open, and what was read of it, for as long as it waits for its turn.
            pool::withdraw(&(Arc::clone(&self.shared) as Arc<dyn Work>));
        }
    }
}

impl Shared {
    /// Fills a chunk, or a part of it.
    fn fill(&self, cursor: &mut Cursor, chunk: &mut Vec<u8>) -> Result<Filled, FileError> {
        let ReadPlan { file: found, start, end } = &self.plan;
        let file = match &mut cursor.file {
            Some(file) => file,
            None => cursor.file.insert(Unpacked::open(found, *start)?),
        };
        let is_before = cursor.at < *start;
        let want = match found.packing {
            Packing::None if cursor.at >= *end => TAIL_BYTES as u64,
            Packing::None => (*end - cursor.at).min(CHUNK_BYTES as u64),
            // A chunk lies before the start or behind it: no part of one need be cut off.
            _ if is_before => (*start - cursor.at).min(CHUNK_BYTES as u64),
            Packing::Gzip | Packing::Zstd => CHUNK_BYTES as u64,
        };
        let is_at_end = file.read(chunk, want as usize)?;
        cursor.at += chunk.len() as u64;
        Ok(match chunk.is_empty() {
            true if is_at_end => Filled::End,
            false if !is_before => Filled::Wanted,
            _ => Filled::Nothing,
        })
    }
}

impl Work for Shared {
    fn turn(&self) -> Turn {
        let mut chunk = {
            let mut state = lock(&self.state);
            if state.dropped {
                return Turn::Done;
            }
            state.spent.pop().unwrap_or_default()
        };
        let mut cursor = lock(&self.cursor);
        let result = self.fill(&mut cursor, &mut chunk);
        let mut state = lock(&self.state);
        if matches!(result, Ok(Filled::Nothing)) {
            state.spent.push(chunk);
            return Turn::Again;
        }
        state.is_past_end = self.plan.file.packing == Packing::None && cursor.at >= self.plan.end;
        match result {
            Ok(Filled::Wanted) => state.chunks.push_back(chunk),
            Ok(Filled::Nothing | Filled::End) => state.finished = true,
            Err(failure) => {
                state.failure = Some(failure);
                state.finished = true;
            }
        }
        if state.finished {
            cursor.file = None;
        }
        let again = !state.finished && !state.dropped && state.has_room();
        state.submitted = again;
        let wake = state.chunks.len() == 1 || state.finished;
        drop(state);
        if wake {
            self.waker.wake();
        }
        if again { Turn::Again } else { Turn::Done }
    }

    fn died(&self) {
        let mut state = lock(&self.state);
        state.failure = Some(FileError::Defect { path: self.plan.file.path.clone() });
        state.finished = true;
        drop(state);
        self.waker.wake();
    }

    fn account(&self) -> &Arc<dyn Account> {
        &self.account
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::mpsc;

    use flate2::write::GzEncoder;
    use tidemill_core::quota::Unmetered;

    use super::*;

    struct Bell(mpsc::Sender<()>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.send(()).ok();
        }
    }

    fn read(path: PathBuf, start: u64, end: u64) -> Result<Vec<u8>, FileError> {
        let (bell, wakes) = mpsc::channel();
        let plan = ReadPlan { file: FoundFile::look(path).unwrap(), start, end };
        let mut reader = ReadAhead::start(plan, Arc::new(Bell(bell)), Arc::<Unmetered>::default())?;
        let (mut all, mut spent) = (Vec::new(), Vec::new());
        loop {
            match reader.take(spent)? {
                Chunk::Bytes(chunk) => {
                    all.extend_from_slice(&chunk);
                    spent = chunk;
                }
                Chunk::Pending => {
                    spent = Vec::new();
                    wakes.recv().unwrap();
                }
                Chunk::End => return Ok(all),
            }
        }
    }

    fn sample(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i / 7 % 251) as u8).collect()
    }

    #[test]
    fn plain_files_are_read_from_the_start_to_their_end_whatever_the_range() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let data = sample(3 * CHUNK_BYTES + 17);
        fs::write(&path, &data).unwrap();
        for (start, end) in
            [(0, data.len()), (0, 10), (5, CHUNK_BYTES), (data.len() - 1, data.len()), (9, 9)]
        {
            let found = read(path.clone(), start as u64, end as u64).unwrap();
            assert!(found == data[start..], "from {start} to {end}: {} bytes", found.len());
        }
    }

    #[test]
    fn all_members_and_frames_of_compressed_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let data = sample(700_000);
        let (gzip, zstd) = (directory.path().join("a.gz"), directory.path().join("a.zst"));
        let (mut members, mut frames) = (Vec::new(), Vec::new());
        for part in data.chunks(300_000) {
            let mut encoder = GzEncoder::new(&mut members, flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            encoder.finish().unwrap();
            frames.extend(zstd::encode_all(part, 1).unwrap());
        }
        for (path, packed) in [(gzip, members), (zstd, frames)] {
            fs::write(&path, &packed).unwrap();
            assert!(read(path.clone(), 0, 0).unwrap() == data);
            for cut in [packed.len() - 1, packed.len() / 2, 3] {
                fs::write(&path, &packed[..cut]).unwrap();
                let error = read(path.clone(), 0, 0).unwrap_err();
                assert!(
                    matches!(error, FileError::Damaged { .. }),
                    "{} of {}: {error}",
                    cut,
                    packed.len()
                );
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            }
            let mut garbled = packed.clone();
            garbled.extend_from_slice(b"more");
            fs::write(&path, &garbled).unwrap();
            assert!(matches!(read(path.clone(), 0, 0), Err(FileError::Damaged { .. })));
            fs::write(&path, b"").unwrap();
            assert_eq!(read(path, 0, 0).unwrap(), b"");
        }
    }

    /// A frame of which nothing comes, with so many bytes to be skipped.
    fn skippable(bytes: u32) -> Vec<u8> {
        [&[0x50, 0x2a, 0x4d, 0x18][..], &bytes.to_le_bytes()].concat()
    }

    #[test]
    fn a_turn_ends_although_nothing_comes_of_what_it_reads() {
        let directory = tempfile::tempdir().unwrap();
        let (path, at_once) = (directory.path().join("a.zst"), 40 * 1024 * 1024);
        let file = fs::File::create(&path).unwrap();
        (&file).write_all(&skippable(at_once)).unwrap();
        let end = 8 + u64::from(at_once);
        file.set_len(end).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&zstd::encode_all(&b"behind it"[..], 1).unwrap())
            .unwrap();
        let mut file = Unpacked::open(&FoundFile::look(path.clone()).unwrap(), 0).unwrap();
        let (mut chunk, mut turns) = (Vec::new(), 0);
        while !file.read(&mut chunk, CHUNK_BYTES).unwrap() && chunk.is_empty() {
            turns += 1;
        }
        assert_eq!(&*chunk, b"behind it");
        assert!(turns > 100, "{turns} turns for 40 MiB");
        assert_eq!(read(path, 0, 0).unwrap(), b"behind it");
    }

    #[test]
    fn empty_members_are_read_in_turns_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.gz");
        let pack = |data: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        };
        let members = [pack(b"").repeat(200_000), pack(b"behind them")].concat();
        fs::write(&path, &members).unwrap();
        let mut file = Unpacked::open(&FoundFile::look(path.clone()).unwrap(), 0).unwrap();
        let (mut chunk, mut turns) = (Vec::new(), 0);
        while !file.read(&mut chunk, CHUNK_BYTES).unwrap() && chunk.is_empty() {
            turns += 1;
        }
        assert_eq!(&*chunk, b"behind them");
        assert!(turns >= 3, "{turns} turns for {} bytes", members.len());
        assert_eq!(read(path, 0, 0).unwrap(), b"behind them");
    }

    #[test]
    fn a_frame_with_a_window_that_takes_much_memory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.zst");
        for (log, fits) in [(23, true), (24, false)] {
            let mut encoder = zstd::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&sample(100)).unwrap();
            encoder.flush().unwrap();
            encoder.write_all(&sample(100)).unwrap();
            encoder.finish().unwrap();
            match read(path.clone(), 0, 0) {
                Ok(_) => assert!(fits),
                Err(error) => {
                    assert!(!fits && matches!(error, FileError::Window { .. }), "{error}");
                }
            }
        }
    }

    #[test]
    fn compressed_files_are_handed_out_from_the_start_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.zst");
        let data = sample(2 * CHUNK_BYTES + 17);
        fs::write(&path, zstd::encode_all(&data[..], 1).unwrap()).unwrap();
        for start in [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, data.len(), data.len() + 1]
        {
            let found = read(path.clone(), start as u64, 0).unwrap();
            assert!(found == data[start.min(data.len())..], "from {start}: {}", found.len());
        }
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, sample(4 * CHUNK_BYTES * CHUNKS_AHEAD)).unwrap();
        let (bell, wakes) = mpsc::channel();
        let bytes = fs::metadata(&path).unwrap().len();
        let plan = ReadPlan { file: FoundFile::look(path.clone()).unwrap(), start: 0, end: bytes };
        let mut reader =
            ReadAhead::start(plan, Arc::new(Bell(bell)), Arc::<Unmetered>::default()).unwrap();
        wakes.recv().unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        let error = loop {
            match reader.take(Vec::new()) {
                Ok(Chunk::Pending) => wakes.recv().unwrap(),
                Ok(Chunk::Bytes(_)) => {}
                Ok(Chunk::End) => panic!("the end came without an error"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FileError::Changed { .. }), "{error}");
    }
}
