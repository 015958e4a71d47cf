//! Directories that operators are granted: opened once, and held open for as long as they are.

use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, open, openat};

use super::lookup::check_storage;
use super::{Descriptor, Opened};

/// A directory that operators may read, and the path at which they see it.
#[derive(Clone)]
pub struct GrantedDirectory {
    dir: Arc<Opened<Dir>>,
    guest_path: Arc<str>,
}

/// All that one operator was granted; nothing by default. Cheap to clone.
#[derive(Clone, Default)]
pub struct GrantedFiles {
    directories: Arc<[GrantedDirectory]>,
    /// What hides inode numbers from the guest.
    pub(super) hash_key: [u8; 32],
}

impl GrantedDirectory {
    /// Opens the directory at an absolute path without symbolic links, as canonicalising gives it: a
    /// link on the way was put there since, and would lead past whoever has allowed the path.
    ///
    /// # Errors
    /// What the system says, also about a symbolic link, or a path that is not of this kind.
    pub fn open(path: &Path, guest_path: &str) -> io::Result<Self> {
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut at = open("/", way, Mode::empty())?;
        for component in components {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            at = openat(&at, name, way, Mode::empty())?;
        }
        let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&at, ".", readable, Mode::empty())?;
        check_storage(&opened)?;
        let dir = Arc::new(Opened { it: Dir::from(opened), _permit: None });
        Ok(Self { dir, guest_path: guest_path.into() })
    }
}

impl GrantedFiles {
    /// These directories. The key is a secret of the host.
    pub fn new(directories: Vec<GrantedDirectory>, hash_key: [u8; 32]) -> Self {
        Self { directories: directories.into(), hash_key }
    }

    /// Each directory with the path at which the guest sees it.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Descriptor, String)> {
        self.directories.iter().map(|directory| {
            (Descriptor::Directory(directory.dir.clone()), directory.guest_path.to_string())
        })
    }
}
