//! One attack beside the canary, in one process of the host: run, looked at, and judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::attack::{Attack, End, Job, Seen};
use crate::canary::{self, Canary, Latencies};
use crate::guest::Guest;
use crate::process::{Ended, Host, Process, Usage};

/// Resident memory that may be left when an attack is over: what the allocator keeps of freed memory, compiled code
/// of a refused component among it.
const RESIDENT_LEFT: u64 = 48 << 20;
/// Resident memory beside the guest's own 128 MiB while an attack goes on: batches, one call's output and state.
const RESIDENT_DURING: u64 = 320 << 20;
/// How long threads and memory of a job that has ended may take to go.
const SETTLING: Duration = Duration::from_secs(5);
/// How long an attack that goes on is looked at.
const GOING_ON: Duration = Duration::from_millis(1500);

/// What trials share.
pub struct Arena {
    /// The binary under test.
    pub host: Host,
    /// Where the canary's components lie.
    pub operators: PathBuf,
    calm: OnceLock<Result<Usage, String>>,
}

/// What came of a trial.
#[derive(Debug)]
pub struct Outcome {
    /// The canary's times.
    pub latencies: Latencies,
    /// What the process used when the attack was over.
    pub usage: Usage,
    /// What the job of the attack was seen to do.
    pub seen: Seen,
}

impl Arena {
    /// An arena for this binary.
    pub fn new(host: Host, operators: PathBuf) -> Self {
        Self { host, operators, calm: OnceLock::new() }
    }

    /// What a process uses in which a harmless job has come to its end beside the canary.
    ///
    /// # Errors
    /// When that does not go well.
    pub fn calm(&self) -> Result<Usage, String> {
        let calm = self.calm.get_or_init(|| {
            let job = Job { to_files: true, ..Job::default() };
            let harmless = |component| Attack {
                name: "harmless",
                end: End::Finishes,
                job: job.clone(),
                component,
                ..Attack::default()
            };
            let run = |attack: &Attack, time| self.together(attack, &attack.job, time, None);
            // The first one compiles what the canary needs. The second compiles as well, which is what threads
            // for compiling are made for, and has seen some checkpoints of the canary.
            run(&harmless(|| Guest::new().build()), Duration::ZERO)?;
            let second = || Guest::new().pages(5).build();
            Ok(run(&harmless(second), Duration::from_millis(3500))?.usage)
        });
        calm.clone()
    }

    /// The short trial of an attack: it must end as it says, and leave the canary and the process as they were.
    ///
    /// # Errors
    /// What does not hold.
    pub fn short(&self, attack: &Attack) -> Result<Latencies, String> {
        let calm = self.calm()?;
        if attack.end == End::Refused {
            self.alone(attack)?;
        }
        let at_least =
            if attack.end == End::GoesOn { GOING_ON } else { Duration::from_millis(300) };
        let outcome = self.together(attack, &attack.job, at_least, Some(calm))?;
        judge(attack, &outcome.seen)?;
        Ok(outcome.latencies)
    }

    /// `run` with the attack alone, which must be refused.
    fn alone(&self, attack: &Attack) -> Result<(), String> {
        let place = self.place(attack, &attack.job)?;
        let ended = self.host.run(place.path(), &["attack.toml"], &[])?.end()?;
        match ended.code {
            Some(77) => Ok(()),
            code => Err(format!("alone it ended with {code:?}:\n{}", ended.stderr)),
        }
    }

    fn place(&self, attack: &Attack, job: &Job) -> Result<TempDir, String> {
        let failed = |error: std::io::Error| format!("no place for a job: {error}");
        let place =
            tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).map_err(failed)?;
        let toml = job.toml().replace("@operators", &self.operators.to_string_lossy());
        let write =
            |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).map_err(failed);
        write("attack.toml", toml.as_bytes())?;
        write("attack.wasm", &(attack.component)())?;
        write("canary.toml", canary::job(&self.operators).as_bytes())?;
        Ok(place)
    }

    /// Runs the attack beside the canary until it has ended, and for `at_least` so long.
    ///
    /// # Errors
    /// When the canary's output is wrong, or the process is not as it was before.
    pub fn together(
        &self,
        attack: &Attack,
        job: &Job,
        at_least: Duration,
        calm: Option<Usage>,
    ) -> Result<Outcome, String> {
        let place = self.place(attack, job)?;
        let mut process = self.host.run(place.path(), &["attack.toml", "canary.toml"], &[])?;
        let begin = Instant::now();
        let address = process.address()?;
        let stdout = process.stdout.take().ok_or("stdout was taken")?;
        let canary = Canary::start(address, stdout)?;
        let is_lasting = job.records.is_none() && attack.end != End::Refused;
        if !(is_lasting && (attack.end == End::GoesOn || attack.storm.is_some() && calm.is_none()))
        {
            until_over(&mut process, place.path(), attack)?;
        }
        std::thread::sleep(at_least.saturating_sub(begin.elapsed()));
        let usage = settled(&process, attack, calm)?;
        canary.finish()?;
        process.terminate();
        let ended = process.end()?;
        let latencies = canary.end().map_err(|problem| format!("{problem}\n{}", ended.stderr))?;
        let seen = see(ended, attack, place.path())?;
        Ok(Outcome { latencies, usage, seen })
    }
}

