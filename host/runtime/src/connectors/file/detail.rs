//! What a position in a file says beside the offset.
//!
//! Owns its fields and their encoding, which manifests keep. Knows nothing of files. Invariants: a
//! field that this version does not know is refused, for it may matter; no digest covers more than
//! a reader keeps.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::connectors::file::tail::TAIL_BYTES;
use crate::connectors::settings::Format;

/// MessagePack with named fields.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detail<'a> {
    /// The name of the format that the file was cut with.
    pub(super) format: Cow<'a, str>,
    /// Length of the file when the job was created, as stored.
    pub(super) size_bytes: u64,
    /// How many bytes right before the offset the digest covers.
    pub(super) checked_bytes: u32,
    /// xxh3-64 of these bytes, after decompression.
    pub(super) digest: u64,
    /// The names of the columns, once they are known.
    pub(super) header: Option<Cow<'a, [String]>>,
}

impl Detail<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("numbers and text always encode")
    }
}

impl Detail<'static> {
    pub(super) fn decode(detail: &[u8]) -> Result<Self, String> {
        rmp_serde::from_slice(detail).map_err(|error| error.to_string())
    }

    /// Whether this can stand beside an offset `read_bytes` after the start of the range.
    pub(super) fn check(&self, read_bytes: u64) -> Result<(), String> {
        let checked_bytes = u64::from(self.checked_bytes);
        if checked_bytes > read_bytes.min(TAIL_BYTES) || (checked_bytes == 0) != (read_bytes == 0) {
            return Err(format!("{checked_bytes} of {read_bytes} bytes are said to be checked"));
        }
        if self.header.as_ref().is_some_and(|header| header.is_empty()) {
            return Err("the header is empty".to_owned());
        }
        Ok(())
    }
}

/// The name of a format, as users write it.
pub(super) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Lines => "lines",
        Format::Ndjson => "ndjson",
        Format::Csv => "csv",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(checked_bytes: u32, header: Option<Vec<String>>) -> Vec<u8> {
        let (size_bytes, digest) = (100, 7);
        let header = header.map(Cow::Owned);
        Detail { format: "csv".into(), size_bytes, checked_bytes, digest, header }.encode()
    }

    #[test]
    fn what_fits_its_offset_comes_back() {
        let header = Some(vec!["a".to_owned(), "b".to_owned()]);
        let found = Detail::decode(&detail(9, header.clone())).unwrap();
        found.check(10).unwrap();
        assert_eq!((&*found.format, found.size_bytes, found.checked_bytes), ("csv", 100, 9));
        assert_eq!((found.digest, found.header.map(Cow::into_owned)), (7, header));
        Detail::decode(&detail(0, None)).unwrap().check(0).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (checked_bytes, read_bytes) in
            [(0, 1), (1, 0), (11, 10), (TAIL_BYTES as u32 + 1, 1 << 40)]
        {
            let found = Detail::decode(&detail(checked_bytes, None)).unwrap();
            assert!(found.check(read_bytes).is_err(), "{checked_bytes} {read_bytes}");
        }
        assert!(Detail::decode(&detail(1, Some(Vec::new()))).unwrap().check(10).is_err());
        for bytes in [&[][..], b"\x80", &detail(1, None)[..20]] {
            assert!(Detail::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
