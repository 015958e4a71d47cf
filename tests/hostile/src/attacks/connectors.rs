//! Attacks through the sources and sinks of a job: files of which nothing comes, generators and files that cost more than the lanes
//! that use them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::attack::{Attack, End, Job};
use crate::guest::Guest;

/// Files that are read at once: more than there are threads for it.
const FILES: usize = 6;
/// Sinks that write compressed files.
const SINKS: usize = 24;

/// A Zstandard frame that is to be skipped says its length in four bytes.
const SKIPPED: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff];

/// Puts sparse files into the directory, each some 40 GiB of frames that are to be skipped.
fn empty_frames(place: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    fs::create_dir(place.join("frames"))?;
    for number in 0..FILES {
        let file = File::create(place.join(format!("frames/{number}.zst")))?;
        let step = SKIPPED.len() as u64 + u64::from(u32::MAX);
        (0..10).try_for_each(|frame| file.write_all_at(&SKIPPED, frame * step))?;
        file.set_len(10 * step)?;
    }
    Ok(())
}

/// A megabyte of frames of eight bytes, of which each says that it is empty.
fn tiny_frames(place: &Path) -> io::Result<()> {
    fs::create_dir(place.join("frames"))?;
    let frame = [&SKIPPED[..4], &[0; 4]].concat();
    for number in 0..FILES {
        let mut file = File::create(place.join(format!("frames/{number}.zst")))?;
        file.write_all(&frame.repeat(4 << 20))?;
    }
    Ok(())
}

/// Parts of a file, one less than a tenant may have if nothing is said.
const PARTS: usize = 9_999;

/// Puts a file into the directory that is read in so many parts.
fn lines(place: &Path) -> io::Result<()> {
    let line = ["x".repeat(1023), "\n".to_owned()].concat();
    fs::write(place.join("lines"), line.repeat(PARTS))
}

/// Reads it beside its records.
fn reading_parts() -> String {
    "\n[sources.parts]\nconnector = \"file\"\npath = \"lines\"\nsplit-size = \"1KiB\"\n\
     [sinks.parts-out]\nconnector = \"discard\"\nfrom = \"parts\"\n"
        .to_owned()
}

/// Reads the files beside its records, each in a source of its own.
fn reading() -> String {
    let source = |number| {
        format!(
            "\n[sources.f{number}]\nconnector = \"file\"\npath = \"frames/{number}.zst\"\n\
             [sinks.s{number}]\nconnector = \"discard\"\nfrom = \"f{number}\"\n"
        )
    };
    (0..FILES).map(source).collect()
}

fn compressing() -> String {
    let sink = |number| {
        format!(
            "\n[sinks.g{number}]\nconnector = \"file\"\npath = \"g{number}\"\ncompression = \"gzip\"\n\
             from = \"attack\"\n"
        )
    };
    (0..SINKS).map(sink).collect()
}

pub(super) fn attacks() -> Vec<Attack> {
    let plain = || Guest::new().build();
    let endless =
        |operator: String| Job { records: None, rate: Some(100), operator, ..Job::default() };
    vec![
        Attack {
            rows: &[30],
            name: "frames-to-skip",
            tries: "reads six files of 40 GiB of which nothing comes but frames that are to be skipped",
            stopped_by: "a turn of an I/O thread reads 1 MiB at most, tenants take turns, and pay for them",
            end: End::GoesOn,
            job: endless(reading()),
            files: Some(empty_frames),
            component: plain,
            ..Attack::default()
        },
        Attack {
            rows: &[30],
            name: "empty-frames",
            tries: "reads six files of 4 million empty frames each",
            stopped_by: "as for frames that are to be skipped",
            end: End::GoesOn,
            job: endless(reading()),
            files: Some(tiny_frames),
            component: plain,
            ..Attack::default()
        },
        Attack {
            rows: &[76],
            name: "compress-again",
            tries: "has each quarter of a MiB that it emits compressed 24 times",
            stopped_by: "I/O threads serve tenants in turn, who pay for them; what is done for one over its share is done by threads that give way",
            end: End::GoesOn,
            job: Job { settings: "batch-records = 1\n".to_owned(), ..endless(compressing()) },
            component: || {
                Guest::new()
                    .pages(8)
                    .fields("(global $n (mut i32) (i32.const 0))")
                    .process("(global.set $n (i32.add (global.get $n) (i32.const 1)))")
                    .process("(memory.fill (i32.const 65536) (global.get $n) (i32.const 262144))")
                    .process("(call $emit_one (i32.const 65536) (i32.const 262144))")
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[76],
            name: "checkpoints-of-many-parts",
            tries: "has a checkpoint each 10 ms that says of 9,999 parts of a file how far they were read, and keeps a thousand of them",
            stopped_by: "what checkpoints cost is charged to the tenant, who rests between them while it gives way; what is kept is not read again",
            quotas: "partitions = 10000\n",
            end: End::GoesOn,
            job: Job {
                settings: "checkpoint-interval = \"10ms\"\ncheckpoints-retained = 1000\n"
                    .to_owned(),
                ..endless(reading_parts())
            },
            files: Some(lines),
            component: plain,
            ..Attack::default()
        },
        Attack {
            rows: &[77],
            name: "partitions-of-a-tenant",
            tries: "asks for ten thousand parts of files, of which each checkpoint says how far they were read",
            stopped_by: "the tenant's `partitions` over all its jobs (10,000; here 9,999), before anything is read",
            code: "TENANT_PARTITIONS",
            says: &["10000 partitions", "0 of 9999 in use"],
            end: End::Refused,
            quotas: "partitions = 9999\n",
            job: endless(reading_parts()),
            files: Some(lines),
            component: plain,
            ..Attack::default()
        },
        Attack {
            rows: &[4],
            name: "generator-of-a-tenant",
            tries: "has as many records made as one can make, and does next to nothing with them",
            stopped_by: "the tenant's `cpu` (here 0.25 cores): the generator's threads count as its lanes do",
            end: End::GoesOn,
            quotas: "cpu = 0.25\n",
            job: Job { records: None, ..Job::default() },
            component: plain,
            check: Some(|seen| {
                let (cpu_s, elapsed_s) = (seen.of_tenant("cpu_s"), seen.elapsed_s());
                let held_s = seen.of_tenant("held_s");
                // A fifth of a second's worth at once, and the batches that lay ready.
                match cpu_s <= 0.25 * elapsed_s + 0.05 + 0.2 && held_s > 0.2 {
                    true => Ok(()),
                    false => {
                        Err(format!("{cpu_s} s of CPU time in {elapsed_s} s, held for {held_s} s"))
                    }
                }
            }),
            ..Attack::default()
        },
    ]
}