/// Waits until the job of the attack has ended.
fn until_over(process: &mut Process, place: &Path, attack: &Attack) -> Result<(), String> {
    if attack.end == End::GoesOn {
        return Ok(());
    }
    let events = place.join(".tidemill/attack/events.ndjson");
    process.until("the attack was over", |said| {
        let finished =
            || fs::read_to_string(&events).unwrap_or_default().contains("\"job-finished\"");
        (said.contains("Job attack has ended") || finished()).then_some(())
    })
}

/// Waits until the process is as it was, and answers what it uses.
fn settled(process: &Process, attack: &Attack, calm: Option<Usage>) -> Result<Usage, String> {
    let Some(calm) = calm else { return process.usage() };
    let deadline = Instant::now() + SETTLING;
    loop {
        let usage = process.usage()?;
        let is_back = match attack.end {
            End::GoesOn => usage.resident <= calm.resident + RESIDENT_DURING,
            _ => {
                usage.resident <= calm.resident + RESIDENT_LEFT
                    && usage.threads <= calm.threads
                    && usage.descriptors <= calm.descriptors
            }
        };
        if is_back {
            return Ok(usage);
        }
        if Instant::now() > deadline {
            let threads = process.threads();
            return Err(format!(
                "the process uses {usage:?}, and {calm:?} when nobody attacks; its threads: {threads}"
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks at what the job of the attack has left behind.
fn see(ended: Ended, attack: &Attack, place: &Path) -> Result<Seen, String> {
    let Ended { code, stderr } = ended;
    for word in ["panicked", "host fault", "stack backtrace"] {
        if stderr.contains(word) {
            return Err(format!("the host said {word:?}:\n{stderr}"));
        }
    }
    let at = stderr.rfind("\n{\"jobs\"").or_else(|| stderr.rfind("\n{\n")).unwrap_or(0);
    let report: Value = serde_json::from_str(stderr[at..].trim())
        .map_err(|error| format!("no report at the end: {error}\n{stderr}"))?;
    let job = report["jobs"].as_array().and_then(|jobs| jobs.first()).cloned().unwrap_or_default();
    let exit_code = match job["outcome"].as_str() {
        Some("finished") => 0,
        Some("stopped") => 143,
        _ => job["exit_code"].as_u64().unwrap_or(u64::MAX),
    };
    let wanted = attack.exit_code();
    if exit_code != wanted {
        return Err(format!("the job ended with {exit_code} and not {wanted}:\n{stderr}"));
    }
    // The canary is stopped by a signal.
    let of_process = if wanted == 0 { 143 } else { wanted };
    if code.and_then(|code| u64::try_from(code).ok()) != Some(of_process) {
        return Err(format!("the process ended with {code:?} and not {of_process}:\n{stderr}"));
    }
    let mut output = Vec::new();
    for entry in fs::read_dir(place.join("out")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("part-") {
            output.extend(fs::read(entry.path()).map_err(|error| error.to_string())?);
        }
    }
    Ok(Seen { stderr, report: job, output })
}

fn judge(attack: &Attack, seen: &Seen) -> Result<(), String> {
    let said = bare(&seen.stderr);
    let wanted = attack.says.iter().copied().chain(std::iter::once(attack.code));
    for part in wanted {
        if !said.contains(&bare(part)) {
            return Err(format!("{part:?} was not said:\n{}", seen.stderr));
        }
    }
    match attack.check {
        Some(check) => check(seen).map_err(|problem| {
            let said: String = seen.stderr.chars().take(4000).collect();
            format!("{problem}; it said:\n{said}")
        }),
        None => Ok(()),
    }
}

/// Without white space and the frames of diagnostics.
fn bare(text: &str) -> String {
    let is_frame = |c: char| ('\u{2500}'..='\u{257f}').contains(&c) || c == '×';
    text.chars().filter(|c| !c.is_whitespace() && !is_frame(*c)).collect()
}
