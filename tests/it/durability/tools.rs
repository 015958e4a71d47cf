//! What people see of checkpoints: lists, contents, whether they are whole.

use std::fs;

use super::damage::{CHECKPOINTS, interrupted, manifest, snapshot};
use crate::harness::Place;

fn checkpoint(place: &Place, words: &str) -> crate::harness::Ended {
    place.tidemill(&format!("checkpoint {words} job.toml")).end()
}

#[test]
fn checkpoints_are_listed_and_shown_and_found_whole() {
    let place = interrupted();
    let list = checkpoint(&place, "list --format json").expect(0).report();
    let rows = list.as_array().expect("a row for each checkpoint");
    let numbers: Vec<u64> = rows.iter().filter_map(|row| row["checkpoint"].as_u64()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!((&rows[2]["committed"], &rows[2]["finished"]), (&true.into(), &false.into()));
    let text = checkpoint(&place, "list").expect(0).text();
    assert!(text.contains("newest, committed"), "{text}");
    let shown = checkpoint(&place, "inspect --format json").expect(0).report();
    assert_eq!((&shown["checkpoint"], &shown["job"]), (&2.into(), &"words".into()));
    let text = checkpoint(&place, "inspect").expect(0).text();
    for part in ["checkpoint 2 of incarnation 1", "source lines: 4 partitions", "operator count"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let text = checkpoint(&place, "verify").expect(0).text();
    assert!(text.contains("all of it is as it was written"), "{text}");
    place.run().end().expect(0).has_no_panic();
    assert!(checkpoint(&place, "list").expect(0).text().contains("finished"));
}

#[test]
fn a_flipped_byte_is_found_and_its_file_is_named() {
    for file in [snapshot, manifest] {
        let place = interrupted();
        let path = file(&place);
        let mut bytes = fs::read(&path).expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
        let ended = checkpoint(&place, "verify").expect(65).has_no_panic();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let said = format!("{}{}", ended.text(), ended.stderr).replace(['\n', ' ', '│'], "");
        assert!(said.contains(&name), "{said}");
    }
}

#[test]
fn a_list_tells_the_damaged_checkpoint_from_the_others() {
    let place = interrupted();
    let names = place.names(CHECKPOINTS).into_iter().filter(|name| name.starts_with("manifest-"));
    let names: Vec<String> = names.collect();
    fs::write(place.path(CHECKPOINTS).join(&names[1]), b"odd").expect("it can be written");
    fs::remove_file(place.path(CHECKPOINTS).join(&names[2])).expect("it was there");
    let list = checkpoint(&place, "list --format json").expect(0).report();
    let problem = |row: usize| list[row]["problem"].as_str().unwrap_or_default().to_owned();
    assert_eq!((&list[0]["checkpoint"], problem(0)), (&0.into(), String::new()));
    assert!(list[0]["created_ms"].as_i64() > Some(0) && list[1]["created_ms"].is_null());
    assert!(problem(1).contains("not a Tidemill manifest"), "{}", problem(1));
    assert!(problem(2).contains("it is missing"), "{}", problem(2));
    assert!(checkpoint(&place, "list").expect(0).text().contains("it is missing"));
}

#[test]
fn what_is_not_there_is_said() {
    let place = interrupted();
    let says = ["there is no checkpoint 77", "there are: 0, 1, 2"];
    checkpoint(&place, "inspect --checkpoint 77").refuses(66, &says);
    let dump = place.tidemill("state dump job.toml --operator nobody").end();
    dump.refuses(66, &["no operator \"nobody\"", "slow", "count"]);
    let dump = place.tidemill("state dump job.toml --operator count --task 9").end();
    dump.refuses(66, &["operator count has no task 9", "0 to "]);
    let elsewhere = place.tidemill("checkpoint list job.toml --data-dir elsewhere").end();
    elsewhere.refuses(66, &["elsewhere"]);
    assert!(place.names("elsewhere").is_empty(), "looking makes nothing");
}
