//! How tests run the product: a temporary place with a job file, and the binary run in it.
//!
//! Owns nothing of the product but the path of its binary. Nothing here sleeps, and nothing waits
//! without a limit: a process that does not end in time is killed and its words are shown.

pub(crate) mod events;
mod operators;
mod process;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) use operators::{cargo, operators, target};
pub(crate) use process::{Command, Ended, Running};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A temporary directory in which a job lives.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// An empty place.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// An empty place in memory, where the system has one for files: to be durable takes no time there, and
    /// a process that is killed loses nothing in either.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { dir: dir.expect("a temporary directory can be made") }
    }

    /// A place with a job file. `@operators` in it stands for the directory of the components.
    pub(crate) fn with_job(toml: &str) -> Self {
        let place = Self::new();
        place.job(toml);
        place
    }

    /// Writes the job file anew.
    pub(crate) fn job(&self, toml: &str) {
        let operators = operators().to_str().expect("the target directory is UTF-8");
        self.write("job.toml", toml.replace("@operators", operators));
    }

    /// The path of something in the place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("the place is above")).expect("folders are made");
        fs::write(&path, content).expect("files are written");
        path
    }

    /// Makes a FIFO, to which nobody writes.
    pub(crate) fn fifo(&self, name: &str) {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, self.path(name), mode).expect("a FIFO is made");
    }

    /// The binary with the arguments of `words`, to be run in the place.
    pub(crate) fn tidemill(&self, words: &str) -> Command {
        Command::tidemill(self.dir.path()).words(words)
    }

    /// `tidemill run job.toml`.
    pub(crate) fn run(&self) -> Command {
        self.tidemill("run job.toml")
    }

    /// The names in a folder of the place, sorted; none when it is not there.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("the place is readable").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The lines of the published files in a folder, which must hold nothing else.
    #[track_caller]
    pub(crate) fn lines(&self, folder: &str) -> Vec<String> {
        let names = self.names(folder);
        assert!(names.iter().all(|name| name.starts_with("part-")), "{names:?}");
        self.published(folder)
    }

    /// The lines of the published files in a folder, beside which a job may be at work.
    pub(crate) fn published(&self, folder: &str) -> Vec<String> {
        let names = self.names(folder);
        let names = names.iter().filter(|name| name.starts_with("part-"));
        let read = |name: &String| fs::read_to_string(self.path(folder).join(name));
        let texts = names.map(|name| read(name).expect("outputs are readable text"));
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// As `lines`, sorted: what was written as a multiset.
    #[track_caller]
    pub(crate) fn sorted_lines(&self, folder: &str) -> Vec<String> {
        let mut lines = self.lines(folder);
        lines.sort_unstable();
        lines
    }

    /// Fails if anything in the place is an output file, published or not.
    #[track_caller]
    pub(crate) fn has_no_output(&self) {
        let found = outputs_below(self.dir.path());
        assert!(found.is_empty(), "output files are left: {found:?}");
    }
}

fn outputs_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the place is readable").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with("part-") || name.starts_with(".tm-") {
            found.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(outputs_below(&path));
        }
    }
    found
}
