//! Kills real jobs with SIGKILL at random times, again and again, and compares what they leave.
//!
//! Each job runs once undisturbed. Then it is started anew and killed after a random time, started again (it
//! goes on from its newest checkpoint), killed, ..., until the wanted number of kills is done; the last start
//! runs to the end. The lines of both outputs must be the same multiset: nothing lost, nothing twice.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::steps::{Outcome, build_operators, build_tidemill, target, tidemill};

/// A job that is killed.
struct Victim {
    name: &'static str,
    /// The job file, without its name and sink.
    body: &'static str,
    /// Milliseconds after which it is killed, at least and at most.
    life_ms: (u64, u64),
}

const VICTIMS: [Victim; 2] = [
    Victim {
        name: "word-count",
        body: r#"
[sources.lines]
connector = "nexmark"
stream = "lines"
events = 1500000
seed = 42
partitions = 4
[operators.split]
component = "@/word_split.wasm"
from = "lines"
[operators.count]
component = "@/word_count.wasm"
from = "split"
config = { emit = "every" }
[sinks.out]
connector = "file"
from = "count"
path = "out"
format = "text"
key-type = "text"
value-type = "u64"
"#,
        life_ms: (80, 700),
    },
    // One partition: its sums depend on the order of records, which is promised within a partition.
    Victim {
        name: "heavy",
        body: r#"
[sources.records]
connector = "nexmark"
stream = "uniform"
events = 12000000
seed = 42
partitions = 1
encoding = "msgpack"
key = "key"
[operators.count]
component = "@/heavy.wasm"
from = "records"
[sinks.out]
connector = "file"
from = "count"
path = "out"
format = "text"
key-type = "integer"
value-type = "u64"
"#,
        life_ms: (80, 900),
    },
];

/// Kills `kills` times in all, half of them on each job.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let kills = match arguments {
        [] => 40,
        [flag, number] if flag == "--kills" => {
            number.parse().map_err(|_| format!("--kills takes a number, and {number:?} is none"))?
        }
        _ => return Err("usage: cargo xtask crash [--kills N]".to_owned()),
    };
    build_operators()?;
    build_tidemill()?;
    let share = u64::div_ceil(kills, VICTIMS.len() as u64);
    VICTIMS.iter().try_for_each(|victim| hunt(victim, share))
}

fn hunt(victim: &Victim, kills: u64) -> Outcome {
    let folder = target().join("crash").join(victim.name);
    fs::remove_dir_all(&folder).ok();
    let calm = place(&folder.join("calm"), victim)?;
    let began = Instant::now();
    finish(&calm)?;
    let undisturbed = began.elapsed();
    let expected = lines(&calm.join("out"))?;
    if expected.is_empty() {
        return Err(format!("{}: no output in {}", victim.name, calm.display()));
    }

    let wild = place(&folder.join("wild"), victim)?;
    let mut chance = Chance::new();
    let (mut done, mut rounds) = (0, 1);
    while done < kills {
        if !life(&wild, chance.between(victim.life_ms))? {
            done += 1;
            continue;
        }
        // It finished before it could be killed: check it, and begin another round.
        compare(victim, &expected, &wild, done, rounds)?;
        fs::remove_dir_all(&wild).ok();
        place(&wild, victim)?;
        rounds += 1;
    }
    finish(&wild)?;
    compare(victim, &expected, &wild, done, rounds)?;
    let total = expected.len();
    println!(
        "{}: {kills} kills in {rounds} rounds, {total} lines a round (undisturbed {:.1} s): 0 lost, 0 \
         duplicated",
        victim.name,
        undisturbed.as_secs_f64()
    );
    Ok(())
}

/// A folder with the job file in it.
fn place(folder: &Path, victim: &Victim) -> Result<PathBuf, String> {
    let components = target().join("wasm32-wasip2/operator");
    let head = format!(
        "name = \"{}\"\nparallelism = 2\ncheckpoint-interval = \"100ms\"\n\
         restart-strategy = {{ type = \"fixed-delay\", attempts = 1000, delay = \"1ms\" }}\n",
        victim.name
    );
    let body = victim.body.replace('@', &components.display().to_string());
    let path = folder.join("job.toml");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(folder).map_err(failed)?;
    fs::write(&path, head + &body).map_err(failed)?;
    Ok(folder.to_path_buf())
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(tidemill());
    command.args(["run", "job.toml", "-q"]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn finish(folder: &Path) -> Outcome {
    crate::steps::run(&mut command(folder))
}

/// Lets the job run for a while, then kills it. Answers whether it had finished before.
fn life(folder: &Path, life: Duration) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("tidemill: {error}");
    let mut child = command(folder).spawn().map_err(failed)?;
    std::thread::sleep(life);
    // SIGKILL: no handler runs, nothing is flushed.
    child.kill().map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    match (status.code(), status.signal()) {
        (_, Some(signal)) if signal == Signal::KILL.as_raw() => Ok(false),
        (Some(0), _) => Ok(true),
        _ => Err(format!("after a kill the job failed with {status} in {}", folder.display())),
    }
}

/// The lines of all published files, as hashes in order.
fn lines(folder: &Path) -> Result<Vec<u64>, String> {
    use std::hash::{BuildHasher, Hasher};
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    // Hashes instead of lines: a few words for each of millions.
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")) {
            continue;
        }
        for line in fs::read(&path).map_err(failed)?.split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                let mut hash = hasher.build_hasher();
                hash.write(line);
                lines.push(hash.finish());
            }
        }
    }
    lines.sort_unstable();
    Ok(lines)
}

/// How many lines of the first are not in the second, and the other way round; both are in order.
fn differences(expected: &[u64], found: &[u64]) -> (usize, usize) {
    let (mut lost, mut twice) = (0, 0);
    let (mut expected, mut found) = (expected.iter().peekable(), found.iter().peekable());
    loop {
        let order = match (expected.peek(), found.peek()) {
            (None, None) => return (lost, twice),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.cmp(b),
        };
        lost += usize::from(order.is_lt());
        twice += usize::from(order.is_gt());
        if order.is_le() {
            expected.next();
        }
        if order.is_ge() {
            found.next();
        }
    }
}

fn compare(victim: &Victim, expected: &[u64], wild: &Path, kills: u64, rounds: u64) -> Outcome {
    let found = lines(&wild.join("out"))?;
    match differences(expected, &found) {
        (0, 0) => Ok(()),
        (lost, twice) => Err(format!(
            "{}: {lost} lines lost, {twice} too many after {kills} kills in round {rounds}; the \
             output is in {}",
            victim.name,
            wild.display()
        )),
    }
}

/// Random times; which ones does not matter.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(now.as_nanos() as u64 | 1)
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(least + self.0 % (most - least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_and_what_is_there_twice_is_counted() {
        assert_eq!(differences(&[1, 2, 2, 5], &[1, 2, 2, 5]), (0, 0));
        assert_eq!(differences(&[1, 2, 2, 5], &[2, 5, 5, 7]), (2, 2));
        assert_eq!(differences(&[], &[3, 3]), (0, 2));
        assert_eq!(differences(&[3, 3], &[]), (2, 0));
    }
}
