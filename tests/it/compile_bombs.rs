//! Components that are made to bring a compiler down, and compilers that are brought down: refused with a code, in
//! bounded time, and the host none the worse.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::harness::{Ended, Place, operators};

/// More than any of these takes, also on a machine that is busy otherwise, and far less than limits on the
/// compiler's time would let pass.
const AT_ONCE: Duration = Duration::from_secs(60);

fn inspect(component: impl AsRef<[u8]>) -> Ended {
    let place = Place::new();
    place.write("bomb.wasm", component);
    place.tidemill("inspect bomb.wasm").end()
}

/// Fails unless the component is refused by this rule, at once.
#[track_caller]
fn breaks(rule: &str, component: impl AsRef<[u8]>) {
    let began = Instant::now();
    let rule = format!("(rule `{rule}`)");
    inspect(component).refuses(77, &["STRUCTURE_LIMIT: it has", "are allowed", &rule]);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own component is well-formed")
}

/// A component with one core module of these parts.
fn module(parts: &str) -> Vec<u8> {
    component(&format!("(component (core module {parts}))"))
}

/// A section of a binary: its id, its size, its bytes.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    number(&mut bytes, content.len());
    bytes.extend_from_slice(content);
    bytes
}

fn number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[test]
fn too_many_of_anything_are_refused_by_their_rule() {
    breaks("functions", module(&"(func)".repeat(50_001)));
    breaks("types", module(&"(type (func))".repeat(100_000)));
    breaks("globals", module(&"(global i32 (i32.const 0))".repeat(10_001)));
    breaks("data-segments", module(&format!("(memory 1) {}", r#"(data "")"#.repeat(20_001))));
    breaks("modules", component(&format!("(component {})", "(core module)".repeat(65))));
    breaks("components", component(&format!("(component {})", "(component)".repeat(32))));
    let mut exports = "(func $f)".to_owned();
    (0..100_000).for_each(|i| write!(exports, "(export \"{i}\" (func $f))").expect("a string"));
    breaks("exports", module(&exports));
    let instances = "(core instance (instantiate $m))".repeat(65);
    breaks("core-instances", component(&format!("(component (core module $m) {instances})")));
}

#[test]
fn functions_that_are_made_for_a_compiler_to_choke_on_are_refused() {
    let deep = format!("(func {} {})", "block ".repeat(11_000), "end ".repeat(11_000));
    breaks("block-depth", module(&deep));
    let giant = format!("(func {})", "i32.const 1 drop ".repeat(400_000));
    breaks("body-bytes", module(&giant));
    breaks("locals", module(&format!("(func (local {}))", "i32 ".repeat(10_001))));
    let many = format!("(func (local {}))", "i32 ".repeat(9_999));
    breaks("locals-total", module(&many.repeat(51)));
    breaks("parameters", module(&format!("(func (param {}))", "i32 ".repeat(101))));
}

#[test]
fn components_in_components_are_refused_however_deep_they_are() {
    let mut nested = COMPONENT.to_vec();
    for _ in 0..1000 {
        nested = [COMPONENT, &section(4, &nested)].concat();
    }
    breaks("component-depth", nested);
}

#[test]
fn types_in_types_bring_down_no_host() {
    // An instance type that declares an instance type that ..., a million deep.
    let mut types = vec![1];
    types.extend_from_slice(&[0x42, 1, 1].repeat(1_000_000));
    types.extend_from_slice(&[0x42, 0]);
    let bomb = [COMPONENT, &section(7, &types)].concat();
    let began = Instant::now();
    let ended = inspect(bomb).refuses(77, &["bomb.wasm is refused"]);
    let is_refused = ["INVALID_COMPONENT", "COMPILE_CRASHED"].iter();
    assert!(is_refused.clone().any(|code| ended.stderr.contains(code)), "{}", ended.stderr);
    assert!(began.elapsed() < AT_ONCE);
}

#[test]
fn types_whose_size_doubles_each_time_are_refused() {
    let mut text = "(component (type $t0 u8)".to_owned();
    for i in 1..60 {
        let before = i - 1;
        write!(text, "(type $t{i} (tuple $t{before} $t{before}))").expect("a string");
    }
    text.push(')');
    let began = Instant::now();
    inspect(component(&text)).refuses(77, &["INVALID_COMPONENT"]);
    assert!(began.elapsed() < AT_ONCE);
}

#[test]
fn custom_sections_may_be_large_and_are_left_out() {
    let whole = std::fs::read(operators().join("word_split.wasm")).expect("it was built");
    let place = Place::new();
    place.write("plain.wasm", &whole);
    let mut name = vec![6];
    name.extend_from_slice(b".debug");
    let custom = section(0, &[name, vec![0xff; 20 << 20]].concat());
    place.write("large.wasm", [whole, custom].concat());
    let report = |file: &str| {
        let words = format!("inspect {file} --format json");
        place.tidemill(&words).end().expect(0).report()
    };
    let (plain, large) = (report("plain.wasm"), report("large.wasm"));
    assert_eq!(large["admitted"], true);
    assert_eq!(large["description"], plain["description"]);
}

#[test]
fn inspect_tells_what_confined_the_compiler() {
    let place = Place::new();
    let file = operators().join("word_split.wasm");
    let inspect = |format: &str| place.tidemill("inspect").arg(&file).words(format).end().expect(0);
    let report = inspect("--format json").report();
    let names = |which: &str| {
        let names = report["confinement"][which].as_array().expect("a list").clone();
        names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let (active, missing) = (names("active"), names("missing"));
    let mut all = [active.clone(), missing.clone()].concat();
    all.sort();
    assert_eq!(all, ["landlock", "no-new-privileges", "rlimits", "seccomp"]);
    assert!(active.contains(&"rlimits".to_owned()), "{active:?}");
    let ended = inspect("");
    assert!(ended.text().contains("in a child process: "), "{}", ended.text());
    assert!(active.iter().all(|name| ended.text().contains(name)), "{}", ended.text());
    assert_eq!(ended.stderr.contains("this system lacks"), !missing.is_empty(), "{}", ended.stderr);
}

/// Fails unless a compiler that does this is told of with this code and these words.
#[track_caller]
fn ends(fault: &str, code: &str, says: &[&str]) {
    ends_with(77, fault, code, says);
}

#[track_caller]
fn ends_with(exit_code: i32, fault: &str, code: &str, says: &[&str]) {
    let place = Place::new();
    place.write("good.wasm", std::fs::read(operators().join("word_split.wasm")).expect("built"));
    let began = Instant::now();
    let inspect = place.tidemill("inspect good.wasm").env("TIDEMILL_COMPILER_FAULT", fault);
    let ended = inspect.end().refuses(exit_code, says).says(&[&format!("is refused: {code}")]);
    assert!(began.elapsed() < AT_ONCE, "{fault}: {:?}", began.elapsed());
    for inside in ["/root", "/home", ".rs", "0x", "\u{1b}[31m"] {
        assert!(!ended.stderr.contains(inside), "{fault}: {}", ended.stderr);
    }
}

#[test]
fn a_compiler_over_its_limits_is_ended_and_told_of() {
    ends("loop", "COMPILE_TIMEOUT", &["at most 1 s of CPU time"]);
    ends_with(75, "wait", "HOST_FULL", &["given up after 5 s"]);
    ends("allocate", "COMPILE_MEMORY", &["more than 268435456 bytes"]);
    ends("stack", "COMPILE_CRASHED", &["did not survive it"]);
}

#[test]
fn how_a_compiler_ended_is_known_whoever_started_the_host() {
    let place = Place::new();
    place.write("good.wasm", std::fs::read(operators().join("word_split.wasm")).expect("built"));
    // Of a process that ignores that children end the system keeps nothing of how they did.
    let line = "trap '' CHLD; exec \"$0\" inspect good.wasm";
    let ended = std::process::Command::new("bash")
        .args(["-c", line, env!("CARGO_BIN_EXE_tidemill")])
        .current_dir(place.path("."))
        .env("TIDEMILL_COMPILER_FAULT", "loop")
        .output()
        .expect("bash, for other shells do not hand that on");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("is refused: COMPILE_TIMEOUT"), "{said}");
}

#[test]
fn a_compiler_that_dies_is_told_of() {
    ends("abort", "COMPILE_CRASHED", &["it aborted"]);
    ends("panic", "COMPILE_CRASHED", &["a defect of its own"]);
    ends("exit", "COMPILE_CRASHED", &["exit code 0 and without an answer"]);
}

#[test]
fn a_compiler_that_reaches_for_more_is_denied_it() {
    ends("open-file", "COMPILE_CRASHED", &["exit code 43"]);
    for fault in ["socket", "thread", "process", "signal"] {
        ends(fault, "COMPILE_CRASHED", &["system call that a compiler has no need of"]);
    }
}

#[test]
fn an_answer_of_a_compiler_is_not_believed() {
    for fault in ["long-answer", "garbage", "half-answer"] {
        ends(fault, "COMPILE_CRASHED: ", &["did not survive it"]);
    }
    // Whichever of its time and the host's patience is over first.
    ends("endless-answer", "COMPILE_", &[]);
    ends("endless-words", "COMPILE_TIMEOUT", &["of CPU time"]);
}

#[test]
fn a_component_that_was_compiled_once_needs_no_compiler() {
    let place = Place::with_job(
        r#"
        name = "once"
        [sources.lines]
        connector = "file"
        path = "in.txt"
        [operators.split]
        component = "split.wasm"
        from = "lines"
        [sinks.out]
        connector = "file"
        from = "split"
        path = "out"
        "#,
    );
    place.write("in.txt", "a word\n");
    place.write("split.wasm", std::fs::read(operators().join("word_split.wasm")).expect("built"));
    let cache = place.path("cache");
    let cache = cache.to_str().expect("a plain path");
    let explain = || place.tidemill("explain job.toml").env("XDG_CACHE_HOME", cache);
    let broken = || explain().env("TIDEMILL_COMPILER_FAULT", "abort");
    broken().end().refuses(77, &["COMPILE_CRASHED"]);
    explain().end().expect(0);
    broken().end().expect(0);
}
