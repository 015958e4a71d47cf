//! Reading regular files only, a small one as a whole, with a bound.
//!
//! Paths come from job files and lie in directories that others may write to. Invariant: nobody waits here: to open a
//! FIFO would last until somebody writes to it, and a device has no end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The flag of an open that does not wait; reading a regular file it changes nothing.
pub(crate) const NO_WAIT: i32 = OFlags::NONBLOCK.bits() as i32;

/// Opens a regular file for reading.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(NO_WAIT).open(path)?;
    check_regular(&file)?;
    Ok(file)
}

/// Refuses what is no regular file.
pub(crate) fn check_regular(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(()),
        (false, true) => Err(io::Error::other("it is a directory")),
        (false, false) => Err(io::Error::other("it is no regular file")),
    }
}

/// The bytes of a regular file, or `Err(size)` inside when it has more than `max` bytes.
///
/// # Errors
/// When it cannot be read, or is no regular file.
pub fn read_whole(path: &Path, max: u64) -> io::Result<Result<Vec<u8>, u64>> {
    read(&open_regular(path)?, max)
}

fn read(file: &File, max: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let metadata = file.metadata()?;
    if metadata.len() > max {
        return Ok(Err(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // One more than allowed, in case the file grew since its size was asked.
    file.take(max + 1).read_to_end(&mut bytes)?;
    let size = metadata.len().max(bytes.len() as u64);
    Ok(if size > max { Err(size) } else { Ok(bytes) })
}

/// The text of a regular file of at most `max` bytes.
///
/// # Errors
/// When it cannot be read, is no regular file, has more bytes, or is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    text(&open_regular(path)?, max)
}

/// The text of a regular file, as [`read_text`], and the path without links of the very file that was read, whatever was put
/// in its place meanwhile.
///
/// # Errors
/// As [`read_text`]; and when the file has no path any more.
pub fn read_text_of(path: &Path, max: u64) -> io::Result<(String, PathBuf)> {
    let file = open_regular(path)?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    // The system says of a file that was removed that it is at such a path; so may be one that is called so.
    if real.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return Err(io::Error::other("it was removed while it was read"));
    }
    Ok((text(&file, max)?, real))
}

fn text(file: &File, max: u64) -> io::Result<String> {
    let bytes = read(file, max)?.map_err(|bytes| {
        io::Error::other(format!("it has {bytes} bytes; at most {max} are allowed"))
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("it is not UTF-8 at byte {at}"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let refusal = |path: &Path| open_regular(path).unwrap_err().to_string();
        assert_eq!(refusal(&fifo), "it is no regular file");
        assert_eq!(refusal(Path::new("/dev/zero")), "it is no regular file");
        assert_eq!(refusal(directory.path()), "it is a directory");
    }

    #[test]
    fn a_text_says_which_file_it_was_read_from() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap().join("text");
        fs::write(&real, "text").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(read_text_of(&link, 4).unwrap(), ("text".to_owned(), real));
    }

    #[test]
    fn a_text_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        fs::write(&path, "text").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "text");
        let refused = read_text(&path, 3).unwrap_err().to_string();
        assert_eq!(refused, "it has 4 bytes; at most 3 are allowed");
        fs::write(&path, b"te\xff").unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().to_string(), "it is not UTF-8 at byte 2");
    }
}
