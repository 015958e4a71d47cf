//! From a path to something open. Each path is resolved by cap-std, inside of its directory.
//!
//! What is neither a regular file nor a directory is not opened: a FIFO or a device could make the lane
//! wait for ever, and opening a device may already do something. So the kind is looked at before, and
//! again after, for it may have changed in between; opening without blocking is for that case. Nor is what
//! the kernel shows as files, which may wait, too, and holds the host's memory (`/proc/self/mem`).

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::{OFlags, fstatfs};

use super::{FileError, PATH_BYTES_MAX};
use crate::bindings::wasi::wasi::filesystem::types::{ErrorCode, PathFlags};

/// Something that was opened.
pub(super) enum Found {
    Directory(Dir),
    File(File),
}

pub(super) fn check(path: &str) -> Result<&Path, FileError> {
    match path {
        path if path.len() > PATH_BYTES_MAX => Err(ErrorCode::NameTooLong.into()),
        path if path.contains('\0') => Err(ErrorCode::Invalid.into()),
        path => Ok(Path::new(path)),
    }
}

/// What lies at a path; of a symbolic link itself, unless links are to be followed.
pub(super) fn metadata(dir: &Dir, flags: PathFlags, path: &str) -> Result<Metadata, FileError> {
    // A slash at the end asks for the directory that a link leads to.
    let asks_for_directory = path.ends_with('/') || path.ends_with("/.");
    let path = check(path)?;
    Ok(match flags.contains(PathFlags::SYMLINK_FOLLOW) || asks_for_directory {
        true => dir.metadata(path)?,
        false => dir.symlink_metadata(path)?,
    })
}

/// Opens what lies at a path, to read it.
pub(super) fn open(dir: &Dir, flags: PathFlags, path: &str) -> Result<Found, FileError> {
    let metadata = metadata(dir, flags, path)?;
    if metadata.is_dir() {
        let opened = dir.open_dir(path)?;
        check_storage(&opened)?;
        return Ok(Found::Directory(opened));
    }
    if metadata.is_symlink() {
        return Err(ErrorCode::Loop.into());
    }
    let file = match metadata.is_file() {
        true => dir.open_with(path, &without_waiting())?,
        false => return Err(ErrorCode::NotPermitted.into()),
    };
    check_storage(&file)?;
    match file.metadata()?.is_file() {
        true => Ok(Found::File(file)),
        false => Err(ErrorCode::NotPermitted.into()),
    }
}

/// File systems of the kernel.
const OF_THE_KERNEL: [i64; 12] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
];

/// Fails for what lies on no storage but is made up by the kernel.
pub(super) fn check_storage(opened: impl AsFd) -> io::Result<()> {
    let kind = fstatfs(opened)?.f_type;
    match OF_THE_KERNEL.iter().any(|kernels| i128::from(*kernels) == i128::from(kind)) {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.read(true).custom_flags(flags.bits().cast_signed());
    options
}

/// Where a symbolic link leads. Absolute targets are paths of the host and not told.
pub(super) fn read_link(dir: &Dir, path: &str) -> Result<String, FileError> {
    let target = dir.read_link(check(path)?)?.into_os_string();
    target.into_string().map_err(|_| ErrorCode::IllegalByteSequence.into())
}
