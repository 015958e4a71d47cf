//! An operator of one's own, from `tidemill new` to its output, without a network.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Place, cargo, root, target};

/// Cargo in a new operator, with its dependencies at the versions of this checkout.
///
/// What it builds is kept from one run of the tests to the next.
fn build(folder: &Path, words: &str) {
    let mut command = Command::new(cargo().get_program());
    command.current_dir(folder).args(words.split(' ')).env("CARGO_NET_OFFLINE", "true");
    command.env("CARGO_TARGET_DIR", target().join("it-new"));
    // What cargo tells a test is not meant for another workspace.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTFLAGS");
    let output = command.output().expect("cargo can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {words}:\n{said}");
    assert!(!said.contains("warning:"), "cargo {words}:\n{said}");
}

#[test]
fn a_new_operator_is_tested_built_and_run() {
    let place = Place::new();
    let ended = place.tidemill("new --lang rust page-visits").end().expect(0);
    assert_eq!(ended.text(), "");
    ended.says(&["Created the operator page-visits", "cargo test", "tidemill run job.toml"]);
    let folder = place.path("page-visits");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("both are there");
    build(&folder, "test --quiet");
    build(&folder, "build --quiet --release --target wasm32-wasip2");
    let built = target().join("it-new/wasm32-wasip2/release/page_visits.wasm");
    let released = folder.join("target/wasm32-wasip2/release");
    fs::create_dir_all(&released).expect("folders are made");
    fs::copy(built, released.join("page_visits.wasm")).expect("it was built");
    let ended = place.tidemill("run page-visits/job.toml").end().expect(0);
    let expected = ["ada\t1", "grace\t1", "ada\t2", "ada\t3", "grace\t2", "alan\t1"];
    assert_eq!(ended.lines(), expected);
    let job = place.tidemill("explain page-visits/job.toml").end().expect(0).text();
    assert!(job.contains("page-visits 0.1.0"), "{job}");
}

#[test]
fn a_name_that_cannot_be_used_is_refused_with_the_reason() {
    let place = Place::new();
    for name in ["../x", "1st", "", "a b", "Über", "fn", "test"] {
        let ended = place.tidemill("new").arg(name).end().expect(2).has_no_panic();
        assert!(ended.stderr.contains("error: "), "{}", ended.stderr);
    }
    assert!(place.names("").is_empty(), "nothing is written");
    place.tidemill("new --lang cobol x").end().refuses(2, &["cobol", "rust"]);
}

#[test]
fn what_is_there_is_not_written_over() {
    let place = Place::new();
    place.write("mine/Cargo.toml", "mine");
    let says = ["cannot create mine", "not empty", "take another name"];
    place.tidemill("new mine").end().refuses(73, &says);
    assert_eq!(fs::read_to_string(place.path("mine/Cargo.toml")).ok().as_deref(), Some("mine"));
    assert_eq!(place.names("mine"), ["Cargo.toml"]);
    place.write("file", "");
    place.tidemill("new file").end().refuses(73, &["cannot create file"]);
}
