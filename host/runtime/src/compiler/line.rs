//! A line of those who wait for something that one has at a time: first come, first served.
//!
//! A mutex has no order: whoever asks often enough could have it again and again.

use std::sync::{Condvar, Mutex, PoisonError};

/// The line. Numbers go up; whose number is the one served has its turn.
#[derive(Debug)]
pub(super) struct Line {
    /// The next number to be given, and the one that is served.
    numbers: Mutex<(u64, u64)>,
    changed: Condvar,
}

/// A turn, until this is dropped.
#[derive(Debug)]
pub(super) struct OwnTurn<'a>(&'a Line);

impl Line {
    pub(super) const fn new() -> Self {
        Self { numbers: Mutex::new((0, 0)), changed: Condvar::new() }
    }

    /// Waits for all who came before.
    pub(super) fn wait(&self) -> OwnTurn<'_> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = numbers.0;
        numbers.0 += 1;
        while numbers.1 != own {
            numbers = self.changed.wait(numbers).unwrap_or_else(PoisonError::into_inner);
        }
        OwnTurn(self)
    }
}

impl Drop for OwnTurn<'_> {
    fn drop(&mut self) {
        self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn who_comes_first_is_served_first_also_after_a_panic() {
        let line = Line::new();
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            let first = line.wait();
            for number in 0..5 {
                let (served, in_line) = (served.clone(), &line);
                let waiting = scope.spawn(move || {
                    let _turn = in_line.wait();
                    served.send(number).unwrap();
                    // The others must not wait for ever.
                    assert!(number % 2 == 0, "on purpose");
                });
                while line.numbers.lock().unwrap().0 < number + 2 {
                    assert!(!waiting.is_finished());
                    thread::yield_now();
                }
                if number % 2 == 1 {
                    scope.spawn(move || waiting.join().unwrap_err());
                }
            }
            drop(first);
        });
        assert_eq!(order.try_iter().collect::<Vec<u64>>(), [0, 1, 2, 3, 4]);
    }
}
