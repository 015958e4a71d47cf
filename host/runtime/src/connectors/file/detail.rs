//! What a position in a file says beside the offset.
//!
//! Owns its fields and their encoding, which manifests keep. Knows nothing of files. Invariant: a
//! field that this version does not know is refused, for it may matter.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::connectors::settings::Format;

/// MessagePack with named fields.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detail<'a> {
    /// The name of the format that the file was cut with.
    pub(super) format: Cow<'a, str>,
    /// Length of the file when the job was created, as stored.
    pub(super) size_bytes: u64,
    /// xxh3-64 of the last 64 KiB of the partition before the offset, or of all of it if it is less;
    /// of the decompressed data where there is some.
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
        let found: Self = rmp_serde::from_slice(detail).map_err(|error| error.to_string())?;
        match &found.header {
            Some(header) if header.is_empty() => Err("the header is empty".to_owned()),
            _ => Ok(found),
        }
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

    fn detail(header: Option<Vec<String>>) -> Vec<u8> {
        let header = header.map(Cow::Owned);
        Detail { format: "csv".into(), size_bytes: 100, digest: 7, header }.encode()
    }

    #[test]
    fn what_was_encoded_comes_back() {
        for header in [Some(vec!["a".to_owned(), "b".to_owned()]), None] {
            let bytes = detail(header.clone());
            let found = Detail::decode(&bytes).unwrap();
            assert_eq!((&*found.format, found.size_bytes, found.digest), ("csv", 100, 7));
            assert_eq!(found.header.map(Cow::into_owned), header);
        }
    }

    #[test]
    fn what_no_position_says_is_refused() {
        for bytes in [&[][..], b"\x80", &detail(None)[..20], &detail(Some(Vec::new()))] {
            assert!(Detail::decode(bytes).is_err(), "{bytes:?}");
        }
        let more = [&[detail(None)[0] + 1], &detail(None)[1..], b"\xa1x\x01"].concat();
        assert!(Detail::decode(&more).unwrap_err().contains("unknown field `x`"));
    }
}
