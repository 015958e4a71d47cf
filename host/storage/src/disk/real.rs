//! A directory as a [`Disk`].

use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;
use tidemill_core::disk::{Disk, DiskError, DiskFile};

use crate::disk::file::{RealFile, explain, unsynced};
use crate::whole::{NO_WAIT, check_regular};

/// A directory of the real file system. Files are opened close-on-exec; errors name the whole path.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    dir: Dir,
}

impl RealDisk {
    /// The disk whose root is the directory `path`, which must exist.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let dir = Dir::open_ambient_dir(path, ambient_authority());
        let dir = dir.map_err(|error| explain(&path.display().to_string(), "open", &error))?;
        Ok(Self::of(path, dir))
    }

    /// The disk whose root is the directory `path`, made durably if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        let made = super::create_all(path);
        made.map_err(|error| explain(&path.display().to_string(), "make", &error))?;
        Self::open(path)
    }

    /// The disk whose root is an open directory; messages name it `path`.
    pub(crate) fn of(path: &Path, dir: Dir) -> Self {
        Self { path: path.to_owned(), dir }
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn shown(&self, name: &str) -> String {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        path.display().to_string()
    }

    fn failed<'a>(
        &'a self,
        name: &'a str,
        operation: &'static str,
    ) -> impl Fn(io::Error) -> DiskError + 'a {
        move |error| explain(&self.shown(name), operation, &error)
    }

    fn open_with(
        &self,
        name: &str,
        operation: &'static str,
        options: &OpenOptions,
    ) -> Result<Box<dyn DiskFile>, DiskError> {
        let file = self.dir.open_with(name, options).map_err(self.failed(name, operation))?;
        let file = file.into_std();
        check_regular(&file).map_err(self.failed(name, operation))?;
        Ok(Box::new(RealFile { file, path: self.shown(name) }))
    }
}

