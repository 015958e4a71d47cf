//! Bits that flip, files that are cut short, vanish or change places.

use super::*;

/// A closed log: two sealed segments and a newest that ends in an idle record or a seal.
fn closed_log(sealed: bool) -> (MemoryDisk, Vec<Row>) {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let (a, b) = (wal.partition("in", "a").unwrap(), wal.partition("in", "b").unwrap());
    for (round, length) in [0, 1, 700, 8, 900, 900, 300, 64, 501].into_iter().enumerate() {
        wal.append(if round % 2 == 0 { a } else { b }, &vec![round as u8 + 1; length]).unwrap();
        wal.sync().unwrap();
    }
    if sealed {
        wal.seal().unwrap();
    } else {
        wal.idle().unwrap();
    }
    assert_eq!(wal.view().segments.len(), 2);
    let rows = all(&disk, &wal);
    assert_eq!(rows.len(), 9);
    (disk, rows)
}

/// Whether the log is refused, or all of it is there.
fn is_refused_or_whole(disk: &MemoryDisk, rows: &[Row]) -> Result<bool, String> {
    match recovered(disk, &known(None)) {
        Err(WalError::Full { .. } | WalError::Closed) => Err("the wrong error".to_owned()),
        Err(_) => Ok(false),
        Ok(found) => match replay_found(disk, &found).map_err(|error| error.to_string())? {
            found if found == rows => Ok(true),
            found => Err(format!("{} of {} records", found.len(), rows.len())),
        },
    }
}

#[test]
fn every_flipped_bit_of_a_closed_log_is_refused_or_harms_nothing() {
    for sealed in [false, true] {
        let (disk, rows) = closed_log(sealed);
        let (mut refused, mut whole) = (0, 0);
        for segment in [1, 2] {
            for bit in 0..disk.read(&path(segment)).len() * 8 {
                let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
                disk.alter(&path(segment), flip);
                match is_refused_or_whole(&disk, &rows) {
                    Ok(true) => whole += 1,
                    Ok(false) => refused += 1,
                    Err(what) => panic!("segment {segment}, bit {bit}: {what}"),
                }
                disk.alter(&path(segment), flip);
            }
        }
        // First pages and records, against the space behind them.
        assert!(refused > 2 * 4096 * 8 + 3000 * 8, "{refused} refused");
        assert!(whole > 512 * 8, "{whole} whole");
    }
}

#[test]
fn every_truncation_of_a_closed_log_is_refused_or_harms_nothing() {
    for sealed in [false, true] {
        let (disk, rows) = closed_log(sealed);
        for segment in [1, 2] {
            let content = disk.read(&path(segment));
            let mut refused = 0;
            for length in 0..content.len() {
                disk.alter(&path(segment), |bytes| bytes.truncate(length));
                match is_refused_or_whole(&disk, &rows) {
                    Ok(is_whole) => refused += usize::from(!is_whole),
                    Err(what) => panic!("segment {segment}, cut to {length}: {what}"),
                }
                disk.alter(&path(segment), |bytes| bytes.clone_from(&content));
            }
            assert!(refused > 5000, "{refused} refused");
        }
    }
}

#[test]
fn a_damaged_record_is_named_with_its_file_place_and_lsn() {
    let (disk, rows) = closed_log(false);
    let content = disk.read(&path(1));
    let body = [3; 700];
    let at = content.windows(700).position(|window| window == body).unwrap();
    disk.alter(&path(1), |bytes| bytes[at] ^= 1);
    let error = recovered(&disk, &known(None)).unwrap_err();
    let WalError::Corrupt { file, offset, lsn, what } = &error else { panic!("{error}") };
    assert_eq!((file.as_str(), *lsn), (&*path(1), rows[2].0));
    assert!((*offset as usize) < at && at - (*offset as usize) < 100, "{offset} {at}");
    assert_eq!(what, "the content of the record is damaged");
    assert!(error.to_string().contains("put the file back from a backup"), "{error}");
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_kept() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let a = wal.partition("in", "a").unwrap();
    wal.append(a, b"first").unwrap();
    wal.append(a, b"second").unwrap();
    wal.sync().unwrap();
    let rows = all(&disk, &wal);
    let content = disk.read(&path(1));
    let at = content.windows(6).position(|window| window == b"second").unwrap();
    disk.alter(&path(1), |bytes| bytes[at] = 0);
    // Both were made durable by one sync and nothing was written after: nobody can tell.
    let found = recovered(&disk, &known(None)).unwrap();
    let cut = found.cut.clone().unwrap();
    assert_eq!((cut.lsn, cut.bytes), (rows[1].0, at as u64 + 6 - cut.offset));
    assert_eq!(replay_found(&disk, &found).unwrap(), rows[..1]);
    // What the manifest knows tells.
    let start = Some(rows[1].0 + 1);
    assert!(matches!(recovered(&disk, &known(start)), Err(WalError::Corrupt { .. })));
    let mut positions = Seqs::default();
    positions.set("in", "a", 2);
    let positioned = KnownDurable { wal_start: None, positions };
    assert!(matches!(recovered(&disk, &positioned), Err(WalError::Missing { .. })));
}

