//! Writers and commits together, on a real directory.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, mpsc};

use tidemill_core::connector::{Prepared, PreparedFile, Wake};
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::quota::{Account, Unmetered};
use tidemill_core::transaction::commit;

use super::*;
use crate::disk::RealDisk;
use crate::error::FileError;
use crate::files::Packing;

struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.send(()).ok();
    }
}

fn bell() -> (Arc<dyn Wake>, mpsc::Receiver<()>) {
    let (bell, wakes) = mpsc::channel();
    (Arc::new(Bell(bell)), wakes)
}

fn nobody() -> Arc<dyn Account> {
    Arc::<Unmetered>::default()
}

/// Names in a directory, sorted, lock files left out.
pub(super) fn listing(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

fn directory(root: &Path, packing: Packing) -> OutputDirectory {
    let names = OutputNames::new("job", "out", "txt", packing).unwrap();
    OutputDirectory::prepare(root, names, SinkStart::New { fresh: false }).unwrap()
}

fn task(next: u64) -> OutputTask {
    OutputTask { lane: 3, incarnation: Incarnation(2), next: CheckpointId(next) }
}

fn answer(output: &Output, wakes: &mpsc::Receiver<()>) -> Prepared {
    loop {
        if let Some(prepared) = output.prepared().unwrap() {
            return prepared;
        }
        wakes.recv().unwrap();
    }
}

fn published(files: &[PreparedFile]) -> Vec<&str> {
    files.iter().map(|file| file.published.as_str()).collect()
}

fn unpack(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap();
    let mut all = Vec::new();
    match Packing::of(path) {
        Packing::None => Box::new(file) as Box<dyn Read>,
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Packing::Zstd => Box::new(zstd::Decoder::new(file).unwrap()),
    }
    .read_to_end(&mut all)
    .unwrap();
    all
}

#[test]
fn blocks_come_back_in_order_from_the_committed_files_of_each_checkpoint() {
    for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
        let root = tempfile::tempdir().unwrap();
        let directory = directory(root.path(), packing);
        let (waker, wakes) = bell();
        let output = Output::with_file_bytes(&directory, task(1), 300_000, waker, nobody());
        let mut block = Vec::new();
        let mut noise = 1u64;
        let mut expected = vec![Vec::new(); 3];
        // All barriers are queued before the first is answered.
        for (all, checkpoint) in expected.iter_mut().zip(1..) {
            for _ in 0..300_000 {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                block.push((noise >> 56) as u8);
                if block.len() == 10_000 {
                    all.extend_from_slice(&block);
                    while !output.has_room() {
                        wakes.recv().unwrap();
                    }
                    block = output.write(block).unwrap();
                }
            }
            output.prepare(CheckpointId(checkpoint), vec![checkpoint as u8]).unwrap();
        }
        for (all, checkpoint) in expected.iter().zip(1..) {
            let prepared = answer(&output, &wakes);
            assert_eq!(prepared.checkpoint, CheckpointId(checkpoint));
            assert_eq!(prepared.state, [checkpoint as u8]);
            let disk = RealDisk::open(root.path()).unwrap();
            commit(&disk, &prepared.files).unwrap();
            let mut found = Vec::new();
            for file in &prepared.files {
                let path = root.path().join(&file.published);
                let content = fs::read(&path).unwrap();
                assert_eq!(content.len() as u64, file.bytes);
                assert_eq!(*blake3::hash(&content).as_bytes(), file.digest);
                found.extend(unpack(&path));
            }
            assert!(found == *all, "{packing}");
        }
        assert_eq!(output.prepared().unwrap(), None);
    }
}

#[test]
fn a_file_is_full_at_its_length_and_a_barrier_begins_the_numbers_anew() {
    let root = tempfile::tempdir().unwrap();
    let directory = directory(root.path(), Packing::None);
    let (waker, wakes) = bell();
    let output = Output::with_file_bytes(&directory, task(7), 10, waker, nobody());
    for block in ["first and full", "small", "fills it up", "rest"] {
        output.write(block.into()).unwrap();
    }
    output.prepare(CheckpointId(9), vec![9]).unwrap();
    output.write("next".into()).unwrap();
    output.prepare(CheckpointId(10), vec![10]).unwrap();
    let first = answer(&output, &wakes).files;
    assert_eq!(
        published(&first),
        ["part-job-out-7-3-0.txt", "part-job-out-7-3-1.txt", "part-job-out-7-3-2.txt"]
    );
    assert_eq!(fs::read(root.path().join(&first[1].in_progress)).unwrap(), b"smallfills it up");
    let second = answer(&output, &wakes).files;
    assert_eq!(published(&second), ["part-job-out-10-3-0.txt"]);
    assert_eq!(second[0].in_progress, ".tm-job-out-2-10-3-0");
    assert_eq!(listing(root.path()).len(), 4, "nothing is published before a commit");
}

#[test]
fn a_barrier_without_output_makes_no_file() {
    let root = tempfile::tempdir().unwrap();
    let directory = directory(root.path(), Packing::Zstd);
    let (waker, wakes) = bell();
    let output = Output::new(&directory, task(1), waker, nobody());
    // The disk is not needed for it.
    fs::remove_dir_all(root.path()).unwrap();
    for checkpoint in 1..4 {
        output.prepare(CheckpointId(checkpoint), vec![checkpoint as u8]).unwrap();
    }
    for checkpoint in 1..4 {
        let prepared = answer(&output, &wakes);
        assert_eq!((prepared.checkpoint, prepared.files), (CheckpointId(checkpoint), Vec::new()));
    }
}

#[test]
fn a_cancelled_writer_is_at_rest_and_what_it_left_can_be_cleaned_up() {
    let root = tempfile::tempdir().unwrap();
    let directory = directory(root.path(), Packing::Zstd);
    let (waker, _wakes) = bell();
    let output = Output::new(&directory, task(1), waker, nobody());
    for _ in 0..100 {
        output.write(vec![7; 100_000]).unwrap();
    }
    output.prepare(CheckpointId(1), vec![1]).unwrap();
    output.cancel();
    output.write(vec![7; 100_000]).unwrap();
    output.prepare(CheckpointId(2), vec![2]).unwrap();
    let left = listing(root.path());
    assert!(left.len() <= 1, "{left:?}");
    assert_eq!(directory.clean_up(&Default::default()).unwrap(), left.len());
    assert!(listing(root.path()).is_empty());
}

#[test]
fn a_file_in_the_way_fails_the_writer_and_tells_why() {
    let root = tempfile::tempdir().unwrap();
    let directory = directory(root.path(), Packing::None);
    fs::write(root.path().join(".tm-job-out-2-1-3-0"), "").unwrap();
    let (waker, wakes) = bell();
    let output = Output::new(&directory, task(1), waker, nobody());
    output.write(b"record\n".to_vec()).unwrap();
    wakes.recv().unwrap();
    let error = output.prepared().unwrap_err();
    assert!(matches!(error, FileError::Create { .. }), "{error}");
    assert!(output.has_room() && output.write(Vec::new()).is_err());
    assert!(output.prepare(CheckpointId(1), vec![1]).is_err());
}
