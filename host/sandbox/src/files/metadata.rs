//! What a guest is told about a file: kind, size and time of the last change. Who else reads it, who
//! owns it and what the host calls it is not told.

use cap_std::fs::{FileType, FileTypeExt, Metadata, MetadataExt};
use std::time::UNIX_EPOCH;

use super::Descriptor;
use crate::bindings::wasi::wasi::clocks::wall_clock::Datetime;
use crate::bindings::wasi::wasi::filesystem::types::{
    DescriptorStat, DescriptorType, MetadataHashValue,
};

impl Descriptor {
    pub(super) fn metadata(&self) -> std::io::Result<Metadata> {
        match self {
            Self::Directory(directory) => directory.it.dir_metadata(),
            Self::File(file) => file.it.metadata(),
        }
    }
}

pub(super) fn kind(kind: FileType) -> DescriptorType {
    match kind {
        kind if kind.is_dir() => DescriptorType::Directory,
        kind if kind.is_file() => DescriptorType::RegularFile,
        kind if kind.is_symlink() => DescriptorType::SymbolicLink,
        kind if kind.is_fifo() => DescriptorType::Fifo,
        kind if kind.is_socket() => DescriptorType::Socket,
        kind if kind.is_block_device() => DescriptorType::BlockDevice,
        kind if kind.is_char_device() => DescriptorType::CharacterDevice,
        _ => DescriptorType::Unknown,
    }
}

pub(super) fn stat(metadata: &Metadata) -> DescriptorStat {
    let modified = metadata.modified().ok();
    let modified = modified.and_then(|time| time.into_std().duration_since(UNIX_EPOCH).ok());
    let modified =
        modified.map(|time| Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() });
    DescriptorStat {
        type_: kind(metadata.file_type()),
        link_count: metadata.nlink(),
        size: metadata.len(),
        // Reading changes it, and others read, too.
        data_access_timestamp: None,
        data_modification_timestamp: modified,
        status_change_timestamp: None,
    }
}

/// Tells files and their versions apart, without numbers of the host.
pub(super) fn hash(key: &[u8; 32], metadata: &Metadata) -> MetadataHashValue {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for number in [metadata.dev(), metadata.ino(), metadata.len()] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [metadata.mtime(), metadata.mtime_nsec()] {
        hasher.update(&number.to_le_bytes());
    }
    let mut halves = [0; 16];
    hasher.finalize_xof().fill(&mut halves);
    let [lower, upper] = [0, 8]
        .map(|at| halves[at..at + 8].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)));
    MetadataHashValue { lower, upper }
}

pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
