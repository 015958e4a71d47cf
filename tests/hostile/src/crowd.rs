//! The canary among a thousand idle sandboxes of other tenants, and ten attackers.
//!
//! Owns the files of such a host: a tenants' file, idle jobs that were each called once, and attacks that last. What is
//! wanted of it: the canary's output and latency, and how much memory an idle sandbox takes, its share of a lane
//! included.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::attack::{Attack, Job};
use crate::attacks;
use crate::canary::{Canary, Latencies};
use crate::process::Process;
use crate::trial::{Arena, WARM_UP, lasted, place, report};

/// Idle jobs, each of a tenant of its own; lanes of each, and operators on each lane.
const JOBS: usize = 10;
const LANES: usize = 10;
const OPERATORS: usize = 10;
/// Sandboxes of the crowd.
pub const SANDBOXES: usize = JOBS * LANES * OPERATORS;
/// The attacks, each by two tenants: loop, memory, state, log and trap storms.
const ATTACKS: [&str; 5] = ["loop", "memory-touch", "hoard-over-calls", "log-flood", "trap-storm"];
const ATTACKERS: usize = 10;
/// How long idle jobs are given to do nothing before they are measured.
const AT_REST: Duration = Duration::from_secs(2);

/// What came of a window in the crowd.
#[derive(Debug)]
pub struct Crowded {
    /// The canary's times behind the warm-up.
    pub latencies: Latencies,
    /// Resident memory of the process when all idle sandboxes had been called once, before any attack.
    pub resident: u64,
}

impl Arena {
    /// The canary with the crowd around it for a time, and with all attackers if `attacked`.
    ///
    /// # Errors
    /// When the canary's output is wrong, or the host panics.
    pub fn crowd(&self, time: Duration, attacked: bool) -> Result<Crowded, String> {
        let (place, all) = (place()?, attacks::all());
        let mut jobs = vec!["canary.toml".to_owned()];
        let mut tenants = "[tenants.alice]\n".to_owned();
        write(place.path(), "canary.toml", crate::canary::job(&self.operators).as_bytes())?;
        for number in 0..JOBS {
            let name = format!("idle-{number}");
            writeln!(tenants, "[tenants.{name}]").map_err(|error| error.to_string())?;
            write(place.path(), &format!("{name}.toml"), idle(&name, &self.operators).as_bytes())?;
            jobs.push(format!("{name}.toml"));
        }
        for number in 0..if attacked { ATTACKERS } else { 0 } {
            let name = format!("attack-{number}");
            writeln!(tenants, "[tenants.{name}]").map_err(|error| error.to_string())?;
            put_attack(place.path(), &name, attack(&all, number)?)?;
            jobs.push(format!("{name}.toml"));
        }
        write(place.path(), "tenants.toml", tenants.as_bytes())?;
        let mut words: Vec<&str> = jobs.iter().map(String::as_str).collect();
        words.extend(["--tenants", "tenants.toml"]);
        let mut process = self.host.run(place.path(), &words, &[])?;
        let address = listens(&mut process, "canary")?;
        for number in 0..JOBS {
            call_once(listens(&mut process, &format!("idle-{number}"))?)?;
        }
        thread::sleep(AT_REST);
        let resident = process.usage()?.resident;
        let stdout = process.stdout.take().ok_or("stdout was taken")?;
        let canary = Canary::start(address, stdout)?;
        thread::sleep(time);
        canary.finish();
        process.terminate();
        let ended = process.end()?;
        let latencies = canary.end().map_err(|problem| format!("{problem}\n{}", ended.stderr))?;
        if let Some(word) =
            ["panicked", "stack backtrace"].iter().find(|w| ended.stderr.contains(**w))
        {
            return Err(format!("the host said {word:?}:\n{}", ended.stderr));
        }
        did_their_part(&ended.stderr, attacked)?;
        Ok(Crowded { latencies: latencies.without_first(WARM_UP), resident })
    }
}

