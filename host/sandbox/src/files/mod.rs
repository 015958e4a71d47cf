//! The files of an operator: directories that it was granted, read-only, behind `wasi:filesystem`.
//!
//! Owns what a guest can reach through a granted directory and how. Knows nothing of job files and
//! policies: whoever opens a [`GrantedDirectory`] has decided that it may be read.
//!
//! Invariants: no path leads out of a granted directory (cap-std resolves each one inside of it); only
//! regular files and directories are opened, so no call waits for anything but the disk; nothing is
//! ever written, whatever the guest asks for; no answer holds a path, an inode or a device number of
//! the host; what a sandbox has open at once is bounded. Reads are made on the thread of the caller.

mod descriptor;
mod entries;
mod error;
mod granted;
mod input;
mod lookup;
mod metadata;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cap_std::fs::{Dir, File};
use tidemill_core::quota::{Allowance, Holding};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::wasi::wasi::filesystem::types::ErrorCode;
use crate::guest_data::GuestData;
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub use entries::EntryStream;
pub(crate) use error::FileError;
pub use granted::{GrantedDirectory, GrantedFiles};
pub(crate) use input::FileInput;

/// Files and directories that one sandbox may have open at once: a host has not many descriptors. All sandboxes of a tenant
/// together have a quota.
const OPEN_MAX: usize = 64;
/// Bytes of a path that a guest gives.
const PATH_BYTES_MAX: usize = 4096;

/// An open file or directory, as a guest holds it.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Clone)]
pub enum Descriptor {
    /// A directory.
    Directory(Arc<Opened<Dir>>),
    /// A regular file.
    File(Arc<Opened<File>>),
}

/// Something that is open, and counted for as long as it is; the directories that were granted are
/// open for all sandboxes together and not counted.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Opened<T> {
    it: T,
    _permit: Option<Permit>,
}

/// One of the things that a sandbox, and its tenant, may have open.
struct Permit(Arc<AtomicUsize>, #[expect(dead_code, reason = "given back when dropped")] Holding);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The files of one sandbox.
#[derive(Default)]
pub(crate) struct Files {
    granted: GrantedFiles,
    open: Arc<AtomicUsize>,
    of_tenant: Arc<Allowance>,
}

impl Files {
    /// The files that were granted, of which a tenant may have so many open.
    pub(crate) fn new(granted: GrantedFiles, of_tenant: Arc<Allowance>) -> Self {
        Self { granted, open: Arc::default(), of_tenant }
    }

    /// Leave to open one thing more.
    fn permit(&self) -> core::result::Result<Permit, ErrorCode> {
        // A store is used by one thread at a time.
        let mut holding = Holding::of(&self.of_tenant);
        if self.open.load(Relaxed) >= OPEN_MAX || !holding.grow(1) {
            return Err(ErrorCode::Quota);
        }
        self.open.fetch_add(1, Relaxed);
        Ok(Permit(self.open.clone(), holding))
    }
}

impl GuestData {
    /// Bytes that one read may answer.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.frame.limits().host_call_bytes.min(tidemill_core::limits::PAGE_BYTES_MAX)
    }

    fn descriptor(&self, descriptor: &Resource<Descriptor>) -> Result<&Descriptor> {
        Ok(self.table.get(descriptor)?)
    }

    fn directory(
        &self,
        descriptor: &Resource<Descriptor>,
    ) -> core::result::Result<Arc<Opened<Dir>>, FileError> {
        match self.descriptor(descriptor)? {
            Descriptor::Directory(directory) => Ok(directory.clone()),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(
        &self,
        descriptor: &Resource<Descriptor>,
    ) -> core::result::Result<Arc<Opened<File>>, FileError> {
        match self.descriptor(descriptor)? {
            Descriptor::File(file) => Ok(file.clone()),
            Descriptor::Directory(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }
}
