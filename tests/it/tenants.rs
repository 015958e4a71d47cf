//! Tenants: whose job it is, what all jobs of one may use together, and who gives way.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, Running};

/// Counts generated records by key; NAME, TENANT, SOURCE and more stand for what a test needs.
const HEAVY: &str = r#"
    name = "NAME"
    tenant = "TENANT"
    parallelism = LANES
    restart-strategy = "none"
    [sources.records]
    connector = "nexmark"
    stream = "uniform"
    keys = 100000
    events = EVENTS
    encoding = "msgpack"
    key = "key"
    [operators.count]
    component = "@operators/heavy.wasm"
    from = "records"
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out-NAME"
    format = "text"
    key-type = "integer"
    value-type = "u64"
"#;

struct Heavy {
    name: &'static str,
    tenant: &'static str,
    lanes: usize,
    events: u64,
}

impl Heavy {
    fn put(self, place: &Place) {
        let Self { name, tenant, lanes, events } = self;
        let operators =
            crate::harness::operators().to_str().expect("the target directory is UTF-8");
        let text = HEAVY.replace("@operators", operators).replace("NAME", name);
        let text = text.replace("TENANT", tenant).replace("LANES", &lanes.to_string());
        place.write(&format!("{name}.toml"), text.replace("EVENTS", &events.to_string()));
    }
}

/// One job of tenant `acme`, whose quotas are `quotas`.
fn acme(quotas: &str) -> Place {
    let place = Place::new();
    Heavy { name: "a", tenant: "acme", lanes: 2, events: 20_000 }.put(&place);
    place.write("tenants.toml", format!("[tenants.acme]\n{quotas}\n"));
    place
}

#[test]
fn a_job_within_its_quotas_runs_and_the_report_says_what_was_used() {
    let place = acme("memory = \"1GiB\"\nstate = \"1GiB\"\nsandboxes = 2");
    let report = place.tidemill("run a.toml --tenants tenants.toml").report();
    assert_eq!((&report["tenant"], &report["records_out"]), (&"acme".into(), &20_000.into()));
    let usage = &report["tenant_usage"];
    let peak = |of: &str| usage["quotas"][of]["peak"].as_u64().expect("a number");
    assert_eq!((peak("sandboxes"), peak("components"), peak("input-log")), (2, 1, 0));
    assert!(peak("memory") >= 2 << 20, "{usage}");
    assert!(peak("state") >= 20_000 * 8, "{usage}");
    assert!(usage["cpu_s"].as_f64().is_some_and(|cpu_s| cpu_s > 0.0), "{usage}");
    let operator = &report["operators"][0];
    for figure in ["cpu_us", "memory_bytes", "host_calls", "copied_bytes"] {
        assert!(operator[figure].as_u64().is_some_and(|figure| figure > 0), "{figure} {operator}");
    }
    assert_eq!(operator["restarts"], 0);
}

#[test]
fn what_compiling_took_is_told_of_the_tenant_whose_component_it_was() {
    let caches = Place::new();
    let cache = caches.path("cache");
    let compile_cpu_s = || {
        let place = acme("");
        let run = place.tidemill("run a.toml --tenants tenants.toml");
        let report = run.env("XDG_CACHE_HOME", cache.to_str().expect("a plain path")).report();
        report["tenant_usage"]["compile_cpu_s"].as_f64().expect("a number")
    };
    let (compiled_s, cached_s) = (compile_cpu_s(), compile_cpu_s());
    assert!(compiled_s > 0.0 && cached_s == 0.0, "{compiled_s} {cached_s}");
}

