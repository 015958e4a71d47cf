//! The functions of `wasi:filesystem/types`. Whatever would change something answers `read-only`.

use cap_std::fs::Dir;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::lookup::{self, Found};
use super::{Descriptor, EntryStream, FileError, FileInput, Opened, input, metadata};
use crate::bindings::wasi::wasi::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue,
    NewTimestamp, OpenFlags, PathFlags,
};
use crate::guest_data::GuestData;
use crate::host_wasi::{InputStream, LineOutput, StreamFailure};

type Answer<T> = core::result::Result<T, FileError>;

/// What every function that writes answers.
fn read_only<T>() -> Answer<T> {
    Err(ErrorCode::ReadOnly.into())
}

impl types::Host for GuestData {
    fn filesystem_error_code(
        &mut self,
        error: Resource<StreamFailure>,
    ) -> Result<Option<ErrorCode>> {
        Ok(Some(self.table.get(&error)?.0))
    }

    fn convert_error_code(&mut self, error: FileError) -> Result<ErrorCode> {
        match error {
            FileError::Code(code) => Ok(code),
            FileError::Fault(error) => Err(error),
        }
    }
}

impl GuestData {
    fn open(&self, dir: &Dir, flags: PathFlags, path: &str, what: OpenFlags) -> Answer<Descriptor> {
        let permit = Some(self.files.permit()?);
        match lookup::open(dir, flags, path)? {
            Found::Directory(it) => {
                Ok(Descriptor::Directory(Opened { it, _permit: permit }.into()))
            }
            Found::File(_) if what.contains(OpenFlags::DIRECTORY) => {
                Err(ErrorCode::NotDirectory.into())
            }
            Found::File(it) => Ok(Descriptor::File(Opened { it, _permit: permit }.into())),
        }
    }
}

impl types::HostDescriptor for GuestData {
    fn read_via_stream(
        &mut self,
        this: Resource<Descriptor>,
        offset: u64,
    ) -> Answer<Resource<InputStream>> {
        self.frame.host_called(0);
        let file = self.file(&this)?;
        Ok(self.hold(InputStream::File(FileInput::new(file, offset)))?)
    }

    fn read(
        &mut self,
        this: Resource<Descriptor>,
        length: u64,
        offset: u64,
    ) -> Answer<(Vec<u8>, bool)> {
        let file = self.file(&this)?;
        let max = self.read_bytes_max().min(usize::try_from(length).unwrap_or(usize::MAX));
        let bytes = input::read_at(&file.it, max, offset)?;
        self.frame.host_called(bytes.len());
        let is_end = bytes.is_empty() && length > 0;
        Ok((bytes, is_end))
    }

    fn read_directory(&mut self, this: Resource<Descriptor>) -> Answer<Resource<EntryStream>> {
        self.frame.host_called(0);
        let directory = self.directory(&this)?;
        let permit = self.files.permit()?;
        let entries = directory.it.entries()?;
        Ok(self.hold(EntryStream { entries, _permit: permit })?)
    }

    fn open_at(
        &mut self,
        this: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        what: OpenFlags,
        flags: DescriptorFlags,
    ) -> Answer<Resource<Descriptor>> {
        let writes = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
        let changes = DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY;
        self.frame.host_called(path.len());
        let directory = self.directory(&this)?;
        if what.intersects(writes) || flags.intersects(changes) {
            return read_only();
        }
        let opened = self.open(&directory.it, path_flags, &path, what)?;
        Ok(self.hold(opened)?)
    }

    fn readlink_at(&mut self, this: Resource<Descriptor>, path: String) -> Answer<String> {
        self.frame.host_called(path.len());
        lookup::read_link(&self.directory(&this)?.it, &path)
    }

    fn stat(&mut self, this: Resource<Descriptor>) -> Answer<DescriptorStat> {
        self.frame.host_called(0);
        Ok(metadata::stat(&self.descriptor(&this)?.metadata()?))
    }

    fn stat_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> Answer<DescriptorStat> {
        self.frame.host_called(path.len());
        let directory = self.directory(&this)?;
        Ok(metadata::stat(&lookup::metadata(&directory.it, flags, &path)?))
    }

    fn get_type(&mut self, this: Resource<Descriptor>) -> Answer<DescriptorType> {
        Ok(match self.descriptor(&this)? {
            Descriptor::Directory(_) => DescriptorType::Directory,
            Descriptor::File(_) => DescriptorType::RegularFile,
        })
    }

    fn get_flags(&mut self, this: Resource<Descriptor>) -> Answer<DescriptorFlags> {
        self.descriptor(&this)?;
        Ok(DescriptorFlags::READ)
    }

    fn metadata_hash(&mut self, this: Resource<Descriptor>) -> Answer<MetadataHashValue> {
        let found = self.descriptor(&this)?.metadata()?;
        Ok(metadata::hash(&self.files.granted.hash_key, &found))
    }

    fn metadata_hash_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> Answer<MetadataHashValue> {
        let found = lookup::metadata(&self.directory(&this)?.it, flags, &path)?;
        Ok(metadata::hash(&self.files.granted.hash_key, &found))
    }

    fn is_same_object(
        &mut self,
        this: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> Result<bool> {
        let both = [self.descriptor(&this)?.metadata(), self.descriptor(&other)?.metadata()];
        Ok(matches!(both, [Ok(this), Ok(other)] if metadata::is_same(&this, &other)))
    }

    fn advise(&mut self, this: Resource<Descriptor>, _: u64, _: u64, _: Advice) -> Answer<()> {
        self.file(&this).map(drop)
    }

    /// There is nothing to make durable.
    fn sync(&mut self, this: Resource<Descriptor>) -> Answer<()> {
        self.descriptor(&this)?;
        Ok(())
    }

    fn sync_data(&mut self, this: Resource<Descriptor>) -> Answer<()> {
        self.sync(this)
    }

    fn write_via_stream(
        &mut self,
        _: Resource<Descriptor>,
        _: u64,
    ) -> Answer<Resource<LineOutput>> {
        read_only()
    }

    fn append_via_stream(&mut self, _: Resource<Descriptor>) -> Answer<Resource<LineOutput>> {
        read_only()
    }

    fn set_size(&mut self, _: Resource<Descriptor>, _: u64) -> Answer<()> {
        read_only()
    }

    fn set_times(
        &mut self,
        _: Resource<Descriptor>,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> Answer<()> {
        read_only()
    }

    fn write(&mut self, _: Resource<Descriptor>, _: Vec<u8>, _: u64) -> Answer<u64> {
        read_only()
    }

    fn create_directory_at(&mut self, _: Resource<Descriptor>, _: String) -> Answer<()> {
        read_only()
    }

    fn set_times_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> Answer<()> {
        read_only()
    }

    fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> Answer<()> {
        read_only()
    }

    fn remove_directory_at(&mut self, _: Resource<Descriptor>, _: String) -> Answer<()> {
        read_only()
    }

    fn rename_at(
        &mut self,
        _: Resource<Descriptor>,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> Answer<()> {
        read_only()
    }

    fn symlink_at(&mut self, _: Resource<Descriptor>, _: String, _: String) -> Answer<()> {
        read_only()
    }

    fn unlink_file_at(&mut self, _: Resource<Descriptor>, _: String) -> Answer<()> {
        read_only()
    }

    fn drop(&mut self, this: Resource<Descriptor>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
