//! How typed values become the bytes of columns and back.
//!
//! Knows nothing of columns, state or the host. Invariant: a type whose [`Encode::WIDTH`] is
//! `Some(w)` encodes every value into exactly `w` bytes; columns of such types carry no ends.

use std::error;
use std::fmt;

/// Bytes that are not a value of the expected type, or a value that has no bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct CodecError(Box<str>);

impl CodecError {
    /// An error with this reason: lower case, no trailing dot.
    #[cold]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into().into_boxed_str())
    }

    #[cold]
    fn width(expected: usize, found: usize) -> Self {
        Self::new(format!("expected {expected} bytes, found {found}"))
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodecError({:?})", self.0)
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for CodecError {}

/// A value that has bytes.
///
/// Implemented for numbers and for tuples and arrays of numbers (see [`Fixed`]), for byte strings
/// and text (as they are), and for any serde type inside [`MsgPack`](crate::MsgPack).
pub trait Encode {
    /// The length of every encoded value, or `None` where it varies.
    const WIDTH: Option<u32>;

    /// Appends the bytes of the value.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Writes the bytes of a value of fixed width over `out`, which has that width.
    fn encode_over(&self, out: &mut [u8]) -> Result<(), CodecError> {
        let mut bytes = Vec::with_capacity(out.len());
        self.encode(&mut bytes)?;
        if bytes.len() != out.len() {
            return Err(CodecError::width(out.len(), bytes.len()));
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }
}

/// A value that has bytes and can be read back from them.
pub trait Codec: Encode + Sized {
    /// Reads a value from all of `bytes`.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError>;
}

/// A value of fixed width: numbers as little-endian bytes, and tuples and arrays of such values
/// one after the other without padding.
///
/// ```
/// use tidemill_sdk::{Codec, Encode};
///
/// let mut bytes = Vec::new();
/// (1_u16, [2_u8, 3]).encode(&mut bytes).unwrap();
/// assert_eq!(bytes, [1, 0, 2, 3]);
/// assert_eq!(<(u16, [u8; 2])>::decode(&bytes), Ok((1, [2, 3])));
/// assert_eq!(<(u64, u64)>::WIDTH, Some(16));
/// ```
pub trait Fixed: Sized {
    /// Bytes of a value; at least one.
    const BYTES: usize;
    /// Writes the value over `out`, which is [`Self::BYTES`] long.
    fn write(&self, out: &mut [u8]);
    /// Reads a value from `bytes`, which is [`Self::BYTES`] long.
    fn read(bytes: &[u8]) -> Self;

    /// Appends the value; to be implemented where it can be quicker than by [`write`](Self::write).
    fn append(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + Self::BYTES, 0);
        self.write(&mut out[start..]);
    }
}

impl<T: Fixed> Encode for T {
    const WIDTH: Option<u32> = {
        assert!(T::BYTES > 0 && T::BYTES <= u32::MAX as usize, "a fixed width is at least 1 byte");
        Some(T::BYTES as u32)
    };

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.append(out);
        Ok(())
    }

    #[inline]
    fn encode_over(&self, out: &mut [u8]) -> Result<(), CodecError> {
        if out.len() != T::BYTES {
            return Err(CodecError::width(out.len(), T::BYTES));
        }
        self.write(out);
        Ok(())
    }
}

impl<T: Fixed> Codec for T {
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() != T::BYTES {
            return Err(CodecError::width(T::BYTES, bytes.len()));
        }
        Ok(T::read(bytes))
    }
}

macro_rules! fixed_numbers {
    ($($number:ty),*) => {$(
        impl Fixed for $number {
            const BYTES: usize = size_of::<$number>();

            #[inline]
            fn append(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn write(&self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$number>()];
                raw.copy_from_slice(bytes);
                Self::from_le_bytes(raw)
            }
        }
    )*};
}

fixed_numbers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

/// One byte; any other than 0 reads as `true`.
impl Fixed for bool {
    const BYTES: usize = 1;

