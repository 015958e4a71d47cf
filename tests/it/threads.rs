//! A system that gives no thread: the job at hand is refused with a code, and goes well once there is one.

use crate::harness::{Place, operators};

const COUNT: &str = r#"
    name = "count"
    restart-strategy = "none"
    [sources.events]
    SOURCE
    [operators.count]
    component = "@operators/word_split.wasm"
    from = "events"
    [sinks.out]
    connector = "stdout"
    from = "count"
"#;
const FILE: &str = "connector = \"file\"\npath = \"in.txt\"";
const STDIN: &str = "connector = \"stdin\"";
const GENERATOR: &str = "connector = \"nexmark\"\nstream = \"lines\"\nevents = 3";

fn place(source: &str) -> Place {
    let place = Place::new();
    let operators = operators().to_str().expect("the target directory is UTF-8");
    place.job(&COUNT.replace("@operators", operators).replace("SOURCE", source));
    place.write("in.txt", "the tide is in\n");
    place
}

/// The thread of this name cannot be started.
#[track_caller]
fn is_refused(source: &str, thread: &str) {
    let place = place(source);
    let run = || place.run().input("the tide is out\n");
    let failpoint = format!("thread {thread}:1");
    let ended = run().env("TIDEMILL_FAILPOINT", &failpoint).end().expect(75).has_no_panic();
    let ended = ended.says(&["HOST_FULL"]);
    assert!(!ended.stderr.contains("please report"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    let ended = run().end().expect(0);
    // Of standard input the log may have had the first run's line already, or not.
    let words = ended.lines().len();
    let expected = if source == GENERATOR { 30 } else { 4 };
    assert!(words == expected || source == STDIN && words == 8, "{thread}: {}", ended.text());
}

#[test]
fn a_job_for_which_there_is_no_thread_says_so_and_runs_later() {
    for thread in ["lane", "restore", "tidemill-snap", "tidemill-keeper", "tidemill-stdout"] {
        is_refused(FILE, thread);
    }
}

#[test]
fn a_source_for_which_there_is_no_thread_says_so_and_runs_later() {
    is_refused(GENERATOR, "tidemill-generate");
    for thread in ["tidemill-stdin", "tidemill-intake", "tidemill-replay"] {
        is_refused(STDIN, thread);
    }
}

#[test]
fn a_component_for_whose_compiler_there_is_no_thread_is_admitted_later() {
    let place = place(FILE);
    // Compiled anew.
    let cache = place.path("cache");
    let cache = cache.to_str().expect("a plain path");
    let run = || place.run().env("XDG_CACHE_HOME", cache);
    for thread in ["compiler-request", "compiler-answer", "compiler-words"] {
        let failpoint = format!("thread {thread}:1");
        let ended = run().env("TIDEMILL_FAILPOINT", &failpoint).end().expect(75).has_no_panic();
        ended.says(&["HOST_FULL", "the process of the compiler cannot be started", "fewer jobs"]);
    }
    assert_eq!(run().end().expect(0).lines().len(), 4);
}

#[test]
fn a_listener_without_a_thread_ends_its_job_and_no_other() {
    let place = place("connector = \"tcp\"\nlisten = \"127.0.0.1:0\"");
    let listening = std::fs::read_to_string(place.path("job.toml")).expect("it was written");
    let listening = listening.replace("\"stdout\"", "\"discard\"");
    place.job(&listening);
    let endless = "connector = \"nexmark\"\nstream = \"lines\"\nevents-per-second = 10";
    let tcp = "connector = \"tcp\"\nlisten = \"127.0.0.1:0\"";
    let other = listening.replace(tcp, endless).replace("name = \"count\"", "name = \"other\"");
    place.write("other.toml", other);
    let run = place.tidemill("run job.toml other.toml --report json");
    let running = run.env("TIDEMILL_FAILPOINT", "thread tidemill-tcp:1").start();
    running.until_stderr(|said| said.contains("HOST_FULL").then_some(()));
    running.signal(rustix::process::Signal::TERM);
    let report = running.end().expect(75).has_no_panic().report();
    assert_eq!(report["jobs"][0]["exit_code"], 75);
    assert_eq!(report["jobs"][1]["outcome"], "stopped");
}

#[test]
fn a_job_of_several_for_which_there_is_no_thread_is_refused_alone() {
    let place = place(FILE);
    let second = std::fs::read_to_string(place.path("job.toml")).expect("it was written");
    let second = second.replace("\"count\"\n    restart", "\"other\"\n    restart");
    let second = second.replace("\"stdout\"", "\"discard\"");
    place.job(&second.replace("\"other\"", "\"count\""));
    place.write("other.toml", second);
    let run = place.tidemill("run job.toml other.toml --report json");
    let ended = run.env("TIDEMILL_FAILPOINT", "thread tidemill-job:1").end().expect(75);
    let ended = ended.has_no_panic().says(&["HOST_FULL", "the others go on"]);
    let report = ended.report();
    assert_eq!(report["jobs"][0]["exit_code"], 75);
    assert_eq!(report["jobs"][1]["outcome"], "finished");
}

#[test]
fn that_there_is_no_thread_for_a_job_is_told_while_those_before_it_run() {
    let place = place("connector = \"nexmark\"\nstream = \"lines\"\nevents-per-second = 10");
    let first = std::fs::read_to_string(place.path("job.toml")).expect("it was written");
    let first = first.replace("\"stdout\"", "\"discard\"");
    place.job(&first);
    place.write("other.toml", first.replace("name = \"count\"", "name = \"other\""));
    let run = place.tidemill("run job.toml other.toml --report json --metrics 127.0.0.1:0");
    let running = run.env("TIDEMILL_FAILPOINT", "thread tidemill-job:2").start();
    let address = running.address_after("Metrics are served on http://");
    running.until_stderr(|said| said.contains("HOST_FULL").then_some(()));
    crate::cli::until_metrics(address, |text| text.contains("job=\"count\""));
    running.signal(rustix::process::Signal::TERM);
    let report = running.end().expect(143).has_no_panic().report();
    assert_eq!(report["jobs"][0]["outcome"], "stopped");
    assert_eq!(report["jobs"][1]["exit_code"], 75);
}
