//! The entries of directories, one at a time: a directory of any size takes no memory. And the
//! directories that a guest begins with.

use cap_std::fs::ReadDir;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Descriptor, FileError, Permit, metadata};
use crate::bindings::wasi::wasi::filesystem::{preopens, types};
use crate::guest_data::GuestData;

/// A walk through the entries of a directory.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct EntryStream {
    pub(super) entries: ReadDir,
    pub(super) _permit: Permit,
}

impl types::HostDirectoryEntryStream for GuestData {
    fn read_directory_entry(
        &mut self,
        stream: Resource<EntryStream>,
    ) -> core::result::Result<Option<types::DirectoryEntry>, FileError> {
        let Some(entry) = self.table.get_mut(&stream)?.entries.next() else { return Ok(None) };
        let entry = entry?;
        let type_ = metadata::kind(entry.file_type()?);
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| types::ErrorCode::IllegalByteSequence)?;
        self.frame.host_called(name.len());
        Ok(Some(types::DirectoryEntry { type_, name }))
    }

    fn drop(&mut self, stream: Resource<EntryStream>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl preopens::Host for GuestData {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let granted = self.files.granted.clone();
        let directories = granted.descriptors();
        directories.map(|(descriptor, path)| Ok((self.hold(descriptor)?, path))).collect()
    }
}
