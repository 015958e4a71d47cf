//! The rooms and arrows of ARCHITECTURE.md, and what each room must not know.

use tidemill_tidy::{Source, dependencies, sources};

/// Product files may grow to this many lines.
const FILE_LINES_MAX: usize = 450;

fn ours(package: &str) -> Vec<String> {
    dependencies(package).into_iter().filter(|name| name.starts_with("tidemill")).collect()
}

#[test]
fn the_four_rooms_have_the_arrows_of_the_design() {
    assert_eq!(ours("host/core"), Vec::<String>::new());
    assert_eq!(ours("host/storage"), ["tidemill-core"]);
    assert_eq!(ours("host/sandbox"), ["tidemill-core"]);
    let mut runtime = ours("host/runtime");
    runtime.sort();
    assert_eq!(runtime, ["tidemill-core", "tidemill-sandbox", "tidemill-storage"]);
    assert_eq!(ours("guest-sdk"), Vec::<String>::new());
}

#[test]
fn operators_know_the_sdk_and_nothing_of_the_host() {
    for sample in
        ["enrich", "heavy", "nexmark", "nexmark-count", "top-bids", "word-count", "word-split"]
    {
        let ours = ours(&format!("sample-operators/{sample}"));
        assert_eq!(ours, ["tidemill-sdk"], "{sample}");
    }
}

#[test]
fn only_the_sandbox_depends_on_wasmtime() {
    for package in ["host/core", "host/storage", "host/runtime", "guest-sdk"] {
        let found = dependencies(package);
        let wasm =
            found.iter().find(|name| name.starts_with("wasm") || name.starts_with("wit-com"));
        assert_eq!(wasm, None, "{package}");
    }
}

/// Fails when product code below `folder` holds one of `banned`, but in `except`.
fn ban(folder: &str, banned: &[&str], except: &[&str]) {
    for source in sources(folder).iter().filter(|source| !source.is_test()) {
        if except.iter().any(|path| source.path.starts_with(path)) {
            continue;
        }
        let code = source.product_code();
        for word in banned {
            assert!(!code.contains(word), "{} holds {word:?}, which is banned there", source.path);
        }
    }
}

#[test]
fn the_core_has_no_io_no_clock_no_threads_and_no_chance() {
    let banned = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "std::process",
        "std::io",
        "Instant",
        "SystemTime",
        "tokio",
        "println!",
        "HashMap",
        "HashSet",
        "rand::",
    ];
    ban("host/core/src", &banned, &[]);
}

#[test]
fn only_storage_opens_files() {
    // The command line reads the files that its user names, and writes new projects; what the system says of itself
    // has the shape of files.
    let except = ["host/runtime/src/cli", "host/runtime/src/config", "host/runtime/src/machine.rs"];
    ban("host/runtime/src", &["std::fs", "File::open", "File::create"], &except);
    // What lies in the directories that operators were granted.
    let except = ["host/sandbox/src/files"];
    ban("host/sandbox/src", &["std::fs", "File::open", "File::create"], &except);
}

#[test]
fn unsafe_stands_in_one_place_of_the_host() {
    let has_unsafe = |source: &&Source| source.product_code().contains("unsafe {");
    let found: Vec<String> =
        sources("host").iter().filter(has_unsafe).map(|source| source.path.clone()).collect();
    assert_eq!(found, ["host/sandbox/src/artefact.rs"]);
}

#[test]
fn every_module_says_what_it_is_for() {
    for folder in ["host", "guest-sdk", "sample-operators", "tests", "xtask"] {
        for source in sources(folder) {
            assert!(source.text.starts_with("//!"), "{} has no header", source.path);
        }
    }
}

#[test]
fn files_stay_small() {
    for folder in ["host", "guest-sdk", "sample-operators", "tests", "xtask"] {
        for source in sources(folder).iter().filter(|source| !source.is_test()) {
            let lines = source.product_lines();
            assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", source.path);
        }
    }
}
