//! Both encodings of an event say the same, and no bytes bring the parser down.

use nexmark_events::{Auction, Bid, Encoding, Event, Uniform, msgpack, write_decimal};
use proptest::prelude::*;

const BID_JSON: &str = r#"{"type":"bid","auction":1000,"bidder":1001,"price":4200,"channel":"Apple","url":"https://x/item.htm?query=1","date_time":1700000000000,"extra":"price"}"#;
const AUCTION_JSON: &str = r#"{"type":"auction","id":1003,"item_name":"vase","description":"old","initial_bid":1,"reserve":200,"date_time":1700000000000,"expires":1700000000100,"seller":1007,"category":10,"extra":""}"#;
const PERSON_JSON: &str = r#"{"type":"person","id":1000,"name":"Kate Jones","email":"a@b.com","credit_card":"0000 1111 2222 3333","city":"Kent","state":"WA","date_time":1700000000000,"extra":""}"#;

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend([0xd9, text.len() as u8]);
    out.extend(text.as_bytes());
}

fn bid_msgpack(auction: u64, bidder: u64, price: u64) -> Vec<u8> {
    let mut out = vec![0x98, 2];
    for number in [auction, bidder, price] {
        msgpack::write_unsigned(number, &mut out);
    }
    text("Apple", &mut out);
    text("https://x/item.htm?query=1", &mut out);
    msgpack::write_unsigned(1_700_000_000_000, &mut out);
    text("price", &mut out);
    out
}

fn auction_msgpack() -> Vec<u8> {
    let mut out = vec![0x9b, 1];
    msgpack::write_unsigned(1003, &mut out);
    text("vase", &mut out);
    text("old", &mut out);
    for number in [1, 200, 1_700_000_000_000, 1_700_000_000_100, 1007, 10] {
        msgpack::write_unsigned(number, &mut out);
    }
    text("", &mut out);
    out
}

#[test]
fn both_encodings_of_an_event_say_the_same() {
    let bid = Event::Bid(Bid { auction: 1000, bidder: 1001, price: 4200 });
    assert_eq!(Event::parse(BID_JSON.as_bytes()), Ok(bid));
    assert_eq!(Event::parse(&bid_msgpack(1000, 1001, 4200)), Ok(bid));
    let auction = Event::Auction(Auction { id: 1003, seller: 1007 });
    assert_eq!(Event::parse(AUCTION_JSON.as_bytes()), Ok(auction));
    assert_eq!(Event::parse(&auction_msgpack()), Ok(auction));
    assert_eq!(Event::parse(PERSON_JSON.as_bytes()), Ok(Event::Person));
    let uniform = Ok(Uniform { key: 7, value: 300 });
    assert_eq!(Uniform::parse(br#"{"key":7,"value":300,"ts":1700000000000}"#), uniform);
    let mut bytes = Vec::new();
    msgpack::write_array(&[7, 300, 1_700_000_000_000], &mut bytes);
    assert_eq!(Uniform::parse(&bytes), uniform);
}

fn reprice(bytes: &[u8], price: u64, out: &mut Vec<u8>) {
    let (_, place) = Event::parse_placed(bytes).unwrap();
    Bid::write_with_price(bytes, place, price, out).unwrap();
}

#[test]
fn another_price_changes_nothing_else() {
    let mut out = Vec::new();
    reprice(BID_JSON.as_bytes(), 3813, &mut out);
    assert_eq!(str::from_utf8(&out).unwrap(), BID_JSON.replace("4200", "3813"));
    out.clear();
    reprice(&bid_msgpack(1000, 1001, 4200), 3, &mut out);
    assert_eq!(out, bid_msgpack(1000, 1001, 3));
}

#[test]
fn what_is_no_event_is_malformed() {
    let truncated = &bid_msgpack(1000, 1001, 4200)[..7];
    let of_another_kind = [0x98, 3, 1, 1, 1];
    let bid_without_price = br#"{"type":"bid","auction":1,"bidder":2}"#;
    let cases: [&[u8]; 9] = [
        b"",
        b"bid",
        b"{}",
        b"{\"type\":\"bid\"",
        b"{\"type\":\"bad\"}",
        b"\x93\x02\x01\x01",
        truncated,
        &of_another_kind,
        bid_without_price,
    ];
    for bytes in cases {
        assert!(Event::parse(bytes).is_err(), "{bytes:?}");
    }
    assert!(Bid::parse(AUCTION_JSON.as_bytes()).is_err());
    assert!(Uniform::parse(BID_JSON.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn numbers_come_back_from_either_encoding(auction: u64, bidder: u64, price: u64, other: u64) {
        let bytes = bid_msgpack(auction, bidder, price);
        prop_assert_eq!(Bid::parse(&bytes), Ok(Bid { auction, bidder, price }));
        let mut changed = Vec::new();
        reprice(&bytes, other, &mut changed);
        prop_assert_eq!(changed, bid_msgpack(auction, bidder, other));
        let mut decimal = Vec::new();
        write_decimal(price, &mut decimal);
        prop_assert_eq!(str::from_utf8(&decimal).unwrap(), price.to_string());
    }

    #[test]
    fn no_bytes_bring_the_parser_down(mut bytes: Vec<u8>, head in 0x90_u8..0xa0) {
        let _ = Event::parse(&bytes);
        bytes.insert(0, head);
        let _ = Event::parse(&bytes);
        let _ = Uniform::parse(&bytes);
        let _ = Bid::write_with_price(&bytes, 3..700, 1, &mut Vec::new());
        prop_assert_eq!(Encoding::of(&bytes), Ok(Encoding::MsgPack));
    }
}
