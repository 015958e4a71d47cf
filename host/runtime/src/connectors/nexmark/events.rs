//! What is in an event, in the order of the draws.
//!
//! Owns the fields and how their values depend on the event's number. Knows encodings only by their
//! trait. The numbers of the stream are used up in a fixed order that is not always the order of
//! the fields.

use prefetch_index::prefetch_index;

use crate::connectors::nexmark::encode::{Encode, Shape};
use crate::connectors::nexmark::rng::Rng;
use crate::connectors::nexmark::room::Room;
use crate::connectors::nexmark::tables::{
    CHANNEL_BYTES, CITIES, Channel, FIRST_NAMES, HOT_CHANNEL_COUNT, LAST_NAMES, NUMBERED_CHANNELS,
    STATES, WORDS, Word,
};

/// Events of a block: a person, three auctions, bids.
pub(super) const BLOCK: u64 = 50;
const AUCTIONS: u64 = 3;
/// Id of the first person and of the first auction.
const FIRST_ID: u64 = 1000;
/// Milliseconds since the epoch at event 0.
const START_MS: u64 = 1_700_000_000_000;
const EVENTS_PER_MS: u64 = 10;
/// Every so many persons or auctions one is hot.
const HOT_EVERY: u64 = 100;
/// Persons that bid and sell at a time.
const ACTIVE_PERSONS: u64 = 1000;
/// Auctions that are open at a time.
const OPEN_AUCTIONS: u64 = 100;
/// Ids beyond the newest that are referred to before they are there.
const AHEAD: u64 = 10;
/// How many events an auction stays open, about.
const AUCTION_EVENTS: u64 = 1666;
const CARD_BYTES: usize = 19;
const EMAIL_BYTES: usize = 17;

/// Event time of event `n`, in milliseconds.
#[inline]
pub(super) fn time(n: u64) -> u64 {
    START_MS + n / EVENTS_PER_MS
}

#[inline]
fn last_person(n: u64) -> u64 {
    n / BLOCK
}

/// Number of the newest auction at an auction or a bid.
#[inline]
fn last_auction(n: u64) -> u64 {
    let (block, place) = (n / BLOCK, n % BLOCK);
    block * AUCTIONS + place.clamp(1, AUCTIONS) - 1
}

#[inline]
fn random_person(rng: &mut Rng, n: u64) -> u64 {
    let known = last_person(n) + 1;
    let active = known.min(ACTIVE_PERSONS);
    known - active + rng.below(active + AHEAD)
}

#[inline]
fn random_auction(rng: &mut Rng, n: u64) -> u64 {
    let newest = last_auction(n);
    let oldest = newest.saturating_sub(OPEN_AUCTIONS);
    oldest + rng.below(newest - oldest + 1 + AHEAD)
}

fn pick<'a>(rng: &mut Rng, list: &[&'a [u8]]) -> &'a [u8] {
    list[rng.below(list.len() as u64) as usize]
}

/// Writes `date_time`, which stands before `extra` in persons and bids.
#[inline]
fn date_time<E: Encode>(out: &mut Room, n: u64) {
    E::integer(out, b",\"date_time\":", time(n));
}

/// Writes `extra` and ends the event; answers the length of the text.
#[inline]
fn extra<E: Encode>(out: &mut Room, rng: &mut Rng, current: u64, desired: u64) -> usize {
    let length = rng.padding(current, desired);
    E::text(out, b",\"extra\":\"", length);
    rng.letters(out, length);
    out.put(E::CLOSE);
    length
}

/// Writes event `n`; answers the length of its `extra`.
#[inline]
pub(super) fn event<E: Encode>(seed: u64, n: u64, channels: &[Channel], out: &mut Room) -> usize {
    match n % BLOCK {
        0 => person::<E>(seed, n, out),
        place if place <= AUCTIONS => auction::<E>(seed, n, out),
        _ => bid::<E>(seed, n, channels, out),
    }
}

fn person<E: Encode>(seed: u64, n: u64, out: &mut Room) -> usize {
    let mut rng = Rng::start(seed, n);
    E::open(out, Shape::Person);
    E::integer(out, b",\"id\":", FIRST_ID + last_person(n));
    let first = pick(&mut rng, &FIRST_NAMES);
    let last = pick(&mut rng, &LAST_NAMES);
    let name_bytes = first.len() + 1 + last.len();
    E::text(out, b",\"name\":\"", name_bytes);
    out.put(first);
    out.put(b" ");
    out.put(last);
    E::text_end(out);
    E::text(out, b",\"email\":\"", EMAIL_BYTES);
    rng.letters(out, 7);
    out.put(b"@");
    rng.letters(out, 5);
    out.put(b".com");
    E::text_end(out);
    E::text(out, b",\"credit_card\":\"", CARD_BYTES);
    for group in 0..4 {
        if group > 0 {
            out.put(b" ");
        }
        let digits = rng.below(10_000);
        out.put(&[1000, 100, 10, 1].map(|unit| b'0' + (digits / unit % 10) as u8));
    }
    E::text_end(out);
    let city = pick(&mut rng, &CITIES);
    E::text(out, b",\"city\":\"", city.len());
    out.put(city);
    E::text_end(out);
    let state = pick(&mut rng, &STATES);
    E::text(out, b",\"state\":\"", state.len());
    out.put(state);
    E::text_end(out);
    date_time::<E>(out, n);
    let current = 8 + name_bytes + EMAIL_BYTES + CARD_BYTES + city.len() + state.len();
    extra::<E>(out, &mut rng, current as u64, 200)
}

