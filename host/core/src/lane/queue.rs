//! The FIFO queue of one (lane, edge, lane).
//!
//! Bounded in bytes, each queue by itself: a queue takes a batch whenever it is empty or below its
//! bound; barriers and the end of input need no room. So a queue never holds more than its bound plus one batch,
//! and a full queue never keeps a receiver from what it waits for. What counts is what a batch takes, which is far more than its
//! content where it has few records.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::Batch;
use crate::checkpoint::Barrier;
use crate::connector::Wake;
use crate::planted::{self, Bug};

/// What travels in band along an edge.
#[derive(Clone, Debug)]
pub enum Message {
    /// Records.
    Batch(Batch),
    /// What came before belongs to a checkpoint, what follows does not.
    Barrier(Barrier),
    /// Nothing will follow.
    End,
}

/// A queue between two lanes, or of a lane with itself.
pub struct Queue {
    items: Mutex<Items>,
    /// Messages in the queue, readable without the lock.
    len: AtomicUsize,
    bound_bytes: usize,
    wakers: Option<Wakers>,
}

struct Items {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The sender was refused and waits for room.
    refused: bool,
}

/// Who is woken at the two ends of a queue between different lanes.
pub struct Wakers {
    /// Woken when room was made after a refusal.
    pub sender: Arc<dyn Wake>,
    /// Woken by every message.
    pub receiver: Arc<dyn Wake>,
}

impl Queue {
    /// An empty queue. A lane's queue with itself needs no wakers.
    pub fn new(bound_bytes: usize, wakers: Option<Wakers>) -> Self {
        let items = Mutex::new(Items { messages: VecDeque::new(), bytes: 0, refused: false });
        Self { items, len: AtomicUsize::new(0), bound_bytes, wakers }
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        // A lane that panicked fails its job; what it left in the queue is still whole.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message, or hands it back when there is no room.
    ///
    /// # Errors
    /// The message, when the queue is neither empty nor below its bound. The sender is woken once
    /// there is room.
    pub fn push(&self, message: Message) -> Result<(), Message> {
        let mut items = self.lock();
        if let Message::Batch(batch) = &message {
            if !items.messages.is_empty() && items.bytes >= self.bound_bytes {
                items.refused = true;
                return Err(message);
            }
            items.bytes += batch.held_bytes();
        }
        items.messages.push_back(message);
        self.len.store(items.messages.len(), SeqCst);
        drop(items);
        if let Some(wakers) = &self.wakers {
            wakers.receiver.wake();
        }
        Ok(())
    }

    /// Takes the message at the head.
    pub fn pop(&self) -> Option<Message> {
        let mut items = self.lock();
        let message = items.messages.pop_front()?;
        if let Message::Batch(batch) = &message {
            items.bytes -= batch.held_bytes();
        }
        self.len.store(items.messages.len(), SeqCst);
        let has_room = items.messages.is_empty() || items.bytes < self.bound_bytes;
        let wake = has_room && std::mem::take(&mut items.refused);
        drop(items);
        let wake = wake && !planted::is(Bug::SenderNotWoken);
        if let (true, Some(wakers)) = (wake, &self.wakers) {
            wakers.sender.wake();
        }
        Some(message)
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.len.load(SeqCst)
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the batches in the queue take.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Message {
        let mut batch = Batch::default();
        batch.values.push(&vec![0; bytes]);
        Message::Batch(batch)
    }

    #[test]
    fn an_empty_queue_takes_any_batch_and_a_full_one_none() {
        let queue = Queue::new(400, None);
        assert!(queue.push(batch(1000)).is_ok());
        assert!(queue.push(batch(1)).is_err());
        assert!(queue.pop().is_some());
        assert_eq!(queue.bytes(), 0);
        assert!(queue.push(batch(1)).is_ok() && queue.push(batch(1000)).is_ok());
    }

    #[test]
    fn a_batch_of_few_bytes_counts_for_what_it_takes() {
        let queue = Queue::new(1 << 20, None);
        let mut count = 0;
        loop {
            let mut batch = Batch::default();
            batch.values.push(b"v");
            batch.values.ends.reserve(8192);
            if queue.push(Message::Batch(batch)).is_err() {
                break;
            }
            count += 1;
        }
        assert!(count <= (1 << 20) / (8192 * 4) + 1, "{count}");
        let queue = Queue::new(1 << 20, None);
        let count = (0..).take_while(|_| queue.push(batch(1)).is_ok()).count();
        assert!(count < (1 << 20) / 250, "{count}");
    }

    #[test]
    fn a_barrier_and_the_end_need_no_room() {
        let queue = Queue::new(1, None);
        let barrier = Message::Barrier(Barrier::default());
        assert!(queue.push(batch(100)).is_ok() && queue.push(barrier).is_ok());
        assert!(queue.push(Message::End).is_ok());
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_refused_sender_is_woken_when_there_is_room() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(&self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let (sender, receiver) = (Arc::new(Count(0.into())), Arc::new(Count(0.into())));
        let wakers = Wakers { sender: sender.clone(), receiver: receiver.clone() };
        let queue = Queue::new(1, Some(wakers));
        assert!(queue.push(batch(100)).is_ok());
        assert!(queue.pop().is_some());
        assert_eq!(sender.0.load(SeqCst), 0);
        assert!(queue.push(batch(100)).is_ok() && queue.push(batch(100)).is_err());
        assert!(queue.pop().is_some());
        assert_eq!((sender.0.load(SeqCst), receiver.0.load(SeqCst)), (1, 2));
    }
}
