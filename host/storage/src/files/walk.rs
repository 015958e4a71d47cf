//! Looking for the paths that match a glob pattern.
//!
//! Owns the way through directories and what it may cost, for whoever writes the pattern need not be trusted: each directory is
//! looked through once, however many ways of matching lead to it; `**` does not follow links; and the entries that are looked at
//! and the names that are kept are counted. Decides nothing about files. Invariant: no more than one directory is open.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern};

use crate::error::FileError;

/// A pattern is no longer, as no path can be.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Entries of directories that are looked at for one pattern at most.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of the names of directories that are still to be looked through at most.
const NAMES_BYTES_MAX: usize = 64 << 20;

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What a name between two slashes must be.
enum Part {
    Literal(String),
    Like(Pattern),
    /// `**`: any directories, or none.
    Any,
}

/// Parts of the pattern, by their index, that an entry of a directory may match next; ascending.
type Open = Vec<usize>;

/// A directory to be looked through.
struct Directory {
    path: PathBuf,
    open: Open,
}

/// Goes through all that a pattern can match.
pub(super) struct Walk<'a> {
    pattern: &'a str,
    parts: Vec<Part>,
    todo: Vec<Directory>,
    looked: usize,
    /// [`ENTRIES_MAX`].
    entries_max: usize,
    todo_bytes: usize,
}

impl<'a> Walk<'a> {
    /// Begins at the root, or where the process is for a pattern that is relative.
    ///
    /// # Errors
    /// It is no pattern, or too long.
    pub(super) fn new(pattern: &'a str) -> Result<Self, FileError> {
        let wrong = |reason| FileError::Pattern { pattern: shown(pattern), reason };
        if pattern.len() > PATTERN_BYTES_MAX {
            let size = pattern.len();
            return Err(wrong(format!(
                "it has {size} bytes; at most {PATTERN_BYTES_MAX} are allowed"
            )));
        }
        let of_glob = |error: glob::PatternError| {
            wrong(format!("{} at character {}", error.msg, error.pos + 1))
        };
        Pattern::new(pattern).map_err(of_glob)?;
        if pattern.ends_with('/') {
            return Err(wrong("it ends with `/`, as directories do".to_owned()));
        }
        let names = pattern.split('/').filter(|name| !name.is_empty() && *name != ".");
        let part = |name: &str| match name {
            "**" => Ok(Part::Any),
            name if name.contains(['*', '?', '[']) => Pattern::new(name).map(Part::Like),
            name => Ok(Part::Literal(name.to_owned())),
        };
        let mut parts = names.map(part).collect::<Result<Vec<_>, _>>().map_err(of_glob)?;
        if matches!(parts.last(), Some(Part::Any)) {
            // All below, and not the directories themselves.
            parts.push(Part::Like(Pattern::new("*").map_err(of_glob)?));
        }
        let path = PathBuf::from(if pattern.starts_with('/') { "/" } else { "" });
        let mut walk = Self {
            pattern,
            parts,
            todo: Vec::new(),
            looked: 0,
            entries_max: ENTRIES_MAX,
            todo_bytes: 0,
        };
        walk.enter(path, vec![0])?;
        Ok(walk)
    }

    /// Hands each path that matches to `each`, once, whatever is there: in no order. `is_stopped` is asked again and again.
    ///
    /// # Errors
    /// A directory cannot be read, a name is not UTF-8, there is too much to be looked through, or it was stopped; or what `each` says.
    pub(super) fn run(
        mut self,
        is_stopped: &dyn Fn() -> bool,
        each: &mut dyn FnMut(PathBuf) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        while let Some(Directory { path, open }) = self.todo.pop() {
            self.todo_bytes -= path.as_os_str().len();
            if let [one] = open[..]
                && let Part::Literal(name) = &self.parts[one]
            {
                let path = path.join(name);
                self.look(is_stopped)?;
                // Through links as well: somebody has named them.
                if fs::symlink_metadata(&path).is_ok() {
                    self.matched(path, vec![one + 1], each)?;
                }
                continue;
            }
            let failed =
                |error: io::Error| FileError::List { path: path.clone(), source: Arc::new(error) };
            let here = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
            for entry in fs::read_dir(here).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                self.look(is_stopped)?;
                let next = self.next(&entry, &path, &open)?;
                if !next.is_empty() {
                    self.matched(path.join(entry.file_name()), next, each)?;
                }
            }
        }
        Ok(())
    }

    /// One entry more has been looked at.
    fn look(&mut self, is_stopped: &dyn Fn() -> bool) -> Result<(), FileError> {
        if is_stopped() {
            return Err(FileError::Stopped { pattern: self.pattern.to_owned() });
        }
        self.looked += 1;
        self.check(self.looked <= self.entries_max)
    }

    fn check(&self, is_within: bool) -> Result<(), FileError> {
        let (pattern, limit) = (self.pattern.to_owned(), self.entries_max);
        if is_within { Ok(()) } else { Err(FileError::TooMuchToLookAt { pattern, limit }) }
    }

    /// The parts that may match behind this entry of a directory.
    fn next(&self, entry: &DirEntry, path: &Path, open: &Open) -> Result<Open, FileError> {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(FileError::NotText { path: path.join(name) });
        };
        let mut next = Open::new();
        for &at in open {
            match &self.parts[at] {
                Part::Literal(literal) if literal == name => next.push(at + 1),
                Part::Like(pattern) if pattern.matches_with(name, OPTIONS) => next.push(at + 1),
                Part::Any if !name.starts_with('.') => {
                    let kind = entry.file_type();
                    next.extend(kind.is_ok_and(|kind| kind.is_dir()).then_some(at));
                }
                Part::Literal(_) | Part::Like(_) | Part::Any => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        Ok(next)
    }

    /// A path behind which these parts are open: it matches where none is left, and may lead on where some are.
    fn matched(
        &mut self,
        path: PathBuf,
        mut open: Open,
        each: &mut dyn FnMut(PathBuf) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let is_match = open.pop_if(|last| *last == self.parts.len()).is_some();
        if !open.is_empty() && path.is_dir() {
            self.enter(path.clone(), open)?;
        }
        if is_match { each(path) } else { Ok(()) }
    }

    fn enter(&mut self, path: PathBuf, mut open: Open) -> Result<(), FileError> {
        // `**` stands for no directory as well.
        let mut at = 0;
        while let Some(&part) = open.get(at) {
            if matches!(self.parts.get(part), Some(Part::Any))
                && open.get(at + 1) != Some(&(part + 1))
            {
                open.insert(at + 1, part + 1);
            }
            at += 1;
        }
        open.retain(|part| *part < self.parts.len());
        if open.is_empty() {
            return Ok(());
        }
        self.todo_bytes += path.as_os_str().len();
        self.todo.push(Directory { path, open });
        self.check(self.todo_bytes <= NAMES_BYTES_MAX)
    }
}

