//! Reading a small file as a whole, with a bound.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a regular file, or `Err(size)` inside when it has more than `max` bytes.
///
/// # Errors
/// When it cannot be read, or is no regular file.
pub fn read_whole(path: &Path, max: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > max {
        return Ok(Err(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // One more than allowed, in case the file grew since its size was asked.
    file.take(max + 1).read_to_end(&mut bytes)?;
    let size = metadata.len().max(bytes.len() as u64);
    Ok(if size > max { Err(size) } else { Ok(bytes) })
}
