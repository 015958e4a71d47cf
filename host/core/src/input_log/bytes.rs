//! Numbers and byte strings in a run of bytes.
//!
//! Knows nothing of what they mean. Invariant: reading never goes beyond what is there, and believes no
//! length before it has looked.

/// Appends a number as LEB128.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the length of `bytes`, and them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to be read.
pub(super) struct Cut<'a>(pub(super) &'a [u8]);

impl<'a> Cut<'a> {
    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next number; only its shortest form is one.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part || (byte == 0 && shift > 0) {
                return None;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The next 8 bytes as a number.
    pub(super) fn word(&mut self) -> Option<i64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_le_bytes(*word))
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next byte string.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_in_one_form_only(number: u64, more in 0..4_usize) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            prop_assert_eq!(Cut(&bytes).number(), Some(number));
            for end in 0..bytes.len() {
                prop_assert_eq!(Cut(&bytes[..end]).number(), None);
            }
            let last = bytes.len() - 1;
            bytes[last] |= 0x80;
            bytes.extend(std::iter::repeat_n(0x80, more));
            bytes.push(0);
            prop_assert_eq!(Cut(&bytes).number(), None);
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(Cut(&[3, 1, 2]).bytes(), None);
        assert_eq!(Cut(&[2, 1, 2]).bytes(), Some(&[1, 2][..]));
        assert_eq!(Cut(&[1; 7]).word(), None);
        assert_eq!(Cut(&[0xff; 10]).number(), None);
    }
}
