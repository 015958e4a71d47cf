//! Checkpoints that are damaged, foreign, or of another version: refused by name, and left as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::case::{SLOW_WORDS, published};
use super::failpoints::run_to;
use super::inputs;
use crate::harness::Place;

/// The job of these tests, on two lanes.
pub(super) fn job(place: &Place) {
    place.job(&format!("parallelism = 2\n{SLOW_WORDS}"));
}

/// What a refusal offers, and what it says of the price.
const FLAG: &str = "--accept-rollback";
const COST: &str = "whoever has read it sees it twice";

pub(super) const CHECKPOINTS: &str = ".tidemill/words/checkpoints";

/// A place whose job was killed when its second checkpoint was committed.
pub(super) fn interrupted() -> Place {
    let place = Place::in_memory();
    job(&place);
    inputs::few_words(&place);
    run_to(&place, "commit.after", 2, &[]);
    place
}

/// The files of the checkpoints with their contents.
pub(super) fn stored(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let bytes = fs::read(place.path(CHECKPOINTS).join(&name)).expect("it is there");
        (name, bytes)
    };
    place.names(CHECKPOINTS).into_iter().map(read).collect()
}

/// Path of the newest file that begins so.
fn newest(place: &Place, start: &str) -> PathBuf {
    let names = place.names(CHECKPOINTS).into_iter();
    let newest = names.filter(|name| name.starts_with(start)).max();
    place.path(CHECKPOINTS).join(newest.expect("a checkpoint has it"))
}

/// The newest manifest.
pub(super) fn manifest(place: &Place) -> PathBuf {
    newest(place, "manifest-")
}

/// A snapshot file of the newest checkpoint.
pub(super) fn snapshot(place: &Place) -> PathBuf {
    newest(place, "state-")
}

/// Runs the damaged job, which must refuse with 74, name the file and change nothing; then puts the file
/// back.
#[track_caller]
fn is_refused(place: &Place, file: &PathBuf, damaged: &[u8], says: &[&str]) {
    let whole = fs::read(file).expect("it is there");
    fs::write(file, damaged).expect("it can be written");
    let (files, output) = (stored(place), published(place));
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    place.run().end().refuses(74, says).says(&[&name]);
    place.run().arg("--dry-run").end().refuses(74, says).says(&[&name]);
    assert!(stored(place) == files, "a start that is refused changes no checkpoint");
    assert!(published(place) == output, "a start that is refused publishes nothing");
    fs::write(file, whole).expect("it can be written");
}

/// The file with one bit flipped at each of some places, and cut at each of them.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let last = whole.len() - 1;
    let places = [0, 12, 20, last / 3, last / 2, last - 40, last];
    let flip = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    places.iter().map(|at| flip(*at)).chain(places.iter().map(|at| whole[..*at].to_vec())).collect()
}

#[test]
fn a_damaged_newest_manifest_is_named_and_nothing_is_changed() {
    let place = interrupted();
    let file = manifest(&place);
    for damaged in damaged(&fs::read(&file).expect("it is there")) {
        let says = ["the newest checkpoint cannot be used", FLAG, COST];
        is_refused(&place, &file, &damaged, &says);
    }
    place.run().end().expect(0).has_no_panic();
}

#[test]
fn a_damaged_snapshot_file_is_named_and_nothing_is_changed() {
    let place = interrupted();
    let file = snapshot(&place);
    for damaged in damaged(&fs::read(&file).expect("it is there")) {
        is_refused(&place, &file, &damaged, &[FLAG, COST]);
    }
    let whole = fs::read(&file).expect("it is there");
    fs::remove_file(&file).expect("it was there");
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    place.run().end().refuses(74, &[&name, FLAG, COST]);
    fs::write(&file, whole).expect("it can be written");
    place.run().end().expect(0).has_no_panic();
}

#[test]
fn a_newest_manifest_that_is_gone_is_missed_and_nothing_is_changed() {
    let place = interrupted();
    let file = manifest(&place);
    let whole = fs::read(&file).expect("it is there");
    fs::remove_file(&file).expect("it was there");
    let (files, output) = (stored(&place), published(&place));
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let says = ["the newest checkpoint cannot be used", "it is missing", &name, FLAG, COST];
    place.run().end().refuses(74, &says);
    place.run().arg("--dry-run").end().refuses(74, &says);
    place.tidemill("savepoint create job.toml --to saved").end().refuses(74, &[&name]);
    assert!(stored(&place) == files, "a start that is refused changes no checkpoint");
    assert!(published(&place) == output, "a start that is refused publishes nothing");
    fs::write(&file, whole).expect("it can be written");
    place.run().end().expect(0).has_no_panic();
}

#[test]
fn a_manifest_of_a_newer_format_is_told_from_a_damaged_one() {
    let place = interrupted();
    let file = manifest(&place);
    let mut newer = fs::read(&file).expect("it is there");
    // Behind the magic number: the major version, little-endian.
    newer[8..10].copy_from_slice(&9u16.to_le_bytes());
    is_refused(&place, &file, &newer, &["it has format 9.", "use the version that wrote it"]);
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let place = interrupted();
    let mine = ["mine.txt", "manifest-", "manifest-x", "state-mine", "manifest-1-2.bak"];
    for name in mine {
        place.write(&format!("{CHECKPOINTS}/{name}"), "mine");
    }
    place.run().end().expect(0).has_no_panic();
    let left = stored(&place);
    let lost: Vec<_> =
        mine.iter().filter(|name| left.get(**name).is_none_or(|text| text != b"mine")).collect();
    assert!(lost.is_empty(), "{lost:?} are gone");
}

#[test]
fn a_job_of_another_name_does_not_take_the_checkpoints() {
    let place = interrupted();
    let names = stored(&place);
    fs::create_dir_all(place.path(".tidemill/other")).expect("folders are made");
    fs::rename(place.path(CHECKPOINTS), place.path(".tidemill/other/checkpoints")).expect("moved");
    place.run().set("name=other").end().refuses(78, &["the checkpoint is of the job \"words\""]);
    fs::rename(place.path(".tidemill/other/checkpoints"), place.path(CHECKPOINTS)).expect("moved");
    assert!(stored(&place) == names);
    place.run().end().expect(0).has_no_panic();
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused() {
    let place = interrupted();
    let before = (stored(&place), published(&place));
    // Nobody can make a directory there, whatever privileges the tests have.
    place.run().words("--data-dir /proc/tidemill").end().refuses(73, &["/proc/tidemill"]);
    place.run().set("checkpoint-dir=/proc/tidemill").end().refuses(73, &["checkpoint-dir"]);
    assert!(before == (stored(&place), published(&place)));
}
