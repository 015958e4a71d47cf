//! What is shown of sources, sinks and limits, written into a job file, gives the same settings again.

use tidemill_core::limits::Limits;

use super::load;
use crate::config::{Shown, lowered_limits};

fn table(kind: &str, name: &str, shown: &Shown) -> String {
    let mut text = format!("[{kind}.{name}]\nconnector = {:?}\n", shown.connector);
    for (key, value) in &shown.settings {
        let is_bare = value.starts_with('[') || value.parse::<u64>().is_ok();
        let value = if is_bare { value.clone() } else { format!("{value:?}") };
        text += &format!("{key} = {value}\n");
    }
    text
}

pub(super) const SOURCES: [&str; 7] = [
    "connector = \"file\"\npath = \"in/*\"",
    "connector = \"file\"\npath = \"/x\"\nformat = \"csv\"\nkey = \"id\"\nsplit-size = 5000",
    "connector = \"stdin\"\nformat = \"ndjson\"\nkey = \"id\"",
    "connector = \"tcp\"\nlisten = \"127.0.0.1:7000\"",
    "connector = \"nexmark\"\nencoding = \"msgpack\"\nkey = \"extra\"",
    "connector = \"nexmark\"\nstream = \"uniform\"\nevents = 7\nseed = 1\npartitions = 3\nevents-per-second = 9",
    "connector = \"nexmark\"\nstream = \"lines\"",
];

pub(super) const SINKS: [&str; 6] = [
    "connector = \"file\"\npath = \"out\"\ncompression = \"zstd\"",
    "connector = \"file\"\npath = \"out\"\nformat = \"text\"\nvalue-type = \"i64\"\nfields = [2, \
    0]",
    "connector = \"stdout\"\nformat = \"ndjson\"\nkey-type = \"text\"\nvalue-type = \
    \"msgpack\"\nfields = [\"a\"]",
    "connector = \"stdout\"\nformat = \"text\"\nkey-type = \"bytes\"\nvalue-type = \"integer\"",
    "connector = \"discard\"",
    "connector = \"discard\"\nkey-type = \"u64\"\nvalue-type = \"f64\"",
];

#[test]
fn sources_and_sinks_survive_the_way_back() {
    for lines in SOURCES {
        let plan = load(&format!("name = \"a\"\n[sources.x]\n{lines}\n"), &[]).unwrap();
        let settings = &plan.sources[0].settings;
        let shown = table("sources", "x", &settings.show());
        let again = load(&format!("name = \"a\"\n{shown}"), &[]).unwrap();
        assert_eq!(&again.sources[0].settings, settings, "{shown}");
    }
    for lines in SINKS {
        let plan = load(&format!("name = \"a\"\n[sinks.x]\n{lines}\n"), &[]).unwrap();
        let settings = &plan.sinks[0].settings;
        let shown = table("sinks", "x", &settings.show());
        let again = load(&format!("name = \"a\"\n{shown}"), &[]).unwrap();
        assert_eq!(&again.sinks[0].settings, settings, "{shown}");
    }
}

#[test]
fn only_lowered_limits_are_shown() {
    assert_eq!(lowered_limits(&Limits::default()), []);
    let host = Limits::default();
    let limits = Limits { memory_bytes: 64 << 20, hook_cpu_us: 500_000, emit_records: 10, ..host };
    let shown = lowered_limits(&limits);
    assert_eq!(
        shown,
        [
            ("memory", "64MiB".to_owned()),
            ("emit-records", "10".to_owned()),
            ("hook-cpu", "500ms".to_owned())
        ]
    );
}