#[test]
fn what_a_job_has_no_room_for_is_refused_before_anything_happens() {
    let refused = |quotas: &str, says: &[&str]| {
        let place = acme(quotas);
        place.tidemill("run a.toml --tenants tenants.toml").end().refuses(77, says);
        assert!(place.names(".tidemill").is_empty() && place.names("out-a").is_empty());
    };
    refused("sandboxes = 1", &["TENANT_SANDBOXES", "2 sandboxes", "\"acme\" has 0 of 1 in use"]);
    refused("sandboxes = 1", &["alone the job takes more than it"]);
    let memory =
        ["TENANT_MEMORY", "bytes of linear memory at the least", "has 0 of 1500000 in use"];
    refused("memory = \"1500kB\"", &memory);
    refused(
        "jobs-dir = \"jobs\"",
        &["TENANT_DIRECTORY", "nobody", "jobs-dir", "is not a directory"],
    );
    let place = acme("");
    let run = "run a.toml --tenants tenants.toml --set tenant=evil";
    place.tidemill(run).end().refuses(77, &["TENANT_UNKNOWN", "\"evil\"", "tenants.toml"]);
    place.write("broken.toml", "[tenants.acme]\nmemmory = 1\n");
    let ended = place.tidemill("run a.toml --tenants broken.toml").end();
    ended.refuses(78, &["broken.toml:2:1", "memmory", "did you mean `memory`"]);
    let ended = place.tidemill("run a.toml --tenants nowhere.toml").end();
    ended.refuses(66, &["the tenants' file", "nowhere.toml"]);
}

/// A job file of tenant `other` in `others/`, beside a directory of `acme`.
fn others() -> Place {
    let place = Place::new();
    for directory in ["acme", "others"] {
        std::fs::create_dir(place.path(directory)).expect("a directory");
    }
    Heavy { name: "a", tenant: "other", lanes: 1, events: 1000 }.put(&place);
    std::fs::rename(place.path("a.toml"), place.path("others/a.toml")).expect("moved");
    place.write("tenants.toml", "[tenants.acme]\njobs-dir = \"acme\"\n[tenants.other]\n");
    place
}

#[test]
fn a_link_to_a_job_file_of_another_tenant_gives_it_no_other_components() {
    let place = others();
    symlink("../others/a.toml", place.path("acme/a.toml")).expect("a link");
    let ended = place.tidemill("run acme/a.toml --tenants tenants.toml").end();
    ended.refuses(77, &["TENANT_DIRECTORY", "a directory of tenant \"acme\"", "no link leads"]);
    let text = std::fs::read_to_string(place.path("tenants.toml")).expect("it was written");
    place.write("tenants.toml", format!("{text}jobs-dir = \"others\"\n"));
    let ended = place.tidemill("run acme/a.toml --tenants tenants.toml").end();
    ended.refuses(77, &["TENANT_DIRECTORY", "a directory of tenant \"acme\""]);
    // A link to the whole directory leads to the job as it is.
    symlink("../others", place.path("acme/all")).expect("a link");
    let report = place.tidemill("run acme/all/a.toml --tenants tenants.toml").report();
    assert_eq!((&report["tenant"], &report["records_out"]), (&"other".into(), &1000.into()));
    assert_eq!(place.names("others/.tidemill"), ["other@a"]);
    assert!(place.names("acme/.tidemill").is_empty());
}

#[test]
fn a_job_whose_directory_is_reached_through_a_link_goes_on_whichever_way_it_is_reached() {
    let place = others();
    symlink("others", place.path("link")).expect("a link");
    let text = std::fs::read_to_string(place.path("others/a.toml")).expect("it was written");
    let slow = text.replace("events = 1000", "events = 100000\n    events-per-second = 20000");
    place.write("others/a.toml", format!("checkpoint-interval = \"50ms\"\n{slow}"));
    let published = || {
        let names = place.names("others/out-a");
        names.iter().filter(|name| name.starts_with("part-")).count()
    };
    let interrupted = |run: &str| {
        let (before, running) = (published(), place.tidemill(run).start());
        while published() < before + 2 && !running.ends_within(Duration::from_millis(10)) {}
        running.signal(Signal::KILL);
        running.end().expect_killed_by(Signal::KILL);
    };
    interrupted("run link/a.toml");
    interrupted("run link/a.toml --tenants tenants.toml");
    let report = place.tidemill("run link/a.toml").report();
    assert_eq!(report["outcome"], "finished");
    assert_eq!(place.lines("others/out-a").len(), 100_000);
}

