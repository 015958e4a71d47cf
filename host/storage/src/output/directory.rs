//! The directory of a file sink: checked before the job starts, held while it runs.
//!
//! Owns what is done to the directory itself. Knows nothing of lanes' threads. Invariants: one run at a
//! time (a locked file); only names of this job and sink are ever removed; what is published is removed
//! only for a run that is to be fresh.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::ids::CheckpointId;
use tidemill_core::transaction::{SinkNames, clean_up, set_aside};

use crate::disk::{RealDisk, create_all, sync_directory};
use crate::error::FileError;
use crate::output::OutputNames;
use crate::output::lock::SinkLock;

/// What the files that are there mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkStart {
    /// The job has no checkpoint: nothing that is there can be its own.
    New {
        /// Published files of earlier runs are removed, rather than an error.
        fresh: bool,
    },
    /// The job goes on from a checkpoint: published files are its own, and unfinished ones are for
    /// [`OutputDirectory::clean_up`].
    Resumed,
}

/// A directory that is ready to take the output of one run.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    names: OutputNames,
    _lock: SinkLock,
}

impl OutputDirectory {
    /// Creates the directory if it is missing, takes its lock, and makes sure that files can be
    /// created and published in it. For a new job, files of earlier runs are removed: unfinished ones
    /// always, published ones if the run is to be fresh. That is durable when this returns, so that a
    /// loss of power cannot mix them with the new ones.
    ///
    /// # Errors
    /// Any of this fails, the path is not UTF-8, or there are published files of an earlier run.
    pub fn prepare(path: &Path, names: OutputNames, start: SinkStart) -> Result<Self, FileError> {
        let failed = |error| FileError::create(path, error);
        let path = std::path::absolute(path).map_err(failed)?;
        if path.to_str().is_none() {
            // Checkpoints name the directory, and they are text.
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not UTF-8")));
        }
        create_all(&path).map_err(failed)?;
        let lock = SinkLock::take(&path, names.sink())?;
        let directory = Self { path, names, _lock: lock };
        directory.probe()?;
        match start {
            SinkStart::New { fresh } => directory.start_over(fresh)?,
            SinkStart::Resumed => {}
        }
        Ok(directory)
    }

    /// Whether a new job may begin with what is there. Nothing is changed.
    ///
    /// # Errors
    /// There are published files of an earlier run, or the directory cannot be listed.
    pub fn look(path: &Path, names: &OutputNames) -> Result<(), FileError> {
        match fs::exists(path) {
            Ok(false) => Ok(()),
            _ => refuse_earlier(path, &earlier(path, names)?.0),
        }
    }

    /// Where it is, absolute and UTF-8.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of this sink's files.
    pub fn names(&self) -> &OutputNames {
        &self.names
    }

    /// Removes unfinished files, except those in `keep`, which holds the in-progress names of everything
    /// that is prepared and not known to be committed. Not while a writer is at work. Answers how many
    /// were removed.
    ///
    /// # Errors
    /// They cannot be listed or removed.
    pub fn clean_up(&self, keep: &BTreeSet<String>) -> Result<usize, FileError> {
        let disk = RealDisk::open(&self.path)?;
        Ok(clean_up(&disk, self.names.sink(), keep)?.len())
    }

    /// Removes what earlier runs left, or refuses to.
    fn start_over(&self, fresh: bool) -> Result<(), FileError> {
        let (published, unfinished) = earlier(&self.path, &self.names)?;
        if !fresh {
            refuse_earlier(&self.path, &published)?;
        }
        let earlier: Vec<_> = published.into_iter().chain(unfinished).collect();
        for name in &earlier {
            remove(&self.path.join(name))?;
        }
        if earlier.is_empty() {
            return Ok(());
        }
        sync_directory(&self.path).map_err(|error| FileError::sync(&self.path, error))
    }

    /// Finds out before the job starts what a commit would find out too late.
    fn probe(&self) -> Result<(), FileError> {
        let stem = self.names.sink().stem();
        let probe = self.path.join(format!(".tm-{stem}.probe"));
        let link = self.path.join(format!(".tm-{stem}.probe-link"));
        remove(&probe)?;
        remove(&link)?;
        let created = OpenOptions::new().write(true).create_new(true).open(&probe);
        let written = created.and_then(|mut file| file.write_all(b"probe"));
        let linked = written.map_err(|error| FileError::create(&probe, error)).and_then(|()| {
            fs::hard_link(&probe, &link).map_err(|error| FileError::NoLinks {
                path: self.path.clone(),
                source: Arc::new(error),
            })
        });
        remove(&link)?;
        remove(&probe)?;
        linked
    }
}

/// Names of earlier runs' published and unfinished files; the published ones sorted.
fn earlier(path: &Path, names: &OutputNames) -> Result<(Vec<String>, Vec<String>), FileError> {
    let failed = |error| FileError::List { path: path.to_owned(), source: Arc::new(error) };
    let (mut published, mut unfinished) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path).map_err(failed)? {
        // A name that is not UTF-8 is none of ours.
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if names.sink().is_published(&name) {
            published.push(name);
        } else if names.sink().is_in_progress(&name) {
            unfinished.push(name);
        }
    }
    published.sort_unstable();
    Ok((published, unfinished))
}

fn refuse_earlier(path: &Path, published: &[String]) -> Result<(), FileError> {
    match published.first() {
        None => Ok(()),
        Some(example) => {
            let (path, count, example) = (path.to_owned(), published.len(), example.clone());
            Err(FileError::Earlier { path, count, example })
        }
    }
}

