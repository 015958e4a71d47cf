//! The directory of a file sink: checked before the job starts, published into at its end.
//!
//! Owns what is done to the directory itself; the order of writes is told in [the parent](super).
//! Knows nothing of lanes' threads. Invariants: one run at a time (a locked file); only names of
//! this job and sink are ever removed; a published file is never overwritten.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::FileError;
use crate::output::OutputNames;

/// How often a lock file is opened again because its last holder removed it in between.
const LOCK_ATTEMPTS: usize = 8;

/// A directory that is ready to take the output of one run.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    names: OutputNames,
    lock: Option<File>,
    /// Files that an earlier run has published and this one replaces.
    replaced: Vec<String>,
    /// Files that this run has published.
    published: Vec<PathBuf>,
}

impl OutputDirectory {
    /// Creates the directory if it is missing, takes its lock, and makes sure that files can be
    /// created and published in it. Unfinished files of an earlier run are removed. Published files
    /// of an earlier run are an error unless `fresh`; then they stay until this run publishes.
    ///
    /// # Errors
    /// Any of this fails.
    pub fn prepare(path: &Path, names: OutputNames, fresh: bool) -> Result<Self, FileError> {
        create_all(path)?;
        let lock = Some(lock(&path.join(names.lock()))?);
        let (replaced, published) = (Vec::new(), Vec::new());
        let mut directory = Self { path: path.to_owned(), names, lock, replaced, published };
        directory.probe()?;
        let (published, unfinished) = directory.earlier()?;
        if let (Some(example), false) = (published.first(), fresh) {
            let (count, example) = (published.len(), example.clone());
            return Err(FileError::Earlier { path: path.to_owned(), count, example });
        }
        for name in &unfinished {
            remove(&path.join(name))?;
        }
        directory.replaced = published;
        Ok(directory)
    }

    /// The names of this sink's files.
    pub fn names(&self) -> &OutputNames {
        &self.names
    }

    /// Where a file of the sink lies.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Names of earlier runs' published and unfinished files, sorted.
    fn earlier(&self) -> Result<(Vec<String>, Vec<String>), FileError> {
        let failed = |error| FileError::List { path: self.path.clone(), source: Arc::new(error) };
        let (mut published, mut unfinished) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            if self.names.is_published(&name) {
                published.push(name);
            } else if self.names.is_in_progress(&name) {
                unfinished.push(name);
            }
        }
        published.sort_unstable();
        unfinished.sort_unstable();
        Ok((published, unfinished))
    }

    /// Finds out before the job starts what publishing would find out at its end.
    fn probe(&self) -> Result<(), FileError> {
        let (probe, link) = self.names.probe();
        let (probe, link) = (self.path.join(probe), self.path.join(link));
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

    /// Gives finished files their final names, in the given order of (lane, number), and makes that
    /// durable. What they replace is removed first, so that a reader never finds old and new together. All of them or, when one cannot be published, none. The lock is held until the
    /// directory is dropped, so that until then all of it can be taken back.
    ///
    /// # Errors
    /// A file cannot be published, or it is not sure that the names outlast a loss of power.
    pub fn publish(&mut self, finished: &[(usize, u64)]) -> Result<Vec<PathBuf>, FileError> {
        for name in self.replaced.drain(..) {
            remove(&self.path.join(name))?;
        }
        for &(lane, number) in finished {
            let from = self.path.join(self.names.in_progress(lane, number));
            let to = self.path.join(self.names.published(lane, number));
            if let Err(error) = fs::hard_link(&from, &to) {
                // The links so far are this call's own; their files still have their other name.
                self.retract();
                return Err(FileError::Publish { path: to, source: Arc::new(error) });
            }
            self.published.push(to);
        }
        for &(lane, number) in finished {
            // A name that stays is only a second one for a published file; the next run removes it.
            fs::remove_file(self.path.join(self.names.in_progress(lane, number))).ok();
        }
        sync(&self.path)?;
        Ok(self.published.clone())
    }

    /// Removes the unfinished files, and those that this run has published: another sink of the job
    /// has failed. What cannot be removed stays and is removed by the next run.
    pub fn discard(&mut self) {
        if self.lock.is_none() {
            return;
        }
        self.retract();
        let unfinished = self.earlier().map(|(_, unfinished)| unfinished).unwrap_or_default();
        for name in unfinished {
            remove(&self.path.join(name)).ok();
        }
        self.unlock();
    }

    fn retract(&mut self) {
        self.published.drain(..).for_each(|file| drop(fs::remove_file(file)));
    }

    fn unlock(&mut self) {
        if let Some(lock) = self.lock.take() {
            // Removed while the lock is held, so that nobody locks a file that is about to vanish
            // without seeing that it did.
            fs::remove_file(self.path.join(self.names.lock())).ok();
            drop(lock);
        }
    }
}

