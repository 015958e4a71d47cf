//! Power failures at every point, again and again, against a model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory_disk::{Chance, Fault};
use super::*;

/// What must be true of the log.
#[derive(Default)]
struct Model {
    /// Everything appended and not known to be lost.
    rows: Vec<Row>,
    durable_lsn: u64,
    /// Recorded by a checkpoint: replay begins here.
    wal_start: Option<u64>,
    incarnation: u64,
}

impl Model {
    fn known(&self) -> KnownDurable {
        let mut positions = Seqs::default();
        let start = self.wal_start.unwrap_or(1);
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        for (lsn, partition, seq, _) in &self.rows {
            if *lsn < start {
                next.insert(partition, seq + 1);
            }
        }
        for (partition, seq) in next {
            positions.set("in", partition, seq);
        }
        KnownDurable { wal_start: self.wal_start, positions }
    }

    /// Compares with what a start finds, and forgets what is lost.
    fn check(&mut self, disk: &MemoryDisk, found: &Recovered) {
        let start = self.wal_start.unwrap_or(1);
        let mut left = replay_found(disk, found).expect("what was recovered can be read");
        left.retain(|row| row.0 >= start);
        let needed = self.rows.iter().filter(|row| row.0 >= start);
        let durable = needed.clone().filter(|row| row.0 <= self.durable_lsn).count();
        assert!(left.len() >= durable, "{} of {durable} durable records", left.len());
        assert!(left.iter().eq(needed.take(left.len())), "other records than those appended");
        let before = self.rows.iter().filter(|row| row.0 < start).count();
        self.rows.truncate(before + left.len());
    }
}

/// Starts an incarnation, as often as the power fails, and answers it.
fn start(disk: &mut MemoryDisk, model: &mut Model, chance: &mut Chance, sizes: Sizes) -> WalWriter {
    loop {
        let found = recovered(disk, &model.known()).expect("nothing durable is damaged");
        let again = recovered(disk, &model.known()).expect("nothing durable is damaged");
        assert_eq!(format!("{found:?}"), format!("{again:?}"), "recovering changes nothing");
        model.check(disk, &found);
        model.incarnation += 1;
        if chance.one_in(2) {
            disk.inject(Fault::Power(disk.counts().0 + 1 + chance.below(12)));
        }
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&chance.below(u64::MAX).to_le_bytes());
        let incarnation = Incarnation(model.incarnation);
        match WalWriter::begin(Arc::new(disk.clone()), found, incarnation, salt, sizes) {
            Ok(wal) => {
                model.durable_lsn = wal.durable_lsn();
                let kept = names(disk).len();
                assert_eq!(kept, wal.view().segments.len(), "leftovers are removed");
                return wal;
            }
            Err(_) => *disk = disk.after_crash(chance.below(u64::MAX)),
        }
    }
}

/// Does one thing to the log.
fn step(wal: &mut WalWriter, model: &mut Model, chance: &mut Chance) -> Result<(), WalError> {
    match chance.below(16) {
        0..9 => {
            let partition = ["a", "b"][chance.below(2) as usize];
            let index = wal.partition("in", partition)?;
            let length = match chance.below(8) {
                0 => 0,
                1 => 3000,
                _ => chance.below(500),
            };
            let body = vec![chance.below(256) as u8; length as usize];
            let Appended { lsn, seq } = wal.append(index, &body)?;
            model.rows.push((lsn, partition.to_owned(), seq, body));
        }
        9..13 => drop(wal.sync()?),
        13 => wal.idle()?,
        _ => {
            // A checkpoint: all durable records, or some of them, are processed.
            let start = model.wal_start.unwrap_or(1);
            let more = (wal.durable_lsn() + 1).saturating_sub(start);
            let start = start + chance.below(more + 1);
            model.wal_start = Some(start);
            wal.trim(start)?;
        }
    }
    Ok(())
}

fn live(seed: u64) {
    let mut chance = Chance(seed);
    let sizes = Sizes { quota_bytes: 48 * 1024 + chance.below(3) * 200_000, ..small() };
    let mut disk = MemoryDisk::default();
    let mut model = Model::default();
    for _ in 0..8 {
        let mut wal = start(&mut disk, &mut model, &mut chance, sizes);
        if chance.one_in(2) {
            disk.inject(Fault::Power(disk.counts().0 + 1 + chance.below(120)));
        }
        for _ in 0..chance.below(80) {
            let done = step(&mut wal, &mut model, &mut chance);
            model.durable_lsn = wal.durable_lsn();
            match done {
                Ok(()) | Err(WalError::Full { .. }) => {}
                Err(WalError::Disk { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        // The end: in order, killed, or with the power.
        let end = chance.below(3);
        if end == 0 && wal.seal().is_ok() {
            model.durable_lsn = wal.durable_lsn();
        }
        let is_killed = end == 1 && wal.sync().is_ok();
        model.durable_lsn = wal.durable_lsn();
        if !is_killed {
            disk = disk.after_crash(chance.below(u64::MAX));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_durable_survives_every_crash_in_order_and_nothing_else_appears(seed: u64) {
        live(seed);
    }
}

/// The same short life with the power failing at every change, and then at every change of the next start.
#[test]
fn a_crash_in_every_change_of_a_life_and_of_the_start_after_it_is_survived() {
    let life = |disk: &MemoryDisk, model: &mut Model| -> Result<(), WalError> {
        let found = recover(disk, DIRECTORY, &model.known())?;
        model.incarnation += 1;
        let salt = [model.incarnation as u8; 16];
        let incarnation = Incarnation(model.incarnation);
        let mut wal = WalWriter::begin(Arc::new(disk.clone()), found, incarnation, salt, small())?;
        let a = wal.partition("in", "a")?;
        for round in 0..8 {
            let body = vec![round; 100 + 90 * usize::from(round)];
            let Appended { lsn, seq } = wal.append(a, &body)?;
            model.rows.push((lsn, "a".to_owned(), seq, body));
            model.durable_lsn = wal.sync()?;
            if round == 5 {
                model.wal_start = Some(lsn);
                wal.trim(lsn)?;
            }
        }
        wal.idle()?;
        wal.seal().map(drop)
    };
    let mut crashes = 0;
    for first in 1.. {
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        disk.inject(Fault::Power(first));
        if life(&disk, &mut model).is_ok() {
            break;
        }
        for second in (1..14).step_by(2) {
            let mut chance = Chance(first * 1000 + second);
            let mut model = Model {
                rows: model.rows.clone(),
                durable_lsn: model.durable_lsn,
                wal_start: model.wal_start,
                incarnation: model.incarnation,
            };
            let disk = disk.after_crash(chance.below(u64::MAX));
            let found = recovered(&disk, &model.known()).unwrap();
            model.check(&disk, &found);
            disk.inject(Fault::Power(second));
            let is_over = life(&disk, &mut model).is_ok();
            let disk = disk.after_crash(chance.below(u64::MAX));
            let found = recovered(&disk, &model.known()).unwrap();
            model.check(&disk, &found);
            crashes += 1;
            assert!(!is_over || second > 1);
        }
    }
    assert!(crashes > 300, "{crashes}");
}
