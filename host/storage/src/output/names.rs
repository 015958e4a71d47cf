//! Names of output files that say what is in them.
//!
//! Owns the endings. How a sink's names are made and recognised is told in
//! [`SinkNames`](tidemill_core::transaction::SinkNames). Touches no disk.

use tidemill_core::transaction::SinkNames;

use crate::error::FileError;
use crate::files::Packing;

/// Makes and recognises the names of one sink's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputNames {
    sink: SinkNames,
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
        let ending = match packing {
            Packing::None => content.to_owned(),
            Packing::Gzip => format!("{content}.gz"),
            Packing::Zstd => format!("{content}.zst"),
        };
        Ok(Self { sink: SinkNames::new(job, sink)?, ending, packing })
    }

    /// The names whatever the ending.
    pub fn sink(&self) -> &SinkNames {
        &self.sink
    }

    /// How the files are compressed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// What the published names end with.
    pub fn ending(&self) -> &str {
        &self.ending
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::ids::{CheckpointId, Incarnation};
    use tidemill_core::transaction::FileId;

    use super::*;

    #[test]
    fn the_ending_tells_the_compression() {
        let file =
            FileId { incarnation: Incarnation(1), checkpoint: CheckpointId(2), task: 3, number: 4 };
        for (packing, ending) in
            [(Packing::None, "txt"), (Packing::Gzip, "txt.gz"), (Packing::Zstd, "txt.zst")]
        {
            let names = OutputNames::new("job", "out", "txt", packing).unwrap();
            let published = names.sink().published(file, names.ending());
            assert_eq!(published, format!("part-job-out-2-3-4.{ending}"));
            assert_eq!(Packing::of(published.as_ref()), packing);
            assert!(names.sink().is_in_progress(&names.sink().in_progress(file)));
        }
    }

    #[test]
    fn a_name_that_would_leave_the_directory_is_refused() {
        let error = OutputNames::new("job", "../out", "txt", Packing::None).unwrap_err();
        assert!(error.to_string().contains("`../out`"), "{error}");
    }
}
