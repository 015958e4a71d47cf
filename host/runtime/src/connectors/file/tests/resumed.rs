//! A source that goes on from its positions gives what is left, however it was interrupted.

use std::io::Write;
use std::path::PathBuf;

use flate2::write::GzEncoder;
use tidemill_core::connector::PartitionPosition;

use super::*;
use crate::connectors::settings::SourceSettings;
use crate::connectors::{Listing, Source};

/// One run of a job that ends early.
#[derive(Clone, Debug)]
struct Run {
    lanes: usize,
    batches: usize,
    records: usize,
    /// Whether the readers are stopped before they are asked for their positions.
    is_stopped: bool,
}

/// Part of a file: a text, so many times.
type Piece = (String, usize);

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let run = (1usize..4, 0usize..4, 1usize..20, any::<bool>());
    let run = run.prop_map(|(lanes, batches, records, is_stopped)| Run {
        lanes,
        batches,
        records,
        is_stopped,
    });
    prop::collection::vec(run, 1..4)
}

/// Mostly short records, and some longer than what is kept, a chunk, and all chunks ahead.
fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let times = prop_oneof![
        16 => Just(1usize),
        1 => Just(2_000),
        1 => Just(30_000),
        1 => Just(90_000),
    ];
    prop::collection::vec(("[ab,\r\n\"é\u{feff}]{0,7}", times), 1..30)
}

fn content(format: Format, is_crlf: bool, pieces: &[Piece]) -> String {
    let end = if is_crlf { "\r\n" } else { "\n" };
    let mut text = String::new();
    if format == Format::Csv {
        text += "v,\"k, \"";
        text += end;
    }
    for (number, (piece, times)) in pieces.iter().enumerate() {
        // Within the limit on a line, quoted or not.
        let value = piece.repeat(*times.min(&(400_000 / piece.len().max(1))));
        match format {
            Format::Lines => text += &value,
            Format::Ndjson => text += &serde_json::json!({"k": number, "v": value}).to_string(),
            Format::Csv => text += &format!("\"{}\",{number}", value.replace('"', "\"\"")),
        }
        text += if number + 1 < pieces.len() { end } else { "" };
        if number % 5 == 0 && format == Format::Ndjson {
            text += end;
        }
    }
    text
}

fn write(directory: &Path, name: &str, packing: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(format!("{name}{packing}"));
    let packed = match packing {
        ".gz" => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        ".zst" => zstd::encode_all(content, 1).unwrap(),
        _ => content.to_vec(),
    };
    fs::write(&path, packed).unwrap();
    path
}

/// Reads as `run` says; answers the records and the positions in the order of the list.
fn interrupt(source: &Source, run: &Run) -> (Flat, Vec<PartitionPosition>) {
    let (mut flat, mut positions) = (Flat::new(), source.positions());
    for lane in 0..run.lanes {
        let (waker, wakes) = bell();
        let mut reader = source.reader(lane, run.lanes, waker, nobody()).unwrap();
        let own = positions.iter_mut().skip(lane).step_by(run.lanes);
        assert!(own.map(|at| &*at).eq(&reader.positions()), "the positions of a reader not polled");
        flat.extend(take(&mut *reader, &wakes, run.batches, run.records).unwrap());
        if run.is_stopped {
            reader.stop();
        }
        let own = positions.iter_mut().skip(lane).step_by(run.lanes);
        for (at, now) in own.zip(reader.positions()) {
            assert_eq!(at.partition, now.partition);
            *at = now;
        }
    }
    (flat, positions)
}

