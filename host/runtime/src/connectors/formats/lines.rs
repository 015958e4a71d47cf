//! Lines, plain or with one JSON object each.
//!
//! Owns where a line begins and ends and which partition it belongs to. A line belongs to the range
//! it begins in, however far it reaches. Invariant: partitions that together cover a file give each
//! of its lines exactly once.

use tidemill_core::limits::LINE_BYTES_MAX;

use crate::connectors::formats::{BadRecord, Parsed, ndjson};
use crate::connectors::records::Records;

#[derive(Default)]
enum Content {
    #[default]
    Any,
    Object {
        key: Option<String>,
    },
}

/// Cuts bytes into lines.
#[derive(Default)]
pub(in crate::connectors) struct LineParser {
    content: Content,
    /// Where the next line begins.
    offset: u64,
    records: u64,
    /// Lines that begin here or later are not ours.
    end: Option<u64>,
    /// Whether the line at hand began before our range.
    is_skipping: bool,
    /// The beginning of a line whose end is yet to come.
    carry: Vec<u8>,
}

impl LineParser {
    pub(super) fn lines() -> Self {
        Self::default()
    }

    pub(super) fn ndjson(key: Option<&str>) -> Self {
        Self { content: Content::Object { key: key.map(str::to_owned) }, ..Self::default() }
    }

    /// Takes only lines that begin from `start` to before `end`; wants bytes from one before
    /// `start`.
    pub(super) fn within(self, start: u64, end: Option<u64>) -> Self {
        Self { offset: start.saturating_sub(1), end, is_skipping: start > 0, ..self }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    #[cfg(test)]
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }

    pub(super) fn parse(&mut self, input: &[u8], out: &mut Records) -> Result<Parsed, BadRecord> {
        let mut start = 0;
        if self.is_skipping {
            let end = memchr::memchr(b'\n', input);
            start = end.map_or(input.len(), |end| end + 1);
            self.offset += start as u64;
            self.is_skipping = end.is_none();
        }
        if self.is_skipping || self.is_done() {
            return Ok(Parsed { consumed: start, is_done: self.is_done() });
        }
        if !self.carry.is_empty() {
            let Some(length) = memchr::memchr(b'\n', &input[start..]) else {
                self.keep(&input[start..])?;
                return Ok(Parsed { consumed: input.len(), is_done: false });
            };
            if !out.fits(self.carry.len() + length) {
                return Ok(Parsed { consumed: start, is_done: false });
            }
            self.keep(&input[start..start + length])?;
            self.take_carry(true, out)?;
            start += length + 1;
        }
        for end in memchr::memchr_iter(b'\n', &input[start..]).map({
            let base = start;
            move |at| base + at
        }) {
            if self.is_done() || !out.fits(end - start) {
                return Ok(Parsed { consumed: start, is_done: self.is_done() });
            }
            self.take(&input[start..end], true, out)?;
            start = end + 1;
        }
        if !self.is_done() {
            self.keep(&input[start..])?;
            start = input.len();
        }
        Ok(Parsed { consumed: start, is_done: self.is_done() })
    }

    pub(super) fn finish(&mut self, out: &mut Records) -> Result<bool, BadRecord> {
        if self.carry.is_empty() {
            return Ok(true);
        }
        if !out.fits(self.carry.len()) {
            return Ok(false);
        }
        self.take_carry(false, out)?;
        Ok(true)
    }

    fn take_carry(&mut self, is_ended: bool, out: &mut Records) -> Result<(), BadRecord> {
        let mut line = std::mem::take(&mut self.carry);
        self.take(&line, is_ended, out)?;
        line.clear();
        self.carry = line;
        Ok(())
    }

    /// Keeps the beginning of a line. It may be one byte too long: a carriage return before the end
    /// does not count.
    fn keep(&mut self, part: &[u8]) -> Result<(), BadRecord> {
        if self.carry.len() + part.len() > LINE_BYTES_MAX + 1 {
            return Err(self.bad(too_long()));
        }
        self.carry.extend_from_slice(part);
        Ok(())
    }

