//! One attack beside the canary, in one process of the host: run, looked at, and judged.
//!
//! Owns what must hold in every trial: the canary's output is exact, the process is as it is when nobody attacks, the
//! host does not panic. The short trial runs an attack to its end and judges that as well; a window lets it attack
//! for a time; what ends at once is tried again and again meanwhile, each time by a command of its own, as jobs are begun.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::attack::{Attack, End, Job, Seen};
use crate::canary::{self, Canary, Latencies};
use crate::guest::Guest;
use crate::process::{Ended, Host, Process, Usage};

/// Resident memory that may be left when an attack is over. All of it is free: the allocator keeps what threads freed
/// for the next ones until one of them frees more. Admitting the largest component (32 MiB) takes four times its size; after
/// reading compressed files 148 MB were seen once in six runs, and 80 in the others.
const RESIDENT_LEFT: u64 = 192 << 20;
/// Resident memory while an attack goes on: the guest's 128 MiB, what one call holds back of state (64 MiB) and output
/// (16 MiB), and as much again as has been freed and is not given back yet.
const RESIDENT_DURING: u64 = 416 << 20;
/// Threads that the process makes when they are first needed and keeps for all jobs: for files, for compiling.
const SHARED_THREADS: u64 = 4;
/// How long threads and memory of a job that has ended may take to go.
const SETTLING: Duration = Duration::from_secs(5);
/// How long an attack that goes on is looked at in a short trial.
const GOING_ON: Duration = Duration::from_millis(1500);
/// Every line of the canary must be out by then in a short trial; debug builds and parallel tests are noisy.
const LATE_MS: f64 = 2000.0;
/// Between two attempts of what ends at once. Jobs are begun by people and their programs: systemd, for one, starts a program that
/// fails five times in ten seconds at the most. Each start of a process costs a machine some 12 ms of CPU time, whatever it is
/// about, and whoever else wants a core then a few milliseconds of latency.
const AGAIN: Duration = Duration::from_millis(500);
/// The tenants' file of a trial that has one.
const TENANTS: &str = "tenants.toml";
/// Lines of the canary that are not counted in a window: first connections, pages and checkpoints.
pub const WARM_UP: usize = 1000;

/// What trials share.
pub struct Arena {
    /// The binary under test.
    pub host: Host,
    /// Where the canary's components lie.
    pub operators: PathBuf,
    calm: OnceLock<Result<Usage, String>>,
}

/// How long an attack is let.
#[derive(Clone, Copy)]
enum Until<'a> {
    /// Until its job has ended, and at least so long.
    Over(Duration),
    /// So long, and then the process is stopped.
    Stopped(Duration),
    /// So long, and then its job is stopped, and the process goes on.
    Left(Duration),
    /// It ends at once; then these do in turn, each in a process of its own, for so long.
    Again(Duration, &'a [(&'a Attack, TempDir)]),
}

/// What came of running an attack beside the canary.
#[derive(Debug)]
pub struct Outcome {
    /// The canary's times.
    pub latencies: Latencies,
    /// What the process used at last, and the most that it used.
    pub usage: Usage,
    /// The most resident memory that was seen while it ran.
    pub peak: u64,
    /// What the job of the attack was seen to do.
    pub seen: Seen,
    code: Option<i32>,
}

