//! A disk that forgets: what was not synced may be lost, torn or reordered by a loss of power.
//!
//! Owns the difference between what programs see and what is durable. A loss of power keeps any subset of
//! the 512-byte sectors that were written and not synced, and any subset of the changes to a directory
//! that was not synced, as the world's generator chooses; a kill keeps all that programs see. A fuse turns
//! the machine off after so many operations: before the last of them, in its middle, or behind it without
//! an answer. Handles that were open then are dead for good. Oracles look through an observer, which
//! neither counts as an operation nor ever fails.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::disk::{Disk, DiskError, DiskFile, parent};

use crate::rng::Rng;

const SECTOR: usize = 512;

/// What the operation at which the machine goes off still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastOperation {
    /// Nothing.
    Nothing,
    /// Half of a write; any other as a whole.
    Half,
    /// All; only the answer is missing.
    Whole,
}

/// When the machine goes off, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fuse {
    /// At operation number so and so from now, at least 1.
    pub operations: u64,
    /// Only operations of this name count (`link`, `sync`, ...), if there is one.
    pub only: Option<&'static str>,
    /// What the last one still does.
    pub last: LastOperation,
}

#[derive(Debug, Default)]
struct Inode {
    /// What programs see.
    content: Vec<u8>,
    /// What a loss of power leaves at least.
    durable: Vec<u8>,
    /// Writes since the last sync, in order: offset and length, the bytes as of then.
    writes: Vec<(usize, Vec<u8>)>,
}

/// A change to the names of a directory.
#[derive(Clone, Debug)]
enum Change {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

#[derive(Debug, Default)]
struct Tree {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes since the last sync of their directory, in order.
    changes: Vec<(String, Change)>,
    fuse: Option<Fuse>,
    is_off: bool,
    operations: u64,
    /// Counts the times that the machine went off.
    life: u64,
    /// It knows no rename to a new name.
    is_old: bool,
}

/// The disk of one machine; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    tree: Arc<Mutex<Tree>>,
    /// What is put before every name: the directory that this handle is rooted at.
    root: String,
    observes: bool,
}

