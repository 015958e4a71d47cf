//! From an error of the system to the code that a guest is told. Its words stay here: they may name what
//! lies on the host.

use std::io;

use rustix::io::Errno;
use wasmtime::component::ResourceTableError;

use crate::bindings::wasi::wasi::filesystem::types::ErrorCode;

/// Why a function of the filesystem answers no.
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub enum FileError {
    /// The guest is told.
    Code(ErrorCode),
    /// The call ends: a handle that is none, or too many of them.
    Fault(wasmtime::Error),
}

impl From<ErrorCode> for FileError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Code(code(&error))
    }
}

impl From<wasmtime::Error> for FileError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Fault(error)
    }
}

impl From<ResourceTableError> for FileError {
    fn from(error: ResourceTableError) -> Self {
        Self::Fault(error.into())
    }
}

pub(super) fn code(error: &io::Error) -> ErrorCode {
    let Some(errno) = Errno::from_io_error(error) else {
        // Made by cap-std, most of all for a path that leads out of the directory.
        return match error.kind() {
            io::ErrorKind::NotFound => ErrorCode::NoEntry,
            io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
            io::ErrorKind::InvalidInput => ErrorCode::Invalid,
            _ => ErrorCode::Io,
        };
    };
    match errno {
        Errno::NOENT => ErrorCode::NoEntry,
        Errno::ACCESS => ErrorCode::Access,
        Errno::PERM | Errno::XDEV => ErrorCode::NotPermitted,
        Errno::NOTDIR => ErrorCode::NotDirectory,
        Errno::ISDIR => ErrorCode::IsDirectory,
        Errno::LOOP => ErrorCode::Loop,
        Errno::NAMETOOLONG => ErrorCode::NameTooLong,
        Errno::INVAL => ErrorCode::Invalid,
        Errno::AGAIN => ErrorCode::WouldBlock,
        Errno::BUSY => ErrorCode::Busy,
        Errno::MFILE | Errno::NFILE => ErrorCode::Quota,
        Errno::NOMEM => ErrorCode::InsufficientMemory,
        Errno::OVERFLOW => ErrorCode::Overflow,
        Errno::ILSEQ => ErrorCode::IllegalByteSequence,
        Errno::NXIO | Errno::NODEV => ErrorCode::NoDevice,
        _ => ErrorCode::Io,
    }
}
