//! The quota, a full disk, and a disk that fails.

use super::memory_disk::Fault;
use super::*;

/// Appends and syncs until there is no room; answers how many records were taken.
fn until_full(
    wal: &mut WalWriter,
    partition: LoggedPartition,
    body_bytes: usize,
) -> (usize, FullOf) {
    for count in 0..10_000 {
        match wal.append(partition, &vec![5; body_bytes]).and_then(|_| wal.sync()) {
            Ok(_) => {}
            Err(WalError::Full { of, .. }) => return (count, of),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is never full");
}

#[test]
fn the_quota_holds_and_a_trim_makes_room() {
    let disk = MemoryDisk::default();
    let sizes = Sizes { quota_bytes: 64 * 1024, ..small() };
    let mut wal = begin_with(&disk, 1, sizes);
    let a = wal.partition("in", "a").unwrap();
    let mut taken = 0;
    for _ in 0..3 {
        let (count, of) = until_full(&mut wal, a, 300);
        assert!(count > 20 && of == FullOf::Quota, "{count}");
        taken += count;
        assert!(disk.used_bytes() as u64 <= sizes.quota_bytes);
        assert_eq!(disk.used_bytes() as u64, wal.usage().used_bytes);
        assert!(wal.usage().is_pressing());
        wal.idle().unwrap();
        let next = wal.durable_lsn() + 1;
        assert!(wal.trim(next).unwrap().segments > 2);
        assert_eq!(wal.view().segments.len(), 1);
        assert!(!wal.usage().is_pressing());
        let mut positions = Seqs::default();
        positions.set("in", "a", taken as u64);
        let found = recover(&disk, DIRECTORY, &KnownDurable { wal_start: Some(next), positions });
        assert_eq!(found.unwrap().next_seqs.get("in", "a"), Some(taken as u64));
    }
    until_full(&mut wal, a, 300);
    wal.seal().unwrap();
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let a = wal.partition("in", "a").unwrap();
    for extra in [1, 300, 1000, 3000, 4096, 5000] {
        disk.limit_space(Some(disk.used_bytes() + extra));
        let (_, of) = until_full(&mut wal, a, 300);
        assert_eq!(of, FullOf::Device);
        assert!(matches!(wal.sync(), Ok(_) | Err(WalError::Full { .. })));
        // A crash now loses nothing that was promised.
        let durable = wal.durable_lsn();
        for seed in 0..20 {
            let crashed = disk.after_crash(seed);
            assert!(recovered(&crashed, &known(Some(durable + 1))).is_ok());
        }
        disk.limit_space(None);
        wal.append(a, b"there is space again").unwrap();
        wal.sync().unwrap();
    }
    let rows = all(&disk, &wal);
    assert!(rows.iter().map(|row| row.2).eq(0..rows.len() as u64));
    assert_eq!(rows.iter().filter(|row| row.3 == b"there is space again").count(), 6);
}

#[test]
fn a_full_disk_does_not_keep_a_log_from_being_closed() {
    // Bodies of such lengths end everywhere in the last bytes before the zeros do.
    for (extra, body_bytes) in (0..128).map(|index| (index % 4 * 700, 300 + index / 4 * 16)) {
        let disk = MemoryDisk::default();
        let mut wal = begin(&disk, 1);
        let a = wal.partition("in", "a").unwrap();
        disk.limit_space(Some(disk.used_bytes() + extra));
        until_full(&mut wal, a, body_bytes);
        let durable = wal.durable_lsn();
        assert!(wal.seal().unwrap() >= durable);
        let rows = all(&disk, &wal);
        let found = recovered(&disk, &known(Some(wal.durable_lsn() + 1))).unwrap();
        assert_eq!(found.cut, None);
        assert_eq!(found.next_seqs.get("in", "a").unwrap_or(0), rows.len() as u64);
    }
}

#[test]
fn a_record_that_can_never_fit_is_refused_for_good() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 1);
    let a = wal.partition("in", "a").unwrap();
    let max = small().quota_bytes / 8;
    let over = vec![0; max as usize];
    assert!(
        matches!(wal.append(a, &over), Err(WalError::TooLarge { max_bytes, .. }) if max_bytes == max)
    );
    let most = over.len() - 16 - "ina".len();
    assert_eq!(wal.append(a, &over[..most]).unwrap().seq, 0);
    wal.sync().unwrap();
    assert_eq!(wal.append(a, &over[..most]).unwrap().seq, 1);
    wal.sync().unwrap();
    assert_eq!(all(&disk, &wal).len(), 2);
    let long = "x".repeat(70_000);
    assert!(matches!(wal.partition("in", &long), Err(WalError::Name { .. })));
}

