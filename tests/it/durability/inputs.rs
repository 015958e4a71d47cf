//! Input files, made up.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::harness::Place;

/// Lines of ten words from a small vocabulary.
pub(super) fn lines(seed: usize, count: usize) -> String {
    let mut text = String::new();
    for line in 0..count {
        for word in 0..10 {
            let n = (line * 31 + word * 7 + seed) % 997;
            // Words are letters.
            let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
            text.extend([letter(n), letter(n / 26), letter(n / 676), ' ']);
        }
        text.push('\n');
    }
    text
}

/// Plain and compressed text in `text/`; each file is read in many batches.
pub(super) fn texts(place: &Place) {
    for seed in 0..2 {
        place.write(&format!("text/{seed}.txt"), lines(seed, 2500));
        let file = Vec::new();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gzip.write_all(lines(seed + 10, 2500).as_bytes()).expect("memory takes it");
        place.write(&format!("text/{seed}.gz"), gzip.finish().expect("memory takes it"));
        let zstd = zstd::encode_all(lines(seed + 20, 2500).as_bytes(), 1);
        place.write(&format!("text/{seed}.zst"), zstd.expect("memory takes it"));
    }
}

/// Plain text in `in/`: four partitions, and so few words that their state is small.
pub(super) fn few_words(place: &Place) {
    (0..4).for_each(|seed| drop(place.write(&format!("in/{seed}.txt"), lines(seed, 4000))));
}

/// As `few_words`, and longer.
pub(super) fn many_lines(place: &Place) {
    (0..4).for_each(|seed| drop(place.write(&format!("in/{seed}.txt"), lines(seed, 10_000))));
}

/// Keyed records in `in/`.
pub(super) fn records(place: &Place) {
    for file in 0..3 {
        let mut text = String::new();
        for n in 0..40_000 {
            let key = (n * 17 + file) % 1009;
            writeln!(text, "{{\"k\":\"k{key}\",\"n\":{n}}}").expect("text grows");
        }
        place.write(&format!("in/{file}.ndjson"), text);
    }
}
