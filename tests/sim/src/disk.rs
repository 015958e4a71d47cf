//! A disk that forgets: what was not synced may be lost, torn or reordered by a crash.
//!
//! Owns the difference between what programs see and what is durable. A crash keeps any subset of the
//! 512-byte sectors that were written and not synced, and any subset of the changes to a directory that was
//! not synced, as the world's generator chooses. A fuse makes the disk fail for good after so many
//! operations, in the middle of one if need be, so that a crash can come at any step of any protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tidemill_core::disk::{Disk, DiskError, DiskFile, parent};

use crate::rng::Rng;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What programs see.
    content: Vec<u8>,
    /// What a crash leaves at least.
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    writes: Vec<(usize, Vec<u8>)>,
}

/// A change to the names of a directory.
#[derive(Clone, Debug)]
enum Change {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

#[derive(Clone, Debug, Default)]
struct Tree {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes since the last sync of their directory, in order.
    changes: Vec<(String, Change)>,
    /// Operations that are left before the disk fails.
    fuse: Option<u64>,
    operations: u64,
}

/// The disk of one machine; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    tree: Arc<Mutex<Tree>>,
    /// What is put before every name: the directory that this handle is rooted at.
    root: String,
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("no disk operation panics")
    }

    /// A handle rooted at a directory.
    pub fn rooted(&self, directory: &str) -> Self {
        Self { tree: self.tree.clone(), root: format!("{}{directory}/", self.root) }
    }

    /// Lets the disk fail after `operations` more.
    pub fn set_fuse(&self, operations: Option<u64>) {
        self.lock().fuse = operations;
    }

    /// Whether the fuse has blown.
    pub fn has_failed(&self) -> bool {
        self.lock().fuse == Some(0)
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Loses the power: what was not durable survives as chance has it.
    pub fn crash(&self, rng: &mut Rng) {
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
            inode.content = inode.durable.clone();
        }
        for (_, change) in std::mem::take(&mut tree.changes) {
            if rng.one_in(3) {
                continue;
            }
            apply(&mut tree.durable_names, change);
        }
        tree.names = tree.durable_names.clone();
        tree.fuse = None;
    }

    /// Files below a directory with their content, for oracles.
    pub fn files(&self, directory: &str) -> BTreeMap<String, Vec<u8>> {
        let tree = self.lock();
        let prefix = format!("{}{directory}/", self.root);
        let files = tree.names.iter().filter_map(|(name, inode)| {
            Some((name.strip_prefix(&prefix)?.to_owned(), tree.inodes[*inode].content.clone()))
        });
        files.collect()
    }

    fn begin(&self, name: &str, operation: &'static str) -> Result<MutexGuard<'_, Tree>, DiskError> {
        let mut tree = self.lock();
        tree.operations += 1;
        match &mut tree.fuse {
            Some(0) => Err(failed(name, operation)),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(failed(name, operation)) } else { Ok(tree) }
            }
            None => Ok(tree),
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    fn change(tree: &mut Tree, change: Change) {
        let directory = match &change {
            Change::Set(name, _) | Change::Remove(name) | Change::Rename(_, name, _) => parent(name),
        };
        let directory = directory.to_owned();
        apply(&mut tree.names, change.clone());
        tree.changes.push((directory, change));
    }
}

fn failed(name: &str, operation: &'static str) -> DiskError {
    DiskError::Failed { name: name.to_owned(), operation, reason: "the machine is off".to_owned() }
}

fn not_found(name: &str) -> DiskError {
    DiskError::NotFound { name: name.to_owned() }
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
        let mut tree = self.begin(name, "create")?;
        let full = self.full(name);
        if tree.names.contains_key(&full) {
            return Err(DiskError::Exists { name: name.to_owned() });
        }
        tree.inodes.push(Inode::default());
        let inode = tree.inodes.len() - 1;
        Self::change(&mut tree, Change::Set(full, inode));
        drop(tree);
        Ok(Box::new(SimFile { disk: self.clone(), name: name.to_owned(), inode }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let tree = self.begin(name, "open")?;
        let inode = *tree.names.get(&self.full(name)).ok_or_else(|| not_found(name))?;
        drop(tree);
        Ok(Box::new(SimFile { disk: self.clone(), name: name.to_owned(), inode }))
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        let tree = self.begin(name, "look at")?;
        let inode = tree.names.get(&self.full(name));
        Ok(inode.map(|inode| tree.inodes[*inode].content.len() as u64))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let tree = self.begin(directory, "list")?;
        let prefix = match directory {
            "" => self.root.clone(),
            directory => format!("{}{directory}/", self.root),
        };
        let names = tree.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        let mut entries: Vec<String> =
            names.map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
        entries.dedup();
        Ok(entries)
    }

    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        // A directory is there as soon as a file is in it.
        self.begin(directory, "make").map(drop)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut tree = self.begin(to, "link")?;
        let inode = *tree.names.get(&self.full(from)).ok_or_else(|| not_found(from))?;
        let to_full = self.full(to);
        if tree.names.contains_key(&to_full) {
            return Err(DiskError::Exists { name: to.to_owned() });
        }
        Self::change(&mut tree, Change::Set(to_full, inode));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut tree = self.begin(from, "rename")?;
        let inode = *tree.names.get(&self.full(from)).ok_or_else(|| not_found(from))?;
        let change = Change::Rename(self.full(from), self.full(to), inode);
        Self::change(&mut tree, change);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut tree = self.begin(name, "remove")?;
        let full = self.full(name);
        if tree.names.contains_key(&full) {
            Self::change(&mut tree, Change::Remove(full));
        }
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        let mut tree = self.begin(directory, "sync")?;
        let full = self.full(directory);
        let full = full.trim_end_matches('/');
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut tree.changes).into_iter().partition(|(at, _)| at == full);
        tree.changes = rest;
        synced.into_iter().for_each(|(_, change)| apply(&mut tree.durable_names, change));
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
    inode: usize,
}

impl DiskFile for SimFile {
    fn length(&self) -> Result<u64, DiskError> {
        let tree = self.disk.begin(&self.name, "look at")?;
        Ok(tree.inodes[self.inode].content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let tree = self.disk.begin(&self.name, "read")?;
        let content = &tree.inodes[self.inode].content;
        let from = content.len().min(offset as usize);
        let count = buffer.len().min(content.len() - from);
        buffer[..count].copy_from_slice(&content[from..from + count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut tree = self.disk.begin(&self.name, "write")?;
        let inode = &mut tree.inodes[self.inode];
        write(&mut inode.content, offset as usize, bytes);
        inode.writes.push((offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let mut tree = self.disk.begin(&self.name, "sync")?;
        let inode = &mut tree.inodes[self.inode];
        inode.writes.clear();
        inode.durable = inode.content.clone();
        Ok(())
    }
}
