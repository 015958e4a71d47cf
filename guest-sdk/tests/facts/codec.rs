//! Bytes of typed values.

use std::fmt::Debug;

use proptest::prelude::*;
use tidemill_sdk::{Codec, MsgPack, Ordered};

fn bytes<T: Codec>(value: &T) -> Vec<u8> {
    let mut out = vec![1, 2];
    value.encode(&mut out).unwrap();
    out.split_off(2)
}

/// The value comes back from its bytes, which have the width of the type, wherever they lie.
#[track_caller]
fn check<T: Codec + PartialEq + Debug>(value: T) {
    let mut encoded = bytes(&value);
    assert_eq!(T::decode(&encoded).as_ref(), Ok(&value));
    if let Some(width) = T::WIDTH {
        assert_eq!(encoded.len(), width as usize);
        let mut over = vec![0xff; width as usize];
        value.encode_over(&mut over).unwrap();
        assert_eq!(over, encoded);
        encoded.push(0);
        assert!(T::decode(&encoded).is_err());
        assert!(T::decode(&encoded[..width as usize - 1]).is_err());
        assert!(value.encode_over(&mut encoded).is_err());
    }
}

proptest! {
    #[test]
    fn values_come_back_from_their_bytes(
        numbers: (u8, i16, u32, i64, u128, bool),
        floats: (f32, f64),
        array: [(u16, i8); 3],
        text: String,
        blob: Vec<u8>,
        nested: Vec<(String, Option<i32>)>,
    ) {
        check(numbers);
        check(((numbers.0, numbers.3), array));
        check(floats);
        check(Ordered(numbers.3));
        check(text);
        check(blob);
        check(MsgPack(nested));
        check(());
    }

    #[test]
    fn ordered_integers_sort_by_their_bytes(a: i64, b: i64, c: u32, d: u32) {
        prop_assert_eq!(bytes(&Ordered(a)).cmp(&bytes(&Ordered(b))), a.cmp(&b));
        prop_assert_eq!(bytes(&Ordered(c)).cmp(&bytes(&Ordered(d))), c.cmp(&d));
    }

    #[test]
    fn no_bytes_bring_a_decoder_down(blob: Vec<u8>) {
        let _ = String::decode(&blob);
        let _ = <(u64, [bool; 2])>::decode(&blob);
        let _ = MsgPack::<Vec<(String, u64)>>::decode(&blob);
    }
}

#[test]
fn numbers_are_little_endian_without_padding() {
    assert_eq!(bytes(&(1_u8, 0x0302_u16, 4_u32)), [1, 2, 3, 4, 0, 0, 0]);
}

#[test]
fn bytes_after_a_messagepack_value_are_refused() {
    assert!(MsgPack::<u8>::decode(&[7, 7]).is_err());
}