    #[inline]
    fn append(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    #[inline]
    fn write(&self, out: &mut [u8]) {
        out[0] = u8::from(*self);
    }

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
}

impl<T: Fixed, const N: usize> Fixed for [T; N] {
    const BYTES: usize = T::BYTES * N;

    #[inline]
    fn append(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.append(out));
    }

    #[inline]
    fn write(&self, out: &mut [u8]) {
        for (item, out) in self.iter().zip(out.chunks_exact_mut(T::BYTES)) {
            item.write(out);
        }
    }

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        std::array::from_fn(|i| T::read(&bytes[i * T::BYTES..(i + 1) * T::BYTES]))
    }
}

macro_rules! fixed_tuples {
    ($(($($item:ident $local:ident $field:tt),*))*) => {$(
        impl<$($item: Fixed),*> Fixed for ($($item,)*) {
            const BYTES: usize = 0 $(+ $item::BYTES)*;

            #[inline]
            fn append(&self, out: &mut Vec<u8>) {
                $(self.$field.append(out);)*
            }

            #[inline]
            fn write(&self, out: &mut [u8]) {
                let rest = out;
                $(
                    let (here, rest) = rest.split_at_mut($item::BYTES);
                    self.$field.write(here);
                )*
                debug_assert!(rest.is_empty());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let rest = bytes;
                $(
                    let (here, rest) = rest.split_at($item::BYTES);
                    let $local = $item::read(here);
                )*
                debug_assert!(rest.is_empty());
                ($($local,)*)
            }
        }
    )*};
}

fixed_tuples! {
    (A a 0)
    (A a 0, B b 1)
    (A a 0, B b 1, C c 2)
    (A a 0, B b 1, C c 2, D d 3)
    (A a 0, B b 1, C c 2, D d 3, E e 4)
    (A a 0, B b 1, C c 2, D d 3, E e 4, F f 5)
}

macro_rules! plain_bytes {
    ($($bytes:ty),*) => {$(
        impl Encode for $bytes {
            const WIDTH: Option<u32> = None;

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                crate::column::append(out, self.as_ref());
                Ok(())
            }
        }
    )*};
}

plain_bytes!([u8], Vec<u8>, str, String);

impl Codec for Vec<u8> {
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl Codec for String {
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(source) => Err(CodecError::new(source.to_string())),
        }
    }
}

/// No bytes at all: for records that say everything by their key.
impl Encode for () {
    const WIDTH: Option<u32> = None;

    fn encode(&self, _out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl Codec for () {
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.is_empty() { Ok(()) } else { Err(CodecError::width(0, bytes.len())) }
    }
}

/// An integer whose bytes sort as its numbers do.
///
/// Big-endian, with the sign bit flipped where there is a sign: the form for the keys of a
/// [`MapState`](crate::MapState), whose entries are in the order of their key bytes.
///
/// ```
/// use tidemill_sdk::{Encode, Ordered};
///
/// let bytes = |n: i32| { let mut out = Vec::new(); Ordered(n).encode(&mut out).unwrap(); out };
/// assert!(bytes(-1) < bytes(0) && bytes(0) < bytes(256));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordered<T>(pub T);

macro_rules! ordered_integers {
    ($($integer:ty, $flip:expr);* $(;)?) => {$(
        impl Fixed for Ordered<$integer> {
            const BYTES: usize = size_of::<$integer>();

            #[inline]
            fn append(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(self.0 ^ $flip).to_be_bytes());
            }

            #[inline]
            fn write(&self, out: &mut [u8]) {
                out.copy_from_slice(&(self.0 ^ $flip).to_be_bytes());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$integer>()];
                raw.copy_from_slice(bytes);
                Self(<$integer>::from_be_bytes(raw) ^ $flip)
            }
        }
    )*};
}

ordered_integers! {
    u16, 0; u32, 0; u64, 0; u128, 0;
    i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
}