    #[inline]
    fn take(&mut self, line: &[u8], is_ended: bool, out: &mut Records) -> Result<(), BadRecord> {
        let value = match line {
            [value @ .., b'\r'] if is_ended => value,
            _ => line,
        };
        if value.len() > LINE_BYTES_MAX {
            return Err(self.bad(too_long()));
        }
        let is_record = match &self.content {
            Content::Any => true,
            Content::Object { .. } if value.trim_ascii().is_empty() => false,
            Content::Object { key } => {
                ndjson::check(value, key.as_deref(), &mut out.keys)
                    .map_err(|what| self.bad(what))?;
                true
            }
        };
        if is_record {
            out.values.push(value);
            self.records += 1;
        }
        self.offset += line.len() as u64 + u64::from(is_ended);
        Ok(())
    }

    #[cold]
    fn bad(&self, what: String) -> BadRecord {
        BadRecord { offset: self.offset, record: self.records, what }
    }
}

fn too_long() -> String {
    format!("the line is longer than {LINE_BYTES_MAX} bytes; cut it or split the file differently")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connectors::formats::tests::{Flat, gather};
    use crate::connectors::formats::{Parser, Part};
    use crate::connectors::settings::Format;

    /// The definition, as simple as it gets.
    fn lines(input: &[u8]) -> Flat {
        let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
        for line in &mut lines {
            *line = line
                .strip_suffix(b"\n")
                .map_or(*line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        }
        lines.into_iter().map(|line| (None, line.to_vec())).collect()
    }

    proptest! {
        #[test]
        fn any_cut_into_partitions_and_chunks_gives_the_same_lines(
            input in prop::collection::vec(prop::sample::select(b"ab\r\n\n\xff".to_vec()), 0..200),
            cut in 1u64..60,
            piece in 1usize..40,
            records in 1usize..9,
        ) {
            let length = input.len() as u64;
            let mut found = Flat::new();
            for start in (0..length).step_by(cut as usize) {
                let end = length.min(start + cut);
                let part = Part { offset: start, end: Some(end), header: None };
                let parser = Parser::part(Format::Lines, None, part).unwrap();
                let bytes = &input[parser.offset() as usize..];
                found.extend(gather(parser, false, bytes, piece, records).unwrap());
            }
            prop_assert_eq!(&found, &lines(&input));
            let whole = Parser::whole(Format::Lines, None);
            prop_assert_eq!(gather(whole, false, &input, piece, records).unwrap(), found);
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for piece in [1000, usize::MAX] {
            for (extra, ending, fine) in [
                (0, "\n", true),
                (0, "\r\n", true),
                (0, "", true),
                (1, "\n", false),
                (1, "", false),
            ] {
                let mut input = b"first\n".to_vec();
                input.resize(input.len() + LINE_BYTES_MAX + extra, b'x');
                input.extend_from_slice(ending.as_bytes());
                let found = gather(Parser::whole(Format::Lines, None), false, &input, piece, 4);
                match found {
                    Ok(found) => assert!(fine && found.len() == 2, "{extra} {ending:?}"),
                    Err(bad) => {
                        assert!(!fine, "{bad:?}");
                        assert_eq!((bad.offset, bad.record), (6, 1));
                        assert!(bad.what.contains("1048576"), "{}", bad.what);
                    }
                }
            }
        }
    }

    #[test]
    fn objects_are_checked_where_they_stand_and_blank_lines_are_none() {
        let input = b"{\"k\":\"a\"}\n\n  \r\n{\"k\":7}\r\n{\"k\":tru}\n";
        let parser = || Parser::whole(Format::Ndjson, Some("k"));
        let found = gather(parser(), true, &input[..input.len() - 10], 3, 2).unwrap();
        let record = |key: &[u8], value: &[u8]| (Some(key.to_vec()), value.to_vec());
        assert_eq!(found, [record(b"a", b"{\"k\":\"a\"}"), record(b"7", b"{\"k\":7}")]);
        let bad = gather(parser(), true, input, 7, 2).unwrap_err();
        assert_eq!((bad.offset, bad.record), (24, 2), "{}", bad.what);
    }
}
