//! Sound files to begin from, as the product writes them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidemill_core::batch::Dictionary;
use tidemill_core::checkpoint::manifest::{
    Manifest, OperatorSnapshot, SinkSnapshot, SinkTaskSnapshot, SnapshotFile, SourceSnapshot,
    TaskSnapshot,
};
use tidemill_core::column::{BytesColumn, Layout, OptionalColumn};
use tidemill_core::connector::{PartitionPosition, Position, Prepared, PreparedFile};
use tidemill_core::describe::{StateDescription, StateKind};
use tidemill_core::disk::Disk;
use tidemill_core::ids::{CheckpointId, Incarnation, KeyGroup};
use tidemill_core::snapshot::{SnapshotHeader, SnapshotWriter};
use tidemill_core::state::memory::MemoryBackend;
use tidemill_core::state::{EncodeBudget, NEVER, Resolved, StateBackend};
use tidemill_core::wal::{KnownDurable, Sizes, WalWriter, recover};
use tidemill_storage::disk::RealDisk;

/// The samples of a target, by its name.
///
/// # Panics
/// There is no such target, or the product cannot write.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "job_file" => job_files(),
        "manifest" => vec![manifest().encode().expect("it is small")],
        "snapshot" => vec![snapshot(true), snapshot(false)],
        "wal" => vec![segment(true), segment(false)],
        other => panic!("there is no target {other}"),
    }
}

/// The job files of the samples.
fn job_files() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    ["heavy/job.toml", "nexmark/split.toml", "enrich/job.toml", "word-count/job.toml"]
        .map(|file| fs::read(root.join("sample-operators").join(file)).expect("a sample job"))
        .into()
}

fn manifest() -> Manifest {
    let file = |name: &str, is_base| SnapshotFile {
        name: name.to_owned(),
        bytes: 7,
        digest: [3; 32],
        is_base,
        entries: 1,
    };
    let published = PreparedFile {
        in_progress: ".tm".to_owned(),
        published: "part".to_owned(),
        bytes: 9,
        digest: [1; 32],
    };
    let prepared =
        Prepared { checkpoint: CheckpointId(4), files: vec![published], state: vec![1, 2] };
    let position = Position { offset: 12, detail: vec![0xff], ended: false };
    let partitions = vec![PartitionPosition { partition: "0".to_owned(), position }];
    let files = vec![file("a", true), file("b", false)];
    let task = TaskSnapshot { files, saved: Some(vec![1]), ..TaskSnapshot::default() };
    let tasks = vec![SinkTaskSnapshot { lane: 0, prepared: vec![prepared], state: vec![] }];
    Manifest {
        job: "tide".to_owned(),
        identity: "abc".to_owned(),
        files_identity: None,
        checkpoint: CheckpointId(4),
        incarnation: Incarnation(2),
        created_ms: 5,
        written_by: "0.1.0".to_owned(),
        finished: false,
        hash_seed: 77,
        owners: vec![0, 1, 0],
        parallelism: 2,
        plan: "name = \"tide\"".to_owned(),
        wal_start: None,
        sources: vec![SourceSnapshot { name: "in".to_owned(), partitions }],
        operators: vec![OperatorSnapshot {
            name: "count".to_owned(),
            component: "00".to_owned(),
            states: states(),
            tasks: vec![task],
        }],
        sinks: vec![SinkSnapshot { name: "out".to_owned(), directory: "/out".to_owned(), tasks }],
    }
}

fn states() -> Vec<StateDescription> {
    let state = |name: &str, kind, width| StateDescription {
        name: name.to_owned(),
        kind,
        width,
        schema_version: 1,
        ttl: None,
    };
    vec![
        state("fixed", StateKind::Value, Some(4)),
        state("list", StateKind::List, None),
        state("map", StateKind::Map, None),
    ]
}

/// A snapshot file with all kinds of state.
fn snapshot(is_base: bool) -> Vec<u8> {
    const GROUPS: u32 = 4;
    let groups = (0..GROUPS as u16).map(KeyGroup);
    let mut backend = MemoryBackend::new(&states(), GROUPS, groups);
    backend.track(false);
    let mut keys = BytesColumn::default();
    (0..40u8).for_each(|key| keys.push(&[key; 3]));
    let mut dictionary = Dictionary { keys, hashes: Vec::new() };
    dictionary.ensure_hashes(5);
    let mut resolved = Resolved::default();
    backend.resolve(&dictionary, &[], &mut resolved).expect("all groups are owned");
    for (n, slot) in resolved.slots.iter().enumerate() {
        let mut value = OptionalColumn::default();
        value.push(Layout::Fixed(4), 0, Some(&(n as u32).to_le_bytes()));
        backend.write_values(0, &[*slot], &[0], &value, NEVER);
        let mut items = BytesColumn::default();
        (0..n % 4).for_each(|item| items.push(&vec![7; item]));
        backend.append_list(1, *slot, &items, NEVER);
        backend.write_map(2, *slot, b"entry", Some(&[9; 5]), NEVER);
    }
    backend.freeze(is_base);
    let header = SnapshotHeader {
        identity: "abc".to_owned(),
        operator: "count".to_owned(),
        lane: 0,
        checkpoint: CheckpointId(7),
        incarnation: Incarnation(2),
        key_groups: GROUPS,
        hash_seed: 5,
        states: states(),
        is_base,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let disk = RealDisk::open(folder.path()).expect("a folder");
    let file = disk.create("f").expect("a file");
    let mut writer = SnapshotWriter::new(file, "f", &header).expect("a file");
    let step = backend.encode(EncodeBudget { entries: usize::MAX, bytes: usize::MAX });
    step.segments.into_iter().for_each(|segment| writer.add(segment).expect("it is sound"));
    let (_, mut file) = writer.finish().expect("a file");
    file.sync().expect("a file");
    fs::read(folder.path().join("f")).expect("it is there")
}

/// A segment of the input log, closed or left as by a crash.
fn segment(is_sealed: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).expect("a folder"));
    let found = recover(&*disk, "wal", &KnownDurable::default()).expect("an empty log");
    let sizes = Sizes {
        segment_bytes: 8192,
        fill_bytes: 512,
        fill_ahead_bytes: 1024,
        reserve_bytes: 256,
        quota_bytes: 1 << 20,
    };
    let mut log = WalWriter::begin(disk, found, Incarnation(1), [7; 16], sizes).expect("a new log");
    let partition = log.partition("in", "listener").expect("a name");
    let other = log.partition("in", "other").expect("a name");
    for body in [&b"hello"[..], b"", &[5; 300]] {
        log.append(partition, body).expect("there is room");
        log.append(other, body).expect("there is room");
        log.sync().expect("it can be synced");
    }
    if is_sealed {
        log.idle().expect("there is room");
        log.seal().expect("there is room");
    }
    drop(log);
    let name = format!("wal/{}", tidemill_core::wal::segment_name(1));
    fs::read(folder.path().join(name)).expect("it is there")
}