#[test]
fn a_job_that_its_tenant_may_not_run_keeps_no_other_from_running() {
    let place = others();
    let text = std::fs::read_to_string(place.path("others/a.toml")).expect("it was written");
    place.write("acme/evil.toml", text.replace("out-a", "out-evil"));
    let run = "run acme/evil.toml others/a.toml --tenants tenants.toml --report json";
    let ended = place.tidemill(run).end().expect(77).has_no_panic();
    let ended = ended.says(&["TENANT_DIRECTORY"]);
    let jobs = &ended.report()["jobs"];
    assert_eq!(
        (&jobs[0]["code"], &jobs[0]["tenant"]),
        (&"TENANT_DIRECTORY".into(), &"other".into())
    );
    assert_eq!((&jobs[1]["outcome"], &jobs[1]["records_out"]), (&"finished".into(), &1000.into()));
    let twice = "run others/a.toml ./others/a.toml --tenants tenants.toml --fresh";
    let ended = place.tidemill(twice).end().expect(2);
    ended.says(&["the job \"other@a\" is given twice", "name each job file once"]);
}

#[test]
fn whoever_runs_the_host_is_told_of_quotas_that_do_not_add_up_and_of_data_that_tenants_could_change()
 {
    let place = others();
    Heavy { name: "b", tenant: "acme", lanes: 1, events: 1000 }.put(&place);
    std::fs::rename(place.path("b.toml"), place.path("acme/b.toml")).expect("moved");
    let text = "[host]\nsandboxes = 511\n[tenants.acme]\njobs-dir = \"acme\"\n[tenants.other]\nstate = \"4096TiB\"\n";
    place.write("tenants.toml", text);
    let told = [
        "The tenants of these jobs may use 4194",
        "512 sandboxes together, and the host has room for 511",
        "Job acme@b: its data lies in",
    ];
    let run = "run others/a.toml acme/b.toml --tenants tenants.toml";
    let ended = place.tidemill(run).end().expect(0).says(&told);
    assert!(!ended.stderr.contains("Job other@a: its data"), "{}", ended.stderr);
    let run = "run acme/b.toml --tenants tenants.toml --data-dir data --fresh";
    let ended = place.tidemill(run).end().expect(0);
    assert!(!ended.stderr.contains("together") && !ended.stderr.contains("its data lies"));
}

#[test]
fn jobs_of_two_tenants_with_one_name_have_nothing_to_do_with_each_other() {
    let place = acme("");
    place.write("tenants.toml", "[tenants.acme]\n[tenants.other]\n");
    place.tidemill("run a.toml --tenants tenants.toml --data-dir data").end().expect(0);
    let run = "run a.toml --tenants tenants.toml --data-dir data --set tenant=other";
    let dry = place.tidemill(&format!("{run} --dry-run --set sinks.out.path=out-other"));
    assert_eq!(dry.report()["start"], "new");
    place.tidemill(&format!("{run} --set sinks.out.path=out-other")).end().expect(0);
    assert_eq!(place.sorted_lines("out-a"), place.sorted_lines("out-other"));
    assert_eq!(place.names("data"), ["acme@a", "other@a"]);
}

#[test]
fn a_job_that_the_host_can_never_hold_is_refused() {
    let place = acme("sandboxes = 100");
    place.write("tenants.toml", "[host]\nsandboxes = 1\n[tenants.acme]\n");
    let ended = place.tidemill("run a.toml --tenants tenants.toml").end();
    ended.refuses(75, &["HOST_FULL", "takes 2 sandboxes", "room for 1", "nothing is lost"]);
}

#[test]
fn a_job_that_the_host_has_no_room_for_now_says_so() {
    let place = Place::new();
    for name in ["a", "b"] {
        Heavy { name, tenant: "acme", lanes: 2, events: 1 << 40 }.put(&place);
    }
    place.write("tenants.toml", "[host]\nsandboxes = 3\n[tenants.acme]\n");
    let running = place.tidemill("run a.toml b.toml --tenants tenants.toml").start();
    running.until_stderr(|text| (text.contains("HOST_FULL")).then_some(()));
    running.signal(Signal::TERM);
    running.end().has_no_panic().says(&["nothing is lost"]);
}

