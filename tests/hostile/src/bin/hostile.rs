//! The long form of the suite: each attack for a time beside the canary, some of them in turn with no attack, twice; then a crowd of idle
//! sandboxes with ten attackers, and sandboxes that die ten thousand times. What is over at once shares its time with others that are.
//! What fails by latency alone is tried once more, alone, and both tries are told.
//!
//! `hostile [--seconds N] [--attack NAME]... [--format json] [--soak [N]] [--crowd] [--short] [--table] [--binary PATH]`; run by
//! `cargo xtask hostile` with a release build of the command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_hostile::attack::{Attack, End};
use tidemill_hostile::canary::Latencies;
use tidemill_hostile::compare::{Compared, compare, turns};
use tidemill_hostile::crowd::SANDBOXES;
use tidemill_hostile::guest::Guest;
use tidemill_hostile::process::Host;
use tidemill_hostile::trial::{Arena, harmless};
use tidemill_hostile::{attacks, table};

/// Records that a trapping operator is given, of which each costs at least one sandbox.
const SOAKED: u64 = 10_000;
/// Windows with attacks that are compared with the same windows without any: one for each alone is half of the time.
const TOGETHER: usize = 8;
const HELP: &str = "\
The suite of hostile operators: each attack for a time beside a steady job, then ten of them among a thousand idle sandboxes, and
sandboxes that die ten thousand times. `cargo xtask hostile` builds what it needs and passes on its options.

  --seconds N      length of a window (30)
  --attack NAME    only this one; may be given several times (docs/hostile.md has the names)
  --crowd          only ten attackers among a thousand idle sandboxes
  --soak [N]       only N sandboxes that die (10,000)
  --short          all attacks once, in short windows, without the latency
  --format FORMAT  text or json
  --table          print docs/hostile.md
  --binary PATH    the command to attack
";

/// What is wanted.
struct Wanted {
    seconds: u64,
    attacks: Vec<String>,
    json: bool,
    soak: Option<u64>,
    crowd: bool,
    short: bool,
    table: bool,
    help: bool,
    binary: PathBuf,
}

fn main() -> ExitCode {
    let outcome = wanted().and_then(|wanted| run(&wanted));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("hostile: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn wanted() -> Result<Wanted, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut wanted = Wanted {
        seconds: 30,
        attacks: Vec::new(),
        json: false,
        soak: None,
        crowd: false,
        short: false,
        table: false,
        help: false,
        binary: beside.with_file_name("hostile-host"),
    };
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number =
            |text: String| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
        match word.as_str() {
            "--seconds" => wanted.seconds = number(value()?)?,
            "--attack" => wanted.attacks.push(value()?),
            "--binary" => {
                let path = PathBuf::from(value()?);
                // The host is run in another directory.
                let absolute = path.canonicalize();
                wanted.binary = absolute.map_err(|error| format!("{}: {error}", path.display()))?;
            }
            "--format" => match &*value()? {
                "json" => wanted.json = true,
                "text" => wanted.json = false,
                other => return Err(format!("--format is text or json, not {other:?}")),
            },
            "--help" | "-h" => wanted.help = true,
            "--crowd" => wanted.crowd = true,
            "--short" => wanted.short = true,
            "--table" => wanted.table = true,
            "--soak" => {
                let given = words.next_if(|word| !word.starts_with("--"));
                wanted.soak = Some(given.map_or(Ok(SOAKED), number)?);
            }
            other => return Err(format!("what is {other:?}? --help says what there is")),
        }
    }
    Ok(wanted)
}

