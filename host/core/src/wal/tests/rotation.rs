//! Segments that follow each other, trimming, and what a new incarnation takes over.

use super::*;

fn fill(wal: &mut WalWriter, count: usize) -> Vec<Appended> {
    let a = wal.partition("in", "a").unwrap();
    let appended = (0..count).map(|index| {
        let appended = wal.append(a, &vec![index as u8; 400]).unwrap();
        wal.sync().unwrap();
        appended
    });
    appended.collect()
}

#[test]
fn full_segments_are_sealed_and_numbers_go_on() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let appended = fill(&mut wal, 20);
    assert!(names(&disk).len() > 3, "{:?}", names(&disk));
    let rows = all(&disk, &wal);
    assert!(rows.iter().map(|row| row.0).eq(appended.iter().map(|appended| appended.lsn)));
    assert!(rows.iter().map(|row| row.2).eq(0..20));
    let found = recovered(&disk, &known(None)).unwrap();
    assert_eq!((found.last_lsn, found.cut.clone()), (wal.durable_lsn(), None));
    assert_eq!(found.next_seqs.get("in", "a"), Some(20));
    assert_eq!(replay_found(&disk, &found).unwrap(), rows);
}

#[test]
fn a_trim_removes_whole_segments_and_never_the_newest() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let appended = fill(&mut wal, 20);
    let rows = all(&disk, &wal);
    let start = appended[10].lsn;
    let trimmed = wal.trim(start).unwrap();
    assert!(trimmed.segments >= 1 && trimmed.bytes > 4096, "{trimmed:?}");
    let left = all(&disk, &wal);
    assert!(left[0].0 <= start && left.len() < rows.len());
    assert!(recovered(&disk, &known(Some(start))).is_ok());
    assert!(matches!(recovered(&disk, &known(None)), Err(WalError::Missing { from_lsn: 1, .. })));
    wal.trim(u64::MAX).unwrap();
    assert_eq!(wal.view().segments.len(), 1);
    let start = appended[19].lsn + 1;
    assert_eq!(recovered(&disk, &known(Some(start))).unwrap().next_seqs.get("in", "a"), Some(20));
}

#[test]
fn a_replay_begins_where_it_is_told_to() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let (a, b) = (wal.partition("in", "a").unwrap(), wal.partition("in", "b").unwrap());
    for index in 0..20 {
        wal.append(a, &[index]).unwrap();
        wal.append(b, &[index]).unwrap();
    }
    let behind = wal.view();
    wal.sync().unwrap();
    let rows = all(&disk, &wal);
    let before = replay(&disk, behind, 0, Seqs::default()).unwrap();
    assert!(before.len() < 40 && before == rows[..before.len()], "what waits is not replayed");
    assert_eq!(rows.len(), 40);
    let from = rows[6].0;
    assert_eq!(replay(&disk, wal.view(), from, Seqs::default()).unwrap(), rows[6..]);
    let mut first = Seqs::default();
    first.set("in", "a", 15);
    let filtered = replay(&disk, wal.view(), from, first).unwrap();
    let expected = rows[6..].iter().filter(|row| row.1 == "b" || row.2 >= 15);
    assert!(filtered.iter().eq(expected));
}

#[test]
fn a_new_incarnation_copies_what_is_needed_and_goes_on() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let appended = fill(&mut wal, 6);
    let rows = all(&disk, &wal);
    drop(wal);
    let start = appended[4].lsn;
    let found = recovered(&disk, &known(Some(start))).unwrap();
    let mut wal =
        WalWriter::begin(Arc::new(disk.clone()), found, Incarnation(2), [2; 16], small()).unwrap();
    assert_eq!(names(&disk).len(), wal.view().segments.len());
    let a = wal.partition("in", "a").unwrap();
    let next = wal.append(a, b"next").unwrap();
    assert_eq!(next.seq, 6);
    assert!(next.lsn > appended[5].lsn);
    wal.sync().unwrap();
    let mut expected = rows;
    expected.retain(|row| row.0 >= start);
    expected.push((next.lsn, "a".to_owned(), 6, b"next".to_vec()));
    assert_eq!(replay(&disk, wal.view(), start, Seqs::default()).unwrap(), expected);
    assert_eq!(recovered(&disk, &known(Some(start))).unwrap().incarnation, Incarnation(2));
}

#[test]
fn an_incarnation_that_is_not_the_next_is_refused() {
    let disk = MemoryDisk::default();
    let first = recovered(&disk, &known(None)).unwrap();
    let late = first.clone();
    let start = |found: Recovered, incarnation, salt| {
        let disk = Arc::new(disk.clone());
        WalWriter::begin(disk, found, Incarnation(incarnation), [salt; 16], small()).map(drop)
    };
    start(first, 1, 1).unwrap();
    // Another host that had looked at the same time.
    assert!(matches!(start(late, 2, 2), Err(WalError::Overtaken { .. })));
    let again = recovered(&disk, &known(None)).unwrap();
    assert!(matches!(start(again, 1, 3), Err(WalError::Overtaken { .. })));
    assert_eq!(names(&disk), [segment_name(1)], "nothing is left behind");
}

#[test]
fn positions_of_the_checkpoint_number_partitions_without_records() {
    let disk = MemoryDisk::default();
    let mut positions = Seqs::default();
    positions.set("in", "a", 7);
    let known = KnownDurable { wal_start: Some(1), positions };
    let found = recovered(&disk, &known).unwrap();
    let mut wal =
        WalWriter::begin(Arc::new(disk.clone()), found, Incarnation(1), [1; 16], small()).unwrap();
    let (a, b) = (wal.partition("in", "a").unwrap(), wal.partition("in", "b").unwrap());
    assert_eq!(wal.append(a, b"x").unwrap().seq, 7);
    assert_eq!(wal.append(b, b"x").unwrap().seq, 0);
}

#[test]
fn a_closed_log_takes_no_more_and_an_idle_one_writes_once() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let a = wal.partition("in", "a").unwrap();
    assert!(wal.is_promised());
    wal.append(a, b"x").unwrap();
    wal.idle().unwrap();
    let counts = disk.counts();
    wal.idle().unwrap();
    assert_eq!(disk.counts(), counts);
    let durable = wal.seal().unwrap();
    assert_eq!(wal.append(a, b"y"), Err(WalError::Closed));
    assert_eq!(wal.seal().unwrap(), durable);
    assert_eq!(all(&disk, &wal).len(), 1);
}
