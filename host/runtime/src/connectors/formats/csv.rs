//! CSV under a header, as JSON objects of strings.
//!
//! Owns the header, the quoting rules (RFC 4180, any line end) and the encoding of a row, so that
//! an operator parses one thing whether its source is CSV or NDJSON. Invariants: every row has the
//! columns of the header; what is handed out is UTF-8; a quote that is never closed is an error and
//! not a record.

use std::collections::HashSet;

use csv_core::{ReadRecordResult, Reader};
use tidemill_core::limits::LINE_BYTES_MAX;

use crate::connectors::formats::{BadRecord, Parsed};
use crate::connectors::json;
use crate::connectors::records::{KEY_BYTES_MAX, Records};

/// Cuts bytes into rows.
pub(in crate::connectors) struct CsvParser {
    reader: Reader,
    key: Option<String>,
    key_column: usize,
    /// The names of the columns; empty before the header.
    header: Vec<String>,
    /// For each column `{"name":` or `,"name":`.
    names: Vec<Vec<u8>>,
    /// Contents of the row's fields so far, and where each ends.
    fields: Vec<u8>,
    fields_filled: usize,
    ends: Vec<usize>,
    ends_filled: usize,
    /// Whether the row is complete and waits for room.
    is_whole: bool,
    /// Whether anything but line ends was read since the last row.
    is_begun: bool,
    /// Where the row begins, and bytes of it so far.
    offset: u64,
    length: u64,
    records: u64,
}

impl CsvParser {
    pub(super) fn new(key: Option<&str>) -> Self {
        Self {
            reader: Reader::new(),
            key: key.map(str::to_owned),
            key_column: 0,
            header: Vec::new(),
            names: Vec::new(),
            fields: vec![0; 1024],
            fields_filled: 0,
            ends: vec![0; 32],
            ends_filled: 0,
            is_whole: false,
            is_begun: false,
            offset: 0,
            length: 0,
            records: 0,
        }
    }

    /// Goes on at `offset`, where a row begins; without a header, the first row is the header.
    pub(super) fn from(mut self, offset: u64, header: Option<Vec<String>>) -> Result<Self, String> {
        self.offset = offset;
        if offset > 0 {
            // A byte order mark is one at the beginning of the input only, and this reader stands
            // there no more once it has read something; an empty line is no row.
            self.reader.read_record(b"\n", &mut self.fields, &mut self.ends);
        }
        if let Some(header) = header {
            self.set_header(header)?;
        }
        Ok(self)
    }