#[test]
fn inspect_says_which_tenants_could_run_a_component() {
    let place = Place::new();
    let operators = crate::harness::operators().display();
    place.write(
        "tenants.toml",
        "[tenants.rich]\n[tenants.poor.limits]\nmemory = \"64KiB\"\n\
         [tenants.small.limits]\ncomponent-size = \"1kB\"\n[tenants.tight]\nmemory = \"64KiB\"\n",
    );
    let inspect = format!("inspect {operators}/heavy.wasm --policy tenants.toml --format json");
    let ended = place.tidemill(&inspect).end().expect(77);
    let report = ended.report();
    let verdicts = report["tenants"].as_array().expect("a list");
    assert_eq!((&verdicts[0]["tenant"], &verdicts[0]["admitted"]), (&"rich".into(), &true.into()));
    assert_eq!(
        (&verdicts[1]["admitted"], &verdicts[1]["code"]),
        (&false.into(), &"DESCRIBE_FAILED".into())
    );
    assert!(
        verdicts[1]["refusal"].as_str().is_some_and(|refusal| refusal.contains("MEMORY_LIMIT"))
    );
    let size = report["bytes"].as_u64().expect("a number");
    let refusal = format!("FILE_TOO_LARGE: the file has {size} bytes; at most 1000 are allowed");
    assert_eq!(
        (&verdicts[2]["code"], &verdicts[2]["refusal"]),
        (&"FILE_TOO_LARGE".into(), &refusal.into())
    );
    assert_eq!(verdicts[3]["code"], "TENANT_MEMORY");
    ended.says(&["refused for tenant \"poor\""]);
    // What the host refuses it refuses for all of them.
    place.write("nothing.wasm", "\0asm");
    let ended =
        place.tidemill("inspect nothing.wasm --policy tenants.toml --format json").end().expect(77);
    let refused = ended.report();
    let tenants = refused["tenants"].as_array().expect("a list");
    assert!(!tenants.is_empty() && tenants.iter().all(|it| it["code"] == refused["code"]));
}

#[test]
fn limits_of_the_tenant_cap_those_of_its_jobs() {
    let place = acme("[tenants.acme.limits]\nvalue = 4");
    let ended = place.tidemill("run a.toml --tenants tenants.toml --report json").end().expect(1);
    let ended = ended.says(&["ITEM_TOO_LARGE", "at most 4"]);
    let report = ended.report();
    assert_eq!((&report["code"], &report["tenant"]), (&"ITEM_TOO_LARGE".into(), &"acme".into()));
    assert!(report["operators"][0]["restarts"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert!(report["tenant_usage"]["cpu_s"].as_f64().is_some_and(|cpu_s| cpu_s > 0.0), "{report}");
    assert_eq!(report["durability"]["checkpoints_completed"], 0);
    let explain = "explain a.toml --tenants tenants.toml --format json";
    let explained = place.tidemill(explain).end().expect(0).report();
    assert_eq!(explained["operators"][0]["limits"]["value"], "4B");
    assert_eq!(explained["settings"]["tenant"], "acme");
}

#[test]
fn a_component_over_its_tenants_limit_is_refused_with_its_size() {
    let heavy = crate::harness::operators().join("heavy.wasm");
    let size = heavy.metadata().expect("it was built").len();
    let limit = |bytes: u64| acme(&format!("[tenants.acme.limits]\ncomponent-size = {bytes}"));
    let found = format!("the file has {size} bytes; at most {} are allowed", size - 1);
    let place = limit(size - 1);
    let ended = place.tidemill("run a.toml --tenants tenants.toml").end();
    ended.refuses(77, &["FILE_TOO_LARGE", &found]);
    assert!(place.names(".tidemill").is_empty() && place.names("out-a").is_empty());
    limit(size).tidemill("run a.toml --tenants tenants.toml").end().expect(0);
    // Its own job may allow it less.
    let job = std::fs::read_to_string(place.path("a.toml")).expect("it was written");
    let lower = "from = \"records\"\nlimits.component-size = 9";
    place.write("a.toml", job.replace("from = \"records\"", lower));
    place.tidemill("run a.toml").end().refuses(77, &["FILE_TOO_LARGE", "at most 9 are allowed"]);
}

#[test]
fn jobs_of_a_tenant_share_its_memory_and_its_state() {
    let fails = |quotas: &str, code: &str| {
        let place = acme(quotas);
        let run = "run a.toml --tenants tenants.toml --set sources.records.events=100000";
        let ended = place.tidemill(run).end().expect(1);
        ended.says(&[code, "the tenants' file", "at most"]);
        assert!(place.names("out-a").iter().all(|name| !name.starts_with("part-")));
    };
    fails("memory = \"2300kB\"", "TENANT_MEMORY");
    fails("state = \"100kB\"", "TENANT_STATE");
}

#[test]
fn an_input_log_that_a_tenant_may_not_have_is_refused_and_nothing_is_listened_on() {
    let place = Place::new();
    let operators = crate::harness::operators().to_str().expect("the target directory is UTF-8");
    let job = "name = \"a\"\ntenant = \"acme\"\n[sources.lines]\nconnector = \"tcp\"\nlisten = \"127.0.0.1:0\"\n\
               [operators.split]\ncomponent = \"@operators/word_split.wasm\"\nfrom = \"lines\"\n\
               [sinks.out]\nconnector = \"discard\"\nfrom = \"split\"\n";
    place.write("a.toml", job.replace("@operators", operators));
    place.write("tenants.toml", "[tenants.acme]\ninput-log = \"512MiB\"\n");
    let ended = place.tidemill("run a.toml --tenants tenants.toml").end();
    let says = ["TENANT_INPUT_LOG", "1073741824 bytes of input log", "0 of 536870912 in use"];
    ended.refuses(77, &says);
    assert!(place.names(".tidemill").is_empty());
}

#[test]
fn snapshots_over_the_quota_are_not_written_and_the_job_ends_for_it() {
    let place = acme("checkpoints = \"20kB\"");
    let settings = "--set tolerable-failed-checkpoints=0 --set checkpoint-interval=50ms";
    let run = format!("run a.toml --tenants tenants.toml {settings}");
    let ended = place.tidemill(&run).end().expect(74).has_no_panic();
    ended.says(&[
        "CHECKPOINT_QUOTA",
        "at most 20000 are allowed",
        "raise `checkpoints` of the tenant",
    ]);
    assert!(place.names("out-a").iter().all(|name| !name.starts_with("part-")));
    let report = place.tidemill("run a.toml").report();
    assert_eq!(report["records_out"], 20_000);
}

#[test]
fn a_tenant_that_has_used_its_cpu_time_is_held_back_and_loses_nothing() {
    let place = acme("cpu = 0.02\noutput-rate = \"1MB\"");
    let report = place.tidemill("run a.toml --tenants tenants.toml").report();
    assert_eq!(report["records_out"], 20_000);
    let held_s = report["tenant_usage"]["held_s"].as_f64().expect("a number");
    assert!(held_s > 0.05, "{report}");
}

/// For each thread of a process whose name has this part: its priority (19 is the lowest), and whether it runs or would run.
fn threads(running: &Running, part: &str) -> Vec<(i64, bool)> {
    let tasks = PathBuf::from(format!("/proc/{}/task", running.id()));
    let Ok(tasks) = std::fs::read_dir(tasks) else { return Vec::new() };
    let stats = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("stat")));
    let named = |stat: &String| stat.split_once('(').is_some_and(|(_, name)| name.contains(part));
    stats.flatten().filter(named).filter_map(|stat| niceness_and_state(&stat)).collect()
}