fn run(wanted: &Wanted) -> Result<bool, String> {
    if wanted.help {
        print!("{HELP}");
        return Ok(true);
    }
    if wanted.table {
        print!("{}", table::page());
        return Ok(true);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cache = tempfile::tempdir().map_err(|error| error.to_string())?;
    let host = Host { binary: wanted.binary.clone(), cache: cache.path().to_owned() };
    let arena = Arena::new(host, target.join("wasm32-wasip2/operator"));
    if let Some(count) = wanted.soak {
        println!("{}", arena.soak(count)?);
        return Ok(true);
    }
    if wanted.crowd {
        return crowd(&arena, Duration::from_secs(wanted.seconds.max(3)));
    }
    let all = attacks::all();
    let chosen = chosen(&all, wanted)?;
    if wanted.short {
        return Ok(short(&arena, &chosen));
    }
    let mut holds = long(&arena, &chosen, wanted)?;
    // Their figures are for people.
    if wanted.attacks.is_empty() && !wanted.json {
        holds &= crowd(&arena, Duration::from_secs(wanted.seconds.max(3)))?;
        println!("{}", arena.soak(SOAKED)?);
    }
    Ok(holds)
}

/// The attacks that are wanted and can be made.
fn chosen<'a>(all: &'a [Attack], wanted: &Wanted) -> Result<Vec<&'a Attack>, String> {
    let names = &wanted.attacks;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|attack| attack.name != **name))
    {
        return Err(format!("there is no attack {unknown:?}; docs/hostile.md has their names"));
    }
    let is_wanted =
        |attack: &&Attack| names.is_empty() || names.iter().any(|name| name == attack.name);
    let (faults, chosen): (Vec<&Attack>, Vec<&Attack>) =
        all.iter().filter(is_wanted).partition(|attack| attack.end == End::HostFault);
    for fault in faults {
        eprintln!("left out: {}, for which the tests build a host with failpoints", fault.name);
    }
    match chosen.is_empty() {
        true => Err("there is nothing left to try".to_owned()),
        false => Ok(chosen),
    }
}

fn short(arena: &Arena, attacks: &[&Attack]) -> bool {
    let mut holds = true;
    for attack in attacks {
        let begin = Instant::now();
        let outcome = arena.short(attack);
        let (name, took) = (attack.name, begin.elapsed());
        match outcome {
            Ok(latencies) => {
                println!("holds  {name}  p99 {:.1} ms  {took:.1?}", latencies.at(0.99))
            }
            Err(problem) => {
                holds = false;
                println!("FAILS  {name}  {took:.1?}\n{problem}");
            }
        }
    }
    holds
}

/// The canary alone and among a thousand idle sandboxes of other tenants with ten attackers, in turn.
fn crowd(arena: &Arena, time: Duration) -> Result<bool, String> {
    const EACH_MAX: f64 = 200.0 * 1024.0;
    let calm = harmless(|| Guest::new().build());
    let alone = arena.calm()?;
    let at_rest = arena.crowd(Duration::from_secs(2), false)?.resident;
    let each = at_rest.saturating_sub(alone.resident) as f64 / SANDBOXES as f64;
    let mut compared = Compared { without: Latencies::default(), with: Latencies::default() };
    for _ in 0..2 {
        compared.without.ms.extend(arena.window(&calm, time)?.ms);
        compared.with.ms.extend(arena.crowd(time, true)?.latencies.ms);
    }
    let is_in_time = compared.holds();
    tell(&row("ten attackers and a crowd", 1, &Ok(compared)));
    let holds = if each < EACH_MAX { "holds" } else { "FAILS" };
    println!("{holds}  {SANDBOXES} idle sandboxes take {:.0} KiB each", each / 1024.0);
    Ok(is_in_time && each < EACH_MAX)
}

/// Rows of the long form, told as they come.
struct Rows<'a> {
    arena: &'a Arena,
    time: Duration,
    is_told: bool,
    holds: bool,
    rows: Vec<Value>,
}

