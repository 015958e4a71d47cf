//! The table of attacks: what can be tried on a host of other people's code, by number, and what stops it here.
//!
//! Owns the numbers, which stay as they are, and the reasons why some have no operator in the catalogue. The page
//! that people read is made from this and the catalogue, and a test holds it to them.

use std::fmt::Write as _;

use crate::attack::Attack;
use crate::attacks;

/// How many rows there are.
pub const ROWS: u8 = 79;

/// Rows without an operator, and why.
pub const LEFT_OUT: [(u8, &str, &str); 10] = [
    (
        9,
        "a loop in the destructor of a guest's resource",
        "the contract passes no resources of a guest, so the host drops none",
    ),
    (
        13,
        "a component that makes the compiler panic or run out of memory",
        "none is known for this version; the compiler is a child process, and its end is a refusal (`COMPILE_CRASHED`, `COMPILE_MEMORY`; tests of the runtime)",
    ),
    (
        15,
        "deploying and removing in quick succession",
        "jobs are begun by whoever runs the command, not by tenants",
    ),
    (
        48,
        "an escape through a defect of the compiler",
        "none is known for this version; it is kept up to date",
    ),
    (
        51,
        "a covert channel by contention for the processor",
        "a risk that remains wherever tenants share a processor",
    ),
    (
        52,
        "asking the compile cache what others run",
        "an operator has no clock that runs while it is compiled",
    ),
    (
        55,
        "changing compiled artefacts on disk",
        "not an operator's to do; artefacts are kept under a keyed digest (tests of the sandbox)",
    ),
    (
        59,
        "a component with somebody else's signature",
        "components carry no signatures; whoever runs the command chooses the file",
    ),
    (
        64,
        "records that look like records of the input log",
        "not an operator's to send; the log's own tests hold it (each segment has a salt, and nothing is read behind damage)",
    ),
    (
        65,
        "collisions of checksums",
        "checksums are against accidents; what is durable is named by BLAKE3 digests",
    ),
];

/// The page of the table.
pub fn page() -> String {
    let attacks = attacks::all();
    let mut page = HEAD.to_owned();
    for row in 1..=ROWS {
        for attack in attacks.iter().filter(|attack| attack.rows.first() == Some(&row)) {
            line(&mut page, attack);
        }
        for (_, tries, reason) in LEFT_OUT.iter().filter(|left| left.0 == row) {
            writeln!(page, "| {row} | | {tries} | left out: {reason} | | |").expect("text grows");
        }
    }
    page += FAULTS;
    attacks
        .iter()
        .filter(|attack| attack.rows.is_empty())
        .for_each(|attack| line(&mut page, attack));
    page
}

fn line(page: &mut String, attack: &Attack) {
    let Attack { rows, name, tries, stopped_by, code, .. } = attack;
    let numbers: Vec<String> = rows.iter().map(u8::to_string).collect();
    let code = if code.is_empty() { String::new() } else { format!("`{code}`") };
    let (numbers, end) = (numbers.join(", "), attack.end.words());
    writeln!(page, "| {numbers} | `{name}` | {tries} | {stopped_by} | {code} | {end} |")
        .expect("text grows");
}

const HEAD: &str = "\
# Hostile operators

What an operator may try on the host and on the jobs beside its own, and what comes of it. Each named row is a component that does it; the suite
`tests/hostile` runs every one of them in one process with a well-behaved job and checks, each time:

- the attack ends as the table says, with its code and exit code;
- the output of the job beside it is exact, line by line;
- memory, threads and descriptors of the process are, when the attack is over or was stopped, as they are when nobody attacks (128 MiB that the allocator keeps and four threads
  that all jobs share are let pass); of `never-to-the-barrier`, `stop-in-a-call` and `never-reads-on`, whose jobs only end with the process, the memory while they attack;
- the host does not panic.

Where it says that a quota of the tenant is *here* so much, the attack's tenant has it in a tenants' file, and the tenant of the job beside it has none.

`cargo test -p tidemill-hostile` runs each once. `cargo xtask hostile` lets each attack for 30 seconds and compares the latency of the job beside it with and without the
attack, eight windows in turn with none, twice: p99 at most twice as long, or 2 ms longer. Then each attacks once more as in the tests. That takes two hours; `--seconds 10` forty minutes. An attack that fails by that alone is tried once more, and both tries are told with their figures.
`--attack NAME`, as often as wanted, chooses some. What ends at once, as what is refused does, shares its windows with seven others of its kind: they are tried in turn, twice a second, each by a command of its own beside
the process, for jobs begin with a command. What does not last, or does nothing, fails as well. `cargo xtask hostile --soak` lets 10,000 sandboxes die in one process.

This page is made from the suite (`cargo run -p tidemill-hostile -- --table > docs/hostile.md`); a test holds it to it. Numbers stay as they are; some
attacks take several forms, and some have no operator here, with the reason.

| number | name | what it tries | what stops it | code | end |
|---|---|---|---|---|---|
";

const FAULTS: &str = "
## Faults of the host

| number | name | what happens | what keeps it in its place | says | end |
|---|---|---|---|---|---|
";
