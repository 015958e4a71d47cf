//! A disk in memory that fails and crashes as it is told.
//!
//! Owns what real disks promise and no more: after a crash each 512-byte sector that was not synced is the
//! old or the new one, a file is as long as it was synced or longer, and each name that was made or removed
//! since its directory was synced is there or not. Everything else is decided by a seed. Used by the tests of
//! two crates, so it names the seam through its parent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seam::{Disk, DiskError, DiskFile, parent};

const SECTOR: usize = 512;

/// Chance from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    pub(crate) fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power fails in the middle of the change with this number; nothing works from then on.
    Power(u64),
    /// The sync with this number fails, and what it should have made durable never will be, though it can
    /// still be read.
    Sync(u64),
    /// The change with this number fails.
    Change(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that the next sync makes durable.
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that no sync has made durable, in order.
    pending: Vec<(String, Option<usize>)>,
    faults: Vec<Fault>,
    changes: u64,
    syncs: u64,
    is_dead: bool,
    space_bytes: Option<usize>,
    /// Told the number of each sync.
    watcher: Option<Sender<u64>>,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everybody else from the disk for as long as the answer lives.
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.state()
    }

    /// Gives notice of every sync of a file, when it is done.
    pub(crate) fn watch_syncs(&self) -> Receiver<u64> {
        let (watcher, syncs) = channel();
        self.state().watcher = Some(watcher);
        syncs
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Lets all files together have so many bytes.
    pub(crate) fn limit_space(&self, bytes: Option<usize>) {
        self.state().space_bytes = bytes;
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.state().used_bytes()
    }

    /// Changes and syncs so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.changes, state.syncs)
    }

    /// What a machine finds after the power failed.
    pub(crate) fn after_crash(&self, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let odds = 1 + chance.below(4);
        let state = self.state();
        let files = state.files.iter().map(|file| file.after_crash(&mut chance, odds)).collect();
        let mut names = state.durable_names.clone();
        for (name, file) in &state.pending {
            match file {
                _ if chance.one_in(odds) => {}
                Some(file) => drop(names.insert(name.clone(), *file)),
                None => drop(names.remove(name)),
            }
        }
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State { files, names, durable_names, ..State::default() })))
    }

    /// The content of a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].data.clone()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, name: &str, data: &[u8]) {
        let mut state = self.state();
        state.files.push(File { data: data.to_vec(), durable: data.to_vec(), ..File::default() });
        let file = state.files.len() - 1;
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
    }

    /// Changes the content of a file behind everybody's back.
    pub(crate) fn alter(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        change(&mut state.files[file].data);
    }
}

impl File {
    fn after_crash(&self, chance: &mut Chance, odds: u64) -> Self {
        let mut data = self.durable.clone();
        if self.data.len() > data.len() {
            let more = (self.data.len() - data.len()).div_ceil(SECTOR) as u64;
            let length = data.len() + chance.below(more + 1) as usize * SECTOR;
            data.resize(length.min(self.data.len()), 0);
        }
        for sector in &self.dirty {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(data.len());
            if start < end && !chance.one_in(odds) {
                data[start..end].copy_from_slice(&self.data[start..end]);
            }
        }
        Self { durable: data.clone(), data, dirty: BTreeSet::new() }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.resize(self.data.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.data.len());
            self.durable[start..end].copy_from_slice(&self.data[start..end]);
        }
    }
}

impl State {
    fn used_bytes(&self) -> usize {
        let files: BTreeSet<usize> = self.names.values().copied().collect();
        files.iter().map(|file| self.files[*file].data.len()).sum()
    }

    /// Counts a change; answers whether the power fails in it.
    fn change(&mut self, name: &str) -> Result<bool, DiskError> {
        self.alive(name)?;
        self.changes += 1;
        if self.faults.contains(&Fault::Change(self.changes)) {
            return Err(broken(name, "change"));
        }
        self.is_dead = self.faults.contains(&Fault::Power(self.changes));
        Ok(self.is_dead)
    }

    fn alive(&self, name: &str) -> Result<(), DiskError> {
        if self.is_dead { Err(broken(name, "reach")) } else { Ok(()) }
    }