/// From what the system says of a thread.
fn niceness_and_state(stat: &str) -> Option<(i64, bool)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    Some((rest.split(' ').nth(16)?.parse().ok()?, rest.starts_with('R')))
}

fn priorities(running: &Running, part: &str) -> Vec<i64> {
    threads(running, part).into_iter().map(|(niceness, _)| niceness).collect()
}

#[test]
fn a_tenant_over_its_share_gives_way_and_comes_back_when_it_is_alone() {
    let place = Place::new();
    let (cores, endless) = (std::thread::available_parallelism().map_or(1, usize::from), 1 << 40);
    Heavy { name: "hog", tenant: "greedy", lanes: 4 * cores, events: endless }.put(&place);
    Heavy { name: "small", tenant: "modest", lanes: cores, events: endless }.put(&place);
    place.write("tenants.toml", "[tenants.greedy]\n[tenants.modest]\ncpu-share = 2\n");
    let run = "run hog.toml small.toml --tenants tenants.toml --report json --data-dir data";
    // Each job has a thread that makes its events. The first of them that is to be replaced when it need not give way any more
    // finds no thread, and goes on by itself.
    let failpoint = "thread tidemill-generate:3";
    let running = place.tidemill(run).env("TIDEMILL_FAILPOINT", failpoint).start();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !holds() {
            assert!(begun.elapsed().as_secs() < 120, "{what}: {:?}", priorities(&running, "/hog"));
            std::thread::yield_now();
        }
    };
    // Before both have begun, the other one may be the one that uses more.
    // Where other programs take the cores, lanes that have given way get none in which to do the next step, and some may be late.
    until("lanes of the greedy tenant give way, and none of the modest one", &|| {
        let (greedy, modest) = (priorities(&running, "/hog"), priorities(&running, "/small"));
        let are_all_there = greedy.len() == 4 * cores && modest.len() == cores;
        let giving_way = greedy.iter().filter(|lane| **lane == 19).count();
        are_all_there && giving_way >= 3 * cores && modest.iter().all(|lane| *lane == 0)
    });
    let stop = "savepoint create small.toml --data-dir data --stop --to saved";
    place.tidemill(stop).end().expect(0);
    until("they come back when nobody else wants the cores", &|| {
        let priorities = priorities(&running, "/hog");
        priorities.len() == 4 * cores && priorities.iter().all(|niceness| *niceness == 0)
    });
    running.signal(Signal::TERM);
    let report: Value = running.end().expect(143).has_no_panic().report();
    let hog = &report["jobs"][0];
    assert_eq!(hog["outcome"], "stopped");
    assert_eq!(place.lines("out-hog").len() as u64, hog["records_out"].as_u64().expect("a number"));
}

