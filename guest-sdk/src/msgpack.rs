//! Any serde type as MessagePack.
//!
//! Structs are arrays of their fields, in order, as rmp-serde writes them: a field that is added
//! later goes to the end, with `#[serde(default)]`, so that older items can still be read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecError, Encode};

/// A value that is stored or sent as MessagePack.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidemill_sdk::{Codec, Encode, MsgPack};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Bid { auction: u64, channel: String }
///
/// let bid = Bid { auction: 7, channel: "web".into() };
/// let mut bytes = Vec::new();
/// MsgPack(&bid).encode(&mut bytes).unwrap();
/// assert_eq!(bytes, b"\x92\x07\xa3web");
/// assert_eq!(MsgPack::<Bid>::decode(&bytes).unwrap().0, bid);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgPack<T>(pub T);

impl<T: Serialize> Encode for MsgPack<T> {
    const WIDTH: Option<u32> = None;

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write(out, &self.0).map_err(|source| CodecError::new(source.to_string()))
    }
}

impl<T: Serialize + DeserializeOwned> Codec for MsgPack<T> {
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut rest = bytes;
        let value = rmp_serde::from_read(&mut rest)
            .map_err(|source| CodecError::new(source.to_string()))?;
        if !rest.is_empty() {
            return Err(CodecError::new(format!("{} bytes after the value", rest.len())));
        }
        Ok(Self(value))
    }
}