    fn name(&mut self, name: &str, file: Option<usize>) {
        match file {
            Some(file) => drop(self.names.insert(name.to_owned(), file)),
            None => drop(self.names.remove(name)),
        }
        self.pending.push((name.to_owned(), file));
    }
}

fn broken(name: &str, operation: &'static str) -> DiskError {
    DiskError::Failed { name: name.to_owned(), operation, reason: "it is broken".to_owned() }
}

/// Fails what the power did not last for; the change itself may still be found after the crash.
fn unless_dead(is_dead: bool, name: &str) -> Result<(), DiskError> {
    if is_dead { Err(broken(name, "finish")) } else { Ok(()) }
}

impl Disk for MemoryDisk {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let mut state = self.state();
        let is_dead = state.change(name)?;
        if state.names.contains_key(name) {
            return Err(DiskError::Exists { name: name.to_owned() });
        }
        state.files.push(File::default());
        let file = state.files.len() - 1;
        state.name(name, Some(file));
        unless_dead(is_dead, name)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), file, name: name.to_owned() }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let state = self.state();
        state.alive(name)?;
        match state.names.get(name) {
            Some(file) => {
                let (disk, name) = (self.clone(), name.to_owned());
                Ok(Box::new(MemoryFile { disk, file: *file, name }))
            }
            None => Err(DiskError::NotFound { name: name.to_owned() }),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        let state = self.state();
        state.alive(name)?;
        Ok(state.names.get(name).map(|file| state.files[*file].data.len() as u64))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let state = self.state();
        state.alive(directory)?;
        let inside = state.names.keys().filter(|name| parent(name) == directory);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        self.state().alive(directory)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let is_dead = state.change(to)?;
        if state.names.contains_key(to) {
            return Err(DiskError::Exists { name: to.to_owned() });
        }
        let Some(file) = state.names.get(from).copied() else {
            return Err(DiskError::NotFound { name: from.to_owned() });
        };
        state.name(to, Some(file));
        unless_dead(is_dead, to)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let is_dead = state.change(to)?;
        let Some(file) = state.names.get(from).copied() else {
            return Err(DiskError::NotFound { name: from.to_owned() });
        };
        state.name(to, Some(file));
        state.name(from, None);
        unless_dead(is_dead, to)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let is_dead = state.change(name)?;
        if state.names.contains_key(name) {
            state.name(name, None);
        }
        unless_dead(is_dead, name)
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let is_dead = state.change(directory)?;
        unless_dead(is_dead, directory)?;
        let pending = std::mem::take(&mut state.pending);
        for (name, file) in pending {
            match file {
                _ if parent(&name) != directory => state.pending.push((name, file)),
                Some(file) => drop(state.durable_names.insert(name, file)),
                None => drop(state.durable_names.remove(&name)),
            }
        }
        Ok(())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
    name: String,
}

impl DiskFile for MemoryFile {
    fn length(&self) -> Result<u64, DiskError> {
        let state = self.disk.state();
        state.alive(&self.name)?;
        Ok(state.files[self.file].data.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.disk.state();
        state.alive(&self.name)?;
        let data = &state.files[self.file].data;
        let from = (offset as usize).min(data.len());
        let count = buffer.len().min(data.len() - from);
        buffer[..count].copy_from_slice(&data[from..from + count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let is_dead = state.change(&self.name)?;
        let offset = offset as usize;
        let grows = (offset + bytes.len()).saturating_sub(state.files[self.file].data.len());
        let used = state.used_bytes();
        let room = state.space_bytes.map_or(usize::MAX, |space| space.saturating_sub(used));
        if grows > room {
            let fits = (bytes.len() - (grows - room)).min(bytes.len());
            state.files[self.file].write(offset, &bytes[..fits]);
            return Err(DiskError::Full { name: self.name.clone() });
        }
        state.files[self.file].write(offset, bytes);
        unless_dead(is_dead, &self.name)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let is_dead = state.change(&self.name)?;
        unless_dead(is_dead, &self.name)?;
        state.syncs += 1;
        if state.faults.contains(&Fault::Sync(state.syncs)) {
            state.files[self.file].dirty.clear();
            return Err(broken(&self.name, "sync"));
        }
        state.files[self.file].sync();
        let syncs = state.syncs;
        if let Some(watcher) = &state.watcher {
            watcher.send(syncs).ok();
        }
        Ok(())
    }
}
