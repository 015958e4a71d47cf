//! What a report says of checkpoints that were given up.

use std::path::PathBuf;

use serde::Serialize;

use crate::job::RolledBack;

/// A rollback, as programs read it.
#[derive(Serialize)]
pub(super) struct RollbackView {
    /// The checkpoint that the job went back to.
    checkpoint: u64,
    discarded: Vec<DiscardedView>,
    /// The directory, in that of the checkpoints, that their manifests lie in now.
    manifests_in: String,
    /// Published files that were set aside.
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct DiscardedView {
    manifest: String,
    reason: String,
}

impl RollbackView {
    pub(super) fn new(rolled_back: &RolledBack) -> Self {
        let RolledBack { checkpoint, discarded, manifests_in, files } = rolled_back;
        let discarded = discarded
            .iter()
            .map(|it| DiscardedView { manifest: it.manifest.clone(), reason: it.reason.clone() });
        Self {
            checkpoint: checkpoint.0,
            discarded: discarded.collect(),
            manifests_in: manifests_in.clone(),
            files: files.clone(),
        }
    }

    /// For people: log lines have named the files.
    pub(super) fn text(&self) -> String {
        let Self { checkpoint, discarded, files, .. } = self;
        format!(
            "  went back to checkpoint {checkpoint}: {} given up, {} output files set aside\n",
            discarded.len(),
            files.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::checkpoint::rollback::Discarded;
    use tidemill_core::ids::CheckpointId;

    use super::*;

    #[test]
    fn programs_find_every_file_and_people_the_numbers() {
        let view = RollbackView::new(&RolledBack {
            checkpoint: CheckpointId(4),
            discarded: vec![Discarded { manifest: "m".into(), reason: "cut".into() }],
            manifests_in: "aside".into(),
            files: vec!["/out/a".into(), "/out/b".into()],
        });
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["checkpoint"], &value["files"][1]), (&4.into(), &"/out/b".into()));
        assert_eq!(value["discarded"][0]["reason"], "cut");
        assert_eq!(
            view.text(),
            "  went back to checkpoint 4: 1 given up, 2 output files set aside\n"
        );
    }
}
