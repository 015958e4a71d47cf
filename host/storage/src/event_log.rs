//! The event log of a job: lines appended to `events.ndjson` in its directory.
//!
//! Knows nothing of what a line says. Invariants: a line stands whole or, after a crash or a full disk, is
//! ended by a newline before the next one begins, so one damaged line never damages another; both files
//! together hold at most twice [`FILE_BYTES_MAX`]; whatever the device does, the caller goes on.
//!
//! Order of a rotation: `events.ndjson` is renamed over `events.1.ndjson`, then a new file is created by the
//! append. Nothing here is synced: the log is for people and their tools, no recovery reads it, and a crash of
//! the process takes nothing away that was appended.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};

/// The newest events.
const CURRENT: &str = "events.ndjson";
/// The events before them.
const PREVIOUS: &str = "events.1.ndjson";
/// Bytes of a file at most; the next event begins another.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes of an event at most, without its newline.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Appends to the event log of one job. May wait on the device, so it is not for lanes.
#[derive(Debug)]
pub struct EventLog {
    directory: PathBuf,
    file_bytes_max: u64,
    /// `None` before the first event and after a failure: then the file is opened and looked at anew.
    current: Option<Current>,
    /// A failure was told, and nothing has been written since.
    is_failing: bool,
}

/// Why an event is not in the log.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// The device failed, or is full.
    #[error(
        "cannot write the event log {}: {source}; the job goes on without it, so check space and \
         permissions there",
        path.display()
    )]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An event larger than any should be.
    #[error(
        "an event of {bytes} bytes is left out of the event log, which takes at most {EVENT_BYTES_MAX}"
    )]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
}

#[derive(Debug)]
struct Current {
    dir: Dir,
    file: File,
    bytes: u64,
    /// The last line has no end.
    is_torn: bool,
}

impl EventLog {
    /// The log in a job's directory. Touches nothing yet.
    pub fn new(directory: &Path) -> Self {
        Self::with_limit(directory, FILE_BYTES_MAX)
    }

    fn with_limit(directory: &Path, file_bytes_max: u64) -> Self {
        let directory = directory.to_path_buf();
        Self { directory, file_bytes_max, current: None, is_failing: false }
    }

    /// Appends an event: one JSON object, without a newline at its end. A line break inside it, which JSON
    /// allows between its parts only, becomes a blank.
    ///
    /// A device that fails is worth a line in the host's own log and never more, so of failures in a row only
    /// the first is answered; every later event is tried again.
    ///
    /// # Errors
    /// The event is not in the log, or a part of it is. See [`EventLogError`].
    pub fn append(&mut self, event: &str) -> Result<(), EventLogError> {
        if event.len() > EVENT_BYTES_MAX {
            return Err(EventLogError::TooLarge { bytes: event.len() });
        }
        match self.write(event) {
            Ok(()) => {
                self.is_failing = false;
                Ok(())
            }
            Err(source) => {
                self.current = None;
                let was_told = std::mem::replace(&mut self.is_failing, true);
                let path = self.directory.join(CURRENT);
                if was_told { Ok(()) } else { Err(EventLogError::Io { path, source }) }
            }
        }
    }

    fn write(&mut self, event: &str) -> io::Result<()> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => {
                let dir = Dir::open_ambient_dir(&self.directory, ambient_authority())?;
                Current::open(dir)?
            }
        };
        if current.bytes > 0 && current.bytes + event.len() as u64 + 2 > self.file_bytes_max {
            current.dir.rename(CURRENT, &current.dir, PREVIOUS)?;
            current = Current::open(current.dir)?;
        }
        current.append(event)?;
        self.current = Some(current);
        Ok(())
    }
}