    pub(super) fn header(&self) -> Option<&[String]> {
        (!self.header.is_empty()).then_some(&self.header)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    #[cfg(test)]
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn parse(&mut self, input: &[u8], out: &mut Records) -> Result<Parsed, BadRecord> {
        let mut at = 0;
        loop {
            if self.is_whole && !self.take(out)? {
                break;
            }
            if at == input.len() {
                break;
            }
            at += self.read(&input[at..])?;
        }
        Ok(Parsed { consumed: at, is_done: false })
    }

    pub(super) fn finish(&mut self, out: &mut Records) -> Result<bool, BadRecord> {
        // A line end closes the last row unless it stands inside quotes.
        while self.is_begun && !self.is_whole {
            if self.read(b"\n")? == 1 {
                // It stands for the end of the input and is no byte of the row.
                self.length -= 1;
                if !self.is_whole {
                    let what = "a quote is opened and never closed; close it";
                    return Err(self.bad(what.to_owned()));
                }
            }
        }
        Ok(!self.is_whole || self.take(out)?)
    }

    /// Reads up to the end of the row or of the input, whichever is first; answers the bytes read.
    fn read(&mut self, input: &[u8]) -> Result<usize, BadRecord> {
        let fields = &mut self.fields[self.fields_filled..];
        let ends = &mut self.ends[self.ends_filled..];
        let (result, read, filled, ended) = self.reader.read_record(input, fields, ends);
        self.fields_filled += filled;
        self.ends_filled += ended;
        let mut begin = 0;
        if !self.is_begun {
            // Blank lines, and the second half of the last row's line end, stand before the row.
            let is_end = |byte: &&u8| matches!(byte, b'\n' | b'\r');
            begin = input[..read].iter().take_while(is_end).count();
            self.offset += begin as u64;
            self.is_begun = begin < read;
        }
        self.length += (read - begin) as u64;
        // The line end, two bytes at most, does not count.
        if self.length > LINE_BYTES_MAX as u64 + 2 {
            return Err(self.bad(too_long()));
        }
        match result {
            ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
            ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
            ReadRecordResult::Record => self.is_whole = true,
            ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
        }
        Ok(read)
    }

    /// Hands out the complete row; answers whether there was room.
    fn take(&mut self, out: &mut Records) -> Result<bool, BadRecord> {
        if self.names.is_empty() {
            self.take_header().map_err(|what| self.bad(what))?;
        } else if !out.fits(0) || !self.take_row(out).map_err(|what| self.bad(what))? {
            return Ok(false);
        }
        self.offset += self.length;
        (self.length, self.fields_filled, self.ends_filled) = (0, 0, 0);
        (self.is_whole, self.is_begun) = (false, false);
        Ok(true)
    }

    fn take_header(&mut self) -> Result<(), String> {
        let text = self.text()?;
        let mut start = 0;
        let each = |&end: &usize| text[std::mem::replace(&mut start, end)..end].to_owned();
        let header = self.ends[..self.ends_filled].iter().map(each).collect();
        self.set_header(header)
    }

    fn set_header(&mut self, header: Vec<String>) -> Result<(), String> {
        let mut known = HashSet::with_capacity(header.len());
        if let Some(name) = header.iter().find(|name| !known.insert(name.as_str())) {
            return Err(format!("the header names column `{name}` twice; rename one"));
        }
        if let Some(key) = &self.key {
            let column = header.iter().position(|name| name == key);
            self.key_column = column.ok_or_else(|| {
                let names = header.join("`, `");
                format!("there is no column `{key}` to take the key from; the header has `{names}`")
            })?;
        }
        let quote = |(column, name): (usize, &String)| {
            let mut json = vec![if column == 0 { b'{' } else { b',' }];
            json::write_string(&mut json, name.as_bytes());
            json.push(b':');
            json
        };
        self.names = header.iter().enumerate().map(quote).collect();
        self.header = header;
        Ok(())
    }

    /// Encodes the row behind the others; takes it back when the batch has no room for it.
    fn take_row(&mut self, out: &mut Records) -> Result<bool, String> {
        let (columns, expected) = (self.ends_filled, self.names.len());
        if columns != expected {
            return Err(format!(
                "the row has {columns} columns and the header {expected}; correct the row"
            ));
        }
        let text = self.text()?;
        let data = &mut out.values.data;
        let begin = data.len();
        let (mut start, mut key) = (0, "");
        for (column, name) in self.names.iter().enumerate() {
            let field = &text[start..self.ends[column]];
            data.extend_from_slice(name);
            json::write_string(data, field.as_bytes());
            start = self.ends[column];
            if column == self.key_column {
                key = field;
            }
        }
        data.push(b'}');
        if data.len() - begin > LINE_BYTES_MAX {
            return Err(too_long());
        }
        if !out.fits_as_it_is() {
            out.values.data.truncate(begin);
            return Ok(false);
        }
        if let Some(name) = &self.key {
            if key.len() > KEY_BYTES_MAX {
                let bytes = key.len();
                return Err(format!(
                    "column `{name}` has {bytes} bytes; a key has at most {KEY_BYTES_MAX}"
                ));
            }
            out.keys.push(key.as_bytes());
        }
        out.values.push(b"");
        self.records += 1;
        Ok(true)
    }

    /// All fields of the row, if each of them is UTF-8.
    fn text(&self) -> Result<&str, String> {
        let text = std::str::from_utf8(&self.fields[..self.fields_filled]).ok();
        let cut = |text: &&str| {
            self.ends[..self.ends_filled].iter().all(|end| text.is_char_boundary(*end))
        };
        text.filter(cut).ok_or_else(|| "the row is not UTF-8; convert the file".to_owned())
    }

    #[cold]
    fn bad(&self, what: String) -> BadRecord {
        BadRecord { offset: self.offset, record: self.records, what }
    }
}

fn too_long() -> String {
    format!(
        "the row is longer than {LINE_BYTES_MAX} bytes, in the file or as JSON; is a quote missing?"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_core::connector::BatchTarget;

    use super::*;
    use crate::connectors::formats::tests::{Flat, gather};
    use crate::connectors::formats::{Parser, Part};
    use crate::connectors::settings::Format;

    fn rows(input: &[u8], piece: usize, key: Option<&str>) -> Result<Flat, BadRecord> {
        gather(Parser::whole(Format::Csv, key), key.is_some(), input, piece, 3)
    }

    fn values(input: &str) -> Result<Vec<String>, BadRecord> {
        let flat = rows(input.as_bytes(), 5, None)?;
        Ok(flat.into_iter().map(|(_, value)| String::from_utf8(value).unwrap()).collect())
    }

    #[test]
    fn quotes_hold_commas_newlines_and_quotes() {
        let input = "a,\"b c\"\r\n1,\"x,\"\"y\"\"\nz\"\r\n\r\n,é";
        assert_eq!(
            values(input).unwrap(),
            ["{\"a\":\"1\",\"b c\":\"x,\\\"y\\\"\\nz\"}", "{\"a\":\"\",\"b c\":\"é\"}"]
        );
        assert!(values("").unwrap().is_empty() && values("a,b\n").unwrap().is_empty());
        assert_eq!(values("\u{feff}a\n1").unwrap(), ["{\"a\":\"1\"}"]);
    }

    #[test]
    fn rows_that_do_not_fit_the_header_are_refused_with_their_place() {
        for (input, offset, record, reason) in [
            ("a,b\n1,2\n3\n", 8, 1, "1 columns and the header 2"),
            ("a,b\r\n1,2\r\n\r\n3,4,5\r\n", 12, 1, "3 columns"),
            ("a,a\n", 0, 0, "twice"),
            ("a\n\"x\ny", 2, 0, "never closed"),
            ("a\n\"", 2, 0, "never closed"),
        ] {
            let bad = values(input).unwrap_err();
            assert_eq!((bad.offset, bad.record), (offset, record), "{input:?}: {}", bad.what);
            assert!(bad.what.contains(reason), "{input:?}: {}", bad.what);
        }
        assert!(rows(b"a,b\n\xc3,\xa9\n", 9, None).unwrap_err().what.contains("UTF-8"));
        assert!(rows(b"a,b\n1,2\n", 9, Some("c")).unwrap_err().what.contains("`a`, `b`"));
    }

    #[test]
    fn a_parser_goes_on_behind_any_row() {
        for end in ["\n", "\r\n"] {
            let rows = ["b", "\u{feff}x", "\"a\n\"\"\"", "\"\""];
            let input = format!("c{end}{end}{}{end}", rows.join(end));
            let whole = values(&input).unwrap();
            assert_eq!(whole[1], "{\"c\":\"\u{feff}x\"}");
            for taken in 0..=whole.len() {
                let mut parser = Parser::whole(Format::Csv, None);
                let mut out = Records::new(false, false);
                if taken > 0 {
                    out.begin(BatchTarget { records: taken, bytes: 1 << 20 });
                    parser.parse(input.as_bytes(), &mut out).unwrap();
                    assert_eq!(out.values.len(), taken);
                }
                let header = parser.header().map(<[String]>::to_vec);
                let part = Part { offset: parser.offset(), end: None, header };
                let rest = &input.as_bytes()[part.offset as usize..];
                let parser = Parser::part(Format::Csv, None, part).unwrap();
                let rest = gather(parser, false, rest, 5, 3).unwrap();
                let rest = rest.into_iter().map(|(_, value)| String::from_utf8(value).unwrap());
                assert!(rest.eq(whole[taken..].iter().cloned()), "{taken} of {input:?}");
            }
        }
    }

    #[test]
    fn a_row_over_the_limit_is_refused_however_it_comes() {
        let long = format!("a\n\"{}", "x\n".repeat(LINE_BYTES_MAX));
        let grown = format!("a\n{}", "\u{1}".repeat(LINE_BYTES_MAX / 2));
        for (input, piece) in [(&long, 4096), (&long, usize::MAX), (&grown, 4096)] {
            let bad = rows(input.as_bytes(), piece, None).unwrap_err();
            assert!(bad.what.contains("longer than 1048576"), "{}", bad.what);
        }
    }

    proptest! {
        #[test]
        fn any_fields_come_back_whatever_the_chunks(
            table in prop::collection::vec(["[a\",\r\né\\\\]{0,6}"; 3], 0..12),
            piece in 1usize..30,
        ) {
            let mut input = "x,y,z\r\n".to_owned();
            for row in &table {
                let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
                input += &row.each_ref().map(quote).join(",");
                input += "\n";
            }
            let found = rows(input.as_bytes(), piece, Some("y")).unwrap();
            let expected: Flat = table
                .iter()
                .map(|row| {
                    let [x, y, z] = row.each_ref().map(|text| serde_json::to_string(text).unwrap());
                    let json = format!("{{\"x\":{x},\"y\":{y},\"z\":{z}}}");
                    (Some(row[1].clone().into_bytes()), json.into_bytes())
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