/// A harmless job that ends.
pub fn harmless(component: fn() -> Vec<u8>) -> Attack {
    let job = Job { to_files: true, ..Job::default() };
    Attack { name: "harmless", end: End::Finishes, job, component, ..Attack::default() }
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
            let run = |component, time| {
                let attack = harmless(component);
                self.together(&attack, &attack.job, Until::Over(time))
            };
            // The first one compiles what the canary needs. The second compiles as well, which is what threads
            // for compiling are made for, and has seen some checkpoints of the canary.
            run(|| Guest::new().build(), Duration::ZERO)?;
            Ok(run(|| Guest::new().pages(5).build(), Duration::from_millis(3500))?.usage)
        });
        calm.clone()
    }

    /// The short trial: the attack must end as it says, and leave the canary and the process as they were.
    ///
    /// # Errors
    /// What does not hold.
    pub fn short(&self, attack: &Attack) -> Result<Latencies, String> {
        let calm = self.calm()?;
        if attack.end == End::Refused {
            self.alone(attack)?;
        }
        let until = match attack.end {
            End::GoesOn => Until::Stopped(GOING_ON),
            _ => Until::Over(Duration::from_millis(300)),
        };
        let outcome = self.together(attack, &attack.job, until)?;
        if !is_back(outcome.usage, calm, attack.end == End::GoesOn) {
            let usage = outcome.usage;
            return Err(format!("the process uses {usage:?}, and {calm:?} when nobody attacks"));
        }
        judge(attack, &outcome)?;
        if attack.end == End::GoesOn && !attack.holds_out {
            let left = self.together(attack, &attack.job, Until::Left(GOING_ON))?.usage;
            if !is_back(left, calm, false) {
                return Err(format!(
                    "when it was stopped the process used {left:?}, and {calm:?} when nobody attacks"
                ));
            }
        }
        if outcome.peak > calm.resident + RESIDENT_DURING {
            return Err(format!(
                "the process had {} bytes; {calm:?} when nobody attacks",
                outcome.peak
            ));
        }
        let latest = outcome.latencies.at(1.0);
        if latest > LATE_MS {
            return Err(format!("a line of the canary took {latest} ms"));
        }
        Ok(outcome.latencies)
    }

    /// Lets an attack last for a time, and answers the canary's times behind the warm-up.
    ///
    /// # Errors
    /// When the canary's output is wrong, the host panics, or the attack did not last.
    pub fn window(&self, attack: &Attack, time: Duration) -> Result<Latencies, String> {
        if attack.ends_at_once() {
            return self.window_in_turn(&[attack], time);
        }
        let outcome = match attack.lasting() {
            Some(job) => {
                let outcome = self.together(attack, &job, Until::Stopped(time))?;
                lasted(attack, &outcome.seen.report)?;
                outcome
            }
            None => self.together(attack, &attack.job, Until::Over(time))?,
        };
        Ok(outcome.latencies.without_first(WARM_UP))
    }

    /// The same of attacks that [end at once](Attack::ends_at_once): they are tried in turn, for one time together. The
    /// first is tried in the canary's process as well.
    ///
    /// # Errors
    /// As of [`window`](Self::window), and when one of them does not end as it says.
    pub fn window_in_turn(&self, attacks: &[&Attack], time: Duration) -> Result<Latencies, String> {
        let first = attacks.first().ok_or("there is no attack to try")?;
        let mut places = Vec::new();
        for attack in attacks {
            places.push((*attack, self.place(attack, &attack.job)?));
        }
        let outcome = self.together(first, &first.job, Until::Again(time, &places))?;
        Ok(outcome.latencies.without_first(WARM_UP))
    }

    /// Makes at least `count` sandboxes die one after the other, and answers what the process used meanwhile.
    ///
    /// # Errors
    /// When the process is not as it was before, or has grown.
    pub fn soak(&self, count: u64) -> Result<String, String> {
        // 10,000 records cost 20,000 sandboxes: two kilobytes left of each would be more.
        const GROWTH_MAX: u64 = 32 << 20;
        let calm = self.calm()?;
        let mut job = crate::attack::storm(1_000_000);
        job.records = Some(count);
        job.rate = None;
        let component = || Guest::new().process("unreachable").build();
        let attack = Attack { end: End::Finishes, name: "soak", component, ..Attack::default() };
        let outcome = self.together(&attack, &job, Until::Over(Duration::ZERO))?;
        judge(&attack, &outcome)?;
        let Outcome { usage, peak, seen, .. } = outcome;
        if !is_back(usage, calm, false) || peak > calm.resident + GROWTH_MAX {
            return Err(format!("at most {peak} bytes, at last {usage:?}; {calm:?} in calm"));
        }
        let operator = &seen.report["operators"][0];
        let (died, skipped) = (operator["restarts"].as_u64(), operator["poison"].as_u64());
        if skipped != Some(count) || died.is_none_or(|died| died < count) {
            return Err(format!("{died:?} sandboxes died of {count} records: {}", seen.report));
        }
        let died = died.unwrap_or_default();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (peak, last, calm) = (mib(peak), mib(usage.resident), mib(calm.resident));
        Ok(format!(
            "{died} sandboxes died of {count} records: at most {peak:.0} MiB, at last {last:.0} MiB; {calm:.0} MiB in calm; \
             {} threads, {} descriptors",
            usage.threads, usage.descriptors
        ))
    }

    /// `run` with the attack alone, which must end as it says.
    fn alone(&self, attack: &Attack) -> Result<(), String> {
        let place = self.place(attack, &attack.job)?;
        self.attempt(attack, place.path())
    }

    fn attempt(&self, attack: &Attack, place: &Path) -> Result<(), String> {
        let ended = self.host.run(place, &words(attack, &["attack.toml"]), &[])?.end()?;
        let code = ended.code.and_then(|code| u64::try_from(code).ok());
        match code.is_some_and(|code| attack.end.exit_codes().contains(&code)) {
            true => Ok(()),
            false => Err(format!("alone, {} ended with {code:?}:\n{}", attack.name, ended.stderr)),
        }
    }

    fn place(&self, attack: &Attack, job: &Job) -> Result<TempDir, String> {
        let failed = |error: std::io::Error| format!("no place for a job: {error}");
        let place = place()?;
        let toml = job.toml().replace("@operators", &self.operators.to_string_lossy());
        let write =
            |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).map_err(failed);
        write("attack.toml", toml.as_bytes())?;
        write("attack.wasm", &(attack.component)())?;
        write("canary.toml", canary::job(&self.operators).as_bytes())?;
        attack.tenants().map_or(Ok(()), |tenants| write(TENANTS, tenants.as_bytes()))?;
        attack.files.map_or(Ok(()), |files| files(place.path())).map_err(failed)?;
        Ok(place)
    }

    /// Runs an attack beside the canary.
    fn together(&self, attack: &Attack, job: &Job, until: Until<'_>) -> Result<Outcome, String> {
        let place = self.place(attack, job)?;
        let failpoint = attack.failpoint.map(|failpoint| ("TIDEMILL_FAILPOINT", failpoint));
        let jobs = words(attack, &["attack.toml", "canary.toml"]);
        let mut process = self.host.run(place.path(), &jobs, failpoint.as_slice())?;
        let begin = Instant::now();
        let address = process.address()?;
        let stdout = process.stdout.take().ok_or("stdout was taken")?;
        let canary = Canary::start(address, stdout)?;
        let mut peak = 0;
        let (at_least, to_the_end) = match until {
            Until::Over(time) | Until::Again(time, _) => (time, true),
            Until::Stopped(time) => (time, false),
            Until::Left(time) => {
                thread::sleep(time);
                self.host.stop_job(place.path(), "attack.toml")?;
                (time, true)
            }
        };
        if to_the_end {
            until_over(&mut process, place.path(), &mut peak)?;
        }
        if let Until::Again(_, places) = until {
            for (attack, place) in places.iter().cycle() {
                thread::sleep(AGAIN);
                if begin.elapsed() >= at_least {
                    break;
                }
                self.attempt(attack, place.path())?;
            }
        }
        thread::sleep(at_least.saturating_sub(begin.elapsed()));
        let usage = match self.calm.get() {
            Some(Ok(calm)) => settled(&process, *calm, !to_the_end)?,
            _ => process.usage()?,
        };
        canary.finish();
        process.terminate();
        let ended = process.end()?;
        let latencies = canary.end().map_err(|problem| format!("{problem}\n{}", ended.stderr))?;
        let code = ended.code;
        let seen = see(ended, attack, place.path())?;
        Ok(Outcome { latencies, usage, peak: peak.max(usage.resident), seen, code })
    }
}

