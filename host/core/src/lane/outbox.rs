//! What one sender has for one queue and has not handed over yet.
//!
//! Owns merging small emissions up to the batch target and cutting large ones down to the limits. An
//! outbox may hold one call's output beyond its queue's bound; its operator is not called again until
//! all of it is handed over.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::{Message, Queue};
use crate::batch::{Batch, BatchBuilder, Cut};
use crate::connector::BatchTarget;
use crate::planted::{self, Bug};

pub(super) struct Outbox {
    queue: Arc<Queue>,
    building: BatchBuilder,
    /// When the first record of `building` came, in microseconds.
    since_us: u64,
    ready: VecDeque<Ready>,
}

/// What waits for room in the queue.
enum Ready {
    Message(Message),
    /// A large batch, of which each part is made when the one before has left; shared with other outboxes that it goes to.
    Large(Cut),
}

impl Outbox {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, building: BatchBuilder::default(), since_us: 0, ready: VecDeque::new() }
    }

    /// Takes a batch. One of about the target goes on as it is; a small one is merged with others.
    pub(super) fn put(&mut self, batch: Arc<Batch>, target: BatchTarget, now_us: u64) {
        let bytes = batch.bytes();
        let large = batch.len() * 2 >= target.records || bytes * 2 >= target.bytes;
        if large || !self.building.accepts(&batch) {
            self.close_building();
        }
        if large {
            self.ready.push_back(Ready::Large(Cut::new(batch)));
        } else {
            if self.building.is_empty() {
                self.since_us = now_us;
            }
            self.building.append(&batch, 0, batch.len());
            if self.building.len() >= target.records || self.building.data_bytes() >= target.bytes {
                self.close_building();
            }
        }
        self.hand_over();
    }

    /// Appends a barrier or the end of input behind everything else, whether there is room or not.
    pub(super) fn put_marker(&mut self, marker: Message) {
        let is_barrier = matches!(marker, Message::Barrier(_));
        if !(is_barrier && planted::is(Bug::BarrierOvertakesBatch)) {
            self.close_building();
        }
        self.ready.push_back(Ready::Message(marker));
        self.hand_over();
    }

    fn close_building(&mut self) {
        if !self.building.is_empty() {
            self.ready.push_back(Ready::Message(Message::Batch(self.building.take())));
        }
    }

    /// Hands over the batch being built if its first record came `linger_us` ago or longer.
    pub(super) fn linger(&mut self, now_us: u64, linger_us: u64) {
        if !self.building.is_empty() && now_us >= self.since_us.saturating_add(linger_us) {
            self.close_building();
            self.hand_over();
        }
    }

    /// Hands over everything, as far as there is room. Answers whether anything moved.
    pub(super) fn flush(&mut self) -> bool {
        self.close_building();
        self.hand_over()
    }

    /// Moves what is ready into the queue as far as it has room. Answers whether anything moved.
    pub(super) fn hand_over(&mut self) -> bool {
        let mut has_moved = false;
        while let Some(message) = self.next_ready() {
            if let Err(message) = self.queue.push(message) {
                self.ready.push_front(Ready::Message(message));
                break;
            }
            has_moved = true;
        }
        has_moved
    }

    fn next_ready(&mut self) -> Option<Message> {
        loop {
            match self.ready.pop_front()? {
                Ready::Message(message) => return Some(message),
                Ready::Large(mut cut) => {
                    if let Some(part) = cut.next() {
                        self.ready.push_front(Ready::Large(cut));
                        return Some(Message::Batch(part));
                    }
                }
            }
        }
    }

    /// Whether everything ready has been handed over, so that the sender may go on.
    pub(super) fn has_room(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether the outbox holds nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.building.is_empty()
    }

    /// Bytes held, for the bound that a test asserts.
    pub(super) fn bytes(&self) -> usize {
        let ready = self.ready.iter().map(|ready| match ready {
            Ready::Message(Message::Batch(batch)) => batch.bytes(),
            Ready::Message(Message::Barrier(_) | Message::End) => 0,
            Ready::Large(cut) => cut.bytes(),
        });
        self.building.data_bytes() + ready.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Dictionary, RecordKeys};
    use crate::limits::BATCH_BYTES_MAX;

    #[test]
    fn what_waits_takes_no_more_room_than_what_was_put_and_one_part_of_it() {
        // Parts that are all made at once would take 390 MiB: each brings the keys again.
        const RECORDS: u32 = 100_000;
        let mut dictionary = Dictionary::default();
        (0..257u32).for_each(|key| dictionary.keys.push(&vec![key as u8; 4096]));
        let mut batch = Batch::default();
        (0..RECORDS).for_each(|_| batch.values.push(b"1"));
        let key_of = (0..RECORDS).map(|record| record % 257).collect();
        batch.keys = RecordKeys::Of { dictionary: Arc::new(dictionary), key_of };
        let put = batch.bytes();
        let queue = Arc::new(Queue::new(1, None));
        let mut outbox = Outbox::new(queue.clone());
        outbox.put(Arc::new(batch), BatchTarget { records: 4096, bytes: BATCH_BYTES_MAX }, 0);
        let mut records = 0;
        while let Some(Message::Batch(part)) = queue.pop() {
            let held = outbox.bytes();
            assert!(held <= put + BATCH_BYTES_MAX, "{held} of {put}");
            records += part.len();
            outbox.hand_over();
        }
        assert_eq!((records, outbox.bytes()), (RECORDS as usize, 0));
        assert!(outbox.has_room());
    }
}
