//! Several jobs in one process: each by itself, whatever becomes of the others.

use rustix::process::Signal;

use crate::harness::{Place, Running};

/// Counts words of a file; `NAME` stands for the job's name.
const COUNT: &str = r#"
    name = "NAME"
    [sources.lines]
    connector = "file"
    path = "in.txt"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "lines"
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "split"
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out-NAME"
    format = "text"
    value-type = "u64"
"#;

/// Waits for lines that nobody sends.
const WAITING: &str = r#"
    name = "NAME"
    [sources.lines]
    connector = "tcp"
    listen = "127.0.0.1:0"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "lines"
    [sinks.out]
    connector = "discard"
    from = "split"
"#;

fn job(place: &Place, name: &str, text: &str) {
    let operators = crate::harness::operators().to_str().expect("the target directory is UTF-8");
    let text = text.replace("@operators", operators).replace("NAME", name);
    place.write(&format!("{name}.toml"), text);
}

fn counting(names: &[&str]) -> Place {
    let place = Place::new();
    place.write("in.txt", "the tide is in\nthe tide is out\n");
    names.iter().for_each(|name| job(&place, name, COUNT));
    place
}

#[test]
fn jobs_run_side_by_side_and_each_has_its_own_output() {
    let place = counting(&["a", "b"]);
    let report = place.tidemill("run a.toml b.toml --report json").end().expect(0).report();
    let jobs = report["jobs"].as_array().expect("a list of jobs");
    assert_eq!(jobs.len(), 2);
    for (report, name) in jobs.iter().zip(["a", "b"]) {
        assert_eq!((&report["job"], &report["outcome"]), (&name.into(), &"finished".into()));
        assert_eq!(report["records_out"], 8);
        assert_eq!(place.lines(&format!("out-{name}")).len(), 8);
    }
}

#[test]
fn a_job_that_fails_stops_no_other_and_gives_the_exit_code() {
    let place = counting(&["good"]);
    job(&place, "bad", &COUNT.replace("in.txt", "nowhere.txt"));
    job(&place, "refused", &COUNT.replace("word_split.wasm", "nowhere.wasm"));
    place.write("broken.toml", "name = \"broken\"\nparallelsm = 1\n");
    let run = "run broken.toml bad.toml refused.toml good.toml --report json";
    let ended = place.tidemill(run).end().expect(78).has_no_panic();
    let ended = ended.says(&["parallelsm", "nowhere.txt", "nowhere.wasm", "the others go on"]);
    let report = ended.report();
    let jobs = report["jobs"].as_array().expect("a list of jobs");
    let codes: Vec<_> = jobs.iter().map(|job| job["exit_code"].as_u64()).collect();
    assert_eq!(codes, [Some(78), Some(66), Some(66), None]);
    assert_eq!(jobs[0]["job"], "broken");
    assert_eq!(jobs[3]["outcome"], "finished");
    assert_eq!(place.lines("out-good").len(), 8);
}

#[test]
fn a_job_that_cannot_run_beside_another_is_refused_and_no_other() {
    let place = counting(&["good"]);
    job(&place, "same", &COUNT.replace("name = \"NAME\"", "name = \"good\""));
    let to_stdout =
        COUNT.replace("connector = \"file\"\n    from", "connector = \"stdout\"\n    from");
    let to_stdout = to_stdout.replace("path = \"out-NAME\"\n", "");
    job(&place, "first", &to_stdout);
    job(&place, "second", &to_stdout);
    let ended = place.tidemill("run good.toml same.toml first.toml second.toml").end().expect(2);
    let ended = ended.says(&["two jobs are named \"good\"", "same.toml"]);
    ended.says(&["\"first\" and \"second\" would both write to standard output"]);
    assert_eq!(place.lines("out-good").len(), 8);
}

#[test]
fn what_is_said_of_one_of_several_jobs_names_it() {
    let place = counting(&["good"]);
    job(&place, "bad", &COUNT.replace("in.txt", "nowhere.txt"));
    let ended = place.tidemill("run good.toml bad.toml").end().expect(66);
    ended.says(&["job{tenant=\"default\" name=\"bad\"}: Job bad has ended"]);
}

#[test]
fn a_signal_stops_all_jobs() {
    let place = Place::new();
    ["a", "b"].iter().for_each(|name| job(&place, name, WAITING));
    let running = place.tidemill("run a.toml b.toml --report json").start();
    running.until_stderr(|text| (text.matches("listens on").count() == 2).then_some(()));
    running.until_stderr(|text| text.contains("job=\"b\"").then_some(()));
    running.signal(Signal::TERM);
    let report = running.end().expect(143).has_no_panic().report();
    for job in report["jobs"].as_array().expect("a list of jobs") {
        assert_eq!(job["outcome"], "stopped", "{report}");
    }
}