impl Current {
    fn open(dir: Dir) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        let mut file = dir.open_with(CURRENT, &options)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut is_torn = false;
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            is_torn = last != *b"\n";
        }
        Ok(Self { dir, file, bytes, is_torn })
    }

    /// The whole line is handed over at once, so that the end of the process does not tear it.
    fn append(&mut self, event: &str) -> io::Result<()> {
        let mut line = String::with_capacity(event.len() + 2);
        if self.is_torn {
            line.push('\n');
        }
        let is_break = |c: char| c == '\n' || c == '\r';
        line.extend(event.chars().map(|c| if is_break(c) { ' ' } else { c }));
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        self.is_torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn current(directory: &Path) -> String {
        fs::read_to_string(directory.join(CURRENT)).unwrap()
    }

    #[test]
    fn events_are_lines_in_their_order_over_several_openings() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = EventLog::new(directory.path());
        log.append("{\"a\":1}").unwrap();
        log.append("{\"a\":2}").unwrap();
        EventLog::new(directory.path()).append("{\"a\":3}").unwrap();
        assert_eq!(current(directory.path()), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_event() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(CURRENT), "{\"a\":1}\n{\"a").unwrap();
        let mut log = EventLog::new(directory.path());
        log.append("{}").unwrap();
        log.append("{}").unwrap();
        assert_eq!(current(directory.path()), "{\"a\":1}\n{\"a\n{}\n{}\n");
    }

    #[test]
    fn a_line_break_inside_an_event_makes_no_second_line() {
        let directory = tempfile::tempdir().unwrap();
        EventLog::new(directory.path()).append("{\n\"a\":\r\n1}").unwrap();
        assert_eq!(current(directory.path()), "{ \"a\":  1}\n");
    }

    #[test]
    fn a_full_file_becomes_the_previous_one_and_replaces_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = EventLog::with_limit(directory.path(), 10);
        for event in ["aaa", "bbb", "ccc", "ddd", "eee"] {
            log.append(event).unwrap();
        }
        assert_eq!(current(directory.path()), "eee\n");
        let previous = fs::read_to_string(directory.path().join(PREVIOUS)).unwrap();
        assert_eq!(previous, "ccc\nddd\n");
        // A log that was opened anew knows how full the file is.
        let mut log = EventLog::with_limit(directory.path(), 10);
        log.append("fff").unwrap();
        log.append("ggg").unwrap();
        assert_eq!(current(directory.path()), "ggg\n");
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2);
    }

    #[test]
    fn no_file_grows_beyond_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = EventLog::with_limit(directory.path(), 100);
        for length in (0..98).cycle().take(1_000) {
            log.append(&"x".repeat(length)).unwrap();
            assert!(fs::metadata(directory.path().join(CURRENT)).unwrap().len() <= 100);
        }
    }

    #[test]
    fn an_event_alone_larger_than_any_may_be_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = EventLog::new(directory.path());
        let error = log.append(&"x".repeat(EVENT_BYTES_MAX + 1)).unwrap_err();
        assert!(error.to_string().contains("65537 bytes"), "{error}");
        log.append(&"x".repeat(EVENT_BYTES_MAX)).unwrap();
        assert_eq!(current(directory.path()).len(), EVENT_BYTES_MAX + 1);
    }

    #[test]
    fn of_failures_in_a_row_only_the_first_is_told_and_writing_goes_on_when_it_can() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("job");
        let mut log = EventLog::new(&directory);
        let error = log.append("a").unwrap_err();
        assert!(error.to_string().contains("job/events.ndjson"), "{error}");
        log.append("b").unwrap();
        fs::create_dir(&directory).unwrap();
        log.append("c").unwrap();
        assert_eq!(current(&directory), "c\n");
        // The next row of failures is told again: a directory in the way of the rename.
        fs::create_dir(directory.join(PREVIOUS)).unwrap();
        let mut log = EventLog::with_limit(&directory, 4);
        assert!(log.append("d").is_err());
        log.append("e").unwrap();
        fs::remove_dir(directory.join(PREVIOUS)).unwrap();
        log.append("f").unwrap();
        assert_eq!(current(&directory), "f\n");
        fs::create_dir(directory.join("x")).unwrap();
        fs::remove_file(directory.join(PREVIOUS)).unwrap();
        fs::rename(directory.join("x"), directory.join(PREVIOUS)).unwrap();
        assert!(log.append("g").is_err());
    }

    #[test]
    fn a_link_does_not_lead_out_of_the_directory() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("job");
        fs::create_dir(&directory).unwrap();
        fs::write(base.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink("../secret", directory.join(CURRENT)).unwrap();
        assert!(EventLog::new(&directory).append("a").is_err());
        assert_eq!(fs::read_to_string(base.path().join("secret")).unwrap(), "");
    }
}