/// How the directory itself is named to the system.
fn dot(directory: &str) -> &str {
    if directory.is_empty() { "." } else { directory }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let mut options = OpenOptions::new();
        self.open_with(name, "create", options.read(true).write(true).create_new(true))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        let mut options = OpenOptions::new();
        self.open_with(name, "open", options.read(true).custom_flags(NO_WAIT))
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        // A link to somewhere else is not the file that a protocol asks about.
        match self.dir.symlink_metadata(name) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => {
                let reason = "it is no regular file".to_owned();
                Err(DiskError::Failed { name: self.shown(name), operation: "use", reason })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(name, "look at")(error)),
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let failed = self.failed(directory, "list");
        let entries = match self.dir.read_dir(dot(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none that a protocol has made.
            names.extend(entry.map_err(&failed)?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Order: each directory is made only when the name of the one above it is durable.
    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        let ends = directory.match_indices('/').map(|(end, _)| end);
        for end in ends.chain([directory.len()]) {
            let (above, path) = (tidemill_core::disk::parent(&directory[..end]), &directory[..end]);
            if path.is_empty() {
                continue;
            }
            match self.dir.create_dir(path) {
                // Perhaps an earlier try ended before its sync.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(self.failed(path, "create"))?,
            }
            self.sync_dir(above)?;
        }
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.dir.hard_link(from, &self.dir, to).map_err(|error| {
            let name = if error.kind() == io::ErrorKind::NotFound { from } else { to };
            self.failed(name, "link")(error)
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.dir.rename(from, &self.dir, to).map_err(self.failed(from, "rename"))
    }

    /// Not every file system can: NFS cannot.
    fn rename_new(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        // Straight to the system, which would follow what lies between two parts of a name.
        if [from, to].iter().any(|name| name.contains('/')) {
            return Ok(false);
        }
        match renameat_with(&self.dir, from, &self.dir, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => {
                let name = if error == Errno::EXIST { to } else { from };
                Err(self.failed(name, "rename")(error.into()))
            }
        }
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        match self.dir.remove_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(self.failed(name, "remove")),
        }
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        let opened = self.dir.open(dot(directory)).map_err(self.failed(directory, "open"))?;
        opened.sync_all().map_err(|error| unsynced(&self.shown(directory), &error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tidemill_core::disk::{create_whole, read_whole, replace_whole};

    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path()).unwrap();
        (root, disk)
    }

    fn put(disk: &RealDisk, name: &str, content: &[u8]) {
        disk.create(name).unwrap().write_at(0, content).unwrap();
    }

    #[test]
    fn a_file_is_created_once_and_read_back_from_any_offset() {
        let (_root, disk) = disk();
        let mut file = disk.create("a").unwrap();
        file.write_at(3, b"later").unwrap();
        file.write_at(0, b"now").unwrap();
        file.sync().unwrap();
        let mut buffer = [0xff; 10];
        assert_eq!(file.read_at(2, &mut buffer), Ok(6), "who creates may read");
        assert_eq!(&buffer[..6], b"wlater");
        let file = disk.open("a").unwrap();
        assert_eq!((file.length(), disk.length("a")), (Ok(8), Ok(Some(8))));
        assert_eq!(file.read_at(8, &mut buffer), Ok(0));
        assert_eq!(file.read_at(100, &mut buffer), Ok(0));
        assert!(matches!(disk.create("a").err(), Some(DiskError::Exists { .. })));
        assert!(matches!(disk.open("b").err(), Some(DiskError::NotFound { .. })));
        assert!(matches!(disk.create("b/c").err(), Some(DiskError::NotFound { .. })));
        assert_eq!(disk.length("b"), Ok(None));
    }

    #[test]
    fn what_is_opened_for_reading_cannot_be_written() {
        let (_root, disk) = disk();
        put(&disk, "a", b"kept");
        assert!(disk.open("a").unwrap().write_at(0, b"lost").is_err());
        assert_eq!(read_whole(&disk, "a", 10), Ok(Some(b"kept".to_vec())));
    }

    #[test]
    fn a_link_never_replaces_a_rename_does_and_removing_nothing_is_fine() {
        let (_root, disk) = disk();
        put(&disk, "a", b"a");
        put(&disk, "b", b"bb");
        assert!(
            matches!(disk.link("a", "b"), Err(DiskError::Exists { name }) if name.ends_with("/b"))
        );
        assert!(
            matches!(disk.link("c", "d"), Err(DiskError::NotFound { name }) if name.ends_with("/c"))
        );
        disk.link("a", "c").unwrap();
        disk.remove("a").unwrap();
        disk.remove("a").unwrap();
        assert_eq!(read_whole(&disk, "c", 10), Ok(Some(b"a".to_vec())));
        disk.rename("b", "c").unwrap();
        assert_eq!((disk.list("").unwrap(), disk.length("c")), (vec!["c".to_owned()], Ok(Some(2))));
        assert!(matches!(disk.rename("b", "c"), Err(DiskError::NotFound { .. })));
        disk.sync_dir("").unwrap();
    }

    #[test]
    fn a_rename_to_a_new_name_never_replaces() {
        let (_root, disk) = disk();
        put(&disk, "a", b"a");
        put(&disk, "b", b"bb");
        let taken = disk.rename_new("a", "b");
        assert!(matches!(taken, Err(DiskError::Exists { name }) if name.ends_with("/b")));
        let missing = disk.rename_new("c", "d");
        assert!(matches!(missing, Err(DiskError::NotFound { name }) if name.ends_with("/c")));
        assert_eq!(disk.list(""), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(disk.rename_new("a", "c"), Ok(true));
        assert_eq!(disk.list(""), Ok(vec!["b".to_owned(), "c".to_owned()]));
        assert_eq!(disk.rename_new("b", "../b"), Ok(false), "no name leads outside");
    }

    #[test]
    fn directories_are_made_listed_and_synced() {
        let (_root, disk) = disk();
        assert_eq!(disk.list("x/y"), Ok(Vec::new()), "one that is missing is empty");
        for _ in 0..2 {
            disk.make_directory("x/y").unwrap();
        }
        disk.make_directory("").unwrap();
        put(&disk, "x/y/b", b"");
        put(&disk, "x/y/a", b"");
        assert_eq!(disk.list("x/y"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(disk.list("x"), Ok(vec!["y".to_owned()]));
        disk.sync_dir("x/y").unwrap();
        assert!(matches!(disk.sync_dir("z"), Err(DiskError::NotFound { .. })));
        assert!(disk.make_directory("x/y/a/c").is_err(), "a file is in the way");
        assert!(disk.length("x").is_err(), "a directory is no file");
    }

    #[test]
    fn no_name_leads_outside() {
        let (root, disk) = disk();
        fs::create_dir(root.path().join("in")).unwrap();
        fs::write(root.path().join("secret"), "secret").unwrap();
        let inside = RealDisk::open(&root.path().join("in")).unwrap();
        symlink("../secret", root.path().join("in/link")).unwrap();
        symlink("..", root.path().join("in/up")).unwrap();
        for name in ["../secret", "link", "up/secret", "/etc/passwd"] {
            assert!(inside.open(name).is_err(), "{name}");
            assert!(inside.create(name).is_err(), "{name}");
            assert!(!matches!(inside.length(name), Ok(Some(_))), "{name}");
            assert!(inside.link(name, "mine").is_err() || name == "link", "{name}");
        }
        assert!(inside.make_directory("../mine").is_err() && inside.list("up").is_err());
        assert_eq!(disk.list(""), Ok(vec!["in".to_owned(), "secret".to_owned()]));
    }

    #[test]
    fn whole_files_are_created_once_and_replaced() {
        let (_root, disk) = disk();
        create_whole(&disk, "m", b"one").unwrap();
        assert!(matches!(create_whole(&disk, "m", b"two"), Err(DiskError::Exists { .. })));
        assert_eq!(read_whole(&disk, "m", 3), Ok(Some(b"one".to_vec())));
        assert_eq!(read_whole(&disk, "m", 2), Ok(None), "too long");
        replace_whole(&disk, "m", b"three").unwrap();
        assert_eq!(read_whole(&disk, "m", 10), Ok(Some(b"three".to_vec())));
        assert_eq!(disk.list("").unwrap(), ["m"]);
    }
}
