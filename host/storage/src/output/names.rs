//! Names of output files.
//!
//! Owns how a name is made and recognised; touches no disk. Invariant: a name made for one job and
//! sink is never recognised as that of another sink of the same job, even when one sink's name is
//! the beginning of the other's.

use crate::error::FileError;
use crate::files::Packing;

/// Makes and recognises the names of one sink's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputNames {
    stem: String,
    ending: String,
    packing: Packing,
}

impl OutputNames {
    /// Names for the files of `sink` of `job`, with an ending that stands for what they hold, such
    /// as `txt`.
    ///
    /// # Errors
    /// A name cannot be part of a file name.
    pub fn new(job: &str, sink: &str, content: &str, packing: Packing) -> Result<Self, FileError> {
        for name in [job, sink] {
            if name.is_empty() || name.contains(['/', '\0']) {
                return Err(FileError::Name { name: name.to_owned() });
            }
        }
        let ending = match packing {
            Packing::None => content.to_owned(),
            Packing::Gzip => format!("{content}.gz"),
            Packing::Zstd => format!("{content}.zst"),
        };
        Ok(Self { stem: format!("{job}-{sink}"), ending, packing })
    }

    /// How the files are compressed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The name of a lane's file while it is written.
    pub fn in_progress(&self, lane: usize, number: u64) -> String {
        format!(".tm-{}-{lane}-{number}", self.stem)
    }

    /// The name under which readers find it.
    pub fn published(&self, lane: usize, number: u64) -> String {
        format!("part-{}-{lane}-{number}.{}", self.stem, self.ending)
    }

    /// The file that is locked while the sink is in use.
    pub(super) fn lock(&self) -> String {
        format!(".tm-{}.lock", self.stem)
    }

    /// A file that comes and goes to find out whether the directory will do.
    pub(super) fn probe(&self) -> (String, String) {
        (format!(".tm-{}.probe", self.stem), format!(".tm-{}.probe-link", self.stem))
    }

    /// Whether `name` is a published file of this sink, of whatever ending.
    pub(super) fn is_published(&self, name: &str) -> bool {
        self.numbers("part-", name).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Whether `name` is an unfinished file of this sink.
    pub(super) fn is_in_progress(&self, name: &str) -> bool {
        self.numbers(".tm-", name).is_some_and(str::is_empty)
    }

    /// What follows `<prefix><job>-<sink>-<lane>-<n>`.
    fn numbers<'a>(&self, prefix: &str, name: &'a str) -> Option<&'a str> {
        let mut rest = name.strip_prefix(prefix)?.strip_prefix(self.stem.as_str())?;
        for _ in 0..2 {
            let digits = rest.strip_prefix('-')?;
            rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            if rest.len() == digits.len() {
                return None;
            }
        }
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sink: &str) -> OutputNames {
        OutputNames::new("job", sink, "txt", Packing::Gzip).unwrap()
    }

    #[test]
    fn a_sink_knows_its_own_names_and_no_others() {
        let (short, long) = (names("out"), names("out-2"));
        for (own, other) in [(&short, &long), (&long, &short)] {
            assert!(own.is_published(&own.published(0, 12)));
            assert!(own.is_in_progress(&own.in_progress(3, 0)));
            assert!(!own.is_published(&other.published(0, 12)));
            assert!(!own.is_in_progress(&other.in_progress(3, 0)));
            assert!(!own.is_in_progress(&own.published(0, 0)));
        }
        assert_eq!(short.published(1, 2), "part-job-out-1-2.txt.gz");
        assert!(short.is_published("part-job-out-1-2.ndjson"));
        for odd in
            ["part-job-out-1.txt", "part-job-out-1-.txt", "part-job-out-1-2", ".tm-job-out.lock"]
        {
            assert!(!short.is_published(odd) && !short.is_in_progress(odd), "{odd}");
        }
    }

    #[test]
    fn a_name_that_would_leave_the_directory_is_refused() {
        for name in ["", "a/b", "..\0"] {
            assert!(OutputNames::new("job", name, "txt", Packing::None).is_err());
            assert!(OutputNames::new(name, "sink", "txt", Packing::None).is_err());
        }
    }
}
