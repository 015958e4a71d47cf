//! Directories outside of any [`RealDisk`](super::RealDisk): made durably, and synced.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates a directory and what is missing above it.
///
/// Order: each directory is made only when the name of the one above it is durable; the first of them may
/// be there from an earlier try that ended before its sync. Under an existing directory that this user may
/// not open nothing of ours can be waiting for a sync.
///
/// # Errors
/// A directory cannot be made, or it is not sure that it outlasts a loss of power.
pub(crate) fn create_all(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return sync_above(path),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    path.parent().map_or(Ok(()), create_all)?;
    match fs::create_dir(path) {
        // Another process may have been faster.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_above(path),
    }
}

fn sync_above(path: &Path) -> io::Result<()> {
    match path.parent().map(sync_directory) {
        Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// It cannot be opened, or the device fails; what is durable is not known then.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_with_what_is_missing_above_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        for _ in 0..2 {
            create_all(&path).unwrap();
            assert!(path.is_dir());
        }
        create_all(Path::new("")).unwrap();
        create_all(Path::new("/")).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for path in ["file", "file/a", "file/a/b"] {
            assert!(create_all(&root.path().join(path)).is_err(), "{path}");
        }
    }
}