#[test]
fn a_payload_full_of_forged_records_proves_nothing() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let a = wal.partition("in", "a").unwrap();
    wal.append(a, b"first").unwrap();
    wal.sync().unwrap();
    // Records that promise everything, made without the key of the segment.
    let key = record::RecordKey::new(&[9; 16]);
    let mut forged = Vec::new();
    for lsn in 2..10 {
        let tail = record::Tail { lsn, tag: 0 };
        record::push_record(&mut forged, &key, tail, lsn, record::Kind::Idle, &[]);
    }
    wal.append(a, &forged).unwrap();
    wal.sync().unwrap();
    let content = disk.read(&path(1));
    let at = content.windows(forged.len()).position(|window| window == forged).unwrap();
    disk.alter(&path(1), |bytes| bytes[at - 30] ^= 1);
    assert_eq!(replay_found(&disk, &recovered(&disk, &known(None)).unwrap()).unwrap().len(), 1);
}

#[test]
fn missing_renamed_swapped_and_copied_segments_are_refused() {
    let refused = |change: &dyn Fn(&MemoryDisk)| {
        let (disk, _) = closed_log(true);
        let mut wal = begin(&disk, 2);
        let a = wal.partition("in", "a").unwrap();
        for _ in 0..6 {
            wal.append(a, &[7; 900]).unwrap();
            wal.sync().unwrap();
        }
        assert_eq!(wal.view().segments.len(), 5, "1, and 3 in place of 2, and three more");
        change(&disk);
        recovered(&disk, &known(None)).unwrap_err()
    };
    let remove = |segment| {
        refused(&move |disk: &MemoryDisk| seam::Disk::remove(disk, &path(segment)).unwrap())
    };
    assert!(matches!(remove(1), WalError::Missing { from_lsn: 1, .. }));
    assert!(matches!(remove(3), WalError::Missing { .. }));
    let renamed =
        refused(&|disk| seam::Disk::rename(disk, &path(1), &path(9)).unwrap()).to_string();
    assert!(renamed.contains("it was renamed or copied"), "{renamed}");
    let copied = refused(&|disk| disk.put(&path(7), &disk.read(&path(3)))).to_string();
    assert!(copied.contains("it was renamed or copied"), "{copied}");
    refused(&|disk| {
        let (first, third) = (disk.read(&path(1)), disk.read(&path(3)));
        disk.put(&path(1), &third);
        disk.put(&path(3), &first);
    });
    let other = MemoryDisk::default();
    let mut wal = begin(&other, 5);
    wal.seal().unwrap();
    refused(&|disk| disk.put(&path(1), &other.read(&path(1))));
}

#[test]
fn foreign_files_are_left_alone_and_false_segments_are_refused() {
    let (disk, rows) = closed_log(true);
    disk.put("wal/notes.txt", b"mine");
    disk.put("wal/wal-3.log", b"mine, too");
    let found = recovered(&disk, &known(None)).unwrap();
    assert_eq!(found.foreign, ["notes.txt", "wal-3.log"]);
    assert_eq!(replay_found(&disk, &found).unwrap(), rows);
    begin(&disk, 2);
    assert_eq!(disk.read("wal/notes.txt"), b"mine");
    disk.put(&path(8), &[b'x'; 5000]);
    let error = recovered(&disk, &known(None)).unwrap_err();
    assert_eq!(error, WalError::Foreign { file: path(8) });
}

#[test]
fn a_later_format_is_refused_by_its_number() {
    let (disk, _) = closed_log(true);
    disk.alter(&path(2), |bytes| bytes[8] = 2);
    let error = recovered(&disk, &known(None)).unwrap_err();
    assert_eq!(error, WalError::Newer { file: path(2), what: "WAL format 2.0".to_owned() });
}

#[test]
fn a_log_that_lacks_what_the_checkpoint_needs_is_refused() {
    let disk = MemoryDisk::default();
    assert!(recovered(&disk, &known(Some(1))).is_ok());
    assert!(matches!(
        recovered(&disk, &known(Some(2))),
        Err(WalError::Missing { upto_lsn: 2, .. })
    ));
    let (disk, rows) = closed_log(true);
    let last = rows.last().unwrap().0 + 1;
    assert!(recovered(&disk, &known(Some(last + 1))).is_ok());
    assert!(matches!(recovered(&disk, &known(Some(last + 2))), Err(WalError::Corrupt { .. })));
}
