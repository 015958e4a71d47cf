//! Grants: what of the host an operator may see, and that it sees nothing else.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process;

use crate::harness::{Command, Place};

const JOB: &str = r#"
name = "grants"
[sources.lines]
connector = "file"
path = "in.txt"
[operators.read]
component = "@operators/read_files.wasm"
from = "lines"
config = { greeting = "hello" }
[operators.read.grants]
directories = [{ path = "data/models" }, { path = "data/other", as = "/deep/other" }]
environment = ["HOME_REGION"]
[sinks.out]
connector = "file"
path = "out"
from = "read"
"#;

/// A place with the job and something to read.
fn place() -> Place {
    let place = Place::with_job(JOB);
    allow(&place, "data");
    place.write("in.txt", "open\n");
    place.write("data/models/a", "the first model");
    place.write("data/models/sub/b", "the second model");
    place.write("data/other/c", "another");
    place.write("data/secret/key", "a secret");
    place
}

/// Allows the tenant the directory `name` of the place, and the variable that the job asks for.
fn allow(place: &Place, name: &str) {
    let text = format!(
        "[tenants.default.grants]\ndirectories = [{name:?}]\nenvironment = [\"HOME_REGION\"]\n"
    );
    place.write("tenants.toml", text);
}

/// A run with the tenants' file of the place.
fn run(place: &Place) -> Command {
    place.run().words("--tenants tenants.toml").env("HOME_REGION", "north")
}

/// What the operator tells of each line, in their order.
#[track_caller]
fn told(place: &Place, lines: &[&str]) -> Vec<String> {
    place.write("in.txt", lines.join("\n"));
    run(place).words("--fresh").end().expect(0);
    place.lines("out")
}

/// Runs the job with one line for each of `expected`, which must be told to begin as it says.
#[track_caller]
fn tells(place: &Place, expected: &[(&str, &str)]) {
    let lines: Vec<&str> = expected.iter().map(|(line, _)| *line).collect();
    let told = told(place, &lines);
    assert_eq!(told.len(), expected.len());
    for ((line, found), told) in expected.iter().zip(told) {
        let expected = format!("{line}: {found}");
        assert!(told.starts_with(&expected), "{told}\nis not\n{expected}");
        let host = place.path("").display().to_string();
        assert!(!told.contains(&host), "a path of the host: {told}");
    }
}

#[test]
fn an_operator_reads_what_it_was_granted_and_sees_what_it_asked_for() {
    let place = place();
    symlink("sub/b", place.path("data/models/link")).expect("a link is made");
    tells(
        &place,
        &[
            ("open", "the first model"),
            ("read /models/a", "the first model"),
            ("read /models/./sub/../sub/b", "the second model"),
            ("read /models/link", "the second model"),
            ("link /models/link", "sub/b"),
            ("read /deep/other/c", "another"),
            ("list /models", "a link sub/"),
            ("list /models/sub/", "b"),
            ("stat /models/a", "15 bytes, directory false, dated true"),
            ("read /models/none", "NotFound"),
            ("variable HOME_REGION", "north"),
            ("variable greeting", "hello"),
            ("variable PATH", "none"),
            ("variable HOME", "none"),
            ("variables", "greeting HOME_REGION"),
        ],
    );
}

#[test]
fn nothing_can_be_changed_through_a_grant() {
    let place = place();
    tells(
        &place,
        &[
            ("write /models/a", "ReadOnlyFilesystem"),
            ("write /models/new", "ReadOnlyFilesystem"),
            ("append /models/a", "ReadOnlyFilesystem"),
            ("rename /models/a", "ReadOnlyFilesystem"),
            ("remove /models/a", "ReadOnlyFilesystem"),
            ("make /models/new", "ReadOnlyFilesystem"),
            ("read /models/a", "the first model"),
        ],
    );
    assert_eq!(place.names("data/models"), ["a", "sub"]);
    assert_eq!(fs::read_to_string(place.path("data/models/a")).unwrap(), "the first model");
}

#[test]
fn no_path_leads_out_of_a_grant() {
    let place = place();
    let link = |target: &Path, name: &str| {
        symlink(target, place.path("data/models").join(name)).expect("a link is made");
    };
    link(Path::new("../secret"), "relative");
    link(&place.path("data/secret"), "absolute");
    link(Path::new("../secret/key"), "key");
    let refused = "PermissionDenied";
    tells(
        &place,
        &[
            ("read /models/../secret/key", refused),
            ("read /models/sub/../../secret/key", refused),
            ("read /models/relative/key", refused),
            ("read /models/absolute/key", refused),
            ("read /models/key", refused),
            ("list /models/relative", refused),
            ("list /models/relative/", refused),
            ("list /models/absolute/", refused),
            ("stat /models/absolute/", refused),
            ("link /models/absolute", refused),
            ("list /models/..", refused),
        ],
    );
    let host = place.path("data/secret/key").display().to_string();
    let lines =
        ["read /proc/self/mem", "read /etc/passwd", "read ../secret/key", "list /", "read a"];
    let host = format!("read {host}");
    let all: Vec<&str> = lines.into_iter().chain([host.as_str()]).collect();
    for told in told(&place, &all) {
        assert!(!told.contains("secret\n") && !told.contains("root:"), "{told}");
        assert!(told.contains("NotFound") || told.contains("Uncategorized"), "{told}");
    }
}

