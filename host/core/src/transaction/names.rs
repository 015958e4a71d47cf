//! Names of a sink's files.
//!
//! Owns how a name is made and recognised; touches no disk. Invariant: a name made for one sink is never
//! recognised as that of another sink of the same job, even when one sink's name is the beginning of the
//! other's: everything before a fixed number of numbers is the name. Nor as that of a sink of another job: before
//! a sink's name with a `-` in it stands a `.`, which no job's or sink's name holds, so that a name without a `.`
//! is parted at its last `-`.

use crate::ids::{CheckpointId, Incarnation};

/// Numbers in the name of a file that is being written: incarnation, checkpoint, task, number.
const IN_PROGRESS_NUMBERS: usize = 4;
/// Numbers in the name of a published file: checkpoint, task, number. The incarnation is left out: of
/// all that prepared files for a checkpoint, one at most completes it.
const PUBLISHED_NUMBERS: usize = 3;

/// Which file of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    /// Who writes it.
    pub incarnation: Incarnation,
    /// One more than the last barrier before it was begun.
    pub checkpoint: CheckpointId,
    /// The lane that writes it.
    pub task: usize,
    /// Counts the lane's files between two barriers, from 0.
    pub number: u64,
}

/// A name that cannot be part of a file name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be part of a file name; use a name that is not empty and has no `/`")]
pub struct NameError {
    /// The name of a job or sink.
    pub name: String,
}

/// Makes and recognises the names of one sink's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkNames {
    stem: String,
}

impl SinkNames {
    /// Names for the files of `sink` of `job`.
    ///
    /// # Errors
    /// A name is empty or would leave the directory.
    pub fn new(job: &str, sink: &str) -> Result<Self, NameError> {
        for name in [job, sink] {
            if name.is_empty() || name.contains(['/', '\0']) {
                return Err(NameError { name: name.to_owned() });
            }
        }
        let between = if sink.contains('-') { '.' } else { '-' };
        Ok(Self { stem: format!("{job}{between}{sink}") })
    }

    /// `<job>-<sink>`, or `<job>.<sink>` for a sink with a `-` in its name.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// The name of a file until it is committed.
    pub fn in_progress(&self, file: FileId) -> String {
        let FileId { incarnation, checkpoint, task, number } = file;
        format!(".tm-{}-{incarnation}-{checkpoint}-{task}-{number}", self.stem)
    }

    /// The name under which readers find it; `ending` stands for what it holds, such as `txt.gz`.
    pub fn published(&self, file: FileId, ending: &str) -> String {
        let FileId { checkpoint, task, number, .. } = file;
        format!("part-{}-{checkpoint}-{task}-{number}.{ending}", self.stem)
    }

    /// Whether `name` is a file of this sink that was never committed, or not wholly.
    pub fn is_in_progress(&self, name: &str) -> bool {
        self.after_numbers(".tm-", IN_PROGRESS_NUMBERS, name).is_some_and(str::is_empty)
    }

    /// Whether `name` is a published file of this sink, of whatever ending.
    pub fn is_published(&self, name: &str) -> bool {
        let rest = self.after_numbers("part-", PUBLISHED_NUMBERS, name);
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    /// The checkpoint in the name of a published file of this sink; `None` for any other name.
    pub fn published_checkpoint(&self, name: &str) -> Option<CheckpointId> {
        let rest =
            name.strip_prefix("part-")?.strip_prefix(self.stem.as_str())?.strip_prefix('-')?;
        let number = rest.split('-').next()?.parse().ok()?;
        self.is_published(name).then_some(CheckpointId(number))
    }

    /// What follows `<prefix><job>-<sink>` and so many numbers.
    fn after_numbers<'a>(&self, prefix: &str, numbers: usize, name: &'a str) -> Option<&'a str> {
        let mut rest = name.strip_prefix(prefix)?.strip_prefix(self.stem.as_str())?;
        for _ in 0..numbers {
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
    use proptest::prelude::*;

    use super::*;

    fn id(incarnation: u64, checkpoint: u64, task: usize, number: u64) -> FileId {
        FileId {
            incarnation: Incarnation(incarnation),
            checkpoint: CheckpointId(checkpoint),
            task,
            number,
        }
    }

    #[test]
    fn names_are_what_the_documentation_says() {
        let names = SinkNames::new("job", "out").unwrap();
        assert_eq!(names.in_progress(id(1, 2, 3, 4)), ".tm-job-out-1-2-3-4");
        assert_eq!(names.published(id(1, 2, 3, 4), "txt.gz"), "part-job-out-2-3-4.txt.gz");
        assert!(names.is_published("part-job-out-2-3-4.ndjson"), "whatever the ending");
        let checkpoint = |name| names.published_checkpoint(name);
        assert_eq!(checkpoint("part-job-out-2-3-4.txt"), Some(CheckpointId(2)));
        assert_eq!(checkpoint(".tm-job-out-1-2-3-4"), None);
        for odd in [
            "part-job-out-2-3.txt",
            "part-job-out-2-3-.txt",
            "part-job-out-2-3-4",
            "part-job-out-1-2-3-4.txt",
            ".tm-job-out-2-3-4",
            ".tm-job-out-1-2-3-4.tmp",
            ".tm-job-out.lock",
        ] {
            assert!(!names.is_published(odd) && !names.is_in_progress(odd), "{odd}");
            assert_eq!(names.published_checkpoint(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_job_and_a_sink_are_told_apart_where_either_has_a_dash() {
        let stem = |job, sink| SinkNames::new(job, sink).unwrap().stem;
        assert_eq!((stem("a-b", "c"), stem("a", "b-c")), ("a-b-c".into(), "a.b-c".into()));
    }

    #[test]
    fn a_name_that_would_leave_the_directory_is_refused() {
        for name in ["", "a/b", "..\0"] {
            assert!(SinkNames::new("job", name).is_err() && SinkNames::new(name, "sink").is_err());
        }
    }

    proptest! {
        #[test]
        fn no_two_sinks_of_any_jobs_share_a_name(
            own in ("[ab](-[ab0]?){0,3}", "[ab](-[ab0]?){0,3}"),
            other in ("[ab](-[ab0]?){0,3}", "[ab](-[ab0]?){0,3}"),
        ) {
            let stem = |(job, sink): &(String, String)| SinkNames::new(job, sink).unwrap().stem;
            prop_assert_eq!(stem(&own) == stem(&other), own == other);
        }

        #[test]
        fn a_sink_knows_its_own_names_and_no_others(
            own in "[a-c](-[0-9a]{1,2}){0,4}",
            other in "[a-c](-[0-9a]{1,2}){0,4}",
            file in (0..20u64, 0..20u64, 0..20usize, 0..20u64),
        ) {
            let names = |sink: &str| SinkNames::new("job", sink).unwrap();
            let file = id(file.0, file.1, file.2, file.3);
            let (made, reader) = (names(&own), names(&other));
            let (in_progress, published) = (made.in_progress(file), made.published(file, "txt"));
            prop_assert_eq!(reader.is_in_progress(&in_progress), own == other);
            prop_assert_eq!(reader.is_published(&published), own == other);
            prop_assert!(!made.is_in_progress(&published) && !made.is_published(&in_progress));
        }
    }
}
