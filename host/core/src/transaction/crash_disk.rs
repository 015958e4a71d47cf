//! A directory in memory that can crash at any operation.
//!
//! Owns what a crash leaves: of a file what was synced, or any part of what was written since; of the
//! names any subset of what changed since the last sync of their directory; a rename is one change. A handle
//! that was open at the crash fails for ever, as do all operations until [`CrashDisk::crash`] has decided what
//! is left. A directory is there as soon as a file is in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskError, DiskFile, parent};

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// Names and what they stand for now, if anything: all of them change, or none. Synced with the directory of
/// the first.
type Change = Vec<(String, Option<usize>)>;

#[derive(Default)]
struct World {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync, in order.
    changes: Vec<Change>,
    operations: usize,
    crash_at: Option<usize>,
    /// Counts crashes; a handle of an earlier life is dead.
    life: usize,
    syncs: usize,
    /// It knows no rename to a new name.
    is_old: bool,
}

/// The disk. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<World>>);

struct CrashFile {
    disk: CrashDisk,
    name: String,
    file: usize,
    life: usize,
}

impl CrashDisk {
    /// One that knows no rename to a new name.
    pub(crate) fn old() -> Self {
        let disk = Self::default();
        disk.world().is_old = true;
        disk
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Lets the operation after `operations` more fail, and all after it. What the failing one would
    /// change is changed, but not durable.
    pub(crate) fn crash_after(&self, operations: usize) {
        let mut world = self.world();
        world.crash_at = Some(world.operations + operations);
    }

    /// Whether the crash has come.
    pub(crate) fn is_down(&self) -> bool {
        self.world().is_crashing()
    }

    /// Changes of names that a crash may lose now.
    pub(crate) fn unsynced(&self) -> usize {
        self.world().changes.len()
    }

    /// Loses power and comes back: change number `n` of the names survives if `keep(n)`, and of each file
    /// that was written since its sync a part.
    pub(crate) fn crash(&self, keep: impl Fn(usize) -> bool) {
        let mut world = self.world();
        let mut names = std::mem::take(&mut world.durable_names);
        for (number, change) in std::mem::take(&mut world.changes).into_iter().enumerate() {
            if keep(number) {
                apply(&mut names, change);
            }
        }
        for content in &mut world.files {
            // A torn write: the length is there, the bytes are not.
            let torn = vec![0; content.now.len().saturating_sub(content.durable.len()) / 2];
            content.durable.extend(torn);
            content.now = content.durable.clone();
        }
        world.names = names.clone();
        world.durable_names = names;
        world.crash_at = None;
        world.life += 1;
    }

    /// The process dies and the system stays: nothing is lost, and nothing is more durable than it was.
    pub(crate) fn restart(&self) {
        let mut world = self.world();
        world.crash_at = None;
        world.life += 1;
    }

    /// Names and contents as a reader sees them.
    pub(crate) fn listing(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        let content =
            |(name, file): (&String, &usize)| (name.clone(), world.files[*file].now.clone());
        world.names.iter().map(content).collect()
    }

    /// Directory syncs so far.
    pub(crate) fn syncs(&self) -> usize {
        self.world().syncs
    }

    /// Counts an operation on `name` and does it. One that meets the crash has its effect, which is not
    /// durable yet, and fails.
    fn operate<T>(
        &self,
        name: &str,
        effect: impl FnOnce(&mut World) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut world = self.world();
        world.operations += 1;
        match world.crash_at {
            Some(at) if world.operations > at + 1 => Err(down(name)),
            Some(at) if world.operations > at => effect(&mut world).and(Err(down(name))),
            _ => effect(&mut world),
        }
    }
}

fn down(name: &str) -> DiskError {
    DiskError::Failed { name: name.to_owned(), operation: "use", reason: "crashed".to_owned() }
}

fn apply(names: &mut BTreeMap<String, usize>, change: Change) {
    for (name, file) in change {
        match file {
            Some(file) => drop(names.insert(name, file)),
            None => drop(names.remove(&name)),
        }
    }
}

impl World {
    /// A sync that meets the crash proves nothing: what it would sync stays to be decided.
    fn is_crashing(&self) -> bool {
        self.crash_at.is_some_and(|at| self.operations > at)
    }