/// Removes the unfinished files of a sink, except those in `keep`, from a directory that no sink of this
/// job uses any more. A directory that is gone is clean. Answers how many were removed.
///
/// # Errors
/// Another run holds the directory, or they cannot be listed or removed.
pub fn clean_up_in(
    path: &Path,
    names: &SinkNames,
    keep: &BTreeSet<String>,
) -> Result<usize, FileError> {
    if !path.is_dir() {
        return Ok(0);
    }
    let _lock = SinkLock::take(path, names)?;
    let disk = RealDisk::open(path)?;
    Ok(clean_up(&disk, names, keep)?.len())
}

/// Moves the published files of a sink that belong to checkpoints later than `after` into the directory
/// `place` in `path`, which no sink of this job uses now. Answers where they lie; nowhere when `path` is gone.
///
/// # Errors
/// Another run holds the directory, or they cannot be listed or moved.
pub fn set_aside_in(
    path: &Path,
    names: &SinkNames,
    after: CheckpointId,
    place: &str,
) -> Result<Vec<PathBuf>, FileError> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let _lock = SinkLock::take(path, names)?;
    let moved = set_aside(&RealDisk::open(path)?, names, after, place)?;
    Ok(moved.into_iter().map(|name| path.join(place).join(name)).collect())
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::remove(path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Packing;
    use crate::output::tests::listing;

    const NEW: SinkStart = SinkStart::New { fresh: false };
    const FRESH: SinkStart = SinkStart::New { fresh: true };

    fn names() -> OutputNames {
        OutputNames::new("job", "out", "txt", Packing::None).unwrap()
    }

    fn prepare(path: &Path, start: SinkStart) -> Result<OutputDirectory, FileError> {
        OutputDirectory::prepare(path, names(), start)
    }

    fn fill(path: &Path) {
        for name in [
            "part-job-out-1-0-0.txt",
            ".tm-job-out-1-1-0-0",
            ".tm-job-out-1-2-0-0",
            "part-job-out-2-1-0-0.txt",
            ".tm-job-out-2-1-1-0-0",
            "mine",
        ] {
            fs::write(path.join(name), name).unwrap();
        }
    }

    #[test]
    fn a_directory_is_made_with_its_parents_and_left_clean() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        drop(prepare(&path, NEW).unwrap());
        assert!(listing(&path).is_empty());
    }

    #[test]
    fn output_of_an_earlier_run_is_refused_unless_fresh_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fill(path);
        let before = listing(path);
        let error = prepare(path, NEW).unwrap_err();
        assert!(matches!(error, FileError::Earlier { count: 1, .. }), "{error}");
        assert_eq!(listing(path), before);
        drop(prepare(path, FRESH).unwrap());
        assert_eq!(listing(path), [".tm-job-out-2-1-1-0-0", "mine", "part-job-out-2-1-0-0.txt"]);
    }

    #[test]
    fn a_job_that_resumes_keeps_all_and_cleans_up_what_nothing_names() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        let mut expected = listing(root.path());
        let directory = prepare(root.path(), SinkStart::Resumed).unwrap();
        let keep = BTreeSet::from([".tm-job-out-1-2-0-0".to_owned()]);
        assert_eq!(directory.clean_up(&keep).unwrap(), 1);
        drop(directory);
        expected.retain(|name| name != ".tm-job-out-1-1-0-0");
        assert_eq!(listing(root.path()), expected);
    }

    #[test]
    fn a_directory_of_old_is_cleaned_up_unless_somebody_uses_it_or_it_is_gone() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        let (names, keep) = (names(), BTreeSet::new());
        let used = prepare(root.path(), SinkStart::Resumed).unwrap();
        let error = clean_up_in(root.path(), names.sink(), &keep).unwrap_err();
        assert!(matches!(error, FileError::Busy { .. }), "{error}");
        drop(used);
        assert_eq!(clean_up_in(root.path(), names.sink(), &keep).unwrap(), 2);
        assert_eq!(clean_up_in(root.path(), names.sink(), &keep).unwrap(), 0);
        assert_eq!(listing(root.path()).len(), 4);
        assert_eq!(clean_up_in(&root.path().join("gone"), names.sink(), &keep).unwrap(), 0);
    }

    #[test]
    fn later_files_are_moved_aside_once_and_nothing_else_is() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        fs::write(root.path().join("part-job-out-2-0-0.txt.gz"), "later").unwrap();
        let before = listing(root.path());
        for _ in 0..2 {
            let names = names();
            let moved = set_aside_in(root.path(), names.sink(), CheckpointId(1), ".aside").unwrap();
            assert_eq!(moved, [root.path().join(".aside/part-job-out-2-0-0.txt.gz")]);
            assert_eq!(fs::read(&moved[0]).unwrap(), b"later");
        }
        let mut left = listing(root.path());
        left.retain(|name| name != ".aside");
        let expected = before.iter().filter(|name| *name != "part-job-out-2-0-0.txt.gz");
        assert!(left.iter().eq(expected), "{left:?}");
        let gone = set_aside_in(&root.path().join("gone"), names().sink(), CheckpointId(1), "x");
        assert!(gone.unwrap().is_empty());
    }

    #[test]
    fn a_second_run_is_held_out_while_the_first_lasts() {
        let root = tempfile::tempdir().unwrap();
        let first = prepare(root.path(), NEW).unwrap();
        for start in [FRESH, SinkStart::Resumed] {
            let error = prepare(root.path(), start).unwrap_err();
            assert!(matches!(error, FileError::Busy { .. }), "{error}");
        }
        drop(first);
        prepare(root.path(), NEW).unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_a_clear_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "").unwrap();
        let error = prepare(&path, NEW).unwrap_err();
        assert!(matches!(error, FileError::Create { .. }), "{error}");
    }
}
