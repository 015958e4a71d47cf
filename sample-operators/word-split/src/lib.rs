//! Splits lines into words.
//!
//! A word is a run of ASCII letters, as long as it goes, in lower case; it becomes the key of a
//! record without a value. What the other bytes of a line mean, and whether they are text at all,
//! does not matter.

use memchr::memchr_iter;
use tidemill_sdk::{Context, Description, OpenContext, Operator, Record, Result};

/// The operator. A line with a word that is longer than a key may be is a bad record.
#[derive(Debug)]
pub struct WordSplit {
    /// The line at hand: letters in lower case, and blanks for the rest.
    line: Vec<u8>,
}

impl Operator for WordSplit {
    fn describe() -> Description {
        Description::new("word-split", env!("CARGO_PKG_VERSION")).input("lines").output("words")
    }

    fn open(_ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self { line: Vec::new() })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        // Both passes take sixteen bytes at once; to ask of each byte what it is took half of this operator's time.
        let length = record.value().len();
        self.line.clear();
        self.line.extend(record.value().iter().map(|&byte| letter(byte).unwrap_or(b' ')));
        // So many that the end of the line is found sixteen bytes at once, too.
        self.line.extend_from_slice(&[b' '; 16]);
        let mut start = 0;
        for end in memchr_iter(b' ', &self.line) {
            if start < end {
                ctx.emit_keyed(&self.line[start..end], &())?;
            }
            if end == length {
                break;
            }
            start = end + 1;
        }
        Ok(())
    }
}

/// A letter in lower case.
#[inline]
fn letter(byte: u8) -> Option<u8> {
    byte.is_ascii_alphabetic().then_some(byte | 0x20)
}

tidemill_sdk::export!(WordSplit);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Harness;

    use super::*;

    #[track_caller]
    fn check(lines: &[&[u8]], expected: &[&str]) -> Harness<WordSplit> {
        let mut harness = Harness::new().open().unwrap();
        harness.send_unkeyed("lines", lines).unwrap();
        let words = harness.outputs_as::<String, ()>("words").unwrap();
        let words: Vec<_> = words.iter().map(|(word, ())| word.as_str()).collect();
        assert_eq!(words, expected);
        harness
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        check(&[b"The  tide, the Mill's"], &["the", "tide", "the", "mill", "s"]);
    }

    #[test]
    fn lines_without_letters_have_no_words() {
        check(&[b"", b" \t", b"12-34", b"end"], &["end"]);
    }

    #[test]
    fn bytes_that_are_no_text_part_words() {
        check(&[b"caf\xC3\xA9 \xFFx"], &["caf", "x"]);
    }

    #[test]
    fn a_line_with_a_word_longer_than_a_key_is_rejected_as_a_whole() {
        let long = format!("before {} after", "x".repeat(4097));
        let harness = check(&[b"first", long.as_bytes(), b"last"], &["first", "last"]);
        assert_eq!(harness.rejected().len(), 1);
        assert_eq!(harness.rejected()[0].value, long.as_bytes());
        check(&["x".repeat(4096).as_bytes()], &[&"x".repeat(4096)]);
    }

    #[test]
    fn words_keep_the_event_time_of_their_line_and_have_no_value() {
        let mut harness = Harness::<WordSplit>::new().open().unwrap();
        harness.send_at("lines", &[("line", "a b", 7)]).unwrap();
        for word in harness.emitted("words") {
            assert_eq!((word.timestamp_ms, word.value.as_slice()), (7, b"".as_slice()));
        }
    }
}
