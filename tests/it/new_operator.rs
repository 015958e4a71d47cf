//! An operator of one's own, from `tidemill new` to its output, without a network.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Command as Tidemill, Place, cargo, root, target};

/// Cargo in a new operator. What it builds is kept from one run of the tests to the next.
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

/// Copies the component to where the job file looks for it when cargo builds as usual.
fn place_component(folder: &Path) {
    let built = target().join("it-new/wasm32-wasip2/release/page_visits.wasm");
    let released = folder.join("target/wasm32-wasip2/release");
    fs::create_dir_all(&released).expect("folders are made");
    fs::copy(built, released.join("page_visits.wasm")).expect("it was built");
}

#[test]
fn a_new_operator_is_tested_built_and_run() {
    // Always at the same place, so that cargo finds again what it has built.
    let above = target().join("it-new/place");
    fs::remove_dir_all(&above).ok();
    fs::create_dir_all(&above).expect("folders are made");
    let ended = Tidemill::tidemill(&above).words("new --lang rust page-visits").end().expect(0);
    assert_eq!(ended.text(), "");
    ended.says(&["Created the operator page-visits", "cargo test", "tidemill run job.toml"]);
    let folder = above.join("page-visits");
    // Its dependencies at the versions of this checkout, which are there without a network.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("both are there");
    build(&folder, "test --quiet");
    build(&folder, "build --quiet --release --target wasm32-wasip2");
    place_component(&folder);
    let ended = Tidemill::tidemill(&folder).words("run job.toml").end().expect(0);
    let expected = ["ada\t1", "grace\t1", "ada\t2", "ada\t3", "grace\t2", "alan\t1"];
    assert_eq!(ended.lines(), expected);
    let job = Tidemill::tidemill(&folder).words("explain job.toml").end().expect(0).text();
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