/// Whether every sandbox of the idle jobs was called, and the attacks, if any, went on to the end.
fn did_their_part(stderr: &str, attacked: bool) -> Result<(), String> {
    let report = report(stderr)?;
    let jobs = report["jobs"].as_array().ok_or("a report without jobs")?;
    let of = |prefix: &'static str| {
        let is_one =
            move |job: &&Value| job["job"].as_str().is_some_and(|name| name.starts_with(prefix));
        jobs.iter().filter(is_one)
    };
    let idle: Vec<&Value> = of("idle-").collect();
    if idle.len() != JOBS {
        return Err(format!("there were {} idle jobs", idle.len()));
    }
    for job in idle {
        let operators = job["operators"].as_array().map_or(&[][..], Vec::as_slice);
        // The line went to all lanes.
        let called = |operator: &Value| operator["records_in"].as_u64() == Some(LANES as u64);
        if operators.len() != OPERATORS || !operators.iter().all(called) {
            return Err(format!("not all of its sandboxes were called once: {job}"));
        }
    }
    let attacks: Vec<&Value> = of("attack-").collect();
    if attacks.len() != if attacked { ATTACKERS } else { 0 } {
        return Err(format!("there were {} attackers", attacks.len()));
    }
    let all = attacks::all();
    attacks.iter().zip(0..).try_for_each(|(job, number)| lasted(attack(&all, number)?, job))
}

fn write(place: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    fs::write(place.join(name), bytes).map_err(|error| format!("{name}: {error}"))
}

/// A job that calls each of its sandboxes once for each line, which nobody sends but once.
fn idle(name: &str, operators: &Path) -> String {
    let mut text = format!(
        "name = {name:?}\ntenant = {name:?}\nparallelism = {LANES}\n[sources.lines]\nconnector = \"tcp\"\n\
         listen = \"127.0.0.1:0\"\n"
    );
    for operator in 0..OPERATORS {
        text += &format!(
            "[operators.split-{operator}]\ncomponent = \"{}/word_split.wasm\"\n\
             from = [{{ from = \"lines\", edge = \"broadcast\" }}]\n\
             [sinks.out-{operator}]\nconnector = \"discard\"\nfrom = \"split-{operator}\"\n",
            operators.display()
        );
    }
    text
}

/// What the attacker with this number does.
fn attack(all: &[Attack], number: usize) -> Result<&Attack, String> {
    let name = ATTACKS[number % ATTACKS.len()];
    all.iter().find(|known| known.name == name).ok_or_else(|| format!("no attack {name:?}"))
}

/// Writes the job of an attack, under a name of its own.
fn put_attack(place: &Path, name: &str, attack: &Attack) -> Result<(), String> {
    let job: Job = attack.lasting().ok_or(format!("{} does not last", attack.name))?;
    let text = job.toml().replace("name = \"attack\"", &format!("name = {name:?}"));
    let text = text.replace("tenant = \"mallory\"", &format!("tenant = {name:?}"));
    let text = text.replace("attack.wasm", &format!("{name}.wasm"));
    let text = text.replace("path = \"out\"", &format!("path = \"out-{name}\""));
    write(place, &format!("{name}.toml"), text.as_bytes())?;
    write(place, &format!("{name}.wasm"), &(attack.component)())
}

/// The address that the source of a job listens on.
fn listens(process: &mut Process, job: &str) -> Result<SocketAddr, String> {
    let field = format!("job=\"{job}\"");
    process.until("all sources listened", |said| {
        let line =
            said.lines().find(|line| line.contains("listens on ") && line.contains(&field))?;
        let rest = line.split_once("listens on ")?.1;
        rest.split_whitespace().next()?.trim_end_matches('.').parse().ok()
    })
}

fn call_once(address: SocketAddr) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("an idle job: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.write_all(b"the tide is in\n").map_err(failed)
}