/// Loops in each call, for as long as one may.
const SPIN: &str = r#"
    name = "NAME"
    tenant = "greedy"
    [sources.records]
    connector = "file"
    path = "in.ndjson"
    format = "ndjson"
    key = "k"
    [operators.odd]
    component = "@operators/misbehave.wasm"
    from = "records"
    config = { mode = "loop", greeting = "good morning" }
    on-poison = "skip"
    [sinks.out]
    connector = "discard"
    from = "odd"
"#;

#[test]
fn of_lanes_that_give_way_no_more_run_at_once_than_there_are_cores_even_in_the_middle_of_calls() {
    const SAMPLES: usize = 100;
    let place = Place::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let operators = crate::harness::operators().to_str().expect("the target directory is UTF-8");
    let spinning: Vec<String> = (0..4 * cores).map(|job| format!("spin-{job}")).collect();
    for name in &spinning {
        let text = SPIN.replace("@operators", operators).replace("NAME", name);
        place.write(&format!("{name}.toml"), text);
    }
    place.write("in.ndjson", "{\"k\":\"bad\"}\n".repeat(10_000));
    Heavy { name: "small", tenant: "modest", lanes: 1, events: 1 << 40 }.put(&place);
    place.write("tenants.toml", "[tenants.greedy]\n[tenants.modest]\ncpu-share = 9\n");
    let jobs: String = spinning.iter().map(|name| format!("{name}.toml ")).collect();
    let run = format!("run {jobs} small.toml --tenants tenants.toml --data-dir data");
    let running = place.tidemill(&run).start();
    // Reading the figures of all threads takes longer than a turn.
    let lanes = || -> Vec<PathBuf> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id()));
        let tasks = tasks.expect("it runs").flatten().map(|task| task.path());
        let is_lane = |task: &PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.contains("/spin"))
        };
        tasks.filter(is_lane).collect()
    };
    let begun = std::time::Instant::now();
    let mut medians = Vec::new();
    // Other tests want cores, too.
    while medians.last().is_none_or(|median| !(1..=2 * cores).contains(median)) {
        assert!(begun.elapsed().as_secs() < 60, "of {}: {medians:?}", 4 * cores);
        std::thread::sleep(Duration::from_millis(100));
        let lanes = lanes();
        let stat = |lane: &PathBuf| std::fs::read_to_string(lane.join("stat")).ok();
        let at = || lanes.iter().filter_map(stat).filter_map(|stat| niceness_and_state(&stat));
        if at().filter(|(niceness, _)| *niceness == 19).count() < 4 * cores {
            continue;
        }
        let sample = |_| {
            std::thread::sleep(Duration::from_millis(10));
            at().filter(|(_, would_run)| *would_run).count()
        };
        let mut samples: Vec<usize> = (0..SAMPLES).map(sample).collect();
        samples.sort_unstable();
        medians.push(samples[SAMPLES / 2]);
    }
    // They would go on to the end of their batches.
    running.signal(Signal::KILL);
    running.end().expect_killed_by(Signal::KILL).has_no_panic();
}
