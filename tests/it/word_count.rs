//! Words of real files, counted by a job and by the tools of the system.
//!
//! The files are sources and documents of this checkout and of some crates that it is built from.
//! They are copied first: somebody may be working on them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::write::GzEncoder;
use serde_json::Value;

use crate::harness::{Place, cargo, root};

/// Crates with much text, and with words in several languages.
const CRATES: [&str; 4] = ["serde_core", "serde_json", "tokio", "toml_parser"];
/// Every so-manieth file is compressed.
const EVERY: usize = 5;

const JOB: &str = r#"
    name = "word-count"
    parallelism = 2
    [sources.text]
    connector = "file"
    path = ["text/*.txt", "text/*.gz", "text/*.zst"]
    split-size = "64KiB"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "text"
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "split"
    config = { emit = "latest" }
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out"
    format = "text"
    key-type = "text"
    value-type = "u64"
"#;

/// The platform that this is built on.
fn host_triple() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().expect("rustc can be started");
    let version = String::from_utf8(version.stdout).expect("it speaks UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

/// The folders of some of the crates that the product is built from.
fn crates() -> Vec<PathBuf> {
    // Without the filter it would want the crates of every platform, which nobody has downloaded.
    let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform"];
    let metadata = cargo().args(arguments).arg(host_triple()).output();
    let metadata = metadata.expect("cargo can be started");
    let stderr = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "cargo metadata fails:\n{stderr}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let wanted = |package: &&Value| CRATES.contains(&package["name"].as_str().unwrap_or_default());
    let folder = |package: &Value| {
        let manifest = package["manifest_path"].as_str().expect("a package has a manifest");
        Path::new(manifest).parent().expect("a manifest lies in a folder").to_owned()
    };
    packages.iter().filter(wanted).map(folder).collect()
}

/// All files with the extensions `rs` and `md` below a folder, build output left out.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("sources are readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            found.push(path);
        }
    }
}

/// Copies all texts into `text/`, numbered, some of them compressed, and as they are into `plain/`.
fn gather(place: &Place) -> usize {
    let mut found = Vec::new();
    texts(root(), &mut found);
    crates().iter().for_each(|folder| texts(folder, &mut found));
    found.sort();
    for (number, path) in found.iter().enumerate() {
        // Somebody may be moving it.
        let Ok(content) = fs::read(path) else { continue };
        place.write(&format!("plain/{number}.txt"), &content);
        match number % EVERY {
            0 => {
                let file = File::create(place.path(&format!("text/{number}.gz")));
                let file = file.expect("files are written");
                let mut encoder = GzEncoder::new(file, flate2::Compression::fast());
                encoder.write_all(&content).and_then(|()| encoder.finish()).expect("gzip");
            }
            1 => {
                let packed = zstd::encode_all(&content[..], 1).expect("zstd");
                place.write(&format!("text/{number}.zst"), packed);
            }
            _ => drop(place.write(&format!("text/{number}.txt"), &content)),
        }
    }
    found.len()
}

/// What the system's own tools count.
fn counted_by_the_shell(place: &Place) -> BTreeMap<String, u64> {
    let script = "cat plain/* | LC_ALL=C tr -cs A-Za-z '\\n' | LC_ALL=C tr A-Z a-z | grep . \
                  | LC_ALL=C sort | uniq -c";
    let counted = Command::new("sh").args(["-c", script]).current_dir(place.path("")).output();
    let counted = String::from_utf8(counted.expect("sh can be started").stdout);
    let parse = |line: &str| {
        let (count, word) = line.trim_start().split_once(' ').expect("a count and a word");
        (word.to_owned(), count.parse().expect("a count"))
    };
    counted.expect("words are ASCII").lines().map(parse).collect()
}

/// The last count of each word, which is the largest, for counts only grow.
fn last_counts(lines: Vec<String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::<String, u64>::new();
    for line in lines {
        let (word, count) = line.split_once('\t').expect("a word and a count");
        let count: u64 = count.parse().expect("a count");
        let last = counts.entry(word.to_owned()).or_default();
        *last = count.max(*last);
    }
    counts
}

#[test]
fn words_of_real_files_are_counted_as_the_systems_tools_count_them() -> io::Result<()> {
    let place = Place::with_job(JOB);
    fs::create_dir(place.path("text"))?;
    let files = gather(&place);
    let expected = counted_by_the_shell(&place);
    assert!(files > 200 && expected.values().sum::<u64>() > 200_000, "{files} files are too few");
    let report = place.run().report();
    assert_eq!(report["operators"][1]["records_in"], expected.values().sum::<u64>());
    assert_eq!(report["keys"], expected.len());
    let found = last_counts(place.lines("out"));
    let differs = |(word, count): &(&String, &u64)| expected.get(*word) != Some(*count);
    assert_eq!(found.iter().find(differs), None);
    assert_eq!(found.len(), expected.len());
    Ok(())
}

#[test]
fn files_written_compressed_are_read_back_the_same() {
    let place = Place::with_job(
        r#"
        name = "pack"
        parallelism = 2
        [sources.lines]
        connector = "nexmark"
        stream = "lines"
        events = 5000
        partitions = 3
        [sinks.plain]
        connector = "file"
        from = "lines"
        path = "plain"
        [sinks.gzip]
        connector = "file"
        from = "lines"
        path = "gzip"
        compression = "gzip"
        [sinks.zstd]
        connector = "file"
        from = "lines"
        path = "zstd"
        compression = "zstd"
        "#,
    );
    place.run().report();
    let plain = place.sorted_lines("plain");
    assert_eq!(plain.len(), 5000);
    for (packing, ending) in [("gzip", ".txt.gz"), ("zstd", ".txt.zst")] {
        let names = place.names(packing);
        assert!(names.iter().all(|name| name.ends_with(ending)), "{names:?}");
        let unpack = Place::with_job(
            r#"
            name = "unpack"
            [sources.lines]
            connector = "file"
            path = "overridden"
            [sinks.out]
            connector = "file"
            from = "lines"
            path = "out"
            "#,
        );
        let packed = place.path(packing).join("*");
        unpack.run().set(&format!("sources.lines.path={}", packed.display())).report();
        assert!(unpack.sorted_lines("out") == plain, "{packing}");
    }
}