#[test]
fn what_is_no_regular_file_holds_up_nobody() {
    let place = place();
    let made = process::Command::new("mkfifo").arg(place.path("data/models/fifo")).status();
    assert!(made.expect("mkfifo is there").success());
    let refused = "PermissionDenied";
    tells(&place, &[("read /models/fifo", refused), ("pieces /models/fifo", refused)]);
}

#[test]
fn a_huge_file_is_read_in_pieces_and_open_files_are_bounded() {
    let place = place();
    // More than one call may read, and far less than a call has CPU time for, also on a busy machine.
    let content: Vec<u8> = (0..6_000_000u32).map(|at| (at % 251) as u8).collect();
    let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
    place.write("data/models/huge", &content);
    let found = format!("{} bytes, sum {sum}", content.len());
    tells(&place, &[("pieces /models/huge", &found), ("hold /models/a", "64 at once, then ")]);
}

#[test]
fn a_directory_that_is_swapped_for_a_link_is_still_the_one_that_was_granted() {
    let place = place();
    let job = JOB.replace("connector = \"file\"\npath = \"in.txt\"", "connector = \"stdin\"");
    place.job(&job.replace("connector = \"file\"\npath = \"out\"", "connector = \"stdout\""));
    let mut running = run(&place).start();
    running.stdin().write_all(b"read /models/a\n").expect("it reads");
    assert_eq!(running.lines(1), ["read /models/a: the first model"]);
    fs::rename(place.path("data/models"), place.path("data/was")).expect("it is moved");
    symlink("secret", place.path("data/models")).expect("a link is made");
    running.stdin().write_all(b"read /models/key\nread /models/a\n").expect("it reads");
    let lines = running.lines(3);
    assert!(lines[1].starts_with("read /models/key: NotFound"), "{lines:?}");
    assert_eq!(lines[2], "read /models/a: the first model");
    running.close_stdin();
    running.end().expect(0);
    let says = ["GRANT_REFUSED", "data/models is not granted"];
    allow(&place, "data/was");
    run(&place).words("--fresh").end().refuses(77, &says);
}

#[test]
fn a_grant_that_is_allowed_and_is_not_there_is_named() {
    let place = place();
    let says =
        ["read: the variable HOME_REGION is not set in the host's environment", "job.toml:12:16"];
    place.run().words("--tenants tenants.toml").end().refuses(66, &says);
    place.job(&JOB.replace("data/other", "data/models/a"));
    let says = ["data/models/a cannot be opened: Not a directory", "job.toml:11:51"];
    run(&place).end().refuses(66, &says);
    assert!(place.names(".tidemill").is_empty(), "the data directory is not touched");
}

#[test]
fn a_grant_out_of_what_is_allowed_is_refused() {
    let place = place();
    symlink(place.path("data/secret"), place.path("data/other/out")).expect("a link is made");
    let refused = |job: &str, allowed: &str, says: &str| {
        place.job(job);
        allow(&place, allowed);
        run(&place).end().refuses(77, &["read: GRANT_REFUSED: ", says]);
    };
    refused(JOB, "data/models", "data/other is not granted by the policy of the job's tenant");
    let through_link = JOB.replace("data/models", "data/other/out");
    refused(&through_link, "data/other", "data/other/out is not granted");
    let other = JOB.replace("HOME_REGION", "HOME");
    refused(&other, "data", "the environment's variable HOME is not granted");
    // What one tenant is allowed, no other is.
    place.job(JOB);
    place.write(
        "tenants.toml",
        "[tenants.default]\n[tenants.acme.grants]\ndirectories = [\"data\"]\n",
    );
    run(&place).end().refuses(77, &["GRANT_REFUSED", "[tenants.default.grants]"]);
}

#[test]
fn without_a_policy_a_job_that_asks_for_grants_is_refused_with_the_lines_to_add() {
    let place = place();
    let help = [
        "read: GRANT_REFUSED: the environment's variable HOME_REGION is not granted",
        "job.toml:12:16",
        "tenants.toml",
        "[tenants.default.grants]",
        "data/models",
        "data/other",
        "environment = [\"HOME_REGION\"]",
    ];
    place.run().end().refuses(77, &help);
    place.has_no_output();
    place.job(&JOB.replace("environment = [\"HOME_REGION\"]", ""));
    let says = ["GRANT_REFUSED: the directory ", "data/models is not granted", "job.toml:11:25"];
    place.run().end().refuses(77, &says);
    place.tidemill("explain job.toml").end().refuses(77, &says);
    let explained = place.tidemill("explain job.toml --tenants tenants.toml").end().expect(0);
    let line = |line: &String| line.contains("grants.directories./deep/other");
    let shown = explained.lines().into_iter().find(line).expect("grants are shown");
    assert!(shown.ends_with("data/other"), "{shown}");
    assert!(place.names(".tidemill").is_empty(), "the data directory is not touched");
}
