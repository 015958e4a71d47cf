//! Input that is missing, damaged or odd: the job fails with file and byte, and publishes nothing.

use std::io::Write;

use crate::harness::{Ended, Place};

/// The longest line that is taken.
const LINE_BYTES_MAX: usize = 1024 * 1024;

const JOB: &str = r#"
    name = "bad-input"
    parallelism = 2
    [sources.events]
    connector = "file"
    path = "in/*"
    format = "ndjson"
    [sinks.out]
    connector = "file"
    from = "events"
    path = "out"
"#;

/// A place with the job above and these files to read.
fn place(files: &[(&str, &[u8])]) -> Place {
    let place = Place::with_job(JOB);
    files.iter().for_each(|(name, content)| drop(place.write(&format!("in/{name}"), content)));
    place
}

/// Runs a job that must fail on bad data, saying this, and leave nothing behind.
#[track_caller]
fn refused(place: &Place, settings: &[&str], says: &[&str]) -> Ended {
    let run = settings.iter().fold(place.run(), |run, setting| run.set(setting));
    let ended = run.end().refuses(65, says).says(&["events: ", "job.toml:"]);
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    place.has_no_output();
    ended
}

/// Enough good lines that some are written before the bad one is met.
fn good_lines(count: usize) -> String {
    (0..count).map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

#[test]
fn a_pattern_that_matches_nothing_is_named() {
    let place = Place::with_job(JOB);
    let says = ["no file matches", "in/*", "check the path", "job.toml:", "[sources.events]"];
    place.run().end().refuses(66, &says);
    place.tidemill("explain job.toml").end().refuses(66, &says);
    place.write("in/a", "{}\n");
    let list = r#"sources.events.path=["in/a", "in/b*"]"#;
    place.run().set(list).end().refuses(66, &["no file matches", "in/b*"]);
    place.run().set("sources.events.path=in/[").end().refuses(78, &["in/[", "pattern"]);
    place.run().set("sources.events.path=in").end().refuses(66, &["in", "regular file"]);
    place.has_no_output();
}

#[test]
fn invalid_utf8_is_shown_by_file_and_byte() {
    let text = good_lines(1000);
    let mut bad = text.clone().into_bytes();
    bad.extend_from_slice(b"{\"a\":\"\xff\"}\n{}\n");
    let place = place(&[("good", text.as_bytes()), ("worse", &bad)]);
    let byte = format!("byte {}", text.len());
    refused(
        &place,
        &[],
        &["in/worse", &byte, "not UTF-8 from byte 6 of the line on", "convert it"],
    );
}

#[test]
fn a_malformed_line_is_shown_by_file_and_byte() {
    let mut text = good_lines(50_000);
    let byte = format!("byte {}", text.len());
    text += "{\"n\":}\n";
    let place = place(&[("events.ndjson", text.as_bytes())]);
    refused(
        &place,
        &["sources.events.split-size=\"64KiB\""],
        &["in/events.ndjson", &byte, "NDJSON"],
    );
    for line in ["[1]\n", "word\n", "{} {}\n", "{\"n\":1", "\u{feff}{}\n"] {
        let place = self::place(&[("x", line.as_bytes())]);
        refused(&place, &[], &["in/x", "byte 0"]);
    }
}

#[test]
fn a_line_without_its_key_is_shown_by_file_and_byte() {
    let place = place(&[("x", b"{\"k\":1}\n{\"l\":2}\n")]);
    refused(&place, &["sources.events.key=k"], &["in/x", "byte 8", "there is no field `k`"]);
    let place = self::place(&[("x", b"{\"k\":{}}\n")]);
    refused(&place, &["sources.events.key=k"], &["in/x", "byte 0", "`k`", "object"]);
}

#[test]
fn a_line_over_the_limit_is_shown_by_file_and_byte() {
    let mut text = b"first\n".to_vec();
    text.resize(6 + LINE_BYTES_MAX, b'x');
    let place = place(&[("x", &text)]);
    let report = place.run().set("sources.events.format=lines").report();
    assert_eq!(report["records_in"], 2, "a line may be as long as the limit");
    text.extend_from_slice(b"x\nlast\n");
    let place = self::place(&[("x", &text)]);
    let says = ["in/x", "byte 6", "longer than 1048576 bytes"];
    refused(&place, &["sources.events.format=lines"], &says);
}

#[test]
fn a_malformed_row_is_shown_by_file_and_byte() {
    let place = place(&[("x.csv", b"a,b\n1,2\n3\n4,5\n")]);
    refused(&place, &["sources.events.format=csv"], &["in/x.csv", "byte 8"]);
    let place = self::place(&[("x.csv", b"a,b\n1,2\n")]);
    let settings = ["sources.events.format=csv", "sources.events.key=c"];
    refused(&place, &settings, &["in/x.csv", "`c`"]);
}

#[test]
fn compressed_files_that_are_cut_short_or_damaged_are_named() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(good_lines(5000).as_bytes()).expect("gzip");
    let gzip = gzip.finish().expect("gzip");
    let zstd = zstd::encode_all(good_lines(5000).as_bytes(), 1).expect("zstd");
    for (name, packed) in [("x.gz", &gzip), ("x.zst", &zstd)] {
        let whole = place(&[(name, packed)]);
        assert_eq!(whole.run().report()["records_in"], 5000, "{name}");
        for bad in [&packed[..packed.len() / 2], b"this is not compressed"] {
            let place = place(&[(name, bad)]);
            refused(&place, &[], &[name, "damaged or cut short", "intact copy"]);
        }
    }
}

#[test]
fn empty_files_give_no_records() {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let gzip = gzip.finish().expect("gzip");
    let place = place(&[("x", b""), ("y", b"\n\n"), ("z.gz", &gzip)]);
    let report = place.run().report();
    assert_eq!((&report["outcome"], &report["records_in"]), (&"finished".into(), &0.into()));
    assert_eq!((&report["records_out"], place.lines("out").len()), (&0.into(), 0));
}

#[test]
fn the_last_line_needs_no_end_and_line_ends_may_be_those_of_windows() {
    let place = place(&[("x", b"{\"n\":1}\r\n{\"n\":2}")]);
    assert_eq!(place.run().report()["records_in"], 2);
    assert_eq!(place.lines("out"), ["{\"n\":1}", "{\"n\":2}"]);
}

#[test]
fn records_that_an_operator_rejects_fail_the_job_with_its_words() {
    let place = Place::with_job(
        r#"
        name = "rejects"
        [sources.events]
        connector = "file"
        path = "in/*"
        [operators.query]
        component = "@operators/nexmark.wasm"
        from = "events"
        config = { query = "q0" }
        [sinks.out]
        connector = "file"
        from = "query.bids"
        path = "out"
        "#,
    );
    let bids: String = crate::harness::events::generated("nexmark", 2000).join("\n");
    place.write("in/events", format!("{bids}\nthis is no event\n"));
    let says =
        ["query (lane 0): a record cannot be processed: REJECTED: record: ", "this is no event"];
    let help = ["mend the record or the operator; or: on-poison = \"dead-letter\"", "job.toml:"];
    let ended = place.run().end().refuses(1, &says).says(&help);
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    place.has_no_output();
}

#[test]
fn a_sink_that_is_given_other_types_than_it_expects_shows_the_record() {
    let place = Place::with_job(JOB);
    place.write("in/x", "{\"n\":1}\n");
    let says = ["out: lane 0 cannot take a record", "no 64-bit words", "make the sink's types fit"];
    let run = place.run().set("sinks.out.value-type=u64").set("sinks.out.format=text");
    run.end().refuses(65, &says);
    place.has_no_output();
}