    fn change(&mut self, name: &str, file: Option<usize>) {
        self.change_all(vec![(name.to_owned(), file)]);
    }

    fn change_all(&mut self, change: Change) {
        apply(&mut self.names, change.clone());
        self.changes.push(change);
    }

    fn find(&self, name: &str) -> Result<usize, DiskError> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| DiskError::NotFound { name: name.to_owned() })
    }

    fn is_free(&self, name: &str) -> Result<(), DiskError> {
        match self.names.contains_key(name) {
            true => Err(DiskError::Exists { name: name.to_owned() }),
            false => Ok(()),
        }
    }
}

impl Disk for CrashDisk {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let (file, life) = self.operate(name, |world| {
            world.is_free(name)?;
            world.files.push(Content::default());
            let file = world.files.len() - 1;
            world.change(name, Some(file));
            Ok((file, world.life))
        })?;
        Ok(Box::new(CrashFile { disk: self.clone(), name: name.to_owned(), file, life }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let (file, life) = self.operate(name, |world| Ok((world.find(name)?, world.life)))?;
        Ok(Box::new(CrashFile { disk: self.clone(), name: name.to_owned(), file, life }))
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        self.operate(name, |world| {
            Ok(world.find(name).ok().map(|file| world.files[file].now.len() as u64))
        })
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let inside = |name: &&String| parent(name) == directory;
        let last = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
        self.operate(directory, |world| Ok(world.names.keys().filter(inside).map(last).collect()))
    }

    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.operate(directory, |_| Ok(()))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.operate(from, |world| {
            let file = world.find(from)?;
            world.is_free(to)?;
            world.change(to, Some(file));
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.operate(from, |world| {
            let file = world.find(from)?;
            world.change_all(vec![(to.to_owned(), Some(file)), (from.to_owned(), None)]);
            Ok(())
        })
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        if self.world().is_old {
            return Ok(false);
        }
        self.operate(from, |world| {
            let file = world.find(from)?;
            world.is_free(to)?;
            world.change_all(vec![(to.to_owned(), Some(file)), (from.to_owned(), None)]);
            Ok(true)
        })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.operate(name, |world| {
            if world.names.contains_key(name) {
                world.change(name, None);
            }
            Ok(())
        })
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        self.operate(directory, |world| {
            if world.is_crashing() {
                return Ok(());
            }
            let is_of =
                |change: &Change| change.iter().take(1).all(|(at, _)| parent(at) == directory);
            let (synced, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut world.changes).into_iter().partition(is_of);
            world.changes = rest;
            synced.into_iter().for_each(|change| apply(&mut world.durable_names, change));
            world.syncs += 1;
            Ok(())
        })
    }
}

impl CrashFile {
    fn operate<T>(&self, effect: impl FnOnce(&mut Content, bool) -> T) -> Result<T, DiskError> {
        self.disk.operate(&self.name, |world| {
            if world.life != self.life {
                return Err(down(&self.name));
            }
            let is_crashing = world.is_crashing();
            Ok(effect(&mut world.files[self.file], is_crashing))
        })
    }
}

impl DiskFile for CrashFile {
    fn length(&self) -> Result<u64, DiskError> {
        self.operate(|content, _| content.now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.operate(|content, _| {
            let rest = content.now.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        })
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.operate(|content, _| {
            let end = offset as usize + bytes.len();
            content.now.resize(content.now.len().max(end), 0);
            content.now[offset as usize..end].copy_from_slice(bytes);
        })
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.operate(|content, is_crashing| {
            if !is_crashing {
                content.durable = content.now.clone();
            }
        })
    }
}
