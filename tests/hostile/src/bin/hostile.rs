//! The suite by itself.

use std::path::PathBuf;
use tidemill_hostile::attacks;
use tidemill_hostile::process::Host;
use tidemill_hostile::trial::Arena;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let cache = tempfile::tempdir().expect("tmp");
    let host = Host {
        binary: std::env::current_exe().unwrap().with_file_name("hostile-host"),
        cache: cache.path().to_owned(),
    };
    let arena = Arena::new(
        host,
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/wasm32-wasip2/operator")),
    );
    println!("{:?}", arena.calm());
    for attack in attacks::all() {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == attack.name) {
            continue;
        }
        let begin = std::time::Instant::now();
        match arena.short(&attack) {
            Ok(l) => println!(
                "ok   {} p99 {:.1} max {:.1} of {} in {:?}",
                attack.name,
                l.at(0.99),
                l.at(1.0),
                l.ms.len(),
                begin.elapsed()
            ),
            Err(e) => println!(
                "FAIL {}: {} in {:?}",
                attack.name,
                e.chars().take(2500).collect::<String>(),
                begin.elapsed()
            ),
        }
    }
}
