//! What every decoder of bytes from outside must hold, whatever the bytes are: it ends, it does not panic, and
//! what it accepts makes sense.
//!
//! One function for each kind of file; `cargo fuzz` calls it with inputs of its own (see `cargo-fuzz/`), and
//! `tests/replay.rs` with mutated samples. Checksums hide most of a decoder from a fuzzer, so each input is also
//! tried with checksums ignored. Not for two threads at once: that switch is the process's.

mod disk;
pub mod samples;

use std::path::Path;
use std::sync::Arc;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checksum;
use tidemill_core::disk::Disk;
use tidemill_core::snapshot::{SnapshotReader, StateDump};
use tidemill_core::wal::{KnownDurable, Seqs, WalReader, recover, segment_name};
use tidemill_runtime::config::JobPlan;

pub use disk::OneFile;

/// A check of one input.
pub type Target = fn(&[u8]);

/// All checks, with their names.
pub const TARGETS: [(&str, Target); 4] =
    [("job_file", job_file), ("manifest", manifest), ("snapshot", snapshot), ("wal", wal)];

fn with_and_without_checksums(check: impl Fn(bool)) {
    check(true);
    checksum::ignore(true);
    check(false);
    checksum::ignore(false);
}

/// A job file is refused with a place in it, or is a plan that can be shown.
pub fn job_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = Path::new("/jobs/job.toml");
    match JobPlan::from_text(file, file, text.to_owned(), &[]) {
        Ok(plan) => assert!(!plan.show().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A manifest that is accepted comes back as it was.
pub fn manifest(bytes: &[u8]) {
    with_and_without_checksums(|_| {
        if let Ok(manifest) = Manifest::decode(bytes) {
            let again = manifest.encode().expect("what was decoded can be encoded");
            assert_eq!(Manifest::decode(&again).as_ref(), Ok(&manifest));
        }
    });
}

/// The items of a snapshot file that is accepted come in order, or end in an error.
pub fn snapshot(bytes: &[u8]) {
    with_and_without_checksums(|_| {
        let file = OneFile::new("f", bytes).open("f").expect("it is there");
        let Ok(reader) = SnapshotReader::open(file, "f", None) else { return };
        let Ok(items) = StateDump::new(vec![reader], None) else { return };
        // An item takes at least a byte, and a byte becomes at most 255 when it is compressed well.
        let most = bytes.len() * 256;
        let read = items.map_while(Result::ok).take(most + 1).count();
        assert!(read <= most, "{read} items of {} bytes", bytes.len());
    });
}

/// Batches of a log that is accepted come with growing LSNs and, for each partition, numbers without gaps.
pub fn wal(bytes: &[u8]) {
    with_and_without_checksums(|are_compared| {
        let disk: Arc<dyn Disk> =
            Arc::new(OneFile::new(&format!("wal/{}", segment_name(1)), bytes));
        let Ok(recovered) = recover(&*disk, "wal", &KnownDurable::default()) else { return };
        let mut reader = WalReader::new(disk.clone(), recovered.view(), 0, Seqs::default());
        let (mut last_lsn, mut seqs) = (0, std::collections::BTreeMap::new());
        while let Ok(Some(batch)) = reader.next_batch() {
            assert!(batch.lsn > last_lsn, "{} follows {last_lsn}", batch.lsn);
            last_lsn = batch.lsn;
            let partition = (batch.source.to_owned(), batch.partition.to_owned());
            if let Some(before) = seqs.insert(partition, batch.seq) {
                assert!(!are_compared || batch.seq == before + 1, "{} follows {before}", batch.seq);
            }
        }
        assert!(last_lsn <= recovered.last_lsn);
    });
}
