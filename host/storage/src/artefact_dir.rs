//! Compiled artefacts on disk, readable by their owner only.
//!
//! Knows nothing of what an artefact is; whoever reads one back verifies it with the secret kept here.
//! A lost, torn or foreign file only costs a compilation, so nothing here is an error.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const SECRET: &str = "secret";
const SECRET_BYTES: usize = 32;

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
        fs::read(self.path.join(name)).ok()
    }

    /// Keeps bytes under `name`: a temporary file and a rename, so that a reader never sees a part.
    pub fn save(&self, name: &str, bytes: &[u8]) {
        let temporary = self.path.join(format!("{name}.{}", std::process::id()));
        let written = create(&temporary).and_then(|mut file| file.write_all(bytes));
        if written.and_then(|()| fs::rename(&temporary, self.path.join(name))).is_err() {
            // Nothing to report: the next run compiles again.
            fs::remove_file(&temporary).ok();
        }
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
    fn a_directory_open_to_others_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ArtefactDir::open(base.path()).is_none());
    }
}
