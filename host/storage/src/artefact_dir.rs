//! Compiled artefacts on disk, readable by their owner only.
//!
//! Knows nothing of what an artefact is; whoever reads one back verifies it with the secret kept here.
//! A lost, torn or foreign file only costs a compilation, so nothing here is an error.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const SECRET: &str = "secret";
const SECRET_BYTES: usize = 32;
/// What all artefacts together may take: each file of some tenant's is one.
const BYTES_MAX: u64 = 4 << 30;

/// A directory of artefacts.
#[derive(Debug)]
pub struct ArtefactDir {
    path: PathBuf,
    secret: [u8; SECRET_BYTES],
}

impl ArtefactDir {
    /// Opens (and makes, if need be) a directory of artefacts. `None` when it cannot be made, or
    /// belongs to somebody else or is open to others: then nothing is kept.
    pub fn open(path: &Path) -> Option<Self> {
        if !path.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).ok()?;
        }
        let metadata = fs::symlink_metadata(path).ok()?;
        let ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
        if !ours || metadata.permissions().mode() & 0o077 != 0 {
            return None;
        }
        let secret = read_secret(path).or_else(|| make_secret(path))?;
        Some(Self { path: path.to_path_buf(), secret })
    }

    /// A secret of this installation.
    pub fn secret(&self) -> [u8; SECRET_BYTES] {
        self.secret
    }

    /// The bytes saved under `name`, if any.
    pub fn load(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path.join(name);
        let bytes = fs::read(&path).ok()?;
        // What is in use goes last.
        fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now())).ok();
        Some(bytes)
    }

    /// Keeps bytes under `name`: a temporary file and a rename, so that a reader never sees a part. What was used least lately
    /// makes room.
    pub fn save(&self, name: &str, bytes: &[u8]) {
        let temporary = self.path.join(format!("{name}.{}", std::process::id()));
        let written = create(&temporary).and_then(|mut file| file.write_all(bytes));
        if written.and_then(|()| fs::rename(&temporary, self.path.join(name))).is_err() {
            // Nothing to report: the next run compiles again.
            fs::remove_file(&temporary).ok();
        }
        self.trim(BYTES_MAX).ok();
    }

    fn trim(&self, max: u64) -> std::io::Result<()> {
        // What another process has removed meanwhile is not there.
        let file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            let is_artefact = entry.file_name() != SECRET;
            is_artefact.then_some((metadata.modified().ok()?, metadata.len(), entry.path()))
        };
        let mut files: Vec<_> = fs::read_dir(&self.path)?.flatten().filter_map(file).collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= max {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= bytes;
            }
        }
        Ok(())
    }
}

fn create(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn read_secret(path: &Path) -> Option<[u8; SECRET_BYTES]> {
    fs::read(path.join(SECRET)).ok()?.try_into().ok()
}

fn make_secret(path: &Path) -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    fs::File::open("/dev/urandom").ok()?.read_exact(&mut secret).ok()?;
    let temporary = path.join(format!("{SECRET}.{}", std::process::id()));
    create(&temporary).ok()?.write_all(&secret).ok()?;
    // Another process may have been faster: then its secret is the one.
    let linked = fs::hard_link(&temporary, path.join(SECRET));
    fs::remove_file(&temporary).ok();
    if linked.is_ok() { Some(secret) } else { read_secret(path) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn artefacts_and_the_secret_outlive_the_process() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("artefacts");
        let dir = ArtefactDir::open(&path).unwrap();
        dir.save("a", b"code");
        let again = ArtefactDir::open(&path).unwrap();
        assert_eq!(again.load("a").as_deref(), Some(&b"code"[..]));
        assert_eq!(again.secret(), dir.secret());
        assert_eq!(again.load("b"), None);
    }

    #[test]
    fn what_was_used_least_lately_makes_room() {
        let base = tempfile::tempdir().unwrap();
        let dir = ArtefactDir::open(&base.path().join("artefacts")).unwrap();
        for (age_s, name) in [(30, "old"), (20, "used"), (10, "new")] {
            dir.save(name, &[0; 1000]);
            let file = fs::File::open(dir.path.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        assert!(dir.load("old").is_some());
        dir.trim(2500).unwrap();
        let left: Vec<bool> = ["old", "used", "new"].map(|name| dir.load(name).is_some()).into();
        assert_eq!(left, [true, false, true]);
        assert!(ArtefactDir::open(&dir.path).is_some_and(|again| again.secret() == dir.secret()));
    }

    #[test]
    fn a_directory_open_to_others_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ArtefactDir::open(base.path()).is_none());
    }
}