/// An empty directory for jobs, in memory where the system has one for files: a disk that is shared without quotas
/// is not what is tried.
pub(crate) fn place() -> Result<TempDir, String> {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    place.map_err(|error| format!("no place for jobs: {error}"))
}

/// The words of a command that runs these jobs.
fn words<'a>(attack: &Attack, jobs: &[&'a str]) -> Vec<&'a str> {
    let tenants: &[&str] = if attack.quotas.is_empty() { &[] } else { &["--tenants", TENANTS] };
    [jobs, tenants].concat()
}

/// Waits until the job of the attack has ended.
fn until_over(process: &mut Process, place: &Path, peak: &mut u64) -> Result<(), String> {
    let events = place.join(".tidemill/mallory@attack/events.ndjson");
    let id = process.id();
    process.until("the attack was over", |said| {
        *peak = (*peak).max(Usage::of(id).map_or(0, |usage| usage.resident));
        let events = fs::read_to_string(&events).unwrap_or_default();
        let is_over = said.contains("Job attack has ended")
            || said.contains("Stopped with a savepoint")
            || events.contains("\"job-finished\"");
        is_over.then_some(())
    })
}

/// Whether a process uses no more than it may.
fn is_back(usage: Usage, calm: Usage, is_attacked: bool) -> bool {
    match is_attacked {
        true => usage.resident <= calm.resident + RESIDENT_DURING,
        false => {
            usage.resident <= calm.resident + RESIDENT_LEFT
                && usage.threads <= calm.threads + SHARED_THREADS
                && usage.descriptors <= calm.descriptors
        }
    }
}