fn auction<E: Encode>(seed: u64, n: u64, out: &mut Room) -> usize {
    let mut rng = Rng::start(seed, n);
    let seller = match rng.below(4) {
        0 => random_person(&mut rng, n),
        _ => last_person(n) / HOT_EVERY * HOT_EVERY,
    };
    let category = 10 + rng.below(5);
    let initial_bid = rng.price();
    let reserve = initial_bid + rng.price();
    let lifetime = (time(n + AUCTION_EVENTS) - time(n)) * 2;
    let expires = time(n) + 1 + rng.below(lifetime.max(1));
    E::open(out, Shape::Auction);
    E::integer(out, b",\"id\":", FIRST_ID + last_auction(n));
    E::text(out, b",\"item_name\":\"", 20);
    rng.letters(out, 20);
    E::text_end(out);
    E::text(out, b",\"description\":\"", 100);
    rng.letters(out, 100);
    E::text_end(out);
    E::integer(out, b",\"initial_bid\":", initial_bid);
    E::integer(out, b",\"reserve\":", reserve);
    date_time::<E>(out, n);
    E::integer(out, b",\"expires\":", expires);
    E::integer(out, b",\"seller\":", FIRST_ID + seller);
    E::integer(out, b",\"category\":", category);
    extra::<E>(out, &mut rng, 168, 500)
}

#[inline]
fn bid<E: Encode>(seed: u64, n: u64, channels: &[Channel], out: &mut Room) -> usize {
    let mut rng = Rng::start(seed, n);
    let auction = match rng.below(2) {
        0 => random_auction(&mut rng, n),
        _ => last_auction(n) / HOT_EVERY * HOT_EVERY,
    };
    let bidder = match rng.below(4) {
        0 => random_person(&mut rng, n),
        _ => last_person(n) / HOT_EVERY * HOT_EVERY + 1,
    };
    let price = rng.price();
    let channel = match rng.below(2) {
        0 => rng.below(NUMBERED_CHANNELS),
        _ => NUMBERED_CHANNELS + rng.below(HOT_CHANNEL_COUNT),
    };
    // There are more channels than fit in a near cache: the memory fetches this one meanwhile.
    let channel = channel as usize;
    prefetch_index(channels.as_flattened(), channel * CHANNEL_BYTES);
    prefetch_index(channels.as_flattened(), channel * CHANNEL_BYTES + CHANNEL_BYTES / 2);
    E::open(out, Shape::Bid);
    E::integer(out, b",\"auction\":", FIRST_ID + auction);
    E::integer(out, b",\"bidder\":", FIRST_ID + bidder);
    E::integer(out, b",\"price\":", price);
    out.put_text(&channels[channel]);
    date_time::<E>(out, n);
    extra::<E>(out, &mut rng, 32, 100)
}

/// The fields of event `n` of the evenly spread numbers.
pub(super) struct Uniform {
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) ts: u64,
}

#[inline]
pub(super) fn uniform<E: Encode>(seed: u64, keys: u64, n: u64, out: &mut Room) -> Uniform {
    let mut rng = Rng::start(seed, n);
    let key = rng.below(keys);
    let event = Uniform { key, value: 1 + rng.below(10_000), ts: time(n) };
    E::open(out, Shape::Uniform);
    E::integer(out, b"\"key\":", event.key);
    E::integer(out, b",\"value\":", event.value);
    E::integer(out, b",\"ts\":", event.ts);
    // The last field is a number: no quote to close.
    out.put(E::CLOSE.strip_prefix(b"\"").unwrap_or_default());
    event
}

/// Writes line `n`: ten words, the frequent ones far more often.
#[inline]
pub(super) fn line(seed: u64, n: u64, words: &[Word], out: &mut Room) {
    let mut rng = Rng::start(seed, n);
    for place in 0..10 {
        if place > 0 {
            out.put(b" ");
        }
        let within = rng.below(WORDS) + 1;
        let within = rng.below(within) + 1;
        let word = rng.below(within);
        out.put_text(&words[word as usize]);
    }
}
