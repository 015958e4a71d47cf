//! What is the same for all events: names, cities, channels, words.
//!
//! Owns the fixed lists and the two tables that are computed once. Channels are kept as they are
//! encoded.

use tidemill_core::column::BytesColumn;

use crate::connectors::nexmark::encode::Encode;
use crate::connectors::nexmark::rng::Rng;

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

/// The fields `channel` and `url` of every channel, encoded.
pub(super) fn channels<E: Encode>() -> BytesColumn {
    let count = NUMBERED_CHANNELS + HOT_CHANNEL_COUNT;
    let mut table = BytesColumn::with_capacity(count as usize, count as usize * 120);
    let mut url = Vec::new();
    for channel in 0..count {
        let mut rng = Rng::start(CHANNEL_SEED, channel);
        url.clear();
        url.extend_from_slice(b"https://www.nexmark.com/");
        for part in 0..3 {
            if part > 0 {
                url.push(b'/');
            }
            rng.letters(&mut url, 5);
        }
        url.extend_from_slice(b"/item.htm?query=1");
        let name = match channel.checked_sub(NUMBERED_CHANNELS) {
            Some(hot) => HOT_CHANNELS[hot as usize].to_owned(),
            None => {
                if rng.below(10) > 0 {
                    let id = (channel as u32).reverse_bits() & 0x7fff_ffff;
                    url.extend_from_slice(format!("&channel_id={id}").as_bytes());
                }
                format!("channel-{channel}")
            }
        };
        for (field, text) in [(&b",\"channel\":\""[..], name.as_bytes()), (b",\"url\":\"", &url)] {
            E::text(&mut table.data, field, text.len());
            table.data.extend_from_slice(text);
            E::text_end(&mut table.data);
        }
        table.push(b"");
    }
    table
}

/// Every word.
pub(super) fn words() -> BytesColumn {
    let mut table = BytesColumn::with_capacity(WORDS as usize, WORDS as usize * 7);
    for word in 0..WORDS {
        let mut rng = Rng::start(WORD_SEED, word);
        let length = 3 + rng.below(8) as usize;
        rng.letters(&mut table.data, length);
        table.push(b"");
    }
    table
}
