//! Finding the files that match a pattern.
//!
//! Owns the decision what counts as an input file. Invariants: the list is sorted by path and holds
//! each path once, so that it is the same on every run over the same files; every file in it could
//! be opened when it was listed.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::files::Packing;
use crate::files::walk::Walk;
use crate::whole::open_regular;

/// Files of a source at most: what is known of each is kept for as long as the job is there.
const FILES_MAX: usize = 100_000;

/// A file as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length, as stored: compressed if it is compressed.
    pub bytes: u64,
    /// How it is compressed, by its name.
    pub packing: Packing,
    device: u64,
    inode: u64,
}

impl FoundFile {
    /// Looks at one file.
    ///
    /// # Errors
    /// It cannot be opened, or is no regular file.
    pub fn look(path: PathBuf) -> Result<Self, FileError> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = path.metadata().map_err(|error| FileError::open(&path, error))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(FileError::open(&path, error));
        }
        let (_, metadata) = open(&path)?;
        let (bytes, device, inode) = (metadata.len(), metadata.dev(), metadata.ino());
        Ok(Self { packing: Packing::of(&path), path, bytes, device, inode })
    }

    /// The path as text.
    pub fn name(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    /// Opens the file if it still is what was listed.
    pub(crate) fn open(&self) -> Result<File, FileError> {
        let (file, metadata) = open(&self.path)?;
        if (metadata.dev(), metadata.ino()) != (self.device, self.inode) {
            let what = "another file took its place".to_owned();
            return Err(FileError::Changed { path: self.path.clone(), what });
        }
        self.check(&metadata)?;
        Ok(file)
    }

    /// Compares the length with that when it was listed.
    pub(crate) fn check(&self, metadata: &Metadata) -> Result<(), FileError> {
        if metadata.len() == self.bytes {
            return Ok(());
        }
        let what = format!("it had {} bytes and has {} now", self.bytes, metadata.len());
        Err(FileError::Changed { path: self.path.clone(), what })
    }
}

fn open(path: &Path) -> Result<(File, Metadata), FileError> {
    let file = open_regular(path).map_err(|error| FileError::open(path, error))?;
    let metadata = file.metadata().map_err(|error| FileError::open(path, error))?;
    Ok((file, metadata))
}

type Found = BTreeMap<PathBuf, FoundFile>;

/// The regular files that match any of the glob patterns, sorted by path, each once. Names that begin
/// with a dot match only a pattern that says so: the unfinished files of a sink are no input. `is_stopped` is asked again
/// and again, for there may be very many.
///
/// # Errors
/// A pattern is wrong or matches nothing, a directory or file cannot be read, a name is not UTF-8, or there are too many files, or entries to be looked
/// at.
pub fn list(
    patterns: &[String],
    is_stopped: &dyn Fn() -> bool,
) -> Result<Vec<FoundFile>, FileError> {
    let mut found = Found::new();
    for pattern in patterns {
        list_one(pattern, &mut found, is_stopped)?;
    }
    Ok(found.into_values().collect())
}

fn list_one(
    pattern: &str,
    found: &mut Found,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), FileError> {
    let (mut matched, mut skipped) = (false, 0);
    Walk::new(pattern)?.run(is_stopped, &mut |path| {
        let metadata = path.metadata().map_err(|error| FileError::open(&path, error))?;
        if !metadata.is_file() {
            skipped += 1;
            return Ok(());
        }
        matched = true;
        if !found.contains_key(&path) {
            if found.len() == FILES_MAX {
                let pattern = pattern.to_owned();
                return Err(FileError::TooManyFiles { pattern, limit: FILES_MAX });
            }
            found.insert(path.clone(), FoundFile::look(path)?);
        }
        Ok(())
    })?;
    match matched {
        true => Ok(()),
        false => Err(FileError::NoMatch { pattern: pattern.to_owned(), skipped }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn regular_files_come_sorted_and_hidden_ones_do_not_come() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["b.txt", "a.txt.gz", ".tm-job-sink-0-0", "c.zst", "d.md"] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::create_dir(root.join("e.d")).unwrap();
        let found =
            list(&[format!("{}/*", root.display()), format!("{}/b*", root.display())], &|| false)
                .unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|file| {
                (file.path.file_name().unwrap().to_str().unwrap(), file.bytes, file.packing)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("a.txt.gz", 8, Packing::Gzip),
                ("b.txt", 5, Packing::None),
                ("c.zst", 5, Packing::Zstd),
                ("d.md", 4, Packing::None)
            ]
        );
    }

    #[test]
    fn a_pattern_without_a_regular_file_says_so() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        let pattern = format!("{}/*", directory.path().display());
        let error = list(std::slice::from_ref(&pattern), &|| false).unwrap_err();
        assert!(matches!(&error, FileError::NoMatch { skipped: 1, .. }), "{error}");
        assert!(error.to_string().contains(&pattern), "{error}");
        let error = list(&["/tmp/***".to_owned()], &|| false).unwrap_err();
        assert!(matches!(&error, FileError::Pattern { .. }), "{error}");
    }

    #[test]
    fn whoever_is_told_to_stop_looks_for_no_more_files() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let asked = std::cell::Cell::new(0);
        let is_stopped = || asked.replace(asked.get() + 1) == 2;
        let error = list(&[format!("{}/*", directory.path().display())], &is_stopped).unwrap_err();
        assert!(matches!(&error, FileError::Stopped { .. }), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let error = FoundFile::look(directory.path().to_owned()).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_file_that_was_replaced_or_grew_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "one").unwrap();
        let found = FoundFile::look(path.clone()).unwrap();
        fs::write(&path, "longer").unwrap();
        assert!(matches!(found.open(), Err(FileError::Changed { .. })));
        fs::write(directory.path().join("b"), "two").unwrap();
        fs::rename(directory.path().join("b"), &path).unwrap();
        assert!(matches!(found.open(), Err(FileError::Changed { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(found.open(), Err(FileError::Open { .. })));
    }
}
