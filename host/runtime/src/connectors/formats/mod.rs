//! Cuts bytes into records.
//!
//! Owns the three input formats. Knows nothing of files, sockets or threads: bytes come in as
//! chunks of any size, records go out into columns. Invariants: where chunks begin and end has no
//! influence on the records; no record is longer than the limit, and no more than one unfinished
//! record is held; every byte counts towards exactly one record, so `offset` is where the next one
//! begins.

mod csv;
mod lines;
mod ndjson;

use crate::connectors::formats::csv::CsvParser;
use crate::connectors::formats::lines::LineParser;
use crate::connectors::records::Records;
use crate::connectors::settings::Format;

/// A record that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRecord {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// How many records came before it.
    pub(super) record: u64,
    /// What is wrong with it, and what to do.
    pub(super) what: String,
}

/// How far `parse` came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Bytes of the input that are done with; all of them unless the batch is full.
    pub(super) consumed: usize,
    /// Whether no further record begins in the range.
    pub(super) is_done: bool,
}

/// The part of an input that a parser cuts into records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Records that begin here or later are ours. Any byte for lines; where a row begins for CSV.
    pub(super) offset: u64,
    /// Lines that begin here or later are not ours; `None` takes all. CSV is always taken to its end.
    pub(super) end: Option<u64>,
    /// What `Parser::header` answered when the part before this one was read.
    pub(super) header: Option<Vec<String>>,
}

/// Cuts one partition into records.
pub(super) enum Parser {
    Lines(LineParser),
    Csv(Box<CsvParser>),
}

impl Parser {
    /// A parser of a whole input.
    pub(super) fn whole(format: Format, key: Option<&str>) -> Self {
        match format {
            Format::Lines => Self::Lines(LineParser::lines()),
            Format::Ndjson => Self::Lines(LineParser::ndjson(key)),
            Format::Csv => Self::Csv(Box::new(CsvParser::new(key))),
        }
    }

    /// A parser of a part of an input. It wants bytes from its `offset` on: for lines one before the
    /// part, to see whether a line begins right at its start.
    ///
    /// # Errors
    /// The header has no column for the key.
    pub(super) fn part(format: Format, key: Option<&str>, part: Part) -> Result<Self, String> {
        Ok(match Self::whole(format, key) {
            Self::Lines(lines) => Self::Lines(lines.within(part.offset, part.end)),
            Self::Csv(csv) => Self::Csv(Box::new(csv.from(part.offset, part.header)?)),
        })
    }

    /// Takes records from `input` into `out` until either is used up.
    pub(super) fn parse(&mut self, input: &[u8], out: &mut Records) -> Result<Parsed, BadRecord> {
        match self {
            Self::Lines(parser) => parser.parse(input, out),
            Self::Csv(parser) => parser.parse(input, out),
        }
    }

    /// The input has ended: takes the last record, if it was not ended. Answers whether that is
    /// done; otherwise `out` has no room.
    pub(super) fn finish(&mut self, out: &mut Records) -> Result<bool, BadRecord> {
        match self {
            Self::Lines(parser) => parser.finish(out),
            Self::Csv(parser) => parser.finish(out),
        }
    }

    /// Where the next record that was not handed out begins, in bytes.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::Lines(parser) => parser.offset(),
            Self::Csv(parser) => parser.offset(),
        }
    }

    /// The names of the columns, once they are known; only CSV has them.
    pub(super) fn header(&self) -> Option<&[String]> {
        match self {
            Self::Lines(_) => None,
            Self::Csv(parser) => parser.header(),
        }
    }

    /// Records handed out.
    #[cfg(test)]
    pub(super) fn records(&self) -> u64 {
        match self {
            Self::Lines(parser) => parser.records(),
            Self::Csv(parser) => parser.records(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tidemill_core::connector::BatchTarget;

    use super::*;

    pub(crate) type Flat = Vec<(Option<Vec<u8>>, Vec<u8>)>;

    /// Feeds `input` in pieces, with small batches, and gathers what comes out.
    pub(crate) fn gather(
        mut parser: Parser,
        keyed: bool,
        input: &[u8],
        piece: usize,
        records: usize,
    ) -> Result<Flat, BadRecord> {
        let target = BatchTarget { records, bytes: 100 };
        let mut out = Records::new(keyed, false);
        let mut flat = Flat::new();
        let mut drain = |out: &mut Records| {
            if let Some(batch) = out.take() {
                assert!(batch.is_within_limits() && batch.is_keyed() == keyed);
                for index in 0..batch.len() {
                    flat.push((
                        batch.key(index).map(<[u8]>::to_vec),
                        batch.values.get(index).to_vec(),
                    ));
                }
            }
            out.begin(target);
        };
        drain(&mut out);
        for piece in input.chunks(piece) {
            let mut at = 0;
            while at < piece.len() {
                let parsed = parser.parse(&piece[at..], &mut out)?;
                if parsed.is_done {
                    drain(&mut out);
                    return Ok(flat);
                }
                at += parsed.consumed;
                if at < piece.len() {
                    drain(&mut out);
                }
            }
        }
        while !parser.finish(&mut out)? {
            drain(&mut out);
        }
        drain(&mut out);
        assert_eq!(parser.records(), flat.len() as u64);
        Ok(flat)
    }
}
