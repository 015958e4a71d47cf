//! A file that is not the one a position speaks of is refused, with its name.

use tidemill_core::connector::PartitionPosition;

use super::*;
use crate::connectors::Source;
use crate::connectors::settings::SourceSettings;

const LINES: &str = "one\ntwo\nthree\nfour\n";

/// Reads one record of the files in `directory`; answers the positions.
fn begin(settings: &FileSource) -> Vec<PartitionPosition> {
    let (waker, wakes) = bell();
    let mut reader = reader(settings, waker).unwrap();
    assert_eq!(take(&mut reader, &wakes, 1, 1).unwrap().len(), 1);
    reader.positions()
}

/// Goes on from `positions` to the end.
fn go_on(settings: &FileSource, positions: &[PartitionPosition]) -> Result<Flat, ConnectorError> {
    let source = Source::resume("in", &SourceSettings::File(settings.clone()), positions)?;
    let (waker, wakes) = bell();
    drain(&mut *source.reader(0, 1, waker, nobody())?, &wakes)
}

fn assert_says(error: &ConnectorError, fault: ConnectorFault, parts: &[&str]) {
    assert_eq!(error.fault, fault, "{error}");
    for part in parts {
        assert!(error.message.contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn a_file_that_is_gone_or_has_another_length_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let name = format!("`{}`", path.display());
    for split_bytes in [5, 100] {
        let settings = settings(directory.path(), "a", Format::Lines, split_bytes);
        fs::write(&path, LINES).unwrap();
        let positions = begin(&settings);
        for (content, now) in [(format!("{LINES}more\n"), "24"), (LINES[..8].to_owned(), "8")] {
            fs::write(&path, content).unwrap();
            let error = go_on(&settings, &positions).unwrap_err();
            let lengths = format!("had 19 bytes when the job was created and has {now} now");
            let parts = ["source `in`", &name, &lengths, "--fresh"];
            assert_says(&error, ConnectorFault::BadData, &parts);
        }
        fs::remove_file(&path).unwrap();
        let error = go_on(&settings, &positions).unwrap_err();
        let parts = ["source `in`", &name, "No such file", "--fresh"];
        assert_says(&error, ConnectorFault::MissingInput, &parts);
        fs::create_dir(&path).unwrap();
        let error = go_on(&settings, &positions).unwrap_err();
        assert_says(&error, ConnectorFault::MissingInput, &[&name, "not a regular file"]);
        fs::remove_dir(&path).unwrap();
    }
}

#[test]
fn a_file_of_the_same_length_with_other_bytes_before_the_offset_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let name = format!("`{}` was changed since the checkpoint", path.display());
    for (format, before, after, offset) in [
        (Format::Lines, "one\ntwo\n", "one!two\n", 4),
        (Format::Ndjson, "{\"a\":1}\n{}\n", "{\"a\":2}\n{}\n", 8),
        (Format::Csv, "a,b\n1,2\n3,4\n", "b,a\n1,2\n3,4\n", 8),
    ] {
        let settings = settings(directory.path(), "a", format, 100);
        fs::write(&path, before).unwrap();
        let positions = begin(&settings);
        assert!(go_on(&settings, &positions).is_ok());
        fs::remove_file(&path).unwrap();
        fs::write(&path, after).unwrap();
        let error = go_on(&settings, &positions).unwrap_err();
        let place = format!("byte {offset} are not those");
        assert_says(&error, ConnectorFault::BadData, &[&name, &place, "--fresh"]);
    }
}

#[test]
fn a_compressed_file_with_other_content_is_refused_even_if_it_ends_before_the_offset() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zst");
    let settings = settings(directory.path(), "a*", Format::Lines, 100);
    // Bytes that do not compress: equal lengths stay equal.
    let line = |seed: u32| -> Vec<u8> {
        let byte = |at: u32| (at.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8 | 128;
        (0..500_000).map(byte).chain(*b"\nend\n").collect()
    };
    let pack = |content: &[u8], bytes: usize| {
        // A frame that a reader passes over makes up for the difference.
        let mut packed = zstd::encode_all(content, 1).unwrap();
        let filler = bytes - packed.len() - 8;
        packed.extend_from_slice(&0x184D_2A50u32.to_le_bytes());
        packed.extend_from_slice(&(filler as u32).to_le_bytes());
        packed.resize(bytes, 0);
        fs::write(&path, packed).unwrap();
    };
    pack(&line(1), 1_000_000);
    let positions = begin(&settings);
    assert_eq!(go_on(&settings, &positions).unwrap(), [(None, b"end".to_vec())]);
    for content in [line(2), line(1)[1000..].to_vec(), Vec::new()] {
        pack(&content, 1_000_000);
        let error = go_on(&settings, &positions).unwrap_err();
        let parts = ["a.zst` was changed", "65536 bytes before byte 500001 of the decompressed"];
        assert_says(&error, ConnectorFault::BadData, &parts);
    }
}

#[test]
fn another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), LINES).unwrap();
    let formats = [(Format::Lines, "lines"), (Format::Csv, "csv")];
    for ((was, was_name), (is, is_name)) in [(formats[0], formats[1]), (formats[1], formats[0])] {
        let positions = begin(&settings(directory.path(), "a", was, 5));
        let error = go_on(&settings(directory.path(), "a", is, 5), &positions).unwrap_err();
        let what = format!("its format was `{was_name}` and is `{is_name}` now; set it back");
        assert_says(&error, ConnectorFault::MissingInput, &["source `in`", &what]);
    }
}

#[test]
fn a_header_without_the_column_of_a_new_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "k,v\n1,2\n3,4\n").unwrap();
    let mut settings = settings(directory.path(), "a", Format::Csv, 5);
    let positions = begin(&settings);
    settings.key = Some("v".to_owned());
    assert_eq!(go_on(&settings, &positions).unwrap()[0].0, Some(b"4".to_vec()));
    settings.key = Some("w".to_owned());
    let error = go_on(&settings, &positions).unwrap_err();
    assert_says(&error, ConnectorFault::BadData, &["/a`: ", "no column `w`"]);
}

#[test]
fn positions_that_are_not_those_of_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), LINES).unwrap();
    let settings = settings(directory.path(), "a", Format::Lines, 100);
    let fine = begin(&settings);
    let change = |change: fn(&mut PartitionPosition)| {
        let mut positions = fine.clone();
        change(&mut positions[0]);
        positions
    };
    for (positions, part) in [
        (Vec::new(), "no partitions of this source"),
        ([&fine[..], &fine].concat(), "twice"),
        (change(|at| at.position.detail.clear()), "cannot be used"),
        (change(|at| at.partition = "split-0-of-1".to_owned()), "says no range"),
        (change(|at| at.partition.insert(at.partition.len() - 4, '9')), "before its range"),
    ] {
        let error = go_on(&settings, &positions).unwrap_err();
        assert_says(&error, error.fault, &["source `in` cannot go on", part, "--fresh"]);
    }
}
