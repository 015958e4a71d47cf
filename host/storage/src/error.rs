//! What can go wrong with files, and what the user is told about it.
//!
//! Owns the wording: every message says which file, where, what, and what to do. Invariant: the
//! fault decides the exit code, so every variant has exactly one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::connector::{ConnectorError, ConnectorFault};
use tidemill_core::disk::DiskError;
use tidemill_core::transaction::NameError;

use crate::files::Packing;

/// A failure of a file source or file sink.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FileError {
    /// The pattern itself is wrong.
    #[error(
        "`{pattern}` is not a file pattern: {reason}; use `*`, `?`, `[..]` and `**` as whole parts"
    )]
    Pattern { pattern: String, reason: String },
    /// Nothing to read.
    #[error(
        "no file matches `{pattern}`{}; check the path, and that the files are there",
        also(*.skipped)
    )]
    NoMatch { pattern: String, skipped: usize },
    /// A directory on the way to the files cannot be read.
    #[error(
        "cannot list `{}`: {source}; check that this user may read the directory",
        path.display()
    )]
    List { path: PathBuf, source: Arc<io::Error> },
    /// Partition ids are text, so a path must be too.
    #[error("`{}`: the file name is not UTF-8; rename the file", path.display())]
    NotText { path: PathBuf },
    /// An input cannot be opened.
    #[error(
        "cannot open `{}`: {source}; check that it is there and that this user may read it",
        path.display()
    )]
    Open { path: PathBuf, source: Arc<io::Error> },
    /// The device failed while an input was read.
    #[error(
        "cannot read `{}` at byte {offset}: {source}; check the disk, then run again",
        path.display()
    )]
    Read { path: PathBuf, offset: u64, source: Arc<io::Error> },
    /// An input is not what it was when it was listed.
    #[error(
        "`{}` changed while it was being read: {what}; a file source needs files that stay as \
         they are, so copy it or wait until it is complete, then run again",
        path.display()
    )]
    Changed { path: PathBuf, what: String },
    /// Compressed input cannot be decompressed.
    #[error(
        "`{}`: the {packing} data is damaged or cut short near byte {offset}: {reason}; get an \
         intact copy of the file",
        path.display()
    )]
    Damaged { path: PathBuf, packing: Packing, offset: u64, reason: String },
    /// Decompressing it takes more memory than a source may use.
    #[error(
        "`{}`: the Zstandard data near byte {offset} needs a window of more than 8 MiB; compress the \
         file again without --long, at a level below 20",
        path.display()
    )]
    Window { path: PathBuf, offset: u64 },
    /// More files than a source may have.
    #[error(
        "`{pattern}` and the patterns before it match more than {limit} files; narrow them, or join the files"
    )]
    TooManyFiles { pattern: String, limit: usize },
    /// Whoever wrote the pattern need not be trusted.
    #[error(
        "`{pattern}`: more than {limit} entries of directories, or too many names, would have to be looked at; narrow the pattern"
    )]
    TooMuchToLookAt { pattern: String, limit: usize },
    /// The job was stopped before all files were found.
    #[error("the search for files that match `{pattern}` was stopped")]
    Stopped { pattern: String },
    /// An I/O thread cannot be started.
    #[error(
        "cannot start an I/O thread: {source}; raise the limit on threads or stop other processes"
    )]
    Thread { source: Arc<io::Error> },
    /// An I/O thread died of a defect of ours.
    #[error(
        "the I/O thread that worked on `{}` failed; this is a defect in Tidemill, please report \
         it",
        path.display()
    )]
    Defect { path: PathBuf },
    /// A job or sink name that would leave the directory.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An output directory or file cannot be made.
    #[error(
        "cannot create `{}`: {source}; check that the path is right, that this user may write \
         there, and that there is space",
        path.display()
    )]
    Create { path: PathBuf, source: Arc<io::Error> },
    /// The output directory cannot hold what the sink needs.
    #[error(
        "cannot publish files in `{}`: {source}; the sink needs a file system with hard links, \
         so name another directory",
        path.display()
    )]
    NoLinks { path: PathBuf, source: Arc<io::Error> },
    /// An earlier run's output is in the way.
    #[error(
        "`{}` holds {count} output file(s) of an earlier run, such as `{example}`; move them \
         away, name another directory, or run with --fresh, which removes them",
        path.display()
    )]
    Earlier { path: PathBuf, count: usize, example: String },
    /// Somebody else writes there now.
    #[error("another run of this job holds `{}`; stop it or wait for its end", path.display())]
    Busy { path: PathBuf },
    /// The device failed while an output was written.
    #[error(
        "cannot write `{}` at byte {offset}: {source}; check space and disk, then run again",
        path.display()
    )]
    Write { path: PathBuf, offset: u64, source: Arc<io::Error> },
    /// Data may not have reached the device.
    #[error("cannot make `{}` durable: {source}; check the disk, then run again", path.display())]
    Sync { path: PathBuf, source: Arc<io::Error> },
    /// An output of an earlier run or of an abandoned one cannot be removed.
    #[error("cannot remove `{}`: {source}; remove it by hand", path.display())]
    Remove { path: PathBuf, source: Arc<io::Error> },
    /// What an earlier run left unfinished cannot be found or removed.
    #[error("cannot clean up output: {0}; check the directory's disk and permissions")]
    CleanUp(#[from] DiskError),
}

fn also(skipped: usize) -> String {
    match skipped {
        0 => String::new(),
        n => format!(" (except {n} that are not regular files)"),
    }
}

impl FileError {
    /// Whose fault it is.
    pub fn fault(&self) -> ConnectorFault {
        match self {
            Self::Pattern { .. }
            | Self::NoMatch { .. }
            | Self::List { .. }
            | Self::TooManyFiles { .. }
            | Self::TooMuchToLookAt { .. }
            | Self::Stopped { .. }
            | Self::NotText { .. }
            | Self::Open { .. } => ConnectorFault::MissingInput,
            Self::Changed { .. } | Self::Damaged { .. } | Self::Window { .. } => {
                ConnectorFault::BadData
            }
            Self::Name { .. }
            | Self::Create { .. }
            | Self::NoLinks { .. }
            | Self::Earlier { .. }
            | Self::Busy { .. } => ConnectorFault::CannotCreate,
            Self::Thread { .. } => ConnectorFault::HostFull,
            Self::Read { .. }
            | Self::Defect { .. }
            | Self::Write { .. }
            | Self::Sync { .. }
            | Self::Remove { .. }
            | Self::CleanUp(_) => ConnectorFault::Io,
        }
    }

    pub(crate) fn open(path: &Path, source: io::Error) -> Self {
        Self::Open { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn create(path: &Path, source: io::Error) -> Self {
        Self::Create { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn sync(path: &Path, source: io::Error) -> Self {
        Self::Sync { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn remove(path: &Path, source: io::Error) -> Self {
        Self::Remove { path: path.to_owned(), source: Arc::new(source) }
    }
}

impl From<FileError> for ConnectorError {
    fn from(error: FileError) -> Self {
        Self::new(error.fault(), error.to_string())
    }
}