/// How many threads of a process have this name.
fn threads(running: &Running, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).into_iter().flatten();
    let comms = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    comms.flatten().filter(|comm| comm.trim_end() == name).count()
}

/// How many open files of a process have a path that ends so.
fn open_files(running: &Running, suffix: &str) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", running.id())).into_iter().flatten();
    let paths = files.flatten().map(|file| std::fs::read_link(file.path()));
    paths.flatten().filter(|path| path.ends_with(suffix)).count()
}

#[test]
fn a_job_that_has_ended_leaves_no_thread_and_no_open_file() {
    let place = counting(&["done"]);
    job(&place, "waits", WAITING);
    let running = place.tidemill("run done.toml waits.toml").start();
    running.until_stderr(|text| text.contains("done finished after").then_some(()));
    running.until_stderr(|text| text.contains("listens on").then_some(()));
    let begun = std::time::Instant::now();
    let is_clean = || {
        let lanes = threads(&running, "0/done");
        (threads(&running, "tidemill-socket"), open_files(&running, "events.ndjson"), lanes)
            == (1, 1, 0)
    };
    while !is_clean() {
        assert!(begun.elapsed().as_secs() < 10, "something is left of the job that has ended");
        std::thread::yield_now();
    }
    running.signal(Signal::TERM);
    running.end().expect(143);
}

/// How often the thread of this name has gone to sleep.
fn sleeps(running: &Running, name: &str) -> Option<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).ok()?;
    let status = tasks.flatten().find_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim_end() == name).then(|| std::fs::read_to_string(task.path().join("status")))
    });
    let status = status?.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

#[test]
fn a_lane_that_has_nothing_to_do_is_not_woken() {
    let place = Place::new();
    job(&place, "idle", &format!("    checkpoint-interval = \"1day\"\n{WAITING}"));
    job(&place, "other", &format!("    tenant = \"other\"\n{WAITING}"));
    // With two tenants it is looked who is to give way.
    let mut running = place.tidemill("run idle.toml other.toml").start();
    running.until_stderr(|text| (text.matches("listens on").count() == 2).then_some(()));
    let second = std::time::Duration::from_secs(1);
    let wakes = |running: &mut Running| {
        let before = sleeps(running, "0/idle");
        assert!(!running.ends_within(second));
        sleeps(running, "0/idle").zip(before).map(|(after, before)| after - before)
    };
    // It has to begin first; what wakes it again and again would do so in each of these seconds.
    assert!((0..20).any(|_| wakes(&mut running) == Some(0)), "something wakes an idle lane");
    running.signal(Signal::TERM);
    running.end().expect(143);
}

#[test]
fn options_that_go_with_one_job_are_refused_for_several() {
    let place = counting(&["a", "b"]);
    for option in ["--from x", "--dry-run"] {
        let name = option.split(' ').next().unwrap_or(option);
        let says = format!("{name} goes with one job");
        place.tidemill(&format!("run a.toml b.toml {option}")).end().refuses(2, &[&says]);
    }
    assert!(place.names("out-a").is_empty());
}

#[test]
fn metrics_tell_the_jobs_apart() {
    let place = Place::new();
    ["a", "b"].iter().for_each(|name| job(&place, name, WAITING));
    let running = place.tidemill("run a.toml b.toml --metrics 127.0.0.1:0").start();
    let address = running.address_after("Metrics are served on http://");
    crate::cli::until_metrics(address, |text| {
        let labels =
            |job| format!("tidemill_job_records_in_total{{tenant=\"default\",job=\"{job}\"}}");
        let is_told_once = text.matches("# TYPE tidemill_job_records_in ").count() == 1;
        let of_tenant = [
            "cpu_seconds_total",
            "compile_cpu_seconds_total",
            "host_calls_total",
            "copied_bytes_total",
            "sandbox_restarts_total",
        ];
        let are_told = of_tenant.iter().all(|figure| {
            text.contains(&format!("tidemill_tenant_{figure}{{tenant=\"default\"}} "))
        });
        let labels_of_peak = "tidemill_tenant_peak{tenant=\"default\",of=\"sandboxes\"} 2";
        is_told_once
            && are_told
            && text.contains(labels_of_peak)
            && ["a", "b"].iter().all(|job| text.contains(&labels(job)))
    });
    running.signal(Signal::TERM);
    running.end().expect(143);
}