impl Drop for OutputDirectory {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Creates a directory and what is missing above it, durably.
fn create_all(path: &Path) -> Result<(), FileError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(path).map_err(|error| FileError::create(path, error))?;
    for created in missing {
        if let Some(parent) = created.parent() {
            sync(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
    }
    Ok(())
}

fn sync(directory: &Path) -> Result<(), FileError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| FileError::sync(directory, error))
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::remove(path, error))
        }
        _ => Ok(()),
    }
}

fn lock(path: &Path) -> Result<File, FileError> {
    let failed = |error| FileError::create(path, error);
    for _ in 0..LOCK_ATTEMPTS {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let held = file.metadata().map_err(failed)?;
        let there = fs::metadata(path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
            return Ok(file);
        }
    }
    Err(FileError::Busy { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Packing;

    fn names() -> OutputNames {
        OutputNames::new("job", "out", "txt", Packing::None).unwrap()
    }

    fn listing(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_is_made_with_its_parents_and_left_clean() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        drop(OutputDirectory::prepare(&path, names(), false).unwrap());
        assert!(listing(&path).is_empty());
    }

    #[test]
    fn output_of_an_earlier_run_is_refused_unless_fresh_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        for name in ["part-job-out-0-0.txt", ".tm-job-out-0-1", "part-job-out-2-0-0.txt", "mine"] {
            fs::write(path.join(name), name).unwrap();
        }
        let error = OutputDirectory::prepare(path, names(), false).unwrap_err();
        assert!(matches!(error, FileError::Earlier { count: 1, .. }), "{error}");
        let mut fresh = OutputDirectory::prepare(path, names(), true).unwrap();
        assert!(path.join("part-job-out-0-0.txt").exists(), "it stays until there is a new one");
        fresh.publish(&[]).unwrap();
        drop(fresh);
        assert_eq!(listing(path), ["mine", "part-job-out-2-0-0.txt"]);
    }

    #[test]
    fn a_second_run_is_held_out_while_the_first_lasts() {
        let root = tempfile::tempdir().unwrap();
        let first = OutputDirectory::prepare(root.path(), names(), false).unwrap();
        let error = OutputDirectory::prepare(root.path(), names(), true).unwrap_err();
        assert!(matches!(error, FileError::Busy { .. }), "{error}");
        drop(first);
        OutputDirectory::prepare(root.path(), names(), false).unwrap();
    }

    #[test]
    fn publishing_never_overwrites_and_is_all_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut directory = OutputDirectory::prepare(root.path(), names(), false).unwrap();
        fs::write(root.path().join(".tm-job-out-0-0"), "new").unwrap();
        fs::write(root.path().join(".tm-job-out-1-0"), "new").unwrap();
        fs::write(root.path().join("part-job-out-1-0.txt"), "foreign").unwrap();
        let error = directory.publish(&[(0, 0), (1, 0)]).unwrap_err();
        assert!(matches!(error, FileError::Publish { .. }), "{error}");
        let foreign = root.path().join("part-job-out-1-0.txt");
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "foreign");
        directory.discard();
        assert_eq!(listing(root.path()), ["part-job-out-1-0.txt"]);
    }

    #[test]
    fn what_was_published_can_be_taken_back_until_the_directory_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        for is_kept in [false, true] {
            let mut directory = OutputDirectory::prepare(root.path(), names(), false).unwrap();
            fs::write(root.path().join(".tm-job-out-0-0"), "new").unwrap();
            let files = directory.publish(&[(0, 0)]).unwrap();
            assert_eq!(files, [root.path().join("part-job-out-0-0.txt")]);
            if !is_kept {
                directory.discard();
            }
            drop(directory);
            assert_eq!(listing(root.path()).len(), usize::from(is_kept));
        }
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_a_clear_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "").unwrap();
        let error = OutputDirectory::prepare(&path, names(), false).unwrap_err();
        assert!(matches!(error, FileError::Create { .. }), "{error}");
    }
}
