//! The position of a source that can be read again, inside the position of its log.
//!
//! Owns its bytes, which manifests keep. Knows nothing of what it means. Invariant: no other source's detail
//! passes for one of these.

use crate::connector::Position;

use super::bytes::{Cut, put_bytes, put_number};

/// How such a detail begins; no other does.
const MAGIC: &[u8; 4] = b"\xc1log";

/// The detail that holds a position.
pub fn encode(position: &Position) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_number(&mut out, position.offset);
    out.push(u8::from(position.ended));
    put_bytes(&mut out, &position.detail);
    out
}

/// The position that a detail holds; `None` when it holds none.
pub fn decode(detail: &[u8]) -> Option<Position> {
    let mut rest = Cut(detail.strip_prefix(MAGIC)?);
    let offset = rest.number()?;
    let ended = match rest.byte()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let position = Position { offset, detail: rest.bytes()?.to_vec(), ended };
    rest.0.is_empty().then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_and_nothing_else_is_one() {
        for (offset, ended) in [(0, false), (u64::MAX, true)] {
            let position = Position { offset, detail: vec![0xc1, 7], ended };
            let detail = encode(&position);
            assert_eq!(decode(&detail), Some(position));
            assert_eq!(decode(&[&detail[..], &[0]].concat()), None);
            assert_eq!(decode(&detail[..detail.len() - 1]), None);
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"\x84\xa6format"), None);
    }
}
