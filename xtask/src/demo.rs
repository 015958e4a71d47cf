//! The demo: counts the words in the sources and documentation of all crates that this project is built
//! from, which lie in cargo's registry folder of every machine that has built it. The job is killed in the
//! middle (SIGKILL) and started again: it goes on from its newest checkpoint, and the counts are those of a
//! run that was left in peace.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::steps::{Outcome, build_operators, build_tidemill, root, target, tidemill};

const TOP: usize = 20;

pub(crate) fn run() -> Outcome {
    build_operators()?;
    build_tidemill()?;
    let crates = dependency_folders()?;
    let folder = target().join("demo");
    let output = folder.join("output");
    let job = write_job(&folder, &output, &crates)?;
    eprintln!("xtask: counting the words of {} crates", crates.len());
    let run = |fresh: bool| {
        let mut tidemill = Command::new(tidemill());
        tidemill.arg("run").arg(&job).arg("--data-dir").arg(folder.join("data"));
        tidemill.args(fresh.then_some("--fresh"));
        tidemill
    };
    let began = Instant::now();
    crate::steps::run(&mut run(true))?;
    let elapsed = began.elapsed().as_secs_f64();
    let counts = read_counts(&output)?;
    show(&counts, elapsed, &output);

    eprintln!("xtask: the same again, killed after its first checkpoints");
    let failed = |error: std::io::Error| format!("tidemill: {error}");
    let events = folder.join("data/demo-word-count/events.ndjson");
    let before = checkpoints(&events);
    let mut child = run(true).spawn().map_err(failed)?;
    while checkpoints(&events) < before + 2 {
        if child.try_wait().map_err(failed)?.is_some() {
            return Err("the job was over before it could be killed".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().and_then(|()| child.wait()).map_err(failed)?;
    eprintln!("xtask: killed; starting it again");
    crate::steps::run(&mut run(false))?;
    if read_counts(&output)? != counts {
        return Err(
            "after the kill the counts differ from those of the run left in peace".to_owned()
        );
    }
    println!(
        "Killed in the middle and started again, it came to the same {} counts.",
        counts.len()
    );
    Ok(())
}

/// Completed checkpoints that the job's event log tells of.
pub(crate) fn checkpoints(events: &Path) -> usize {
    let text = fs::read_to_string(events).unwrap_or_default();
    text.lines().filter(|line| line.contains("checkpoint-completed")).count()
}

/// The folders of all crates in the lock file that come from a registry.
fn dependency_folders() -> Result<Vec<PathBuf>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)
        .map_err(|error| format!("cargo metadata gave no JSON: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let mut folders: Vec<PathBuf> = packages
        .iter()
        .filter(|package| package["source"].is_string())
        .filter_map(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .map(Path::to_path_buf)
        .filter(|folder| folder.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}

fn write_job(folder: &Path, output: &Path, crates: &[PathBuf]) -> Result<PathBuf, String> {
    let components = target().join("wasm32-wasip2/operator");
    let mut patterns = String::new();
    for folder in crates {
        for extension in ["rs", "md"].into_iter().filter(|extension| holds(folder, extension)) {
            let pattern = folder.join(format!("**/*.{extension}"));
            let _ = writeln!(patterns, "    {:?},", pattern.display().to_string());
        }
    }
    let job = format!(
        r#"name = "demo-word-count"
parallelism = 2
checkpoint-interval = "200ms"

[sources.text]
connector = "file"
format = "lines"
path = [
{patterns}]

[operators.split]
component = {split:?}
from = "text"

[operators.count]
component = {count:?}
from = "split"
config = {{ emit = "latest" }}

[sinks.counts]
connector = "file"
from = "count"
path = {output:?}
format = "text"
key-type = "text"
value-type = "u64"
"#,
        split = components.join("word_split.wasm"),
        count = components.join("word_count.wasm"),
    );
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = folder.join("job.toml");
    fs::write(&path, job).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// Whether a folder holds a file with this extension, at any depth; hidden ones do not count.
fn holds(folder: &Path, extension: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        !hidden
            && match entry.file_type() {
                Ok(kind) if kind.is_dir() => holds(&path, extension),
                Ok(kind) => kind.is_file() && path.extension().is_some_and(|e| e == extension),
                Err(_) => false,
            }
    })
}

/// The last count of each word: the largest, as counts only grow.
fn read_counts(output: &Path) -> Result<HashMap<String, u64>, String> {
    let mut counts = HashMap::new();
    let problem =
        |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    for entry in fs::read_dir(output).map_err(|error| problem(output, &error))? {
        let path = entry.map_err(|error| problem(output, &error))?.path();
        let text = fs::read_to_string(&path).map_err(|error| problem(&path, &error))?;
        for line in text.lines() {
            let (word, count) = line.split_once('\t').ok_or_else(|| problem(&path, &"no tab"))?;
            let count: u64 = count.parse().map_err(|error| problem(&path, &error))?;
            let last = counts.entry(word.to_owned()).or_insert(0);
            *last = count.max(*last);
        }
    }
    Ok(counts)
}

fn show(counts: &HashMap<String, u64>, elapsed: f64, output: &Path) {
    let words: u64 = counts.values().sum();
    let mut by_count: BTreeMap<(std::cmp::Reverse<u64>, &str), ()> = BTreeMap::new();
    for (word, count) in counts {
        by_count.insert((std::cmp::Reverse(*count), word), ());
    }
    println!("{TOP} most frequent of {} different words:", counts.len());
    for (std::cmp::Reverse(count), word) in by_count.keys().take(TOP) {
        println!("{count:>12}  {word}");
    }
    let rate = words as f64 / elapsed / 1e6;
    println!("{words} words in {elapsed:.1} s: {rate:.2} million words per second, start included");
    println!(
        "Counts: {} (word, tab, running count; the last of a word is its total)",
        output.display()
    );
}