#[test]
fn sizes_that_could_lock_a_log_up_are_refused() {
    assert!(Sizes::for_quota(16 * 1024 * 1024).is_ok());
    assert_eq!(Sizes::for_quota(1 << 40).unwrap().segment_bytes, 64 * 1024 * 1024);
    assert!(matches!(Sizes::for_quota(1024 * 1024), Err(WalError::QuotaTooSmall { .. })));
}

#[test]
fn a_failed_sync_ends_the_writer_for_good() {
    for sync in 2..8 {
        let disk = MemoryDisk::default();
        let mut wal = begin(&disk, 1);
        disk.inject(Fault::Sync(sync));
        let a = wal.partition("in", "a").unwrap();
        let mut synced = 0;
        let error = loop {
            match wal.append(a, &[1; 700]).and_then(|_| wal.sync()) {
                Ok(_) => synced += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, WalError::Disk { .. }), "{error}");
        assert_eq!(wal.append(a, b"x"), Err(error.clone()));
        assert_eq!(wal.sync(), Err(error.clone()));
        assert_eq!(wal.idle(), Err(error.clone()));
        assert_eq!(wal.trim(1), Err(error.clone()));
        assert_eq!(wal.seal(), Err(error));
        // What the system still shows may not be on the disk: the next start makes it so, and then a crash
        // takes nothing of it.
        drop(wal);
        let wal = begin(&disk, 2);
        let rows = all(&disk, &wal);
        assert!(rows.len() >= synced);
        let durable = wal.durable_lsn();
        for seed in 0..20 {
            let crashed = disk.after_crash(seed);
            let found = recovered(&crashed, &known(Some(1))).unwrap();
            assert!(found.last_lsn >= durable - 1, "the incarnation's own record may be the last");
            assert_eq!(replay_found(&crashed, &found).unwrap(), rows);
        }
    }
}

#[test]
fn a_failure_of_any_change_ends_the_writer_and_the_next_start_finds_what_was_durable() {
    let mut failures = 0;
    for change in 1.. {
        let disk = MemoryDisk::default();
        let mut wal = begin(&disk, 1);
        let a = wal.partition("in", "a").unwrap();
        disk.inject(Fault::Change(disk.counts().0 + change));
        let mut durable = 0;
        let life = |wal: &mut WalWriter, durable: &mut usize| {
            for round in 0..12 {
                wal.append(a, &[round; 500])?;
                wal.sync()?;
                *durable += 1;
            }
            wal.seal()
        };
        let Err(error) = life(&mut wal, &mut durable) else { break };
        failures += 1;
        assert!(matches!(&error, WalError::Disk { .. }), "{error}");
        assert_eq!(wal.append(a, b"x"), Err(error));
        drop(wal);
        let wal = begin(&disk, 2);
        let rows = all(&disk, &wal);
        assert!(rows.len() >= durable, "{} of {durable}", rows.len());
        assert!(rows.iter().map(|row| row.2).eq(0..rows.len() as u64));
    }
    assert!(failures > 40, "{failures}");
}

#[test]
fn a_lower_quota_does_not_lock_up_a_log_whose_newest_segment_is_larger() {
    let disk = MemoryDisk::default();
    let mut wal = begin_with(&disk, 1, Sizes { segment_bytes: 40 * 1024, ..small() });
    let a = wal.partition("in", "a").unwrap();
    for _ in 0..30 {
        wal.append(a, &[1; 1000]).unwrap();
    }
    wal.seal().unwrap();
    let mut wal = begin_with(&disk, 2, Sizes { quota_bytes: 50_000, ..small() });
    assert!(wal.usage().is_pressing() && wal.view().segments.len() == 1);
    let next = wal.durable_lsn() + 1;
    assert_eq!(wal.trim(next).unwrap().segments, 1);
    assert!(!wal.usage().is_pressing());
    assert!(recovered(&disk, &known(Some(next))).is_ok());
}

#[test]
fn an_end_of_a_log_is_read_wherever_in_its_file_it_lies() {
    let mut read = 0;
    for length in 0..600 {
        let disk = MemoryDisk::default();
        let mut wal = begin_with(&disk, 1, Sizes { reserve_bytes: 0, ..small() });
        let a = wal.partition("in", "a").unwrap();
        // Nothing can be filled ahead.
        disk.limit_space(Some(disk.used_bytes()));
        wal.append(a, &vec![1; length]).unwrap();
        if wal.sync().is_ok() {
            wal.idle().ok();
        }
        let found = recovered(&disk, &known(None)).unwrap();
        assert_eq!((found.last_lsn, found.cut), (wal.durable_lsn(), None), "{length} bytes");
        read += wal.durable_lsn();
    }
    assert!(read > 1200, "{read}");
}
