//! What one sender has for one queue and has not handed over yet.
//!
//! Owns merging small emissions up to the batch target and cutting large ones down to the limits. An
//! outbox may hold one call's output beyond its queue's bound; its operator is not called again until
//! all of it is handed over.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::{Message, Queue};
use crate::batch::{Batch, BatchBuilder};
use crate::connector::BatchTarget;
use crate::planted::{self, Bug};

pub(super) struct Outbox {
    queue: Arc<Queue>,
    building: BatchBuilder,
    /// When the first record of `building` came, in microseconds.
    since_us: u64,
    ready: VecDeque<Message>,
}

impl Outbox {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, building: BatchBuilder::default(), since_us: 0, ready: VecDeque::new() }
    }

    /// Takes a batch. One of about the target goes on as it is; a small one is merged with others.
    pub(super) fn put(&mut self, batch: Batch, target: BatchTarget, now_us: u64) {
        let bytes = batch.bytes();
        let large = batch.len() * 2 >= target.records || bytes * 2 >= target.bytes;
        if large || !self.building.accepts(&batch) {
            self.close_building();
        }
        if large {
            let ready = &mut self.ready;
            batch.cut(|part| ready.push_back(Message::Batch(part)));
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
        self.ready.push_back(marker);
        self.hand_over();
    }

    fn close_building(&mut self) {
        if !self.building.is_empty() {
            self.ready.push_back(Message::Batch(self.building.take()));
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
        let before = self.ready.len();
        while let Some(message) = self.ready.pop_front() {
            if let Err(message) = self.queue.push(message) {
                self.ready.push_front(message);
                break;
            }
        }
        before != self.ready.len()
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
        let ready = self.ready.iter().map(|message| match message {
            Message::Batch(batch) => batch.bytes(),
            Message::Barrier(_) | Message::End => 0,
        });
        self.building.data_bytes() + ready.sum::<usize>()
    }
}
