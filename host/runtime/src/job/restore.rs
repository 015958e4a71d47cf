//! Puts the keyed state of one task back from its snapshot files.
//!
//! Owns the checks before a byte is used: every file has the length and the digest that the manifest says.

use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::describe::Description;
use tidemill_core::disk::Disk;
use tidemill_core::ids::{KeyGroup, LaneId};
use tidemill_core::snapshot::{
    Expectations, Restore, SnapshotError, SnapshotReader, compare_states, verify,
};
use tidemill_core::state::{EncodeBudget, TaskState};

use super::basis::{Basis, TaskBasis};
use super::keeper::Places;

/// Restores what `task` says into an empty state.
pub(super) fn restore(
    state: &mut TaskState,
    task: &TaskBasis,
    description: &Description,
    basis: &Basis,
    operator: &str,
    lane: LaneId,
    places: &Places,
) -> Result<(), SnapshotError> {
    let groups: Vec<KeyGroup> = basis.assignment.owned_by(lane).collect();
    let mapping = compare_states(&task.states, &description.states);
    for chain in &task.chains {
        let open = |file: &SnapshotFile| open(places.checkpoints.disk(), file, basis, operator);
        let readers = chain.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut restore = Restore::new(readers, &groups, mapping.ids.clone())?;
        while !state.restore(&mut restore, EncodeBudget::default())? {}
    }
    Ok(())
}

fn open(
    disk: &std::sync::Arc<dyn Disk>,
    file: &SnapshotFile,
    basis: &Basis,
    operator: &str,
) -> Result<SnapshotReader, SnapshotError> {
    verify(&*disk.open(&file.name)?, &file.name, file.bytes, &file.digest)?;
    let expected = Expectations {
        bytes: file.bytes,
        identity: basis.manifest.files_identity.as_ref().unwrap_or(&basis.manifest.identity),
        operator,
        key_groups: basis.assignment.groups(),
        hash_seed: basis.manifest.hash_seed,
        is_base: file.is_base,
    };
    SnapshotReader::open(disk.open(&file.name)?, &file.name, Some(&expected))
}
