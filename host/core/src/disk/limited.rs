//! A directory whose files may come to so many bytes, and no more.
//!
//! Owns the count of what lies there: what is found when it is opened counts, quota or not; what is written counts
//! before it is written; what is removed is given back. Several such directories may share one quota. Names of
//! directories below the root are passed on and not counted unless they are written through here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskError, DiskFile};
use crate::quota::{Allowance, Holding};

/// A disk under a quota.
pub struct LimitedDisk {
    inner: Arc<dyn Disk>,
    count: Arc<Mutex<Count>>,
}

struct Count {
    held: Holding,
    /// Bytes of each file.
    files: BTreeMap<String, u64>,
}

impl Count {
    fn set(&mut self, name: &str, bytes: Option<u64>) {
        let before = match bytes {
            Some(bytes) => self.files.insert(name.to_owned(), bytes),
            None => self.files.remove(name),
        };
        let now = self.held.amount() - before.unwrap_or(0) + bytes.unwrap_or(0);
        self.held.settle(now);
    }

    fn bytes(&self, name: &str) -> u64 {
        self.files.get(name).copied().unwrap_or(0)
    }
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LimitedDisk {
    /// Counts what lies in the root of `inner` against the quota from here on.
    ///
    /// # Errors
    /// The device fails.
    pub fn new(inner: Arc<dyn Disk>, quota: &Arc<Allowance>) -> Result<Self, DiskError> {
        let mut count = Count { held: Holding::of(quota), files: BTreeMap::new() };
        for name in inner.list("")? {
            // A directory has no length that means anything.
            if let Ok(Some(bytes)) = inner.length(&name) {
                count.set(&name, Some(bytes));
            }
        }
        Ok(Self { inner, count: Arc::new(Mutex::new(count)) })
    }
}

impl Disk for LimitedDisk {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let inner = self.inner.create(name)?;
        lock(&self.count).set(name, Some(0));
        Ok(Box::new(LimitedFile { inner, name: name.to_owned(), count: self.count.clone() }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        self.inner.open(name)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        self.inner.length(name)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.inner.list(directory)
    }

    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.inner.make_directory(directory)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.inner.link(from, to)?;
        let mut count = lock(&self.count);
        let bytes = count.bytes(from);
        count.set(to, Some(bytes));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.inner.rename(from, to)?;
        let mut count = lock(&self.count);
        let bytes = count.bytes(from);
        count.set(from, None);
        count.set(to, Some(bytes));
        Ok(())
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        let is_done = self.inner.rename_new(from, to)?;
        if is_done {
            let mut count = lock(&self.count);
            let bytes = count.bytes(from);
            count.set(from, None);
            count.set(to, Some(bytes));
        }
        Ok(is_done)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.inner.remove(name)?;
        lock(&self.count).set(name, None);
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        self.inner.sync_dir(directory)
    }
}

struct LimitedFile {
    inner: Box<dyn DiskFile>,
    name: String,
    count: Arc<Mutex<Count>>,
}

impl DiskFile for LimitedFile {
    fn length(&self) -> Result<u64, DiskError> {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut count = lock(&self.count);
        // What was removed is given back already; no protocol writes to such a file.
        let before = count.files.get(&self.name).copied();
        let more = before.map_or(0, |before| end.saturating_sub(before));
        if more > 0 {
            if !count.held.grow(more) {
                let quota = count.held.allowance();
                let (used, limit) = (quota.used(), quota.limit());
                return Err(DiskError::Quota { name: self.name.clone(), used, more, limit });
            }
            count.files.insert(self.name.clone(), end);
        }
        drop(count);
        self.inner.write_at(offset, bytes)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.inner.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::tests::memory_disk::MemoryDisk;

    fn disk(limit: u64) -> (Arc<Allowance>, Arc<dyn Disk>, LimitedDisk) {
        let (quota, inner) = (Arc::new(Allowance::new(limit)), Arc::new(MemoryDisk::default()));
        inner.create("old").unwrap().write_at(0, &[1; 40]).unwrap();
        let limited = LimitedDisk::new(inner.clone(), &quota).unwrap();
        (quota, inner, limited)
    }

    #[test]
    fn what_would_pass_the_quota_is_not_written() {
        let (quota, inner, disk) = disk(100);
        assert_eq!(quota.used(), 40);
        let mut file = disk.create("new").unwrap();
        file.write_at(0, &[2; 50]).unwrap();
        file.write_at(10, &[3; 50]).unwrap();
        let refused = file.write_at(60, &[4; 1]).unwrap_err();
        assert_eq!(
            refused,
            DiskError::Quota { name: "new".to_owned(), used: 100, more: 1, limit: 100 }
        );
        assert_eq!(inner.length("new").unwrap(), Some(60));
        disk.remove("old").unwrap();
        file.write_at(60, &[4; 40]).unwrap();
        drop((file, disk));
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn a_file_counts_under_each_of_its_names() {
        let (quota, _, disk) = disk(100);
        disk.rename("old", "other").unwrap();
        assert_eq!(quota.used(), 40);
        disk.link("other", "third").unwrap();
        assert_eq!(quota.used(), 80);
        disk.remove("other").unwrap();
        disk.remove("third").unwrap();
        disk.remove("third").unwrap();
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn a_file_that_is_removed_while_it_is_open_is_not_counted_again() {
        let (quota, _, disk) = disk(100);
        let mut file = disk.create("new").unwrap();
        file.write_at(0, &[2; 50]).unwrap();
        disk.remove("new").unwrap();
        file.write_at(50, &[2; 50]).ok();
        assert_eq!(quota.used(), 40);
    }

    #[test]
    fn what_is_there_already_may_pass_the_quota_and_keeps_others_from_writing() {
        let (quota, _, disk) = disk(10);
        assert_eq!(quota.used(), 40);
        assert!(disk.create("new").unwrap().write_at(0, &[1]).is_err());
    }
}