/// Gives the process some time to be as it was, and answers what it uses then.
fn settled(process: &Process, calm: Usage, is_attacked: bool) -> Result<Usage, String> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let usage = process.usage()?;
        if is_back(usage, calm, is_attacked) || Instant::now() > deadline {
            return Ok(usage);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The report at the end of what a process said.
pub(crate) fn report(stderr: &str) -> Result<Value, String> {
    let at = stderr.rfind("\n{\n").unwrap_or(0);
    serde_json::from_str(stderr[at..].trim())
        .map_err(|error| format!("no report at the end: {error}\n{stderr}"))
}

/// Looks at what the job of the attack has left behind.
fn see(ended: Ended, attack: &Attack, place: &Path) -> Result<Seen, String> {
    let Ended { stderr, .. } = ended;
    let faults = ["panicked", "host fault", "stack backtrace"];
    if let Some(word) = faults.iter().find(|word| stderr.contains(**word))
        && attack.failpoint.is_none()
    {
        return Err(format!("the host said {word:?}:\n{stderr}"));
    }
    let report = report(&stderr)?;
    let tenants = report["tenants"].as_array().into_iter().flatten();
    let tenant = tenants.into_iter().find(|tenant| tenant["name"] == "mallory").cloned();
    let tenant = tenant.unwrap_or_default();
    let report = report["jobs"].as_array().and_then(|jobs| jobs.first()).cloned();
    let mut output = Vec::new();
    for entry in fs::read_dir(place.join("out")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("part-") {
            output.extend(fs::read(entry.path()).map_err(|error| error.to_string())?);
        }
    }
    Ok(Seen { stderr, report: report.unwrap_or_default(), tenant, output })
}

/// Whether an attack that was to last did, so that the canary was not alone.
pub(crate) fn lasted(attack: &Attack, report: &Value) -> Result<(), String> {
    if report["exit_code"] == 75 {
        // It was at it when it was told to stop, and did not listen.
        return Ok(());
    }
    if report["outcome"] != "stopped" {
        return Err(format!("it was over before it was stopped: {report}"));
    }
    let of_operator = |figure: &str| report["operators"][0][figure].as_u64().unwrap_or(0);
    let restarts = report["durability"]["restarts"].as_object().into_iter().flatten();
    let restarts: u64 = restarts.filter_map(|(_, count)| count.as_u64()).sum();
    let failures = of_operator("restarts") + of_operator("poison") + restarts;
    let must_fail = matches!(attack.end, End::Fails | End::Unsaved) && !attack.storm_goes_on;
    match failures {
        0 if must_fail => Err(format!("it never failed: {report}")),
        _ if of_operator("records_in") == 0 && failures == 0 => {
            Err(format!("it saw no record: {report}"))
        }
        _ => Ok(()),
    }
}

/// Whether an attack ended as it says.
fn judge(attack: &Attack, outcome: &Outcome) -> Result<(), String> {
    let Outcome { seen, code, .. } = outcome;
    let said = bare(&seen.stderr);
    for part in attack.says.iter().copied().chain(std::iter::once(attack.code)) {
        if !said.contains(&bare(part)) {
            return Err(format!("{part:?} was not said:\n{}", seen.stderr));
        }
    }
    let exit_code = match seen.report["outcome"].as_str() {
        Some("finished") => 0,
        Some("stopped") => 143,
        _ => seen.report["exit_code"].as_u64().unwrap_or(u64::MAX),
    };
    let wanted = attack.end.exit_codes();
    if !wanted.contains(&exit_code) {
        return Err(format!("the job ended with {exit_code} and not {wanted:?}:\n{}", seen.stderr));
    }
    // The canary is stopped by a signal.
    let of_process = if exit_code == 0 { 143 } else { exit_code };
    if code.and_then(|code| u64::try_from(code).ok()) != Some(of_process) {
        return Err(format!("the process ended with {code:?}, not {of_process}:\n{}", seen.stderr));
    }
    let Some(check) = attack.check else { return Ok(()) };
    check(seen).map_err(|problem| {
        let said: String = seen.stderr.chars().take(4000).collect();
        format!("{problem}; it said:\n{said}")
    })
}

/// Without white space and the frames of diagnostics.
fn bare(text: &str) -> String {
    let is_frame = |c: char| ('\u{2500}'..='\u{257f}').contains(&c) || c == '×';
    text.chars().filter(|c| !c.is_whitespace() && !is_frame(*c)).collect()
}
