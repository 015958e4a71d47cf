//! What is the same for all events: names, cities, channels, words.
//!
//! Owns the fixed lists and the two tables that are computed once. Channels are kept as they are
//! encoded.

use crate::connectors::nexmark::encode::Encode;
use crate::connectors::nexmark::rng::Rng;
use crate::connectors::nexmark::room::{Room, Text, pack};

pub(super) const FIRST_NAMES: [&[u8]; 11] = [
    b"Peter", b"Paul", b"Luke", b"John", b"Saul", b"Vicky", b"Kate", b"Julie", b"Sarah", b"Deiter",
    b"Walter",
];
pub(super) const LAST_NAMES: [&[u8]; 9] = [
    b"Shultz", b"Abrams", b"Spencer", b"White", b"Bartels", b"Walton", b"Smith", b"Jones", b"Noris",
];
pub(super) const CITIES: [&[u8]; 10] = [
    b"Phoenix",
    b"Los Angeles",
    b"San Francisco",
    b"Boise",
    b"Portland",
    b"Bend",
    b"Redmond",
    b"Seattle",
    b"Kent",
    b"Cheyenne",
];
pub(super) const STATES: [&[u8]; 6] = [b"AZ", b"CA", b"ID", b"OR", b"WA", b"WY"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Channels with a number for a name; the hot ones follow them.
pub(super) const NUMBERED_CHANNELS: u64 = 10_000;
pub(super) const HOT_CHANNEL_COUNT: u64 = HOT_CHANNELS.len() as u64;
pub(super) const WORDS: u64 = 50_000;

const CHANNEL_SEED: u64 = 0x6368_616E_6E65_6C73;
const WORD_SEED: u64 = 0x77_6F72_6473;

/// The fields `channel` and `url` of a channel, encoded.
/// Two lines of a cache.
pub(super) const CHANNEL_BYTES: usize = 128;
pub(super) type Channel = Text<CHANNEL_BYTES>;
pub(super) type Word = Text<16>;

/// Every channel.
pub(super) fn channels<E: Encode>() -> Vec<Channel> {
    (0..NUMBERED_CHANNELS + HOT_CHANNEL_COUNT).map(channel::<E>).collect()
}

fn channel<E: Encode>(channel: u64) -> Channel {
    let mut rng = Rng::start(CHANNEL_SEED, channel);
    let mut url = Room::new();
    url.put(b"https://www.nexmark.com/");
    for part in 0..3 {
        if part > 0 {
            url.put(b"/");
        }
        rng.letters(&mut url, 5);
    }
    url.put(b"/item.htm?query=1");
    let name = match channel.checked_sub(NUMBERED_CHANNELS) {
        Some(hot) => HOT_CHANNELS[hot as usize].to_owned(),
        None => {
            if rng.below(10) > 0 {
                let id = (channel as u32).reverse_bits() & 0x7fff_ffff;
                url.put(format!("&channel_id={id}").as_bytes());
            }
            format!("channel-{channel}")
        }
    };
    let mut fields = Room::new();
    for (field, text) in
        [(&b",\"channel\":\""[..], name.as_bytes()), (b",\"url\":\"", url.written())]
    {
        E::text(&mut fields, field, text.len());
        fields.put(text);
        E::text_end(&mut fields);
    }
    pack(fields.written())
}

/// Every word.
pub(super) fn words() -> Vec<Word> {
    let word = |word| {
        let mut rng = Rng::start(WORD_SEED, word);
        let mut letters = Room::new();
        let length = 3 + rng.below(8) as usize;
        rng.letters(&mut letters, length);
        pack(letters.written())
    };
    (0..WORDS).map(word).collect()
}