/// Reads all, interrupted by `runs`; sorted.
fn read_in_runs(settings: &SourceSettings, runs: &[Run]) -> Flat {
    let mut source = Source::list("in", settings, &mut Listing::default()).unwrap();
    let mut found = Flat::new();
    for run in runs {
        let (flat, positions) = interrupt(&source, run);
        found.extend(flat);
        source = Source::resume("in", settings, &positions).unwrap();
        assert_eq!(source.positions(), positions);
    }
    let whole = Run { lanes: 2, batches: usize::MAX, records: 4096, is_stopped: false };
    let (flat, positions) = interrupt(&source, &whole);
    found.extend(flat);
    assert!(positions.iter().all(|at| at.position.ended && at.position.detail.is_empty()));
    let ended = Source::resume("in", settings, &positions).unwrap();
    assert!(interrupt(&ended, &whole).0.is_empty());
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_read_and_what_is_left_are_all(
        files in prop::collection::vec((pieces(), 0usize..3), 1..4),
        format in prop::sample::select(vec![Format::Lines, Format::Ndjson, Format::Csv]),
        is_crlf in any::<bool>(),
        is_keyed in any::<bool>(),
        split_bytes in prop_oneof![20u64..200, 1000u64..500_000, Just(u64::MAX)],
        runs in runs(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = 0;
        for (number, (pieces, packing)) in files.iter().enumerate() {
            let content = content(format, is_crlf, pieces);
            bytes += content.len() as u64;
            let packing = ["", ".gz", ".zst"][*packing];
            write(directory.path(), &format!("f{number}"), packing, content.as_bytes());
        }
        // A few hundred partitions will do.
        let split_bytes = split_bytes.max(bytes / 300);
        let mut file = settings(directory.path(), "f*", format, split_bytes);
        if is_keyed && format != Format::Lines {
            file.key = Some(if format == Format::Csv { "k, " } else { "k" }.to_owned());
        }
        let mut whole = read(&file).unwrap();
        whole.sort();
        let found = read_in_runs(&SourceSettings::File(file), &runs);
        prop_assert!(found == whole, "{} records of {}", found.len(), whole.len());
    }
}

#[test]
fn an_interruption_after_every_single_record_loses_and_repeats_none() {
    let directory = tempfile::tempdir().unwrap();
    let pieces: Vec<Piece> = (0..30).map(|number| (format!("{number}\n\""), number)).collect();
    for format in [Format::Lines, Format::Ndjson, Format::Csv] {
        for packing in ["", ".gz", ".zst"] {
            let content = content(format, true, &pieces);
            let path = write(directory.path(), "a", packing, content.as_bytes());
            let file = settings(directory.path(), "a*", format, 70);
            let mut whole = read(&file).unwrap();
            whole.sort();
            let run = Run { lanes: 3, batches: 1, records: 1, is_stopped: false };
            let found = read_in_runs(&SourceSettings::File(file), &vec![run; whole.len()]);
            assert!(found == whole, "{format:?} {packing}");
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn the_world_beside_the_partitions_is_no_part_of_a_source_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::write(root.join("a"), "1\n2\n").unwrap();
    fs::write(root.join("b"), "3\n4\n").unwrap();
    let mut file = settings(root, "*", Format::Lines, 4);
    let source =
        Source::list("in", &SourceSettings::File(file.clone()), &mut Listing::default()).unwrap();
    let run = Run { lanes: 2, batches: 1, records: 1, is_stopped: false };
    let (flat, positions) = interrupt(&source, &run);
    assert_eq!(values(flat), ["1", "3"]);
    let source = Source::resume("in", &SourceSettings::File(file.clone()), &positions).unwrap();
    let (flat, positions) = interrupt(&source, &Run { lanes: 1, ..run.clone() });
    assert_eq!(values(flat), ["2"]);
    // The partition in `a` has ended, `c` is new, and another split size does not matter.
    fs::remove_file(root.join("a")).unwrap();
    fs::write(root.join("c"), "5\n").unwrap();
    file.split_bytes = 1;
    let settings = SourceSettings::File(file);
    let source = Source::resume("in", &settings, &positions).unwrap();
    let ids: Vec<_> = source.partitions().map(|id| id.rsplit('/').next().unwrap()).collect();
    assert_eq!(ids, ["a:0-4", "b:0-4"]);
    let whole = Run { lanes: 2, batches: usize::MAX, ..run };
    assert_eq!(values(interrupt(&source, &whole).0), ["4"]);
}
