//! Positions while a reader goes through its partitions.

use super::*;

#[test]
fn positions_move_from_the_start_to_the_end_of_each_partition() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "one\ntwo\nthree\n").unwrap();
    let settings = settings(directory.path(), "a", Format::Lines, 6);
    let (waker, wakes) = bell();
    let mut reader = reader(&settings, waker).unwrap();
    let at = |reader: &FileReader| -> (Vec<_>, _) {
        let positions = reader.positions();
        let each = positions.iter().map(|at| (at.position.offset, at.position.ended));
        (each.collect(), reader.remaining())
    };
    assert_eq!(at(&reader), (vec![(0, false), (6, false), (12, false)], Some(14)));
    assert_eq!(values(take(&mut reader, &wakes, 1, 1).unwrap()), ["one"]);
    assert_eq!(at(&reader), (vec![(4, false), (6, false), (12, false)], Some(10)));
    drain(&mut reader, &wakes).unwrap();
    assert_eq!(at(&reader), (vec![(8, true), (14, true), (14, true)], Some(0)));
}

#[test]
fn the_end_is_where_the_bytes_end_even_without_a_line_end() {
    let directory = tempfile::tempdir().unwrap();
    for (name, format, content) in [
        ("lines", Format::Lines, &b"one\ntwo"[..]),
        ("ndjson", Format::Ndjson, b"{}\n{}\n \n"),
        ("csv", Format::Csv, b"a\n\"one\""),
    ] {
        for (name, packed) in [
            (name.to_owned(), content.to_vec()),
            (format!("{name}.zst"), zstd::encode_all(content, 1).unwrap()),
        ] {
            fs::write(directory.path().join(&name), packed).unwrap();
            let (waker, wakes) = bell();
            let settings = settings(directory.path(), &name, format, 100);
            let mut reader = reader(&settings, waker).unwrap();
            drain(&mut reader, &wakes).unwrap();
            let position = &reader.positions()[0].position;
            assert_eq!((position.offset, position.ended), (content.len() as u64, true), "{name}");
        }
    }
}

#[test]
fn what_is_left_of_a_compressed_file_is_not_known_before_its_end() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "one\n").unwrap();
    let packed = zstd::encode_all(&b"two\n"[..], 1).unwrap();
    fs::write(directory.path().join("b.zst"), packed).unwrap();
    let (waker, wakes) = bell();
    let mut reader = reader(&settings(directory.path(), "*", Format::Lines, 100), waker).unwrap();
    assert_eq!(reader.remaining(), None);
    assert_eq!(values(drain(&mut reader, &wakes).unwrap()), ["one", "two"]);
    assert_eq!(reader.remaining(), Some(0));
}

#[test]
fn after_a_stop_nothing_is_handed_out_and_the_position_stays() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "one\ntwo\n").unwrap();
    let settings = settings(directory.path(), "a", Format::Lines, 100);
    let (waker, wakes) = bell();
    let mut reader = reader(&settings, waker).unwrap();
    take(&mut reader, &wakes, 1, 1).unwrap();
    let before = (reader.positions(), reader.remaining());
    reader.stop();
    for _ in 0..2 {
        assert!(!reader.is_ready());
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Pending)));
    }
    assert_eq!((reader.positions(), reader.remaining()), before);
    assert_eq!((before.0[0].position.offset, before.1), (4, Some(4)));
}

#[test]
fn records_before_a_bad_one_are_handed_out_and_the_position_is_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let long = "x".repeat(5000);
    for (name, format, content, offset) in [
        ("json", Format::Ndjson, format!("{{\"k\":1}}\n{{\"k\":\"{long}\"}}\n"), 8),
        ("json2", Format::Ndjson, "{\"k\":1}\n{\"k\":2,}\n".to_owned(), 8),
        ("csv", Format::Csv, format!("k,v\n1,a\n{long},b\n"), 8),
        ("csv2", Format::Csv, "k,v\n1,a\n2\n3,c\n".to_owned(), 8),
    ] {
        fs::write(directory.path().join(name), content).unwrap();
        let mut settings = settings(directory.path(), name, format, u64::MAX);
        settings.key = Some("k".to_owned());
        let (waker, wakes) = bell();
        let mut reader = reader(&settings, waker).unwrap();
        let records = take(&mut reader, &wakes, 1, 100).unwrap();
        assert_eq!(records.len(), 1, "{name}");
        assert_eq!(records[0].0.as_deref(), Some(&b"1"[..]), "{name}");
        for _ in 0..2 {
            assert!(reader.is_ready());
            let error = take(&mut reader, &wakes, 1, 100).unwrap_err();
            assert!(error.message.contains(&format!("byte {offset}: ")), "{name}: {error}");
            assert_eq!(reader.positions()[0].position.offset, offset, "{name}");
        }
    }
}
