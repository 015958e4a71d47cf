//! A new version of a component that stores its state in another form.

use super::case::published;
use super::failpoints::run_to;
use super::history::{check_counts, check_end, interrupted, use_version, versions};
use crate::harness::Place;

/// The files of a folder with their content.
fn files(place: &Place, folder: &str) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = std::fs::read(place.path(folder).join(&name)).expect("it is readable");
        (name, bytes)
    };
    place.names(folder).into_iter().map(read).collect()
}

const CHECKPOINTS: &str = ".tidemill/history/checkpoints";

#[test]
fn a_new_version_goes_on_with_the_migrated_state_and_the_old_one_no_more() {
    let place = interrupted("");
    use_version(&place, 2);
    run_to(&place, "commit.after", 1, &[]);
    let now = versions(&place);
    assert!(now.iter().all(|(state, version)| *version == if state == "same" { 1 } else { 2 }));
    use_version(&place, 1);
    let says = ["operator history", "has schema version 2 in the snapshot", "or a later one"];
    place.run().end().refuses(78, &says);
    use_version(&place, 2);
    let ended = place.run().end().expect(0).has_no_panic();
    assert!(!ended.stderr.contains("migrated"), "it is done once: {}", ended.stderr);
    check_end(&place);
}

#[test]
fn what_is_migrated_is_told() {
    let place = interrupted("");
    use_version(&place, 2);
    let mut ended = place.run().end().expect(0).has_no_panic();
    for state in ["count", "last", "numbers", "kinds"] {
        let told = format!("State {state} of history was migrated from schema version 1 to 2");
        ended = ended.says(&[&told]);
    }
    assert!(!ended.stderr.contains("State same"), "{}", ended.stderr);
    check_end(&place);
}

#[test]
fn a_kill_before_the_first_new_checkpoint_has_it_migrated_again() {
    let place = interrupted("");
    let before = files(&place, CHECKPOINTS);
    use_version(&place, 2);
    for (at, count) in [("state.migrating", 1), ("state.migrating", 3), ("state.restored", 1)] {
        println!("killed at {at}:{count}");
        run_to(&place, at, count, &[]);
        assert!(files(&place, CHECKPOINTS) == before, "no checkpoint has changed");
    }
    for at in ["snapshot.written", "snapshot.synced", "manifest.before"] {
        println!("killed at {at}");
        run_to(&place, at, 1, &[]);
        assert_eq!(versions(&place)["count"], 1, "there is no new checkpoint");
    }
    // It was not relied on yet, so the old version still goes on.
    use_version(&place, 1);
    run_to(&place, "commit.after", 1, &[]);
    use_version(&place, 2);
    run_to(&place, "manifest.after", 1, &[]);
    assert_eq!(versions(&place)["count"], 2);
    place.run().end().expect(0).has_no_panic();
    check_end(&place);
}

#[test]
fn state_is_migrated_and_dealt_to_other_lanes_at_once() {
    let place = interrupted("");
    use_version(&place, 2);
    run_to(&place, "state.restored", 1, &["parallelism=3"]);
    run_to(&place, "commit.after", 1, &["parallelism=4"]);
    run_to(&place, "commit.after", 1, &["parallelism=2"]);
    place.run().set("parallelism=3").end().expect(0).has_no_panic();
    check_end(&place);

    // And from several lanes to one.
    let place = interrupted("");
    run_to(&place, "commit.after", 2, &["parallelism=3"]);
    use_version(&place, 2);
    place.run().end().expect(0).has_no_panic();
    check_end(&place);
}

#[test]
fn a_migration_that_fails_names_the_item_and_changes_nothing() {
    let rules = [
        ("panic", ["TRAP", "this was never written"]),
        ("loop", ["CPU_LIMIT", "last"]),
        ("refuse", ["the operator gave up", "nobody can read this"]),
        ("memory", ["MEMORY_LIMIT", "last"]),
        ("long", ["ITEM_TOO_LARGE", "at most 1048576 are allowed"]),
    ];
    for (rule, says) in rules {
        println!("{rule}");
        let place = interrupted(&format!("{{\"k\":\"the bad one\",\"rule\":\"{rule}\"}}\n"));
        let (checkpoints, output) = (files(&place, CHECKPOINTS), published(&place));
        use_version(&place, 2);
        let names = [
            "history: state \"last\" cannot be migrated from schema version 1 to 2",
            "item of key \"the bad one\"",
            "nothing has changed",
            "job.toml:",
        ];
        let says: Vec<&str> = names.into_iter().chain(says).collect();
        for lanes in ["parallelism=1", "parallelism=2"] {
            place.run().set(lanes).end().expect(1).says(&says);
            assert!(files(&place, CHECKPOINTS) == checkpoints, "the checkpoint is as it was");
            assert!(published(&place) == output, "nothing new is published");
        }
        place.run().words("--dry-run").end().expect(1).says(&says);
        use_version(&place, 1);
        place.run().end().expect(0).has_no_panic().says(&["Going on from checkpoint"]);
        check_counts(&place);
    }
}

#[test]
fn a_savepoint_of_the_old_version_is_begun_with_by_the_new() {
    let place = interrupted("");
    place.tidemill("savepoint create job.toml --to saved").end().expect(0);
    let saved = files(&place, "saved");
    use_version(&place, 2);
    // The published part is the old job's: the new one writes beside it.
    let begun = || place.run().words("--data-dir elsewhere").set("parallelism=2");
    begun().words("--from saved").end().expect(0).has_no_panic();
    assert!(files(&place, "saved") == saved, "a savepoint is only read");
    check_counts(&place);
    begun().end().expect(0).says(&["has finished before"]);
}
