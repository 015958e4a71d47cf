//! The job files of the sample operators, run as they lie in the checkout.
//!
//! Numbers of outputs and check sums are those published with the definition of the workloads, for
//! one partition at parallelism 1; where none are published they are computed here.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::events::{self, Trade, generated};
use crate::harness::{Command, Place, operators, root, target};

const ALL: [&str; 10] = [
    "enrich/job.toml",
    "heavy/job.toml",
    "nexmark-count/job.toml",
    "nexmark/q0.toml",
    "nexmark/q1.toml",
    "nexmark/q2.toml",
    "nexmark/split.toml",
    "top-bids/job.toml",
    "word-count/job.toml",
    "word-split/job.toml",
];

/// A sample's own job file. It looks for components in the checkout's `target`: where cargo builds
/// elsewhere, a copy that looks there is run.
fn sample(place: &Place, job: &str) -> Command {
    operators();
    let mut path = root().join("sample-operators").join(job);
    let here = root().join("target").canonicalize();
    if here.ok() != target().canonicalize().ok() {
        let text = fs::read_to_string(&path).expect("the sample has this job file");
        let target = target().to_str().expect("the target directory is UTF-8");
        path = place.write("job.toml", text.replace("../../target", target));
    }
    place.tidemill("run").arg(path).arg("--data-dir").arg(place.path("data"))
}

/// The report on a sink: number of records and check sum of their fields.
#[track_caller]
fn sink(report: &Value, name: &str) -> (u64, u64) {
    let sinks = report["sinks"].as_array().expect("a report has sinks");
    let sink = sinks.iter().find(|sink| sink["name"] == name).expect("the sink is there");
    let sum = sink["check_sum_of_fields"].as_str().map(|sum| sum.parse().expect("a sum"));
    (sink["records"].as_u64().expect("a count"), sum.unwrap_or_default())
}

/// Runs a sample as it stands and, with the settings of `ndjson`, on events in NDJSON.
#[track_caller]
fn check(job: &str, records: u64, sum: u64, ndjson: Option<&[&str]>) {
    let place = Place::new();
    let report = sample(&place, job).report();
    assert_eq!(
        (report["outcome"].as_str(), sink(&report, "out")),
        (Some("finished"), (records, sum))
    );
    let Some(settings) = ndjson else { return };
    let place = Place::new();
    let report =
        settings.iter().fold(sample(&place, job), |run, setting| run.set(setting)).report();
    assert_eq!(sink(&report, "out"), (records, sum), "in NDJSON");
}

const BID_FIELDS: [&str; 3] = [
    "sources.events.encoding=ndjson",
    "sinks.out.value-type=json",
    r#"sinks.out.fields=["auction", "bidder", "price", "date_time", "channel", "url", "extra"]"#,
];

#[test]
fn q0_passes_all_bids_on() {
    check("nexmark/q0.toml", 368_000, 0xc5ab_96a8_0cc8_9bfe, Some(&BID_FIELDS));
}

#[test]
fn q1_converts_all_prices() {
    check("nexmark/q1.toml", 368_000, 0xe338_415d_d42f_e693, Some(&BID_FIELDS));
}

#[test]
fn q2_selects_auctions() {
    let ndjson = [
        "sources.events.encoding=ndjson",
        "sinks.out.value-type=json",
        r#"sinks.out.fields=["auction", "price"]"#,
    ];
    check("nexmark/q2.toml", 3_017, 0x89dc_1d70_d05c_5fea, Some(&ndjson));
}

#[test]
fn nexmark_count_counts_every_bid() {
    let ndjson = ["sources.events.encoding=ndjson"];
    check("nexmark-count/job.toml", 368_000, 0x7e82_e590_831e_df68, Some(&ndjson));
}

#[test]
fn heavy_counts_every_record() {
    let ndjson = ["sources.records.encoding=ndjson"];
    check("heavy/job.toml", 400_000, 0xf7d6_9b7a_4150_426d, Some(&ndjson));
}

#[test]
fn word_count_counts_every_word() {
    check("word-count/job.toml", 400_000, 0xd967_ef8a_92b8_75b4, None);
}

#[test]
fn word_split_gives_every_word() {
    let place = Place::new();
    let report = sample(&place, "word-split/job.toml").report();
    assert_eq!(sink(&report, "out").0, 400_000);
}

#[test]
fn split_parts_bids_and_auctions() {
    let trade = Trade::of(&generated("nexmark", 20_000));
    let bids =
        events::sum(trade.bids.iter().map(|bid| [bid.auction, bid.auction, bid.bidder, bid.price]));
    let place = Place::new();
    let report = sample(&place, "nexmark/split.toml").set("sources.events.events=20000").report();
    assert_eq!(sink(&report, "out"), (trade.bids.len() as u64, bids));
    assert_eq!(sink(&report, "auctions").0, trade.sellers.len() as u64);
}

#[test]
fn enrich_joins_bids_with_sellers() {
    let enriched = Trade::of(&generated("nexmark", 20_000)).enriched();
    let expected = (enriched.len() as u64, events::sum(&enriched));
    for encoding in ["msgpack", "ndjson"] {
        let place = Place::new();
        let run = sample(&place, "enrich/job.toml").set("sources.events.events=20000");
        let report = run.set(&format!("sources.events.encoding={encoding}")).report();
        assert_eq!(sink(&report, "out"), expected, "{encoding}");
    }
}

#[test]
fn top_bids_emits_the_highest_of_all() {
    let mut trade = Trade::of(&generated("nexmark", 20_000));
    trade.bids.sort_unstable_by_key(|bid| (bid.price, bid.auction, bid.bidder));
    let highest = trade.bids.iter().rev().take(10);
    let sum = events::sum(highest.map(|bid| [bid.auction, bid.bidder, bid.price]));
    let place = Place::new();
    let report = sample(&place, "top-bids/job.toml").set("sources.events.events=20000").report();
    assert_eq!(sink(&report, "out"), (10, sum));
}

#[test]
fn every_job_file_of_a_sample_is_run_here() {
    let folders = fs::read_dir(root().join("sample-operators")).expect("there are samples");
    let mut found = BTreeSet::new();
    for folder in folders.map(|folder| folder.expect("the checkout is readable")) {
        for file in fs::read_dir(folder.path()).expect("a sample is a folder") {
            let file = file.expect("the checkout is readable").file_name();
            let (folder, file) = (folder.file_name(), file.to_string_lossy());
            if file.ends_with(".toml") && file != "Cargo.toml" {
                found.insert(format!("{}/{file}", folder.to_string_lossy()));
            }
        }
    }
    assert!(found.iter().eq(ALL.iter()), "{found:?}");
}

#[test]
fn the_first_thousand_records_have_the_published_digests() {
    let digests = [
        ("nexmark", "a080bc6652b182e5120a571dc198f22674e894f858f9b5ae835a59292c267cb8"),
        ("uniform", "66d9dfea7a945ff50f0edffbda8595decd06c1395b53caa9b753839d1f170a12"),
        ("lines", "6e60b56252082f4f3e0b6931a434170804b1f8f339e1889c519050ee22ec5215"),
    ];
    for (stream, expected) in digests {
        let text: String = generated(stream, 1000).iter().map(|line| format!("{line}\n")).collect();
        let digest = Sha256::digest(text.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected, "{stream}");
    }
}