impl Rows<'_> {
    /// What came of the first try of a turn. Who was late is tried alone, and so is each one of several of which one failed.
    fn judge(&mut self, turn: &[&Attack], first: Result<Compared, String>) {
        if let (Err(problem), [_, _, ..]) = (&first, turn) {
            eprintln!("one of {} attacks failed, each is tried alone: {problem}", turn.len());
            for attack in turn {
                let alone = self.alone(attack);
                self.judge(&[attack], alone);
            }
            return;
        }
        let is_late = first.as_ref().is_ok_and(|compared| !compared.holds());
        for attack in turn {
            let mut row = row(attack.name, 1, &first);
            row["in_turn_with"] = json!(turn.len() - 1);
            self.note(row);
            if is_late {
                let second = self.alone(attack);
                self.note(self::row(attack.name, 2, &second));
                self.holds &= second.is_ok_and(|compared| compared.holds());
            }
        }
        self.holds &= is_late || first.is_ok();
    }

    /// Has it attack once more, to its end, which must be as the table says and leave the process as it was.
    fn look_at_end(&mut self, attack: &Attack) {
        if let Err(problem) = self.arena.short(attack) {
            self.holds = false;
            self.note(row(attack.name, 1, &Err(problem)));
        }
    }

    fn alone(&self, attack: &Attack) -> Result<Compared, String> {
        compare(self.arena, &[vec![attack]], self.time).remove(0)
    }

    fn note(&mut self, row: Value) {
        if self.is_told {
            tell(&row);
        }
        self.rows.push(row);
    }
}

fn long(arena: &Arena, attacks: &[&Attack], wanted: &Wanted) -> Result<bool, String> {
    let time = Duration::from_secs(wanted.seconds.max(3));
    let mut rows = Rows { arena, time, is_told: !wanted.json, holds: true, rows: Vec::new() };
    // Compiles the canary.
    arena.calm()?;
    let turns = turns(attacks);
    let mut tried = 0;
    for together in turns.chunks(TOGETHER) {
        let more: usize = together.iter().map(Vec::len).sum();
        let windows = 2 * (together.len() as u64 + 1);
        let minutes = (windows * time.as_secs()).div_ceil(60);
        let (from, to, all) = (tried + 1, tried + more, attacks.len());
        eprintln!("attacks {from} to {to} of {all}: some {minutes} min");
        tried += more;
        for (turn, first) in together.iter().zip(compare(arena, together, time)) {
            rows.judge(turn, first);
            turn.iter().for_each(|attack| rows.look_at_end(attack));
        }
    }
    let Rows { holds, rows, .. } = rows;
    if wanted.json {
        println!("{}", json!({ "seconds": time.as_secs(), "holds": holds, "attacks": rows }));
    }
    Ok(holds)
}

/// What came of the first or second try of an attack.
fn row(attack: &str, attempt: u64, compared: &Result<Compared, String>) -> Value {
    match compared {
        Ok(compared) => json!({
            "attack": attack,
            "try": attempt,
            "p99_without_ms": compared.without.at(0.99),
            "p99_with_ms": compared.with.at(0.99),
            "longest_with_ms": compared.with.at(1.0),
            "holds": compared.holds(),
        }),
        Err(problem) => {
            json!({ "attack": attack, "try": attempt, "problem": problem, "holds": false })
        }
    }
}

fn tell(row: &Value) {
    let verdict = match (row["holds"] == true, row["try"] == 2) {
        (true, false) => "holds",
        (true, true) => "holds at the second try",
        (false, false) => "FAILS",
        (false, true) => "FAILS at the second try",
    };
    let name = row["attack"].as_str().unwrap_or_default();
    if let Some(problem) = row["problem"].as_str() {
        return println!("{verdict}  {name:<34} {problem}");
    }
    let ms = |field: &str| row[field].as_f64().unwrap_or(f64::NAN);
    let (without, with) = (ms("p99_without_ms"), ms("p99_with_ms"));
    let longest = ms("longest_with_ms");
    println!(
        "{verdict}  {name:<34} p99 {without:>7.2} ms without, {with:>7.2} ms with, longest {longest:>7.2} ms"
    );
}
