//! No text makes the loader panic, and every refusal can be drawn with its line.

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::load;
use crate::config::ConfigError;

const JOB: &str = r#"name = "word-count"
parallelism = 2
state-timeout = "1h"
batch-bytes = "256KiB"
checkpoint-interval = 500
restart-strategy = { type = "exponential-delay", jitter-factor = 0.5, max-backoff = "2m" }
on-poison = "dead-letter"
dead-letter-dir = "dead"

[sources.lines]
connector = "file"
path = "in/*.csv"
format = "csv"
key = "wörd"

[operators.count]
component = "x.wasm"
inputs.words = ["lines", { from = "lines", edge = "keyed" }]
config = { emit = "every", n = 1_000 }
limits = { memory = "64MiB", process-cpu = 100 }

[sinks.out]
connector = "stdout"
from = "count"
format = "text"
value-type = "u64"
fields = [0]
"#;
/// What is put in: whatever has a meaning in TOML, and some that has none.
const PIECES: [&str; 16] =
    ["\"", "'", "=", "[", "]", "{", "}", ".", ",", "\n", "#", "0", "-", "é", "\u{0}", "\"\"\""];
const MUTATIONS: u64 = 3_000;

fn draw(error: &ConfigError) -> Result<String, std::fmt::Error> {
    let mut report = String::new();
    let theme = GraphicalTheme::unicode_nocolor();
    GraphicalReportHandler::new_themed(theme).render_report(&mut report, error)?;
    Ok(report)
}

#[track_caller]
fn survives(text: &str, sets: &[&str]) {
    if let Err(error) = load(text, sets) {
        let (line, column) = error.place().map_or((1, 1), |place| (place.line, place.column));
        assert!(line >= 1 && column >= 1);
        assert!(draw(&error).is_ok(), "{error}\n{text}");
    }
}

#[test]
fn the_unharmed_file_is_accepted() {
    load(JOB, &[]).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_survived() {
    for (at, _) in JOB.char_indices() {
        survives(&JOB[..at], &[]);
        survives(&JOB[at..], &[]);
    }
}

#[test]
fn a_file_with_harm_done_anywhere_is_survived() {
    let places: Vec<usize> = JOB.char_indices().map(|(at, _)| at).collect();
    for seed in 0..MUTATIONS {
        let mut text = JOB.to_owned();
        let chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
        let at = places[chance as usize % places.len()];
        let piece = PIECES[(chance >> 16) as usize % PIECES.len()];
        match (chance >> 24) % 3 {
            0 => text.insert_str(at, piece),
            1 => text.replace_range(
                at..=at + text[at..].chars().next().map_or(0, char::len_utf8) - 1,
                "",
            ),
            _ => text.replace_range(at.., &(piece.to_owned() + &JOB[places[places.len() / 2]..])),
        }
        survives(&text, &[]);
    }
}

#[test]
fn harm_done_by_an_override_is_survived() {
    for piece in PIECES {
        for key in [
            "name",
            "sources.lines",
            "operators.count.inputs.words",
            piece,
            "limits.x",
            "wal",
            "restart-strategy",
            "restart-strategy.jitter-factor",
        ] {
            for value in ["", piece, "[", "{ a = 1 }", "\u{7}"] {
                survives(JOB, &[&format!("{key}={value}")]);
            }
        }
    }
}