/// As much of a pattern as a message may hold.
fn shown(pattern: &str) -> String {
    pattern.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(root: &Path, pattern: &str) -> Result<Vec<String>, FileError> {
        let (mut found, mut count) = (BTreeSet::new(), 0);
        let pattern = format!("{}/{pattern}", Pattern::escape(root.to_str().unwrap()));
        Walk { entries_max: 10_000, ..Walk::new(&pattern)? }.run(&|| false, &mut |path| {
            count += 1;
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            Ok(())
        })?;
        assert_eq!(found.len(), count, "each path once");
        Ok(found.into_iter().collect())
    }

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a/b/c", "a/.hidden", "d"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in [
            "1.txt",
            "a/2.txt",
            "a/b/3.txt",
            "a/b/c/4.txt",
            "a/.hidden/5.txt",
            "d/6.log",
            "d/.7.txt",
        ] {
            fs::write(root.path().join(file), file).unwrap();
        }
        root
    }

    #[test]
    fn patterns_match_as_shells_have_it() {
        let root = tree();
        let of = |pattern: &str| found(root.path(), pattern).unwrap().join(" ");
        assert_eq!(of("*.txt"), "1.txt");
        assert_eq!(of("*/*.txt"), "a/2.txt");
        assert_eq!(of("**/*.txt"), "1.txt a/2.txt a/b/3.txt a/b/c/4.txt");
        assert_eq!(of("a/**/*.txt"), "a/2.txt a/b/3.txt a/b/c/4.txt");
        assert_eq!(of("**/b/**/*.txt"), "a/b/3.txt a/b/c/4.txt");
        assert_eq!(of("**/**/c/*"), "a/b/c/4.txt");
        assert_eq!(of("d/**"), "d/6.log");
        assert_eq!(of("a/[.]hidden/*"), "");
        assert_eq!(of("a/.hidden/?.txt"), "a/.hidden/5.txt");
        assert_eq!(of("d/.*"), "d/.7.txt");
        assert_eq!(of("a//b/./3.txt"), "a/b/3.txt");
        assert_eq!(of("[ad]"), "a d");
        assert_eq!(of("a/../1.txt"), "a/../1.txt");
        assert!(matches!(found(root.path(), "*.txt/"), Err(FileError::Pattern { .. })));
        assert_eq!(of("x/*") + &of("1.txt/*") + &of("1.txt/x"), "");
    }

    #[test]
    fn links_are_followed_where_they_are_named_and_not_by_two_asterisks() {
        let root = tree();
        symlink(".", root.path().join("again")).unwrap();
        symlink("..", root.path().join("d/up")).unwrap();
        symlink("nowhere", root.path().join("broken.txt")).unwrap();
        let of = |pattern: &str| found(root.path(), pattern).unwrap().join(" ");
        assert_eq!(of("again/again/d/*.log"), "again/again/d/6.log");
        assert_eq!(of("a*/1.txt"), "again/1.txt");
        assert_eq!(of("**/*.log"), "d/6.log");
        assert_eq!(of("*.txt"), "1.txt broken.txt");
    }

    #[test]
    fn a_pattern_costs_no_more_than_it_may() {
        let root = tree();
        let deep = (0..60).map(|_| "n").collect::<Vec<_>>().join("/");
        fs::create_dir_all(root.path().join(deep)).unwrap();
        // Ways of matching: more than could ever be gone.
        assert_eq!(found(root.path(), &format!("{}x", "**/*/".repeat(20))).unwrap(), [""; 0]);
        for link in ["p", "q"] {
            symlink(".", root.path().join(link)).unwrap();
        }
        let refused = found(root.path(), &format!("{}x", "[pq]/".repeat(30))).unwrap_err();
        assert!(
            matches!(refused, FileError::TooMuchToLookAt { .. } | FileError::List { .. }),
            "{refused}"
        );
        let refused = Walk::new(&format!("/tmp{}x", "/".repeat(500_000))).err().unwrap();
        assert!(refused.to_string().contains("at most 4096"), "{refused}");
        assert_eq!(
            found(root.path(), &format!("a{}2.txt", "/".repeat(3000))).unwrap(),
            ["a/2.txt"]
        );
    }

    #[test]
    fn a_name_that_is_no_text_is_told() {
        use std::os::unix::ffi::OsStrExt;
        let root = tree();
        fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        assert!(matches!(found(root.path(), "*").unwrap_err(), FileError::NotText { .. }));
    }
}