impl SimDisk {
    /// A machine whose file system knows no rename to a new name.
    #[must_use]
    pub fn old() -> Self {
        let disk = Self::default();
        disk.lock().is_old = true;
        disk
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle rooted at a directory.
    #[must_use]
    pub fn rooted(&self, directory: &str) -> Self {
        let root = format!("{}{directory}/", self.root);
        Self { tree: self.tree.clone(), root, observes: self.observes }
    }

    /// A handle that sees everything and is no part of the run.
    #[must_use]
    pub fn observer(&self) -> Self {
        Self { tree: self.tree.clone(), root: self.root.clone(), observes: true }
    }

    /// Lets the machine go off later.
    pub fn set_fuse(&self, fuse: Fuse) {
        self.lock().fuse = Some(fuse);
    }

    /// Whether the machine is off.
    pub fn is_off(&self) -> bool {
        self.lock().is_off
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Ends all programs; the machine goes on, and what they wrote is there.
    pub fn kill(&self) {
        let mut tree = self.lock();
        tree.is_off = false;
        tree.fuse = None;
        tree.life += 1;
    }

    /// Loses the power and comes back: what was not durable survives as chance has it.
    pub fn lose_power(&self, rng: &mut Rng) {
        self.kill();
        let mut tree = self.lock();
        for inode in &mut tree.inodes {
            for (offset, bytes) in std::mem::take(&mut inode.writes) {
                let mut at = 0;
                while at < bytes.len() {
                    // Up to the next boundary of a sector of the device.
                    let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                    if !rng.one_in(3) {
                        write(&mut inode.durable, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
            inode.content.clone_from(&inode.durable);
        }
        for (_, change) in std::mem::take(&mut tree.changes) {
            if !rng.one_in(3) {
                apply(&mut tree.durable_names, change);
            }
        }
        tree.names = tree.durable_names.clone();
    }

    /// Files in the directory that the handle is rooted at, with their content.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let tree = self.lock();
        let files = below(&tree.names, &self.root).map(|(name, inode)| {
            (name[self.root.len()..].to_owned(), tree.inodes[*inode].content.clone())
        });
        files.collect()
    }

    /// Makes an operation, or turns the machine off. `act` is told whether to do only half.
    fn operate<T>(
        &self,
        name: &str,
        operation: &'static str,
        act: impl FnOnce(&mut Tree, bool) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut tree = self.lock();
        if self.observes {
            return act(&mut tree, false);
        }
        if tree.is_off {
            return Err(off(name, operation));
        }
        tree.operations += 1;
        let counts = |fuse: &&mut Fuse| fuse.only.is_none_or(|only| only == operation);
        let Some(fuse) = tree.fuse.as_mut().filter(counts) else {
            return act(&mut tree, false);
        };
        fuse.operations = fuse.operations.saturating_sub(1);
        if fuse.operations > 0 {
            return act(&mut tree, false);
        }
        let last = fuse.last;
        tree.is_off = true;
        if last != LastOperation::Nothing {
            // Nobody is there to hear the answer.
            act(&mut tree, last == LastOperation::Half).ok();
        }
        Err(off(name, operation))
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    fn file(&self, name: &str, inode: usize, life: u64) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), name: name.to_owned(), inode, life })
    }
}

impl Tree {
    fn change(&mut self, change: Change) {
        let directory = match &change {
            Change::Set(name, _) | Change::Remove(name) | Change::Rename(_, name, _) => {
                parent(name)
            }
        };
        let directory = directory.to_owned();
        apply(&mut self.names, change.clone());
        self.changes.push((directory, change));
    }

    fn inode(&self, full: &str, name: &str) -> Result<usize, DiskError> {
        let found = self.names.get(full).copied();
        found.ok_or_else(|| DiskError::NotFound { name: name.to_owned() })
    }

    fn check_free(&self, full: &str, name: &str) -> Result<(), DiskError> {
        match self.names.contains_key(full) {
            true => Err(DiskError::Exists { name: name.to_owned() }),
            false => Ok(()),
        }
    }
}

fn off(name: &str, operation: &'static str) -> DiskError {
    DiskError::Failed { name: name.to_owned(), operation, reason: "the machine is off".to_owned() }
}

/// The names that begin with `prefix`.
fn below<'a>(
    names: &'a BTreeMap<String, usize>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a usize)> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    names.range::<str, _>(from).take_while(move |(name, _)| name.starts_with(prefix))
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn apply(names: &mut BTreeMap<String, usize>, change: Change) {
    match change {
        Change::Set(name, inode) => drop(names.insert(name, inode)),
        Change::Remove(name) => drop(names.remove(&name)),
        Change::Rename(from, to, inode) => {
            names.remove(&from);
            names.insert(to, inode);
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let full = self.full(name);
        let (inode, life) = self.operate(name, "create", |tree, _| {
            tree.check_free(&full, name)?;
            tree.inodes.push(Inode::default());
            let inode = tree.inodes.len() - 1;
            tree.change(Change::Set(full, inode));
            Ok((inode, tree.life))
        })?;
        Ok(self.file(name, inode, life))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let full = self.full(name);
        let (inode, life) =
            self.operate(name, "open", |tree, _| Ok((tree.inode(&full, name)?, tree.life)))?;
        Ok(self.file(name, inode, life))
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        let full = self.full(name);
        self.operate(name, "look at", |tree, _| {
            let inode = tree.names.get(&full);
            Ok(inode.map(|inode| tree.inodes[*inode].content.len() as u64))
        })
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let prefix = match directory {
            "" => self.root.clone(),
            directory => format!("{}{directory}/", self.root),
        };
        self.operate(directory, "list", |tree, _| {
            let names = below(&tree.names, &prefix).map(|(name, _)| &name[prefix.len()..]);
            // What lies deeper stands for the directory that it lies in.
            let entries = names.map(|name| name.split('/').next().unwrap_or(name).to_owned());
            let mut entries: Vec<String> = entries.collect();
            entries.dedup();
            Ok(entries)
        })
    }

    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        // A directory is there as soon as a file is in it.
        self.operate(directory, "make", |_, _| Ok(()))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (from_full, to_full) = (self.full(from), self.full(to));
        self.operate(to, "link", |tree, _| {
            let inode = tree.inode(&from_full, from)?;
            tree.check_free(&to_full, to)?;
            tree.change(Change::Set(to_full, inode));
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (from_full, to_full) = (self.full(from), self.full(to));
        self.operate(from, "rename", |tree, _| {
            let inode = tree.inode(&from_full, from)?;
            tree.change(Change::Rename(from_full, to_full, inode));
            Ok(())
        })
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        if self.lock().is_old {
            return Ok(false);
        }
        let (from_full, to_full) = (self.full(from), self.full(to));
        self.operate(from, "rename", |tree, _| {
            let inode = tree.inode(&from_full, from)?;
            tree.check_free(&to_full, to)?;
            tree.change(Change::Rename(from_full, to_full, inode));
            Ok(true)
        })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let full = self.full(name);
        self.operate(name, "remove", |tree, _| {
            if tree.names.contains_key(&full) {
                tree.change(Change::Remove(full));
            }
            Ok(())
        })
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        let full = self.full(directory);
        let full = full.trim_end_matches('/');
        self.operate(directory, "sync", |tree, _| {
            let (synced, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut tree.changes).into_iter().partition(|(at, _)| at == full);
            tree.changes = rest;
            synced.into_iter().for_each(|(_, change)| apply(&mut tree.durable_names, change));
            Ok(())
        })
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
    inode: usize,
    life: u64,
}

impl SimFile {
    fn operate<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut Inode, bool) -> T,
    ) -> Result<T, DiskError> {
        let (inode, life) = (self.inode, self.life);
        self.disk.operate(&self.name, operation, |tree, half| match tree.life == life {
            true => Ok(act(&mut tree.inodes[inode], half)),
            false => Err(off(&self.name, operation)),
        })
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> Result<u64, DiskError> {
        self.operate("look at", |inode, _| inode.content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.operate("read", |inode, _| {
            let from = inode.content.len().min(offset as usize);
            let count = buffer.len().min(inode.content.len() - from);
            buffer[..count].copy_from_slice(&inode.content[from..from + count]);
            count
        })
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.operate("write", |inode, half| {
            let bytes = if half { &bytes[..bytes.len() / 2] } else { bytes };
            write(&mut inode.content, offset as usize, bytes);
            inode.writes.push((offset as usize, bytes.to_vec()));
        })
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.operate("sync", |inode, _| {
            inode.writes.clear();
            inode.durable.clone_from(&inode.content);
        })
    }
}
