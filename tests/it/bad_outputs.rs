//! Outputs, directories and addresses that cannot be had: refused before records flow, and what lies
//! there already is not touched.

use std::fs;
use std::io::Write;
use std::net::TcpListener;

use rustix::process::Signal;

use crate::cli::until_metrics;
use crate::harness::{Place, Running};

const JOB: &str = r#"
    name = "out"
    parallelism = 2
    [sources.lines]
    connector = "nexmark"
    stream = "lines"
    events = 100
    [sinks.out]
    connector = "file"
    from = "lines"
    path = "out"
"#;

const FROM_STDIN: &str = r#"
    name = "out"
    [sources.lines]
    connector = "stdin"
    [sinks.out]
    connector = "file"
    from = "lines"
    path = "out"
"#;

const FROM_TCP: &str = r#"
    name = "out"
    [sources.lines]
    connector = "tcp"
    listen = "127.0.0.1:0"
    [sinks.out]
    connector = "stdout"
    from = "lines"
"#;

/// A run that waits for input. It has taken its first line, so it holds its locks.
fn waiting(place: &Place) -> Running {
    let mut running = place.run().words("--metrics 127.0.0.1:0").start();
    let address = running.address_after("Metrics are served on http://");
    running.stdin().write_all(b"first\n").expect("it reads");
    until_metrics(address, |text| {
        text.contains(r#"tidemill_job_records_in_total{tenant="default",job="out"} 1"#)
    });
    running
}

#[test]
fn a_fifo_in_place_of_a_file_of_ours_is_refused_and_nobody_waits_for_it() {
    let place = Place::with_job(JOB);
    place.write("out/hint", "");
    place.fifo("out/.tm-out-out.lock");
    place.run().end().refuses(73, &[".tm-out-out.lock", "it is no regular file"]);
    fs::remove_file(place.path("out/.tm-out-out.lock")).unwrap();
    fs::remove_file(place.path("out/hint")).unwrap();
    place.run().end().expect(0);
    place.fifo(".tidemill/out/checkpoints/manifest-00000000000000000900-0000000900");
    place.run().end().refuses(74, &["manifest-00000000000000000900", "it is no regular file"]);
}

/// The file that is in the way in [`obstructed`].
const IN_THE_WAY: &str = "second/part-out-second-1-0-0.txt";

/// A run with two sinks whose second one cannot publish, for a file that lies there by then. All its input
/// is processed, and its last checkpoint complete.
fn obstructed() -> (Place, Running) {
    let second = "[sinks.second]\nconnector = \"file\"\nfrom = \"lines\"\npath = \"second\"\n";
    let place = Place::with_job(&format!("{FROM_STDIN}\n{second}"));
    let mut running = waiting(&place);
    place.write(IN_THE_WAY, "mine");
    running.close_stdin();
    running.until_stderr(|text| text.contains("Trying again").then_some(()));
    (place, running)
}

#[test]
fn an_output_directory_under_a_file_is_refused() {
    let place = Place::with_job(JOB);
    place.write("file", "mine");
    for path in ["file", "file/out", "file/a/b"] {
        let says = ["cannot create", path, "check that the path is right", "job.toml:"];
        place.run().set(&format!("sinks.out.path={path}")).end().refuses(73, &says);
        place.has_no_output();
    }
    assert_eq!(fs::read_to_string(place.path("file")).ok().as_deref(), Some("mine"));
}

#[test]
fn when_one_sink_cannot_begin_the_others_leave_nothing() {
    let place = Place::with_job(&format!(
        "{JOB}\n[sinks.second]\nconnector = \"file\"\nfrom = \"lines\"\npath = \"job.toml\"\n"
    ));
    place.run().end().refuses(73, &["second: cannot create", "job.toml"]);
    place.has_no_output();
}

#[test]
fn output_of_an_earlier_run_is_kept_unless_the_run_is_fresh() {
    let place = Place::with_job(JOB);
    place.run().report();
    let (names, lines) = (place.names("out"), place.sorted_lines("out"));
    let elsewhere = || place.run().words("--data-dir elsewhere").set("sources.lines.events=7");
    let says = ["holds 1 output file(s) of an earlier run", &names[0], "--fresh", "job.toml:"];
    elsewhere().end().refuses(73, &says);
    assert_eq!((place.names("out"), place.sorted_lines("out")), (names, lines));
    place.write("out/mine.txt", "mine");
    elsewhere().words("--fresh").report();
    assert!(place.path("out/mine.txt").exists(), "what is not the job's own stays");
    fs::remove_file(place.path("out/mine.txt")).expect("it is there");
    assert_eq!(place.lines("out").len(), 7);
}

#[test]
fn a_finished_job_has_nothing_left_to_do_unless_it_is_run_afresh() {
    let place = Place::with_job(JOB);
    place.run().report();
    let (names, lines) = (place.names("out"), place.sorted_lines("out"));
    for setting in ["parallelism=2", "sinks.out.path=other", "sources.lines.events=7"] {
        let again = place.run().set(setting).end().expect(0);
        again.says(&["Job out has finished before, at checkpoint 1", "--fresh"]).has_no_panic();
        assert_eq!((place.names("out"), place.sorted_lines("out")), (names.clone(), lines.clone()));
    }
    assert!(place.names("other").is_empty());
    place.run().words("--fresh").report();
    assert_eq!(place.sorted_lines("out"), lines);
}

#[test]
fn a_job_that_failed_may_simply_be_run_again() {
    let place = Place::with_job(JOB);
    place.run().set("sinks.out.path=job.toml").end().expect(73);
    place.run().report();
    assert_eq!(place.lines("out").len(), 100);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_refused() {
    let place = Place::with_job(JOB);
    place.write("file", "mine");
    let says = ["file/out", "cannot use", "--data-dir"];
    place.run().words("--data-dir file").end().refuses(73, &says);
    place.has_no_output();
}

#[test]
fn two_processes_do_not_share_a_data_directory() {
    let place = Place::with_job(FROM_STDIN);
    let mut first = waiting(&place);
    let says = ["another tidemill process runs this job", ".tidemill/out", "--data-dir"];
    place.run().set("sinks.out.path=other").end().refuses(73, &says);
    place.run().words("--fresh").end().refuses(73, &says);
    assert!(place.names("other").is_empty());
    first.close_stdin();
    first.end().expect(0);
    assert_eq!(place.lines("out"), ["first"]);
}

#[test]
fn two_processes_do_not_share_an_output_directory() {
    let place = Place::with_job(FROM_STDIN);
    let mut first = waiting(&place);
    let says = ["another run of this job holds", "stop it or wait", "job.toml:"];
    place.run().words("--data-dir elsewhere").end().refuses(73, &says);
    place.run().words("--data-dir elsewhere --fresh").end().refuses(73, &says);
    first.close_stdin();
    first.end().expect(0);
    assert_eq!(place.lines("out"), ["first"]);
}

#[test]
fn a_file_in_the_way_of_publishing_is_kept_and_the_job_waits_until_it_is_moved() {
    let (place, running) = obstructed();
    let first = ["first".to_owned()];
    assert_eq!(place.published("out"), first, "what can be published is");
    assert_eq!(fs::read_to_string(place.path(IN_THE_WAY)).ok().as_deref(), Some("mine"));
    fs::remove_file(place.path(IN_THE_WAY)).expect("it was kept");
    let says = ["second: ", IN_THE_WAY.rsplit('/').next().expect("a name"), "move it away"];
    running.end().expect(0).says(&says).has_no_panic();
    assert_eq!((place.lines("out"), place.lines("second")), (first.to_vec(), first.to_vec()));
    assert!(place.names("second").iter().all(|name| !name.starts_with(".tm-job")));
}

#[test]
fn a_job_that_could_not_publish_does_so_when_it_is_run_again() {
    let (place, running) = obstructed();
    running.signal(Signal::KILL);
    running.end().expect_killed_by(Signal::KILL);
    let says = ["part-out-second-1-0-0.txt", "move it away"];
    place.run().end().refuses(74, &says);
    assert_eq!(fs::read_to_string(place.path(IN_THE_WAY)).ok().as_deref(), Some("mine"));
    fs::remove_file(place.path(IN_THE_WAY)).expect("it was kept");
    place.run().input("not read\n").end().expect(0).says(&["has finished before"]);
    let first = ["first".to_owned()];
    assert_eq!((place.lines("out"), place.lines("second")), (first.to_vec(), first.to_vec()));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let place = Place::with_job(FROM_TCP);
    let says = ["lines: cannot listen on", &address, "use another port", "job.toml:"];
    place.run().set(&format!("sources.lines.listen={address}")).end().refuses(73, &says);
    let explain =
        place.tidemill("explain job.toml").set(&format!("sources.lines.listen={address}"));
    assert!(explain.end().expect(0).text().contains(&address), "explaining binds nothing");
    let says = ["cannot serve metrics on", &address, "port 0 for a free one"];
    let run = Place::with_job(JOB);
    run.run().words("--metrics").arg(&address).end().refuses(73, &says);
    run.has_no_output();
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let place = Place::with_job(FROM_TCP);
    let run = place.run().set("sources.lines.listen=192.0.2.1:0");
    run.end().refuses(73, &["cannot listen on 192.0.2.1", "127.0.0.1"]);
}
