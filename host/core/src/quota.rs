//! What a tenant may use, over all its jobs: amounts held at once, and rates.
//!
//! Owns the arithmetic of quotas, not what they are about: who takes, and what follows when there is no more, is
//! decided by the taker. Reads no clock. Invariants: what is held never passes the quota but by [`Holding::settle`],
//! which says what is so already; and whoever held something gives it back when it is dropped.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// An amount that several take from, in whatever unit they agree on.
#[derive(Debug)]
pub struct Allowance {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Default for Allowance {
    /// Without a limit.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Allowance {
    /// All of `limit` is there to be taken.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    /// How much there is in all.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How much is taken.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most that was taken at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    fn try_take(&self, amount: u64) -> bool {
        let fits = |used: u64| used.checked_add(amount).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Relaxed, Relaxed, fits);
        if let Ok(before) = taken {
            self.peak.fetch_max(before + amount, Relaxed);
        }
        taken.is_ok()
    }

    /// Takes what is so already, quota or not.
    fn take(&self, amount: u64) {
        let before = self.used.fetch_add(amount, Relaxed);
        self.peak.fetch_max(before.saturating_add(amount), Relaxed);
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Relaxed);
    }
}

/// What one holds of an [`Allowance`]; given back when dropped.
#[derive(Debug, Default)]
pub struct Holding {
    of: Arc<Allowance>,
    amount: u64,
}

impl Holding {
    /// Nothing yet.
    pub fn of(allowance: &Arc<Allowance>) -> Self {
        Self { of: allowance.clone(), amount: 0 }
    }

    /// How much is held.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// What it is taken from.
    pub fn allowance(&self) -> &Allowance {
        &self.of
    }

    /// Takes `more`; answers `false` when there is not as much, and takes nothing.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let taken = self.of.try_take(more);
        self.amount += if taken { more } else { 0 };
        taken
    }

    /// Holds `amount` from here on, whatever the quota says: this much is in use already.
    pub fn settle(&mut self, amount: u64) {
        match amount.checked_sub(self.amount) {
            Some(more) => self.of.take(more),
            None => self.of.give_back(self.amount - amount),
        }
        self.amount = amount;
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.of.give_back(self.amount);
    }
}

/// A rate with a burst: a bucket that is filled steadily and emptied by use. Use is charged after the fact, so that
/// the level may fall below nothing; whoever uses waits until it is back.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_second: u64,
    burst: u64,
    level: i64,
    /// What of a whole token has come in since, in millionths.
    part: u64,
    at_us: u64,
}

impl TokenBucket {
    /// Full at `now_us`. A rate of 0 never lets anything through once the burst is used up.
    pub fn new(per_second: u64, burst: u64, now_us: u64) -> Self {
        let level = i64::try_from(burst).unwrap_or(i64::MAX);
        Self { per_second, burst, level, part: 0, at_us: now_us }
    }

    /// Says that `amount` was used, and how long to wait until more may be: 0 when at once.
    pub fn charge(&mut self, amount: u64, now_us: u64) -> u64 {
        self.fill(now_us);
        self.level = self.level.saturating_sub_unsigned(amount);
        self.wait_us()
    }

    /// Whether `amount` is there to be used.
    pub fn has(&mut self, amount: u64, now_us: u64) -> bool {
        self.fill(now_us);
        u64::try_from(self.level).is_ok_and(|level| level >= amount)
    }

    /// How long to wait until more may be used.
    pub fn wait(&mut self, now_us: u64) -> u64 {
        self.fill(now_us);
        self.wait_us()
    }

    fn fill(&mut self, now_us: u64) {
        let since_us = now_us.saturating_sub(self.at_us);
        self.at_us = self.at_us.max(now_us);
        let millionths = u128::from(since_us) * u128::from(self.per_second) + u128::from(self.part);
        let whole = u64::try_from(millionths / 1_000_000).unwrap_or(u64::MAX);
        self.part = (millionths % 1_000_000) as u64;
        let full = i64::try_from(self.burst).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add_unsigned(whole).min(full);
    }

    fn wait_us(&self) -> u64 {
        let missing = self.level.min(0).unsigned_abs();
        match (missing, self.per_second) {
            (0, _) => 0,
            (_, 0) => u64::MAX,
            (missing, rate) => {
                u64::try_from(u128::from(missing) * 1_000_000 / u128::from(rate) + 1)
                    .unwrap_or(u64::MAX)
            }
        }
    }
}

/// A rate that many share, or none. Who charges may be of low priority and lose its core in the middle of it: who only looks waits for
/// nobody, and whoever must not wait [charges later](Self::charge_later).
#[derive(Debug, Default)]
pub struct RateLimit {
    bucket: Option<Mutex<TokenBucket>>,
    /// When there is more again, as of the last charge.
    until_us: AtomicU64,
    /// What the next charge takes along.
    later: AtomicU64,
}

impl RateLimit {
    /// So much in a second, and as much as a burst of `burst` at once.
    pub fn new(per_second: u64, burst: u64) -> Self {
        let bucket = Some(Mutex::new(TokenBucket::new(per_second, burst, 0)));
        Self { bucket, ..Self::default() }
    }

    /// As [`TokenBucket::charge`]; without a limit nobody waits.
    pub fn charge(&self, amount: u64, now_us: u64) -> u64 {
        let Some(bucket) = &self.bucket else { return 0 };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        self.charge_to(&mut bucket, amount, now_us)
    }

    fn charge_to(&self, bucket: &mut TokenBucket, amount: u64, now_us: u64) -> u64 {
        let amount = amount.saturating_add(self.later.swap(0, Relaxed));
        let wait_us = bucket.charge(amount, now_us);
        let until_us = if wait_us == 0 { 0 } else { now_us.saturating_add(wait_us) };
        self.until_us.store(until_us, Relaxed);
        wait_us
    }

    /// Charges, now or with the next charge, without waiting for anybody.
    pub fn charge_later(&self, amount: u64, now_us: u64) {
        let Some(bucket) = &self.bucket else { return };
        self.later.fetch_add(amount, Relaxed);
        if let Ok(mut bucket) = bucket.try_lock() {
            self.charge_to(&mut bucket, 0, now_us);
        }
    }

    /// How long to wait until more may be used.
    pub fn wait(&self, now_us: u64) -> u64 {
        self.until_us.load(Relaxed).saturating_sub(now_us)
    }

    /// Uses `amount` if it is there.
    pub fn take(&self, amount: u64, now_us: u64) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let has = bucket.has(amount, now_us);
        if has {
            self.charge_to(&mut bucket, amount, now_us);
        }
        has
    }
}

/// What a tenant uses of its quotas, shared by all tasks of all its jobs. The default has no limit anywhere.
#[derive(Debug, Default)]
pub struct TenantUsage {
    /// Bytes of linear memory of its sandboxes.
    pub memory_bytes: Arc<Allowance>,
    /// Bytes of keyed state.
    pub state_bytes: Arc<Allowance>,
    /// Sandboxes of its jobs.
    pub sandboxes: Arc<Allowance>,
    /// Bytes that may wait between the tasks of its jobs.
    pub buffer_bytes: Arc<Allowance>,
    /// Granted files and directories that its sandboxes have open, and connections to its sources.
    pub open_files: Arc<Allowance>,
    /// Sources and sinks of its jobs, on each lane.
    pub connectors: Arc<Allowance>,
    /// Partitions of the sources of its jobs.
    pub partitions: Arc<Allowance>,
    /// Bytes that the input logs of its jobs may come to.
    pub input_log_bytes: Arc<Allowance>,
    /// Bytes of snapshot files.
    pub checkpoint_bytes: Arc<Allowance>,
    /// Components of its jobs.
    pub components: Arc<Allowance>,
    /// Microseconds of CPU time in a second.
    pub cpu_us: RateLimit,
    /// Bytes of output in a second.
    pub output_bytes: RateLimit,
    /// Log lines in a second.
    pub log_lines: RateLimit,
    /// Microseconds of CPU time used so far, by threads of the host.
    pub used_cpu_us: AtomicU64,
    /// Microseconds of CPU time that compiling its components took, in processes of their own.
    pub compile_cpu_us: AtomicU64,
    /// Microseconds that lanes were held because of a rate.
    pub held_us: AtomicU64,
    /// Those of them that were because of CPU time.
    pub cpu_held_us: AtomicU64,
    /// Log lines dropped because of the rate.
    pub dropped_log_lines: AtomicU64,
    /// Host calls that its sandboxes have made.
    pub host_calls: AtomicU64,
    /// Bytes copied into and out of its sandboxes.
    pub copied_bytes: AtomicU64,
    /// Sandboxes that took the place of others of the same task.
    pub restarts: AtomicU64,
}

impl TenantUsage {
    /// The amounts that are held at once, each by the name of its setting.
    pub fn quotas(&self) -> [(&'static str, &Allowance); 10] {
        [
            ("memory", &self.memory_bytes),
            ("state", &self.state_bytes),
            ("sandboxes", &self.sandboxes),
            ("buffers", &self.buffer_bytes),
            ("open-files", &self.open_files),
            ("connectors", &self.connectors),
            ("partitions", &self.partitions),
            ("input-log", &self.input_log_bytes),
            ("checkpoints", &self.checkpoint_bytes),
            ("components", &self.components),
        ]
    }
}

/// Whom threads of the host work for that are no lanes, and who pays for it.
pub trait Account: Send + Sync {
    /// Whether such work should let that of others go first.
    fn gives_way(&self) -> bool;

    /// Has the work done on this thread, once, and charges what it took.
    fn pay_for(&self, work: &mut dyn FnMut());

    /// What files and connections are taken from.
    fn open_files(&self) -> &Arc<Allowance>;

    /// Whether it has used up its CPU time for now, so that work which nobody waits for had better wait.
    fn is_held(&self) -> bool;

    /// Has this thread work for it and nobody else until what is answered is dropped, by the same thread.
    fn employ_thread(self: Arc<Self>) -> Box<dyn Any>;
}

/// An account without quotas that nobody looks at, for work that is no tenant's.
#[derive(Debug, Default)]
pub struct Unmetered(Arc<Allowance>);

impl Unmetered {
    /// With so many open files.
    pub fn with_open_files(limit: u64) -> Self {
        Self(Arc::new(Allowance::new(limit)))
    }
}

impl Account for Unmetered {
    fn gives_way(&self) -> bool {
        false
    }

    fn pay_for(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn open_files(&self) -> &Arc<Allowance> {
        &self.0
    }

    fn is_held(&self) -> bool {
        false
    }

    fn employ_thread(self: Arc<Self>) -> Box<dyn Any> {
        Box::new(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_there_is_not_taken_and_what_is_dropped_comes_back() {
        let allowance = Arc::new(Allowance::new(10));
        let mut one = Holding::of(&allowance);
        let mut other = Holding::of(&allowance);
        assert!(one.grow(7) && !other.grow(4) && other.grow(3));
        assert_eq!((allowance.used(), one.amount(), other.amount()), (10, 7, 3));
        drop(one);
        assert_eq!((allowance.used(), allowance.peak()), (3, 10));
        assert!(other.grow(7) && !other.grow(1));
    }

    #[test]
    fn what_is_so_already_may_pass_the_quota() {
        let allowance = Arc::new(Allowance::new(10));
        let mut one = Holding::of(&allowance);
        one.settle(25);
        assert_eq!((allowance.used(), allowance.peak()), (25, 25));
        assert!(!one.grow(1));
        one.settle(4);
        assert!(one.grow(6));
        assert_eq!(allowance.used(), 10);
    }

    #[test]
    fn an_empty_bucket_says_how_long_to_wait() {
        let mut bucket = TokenBucket::new(1000, 100, 0);
        assert_eq!(bucket.charge(100, 0), 0);
        assert_eq!(bucket.charge(50, 0), 50_001);
        assert_eq!(bucket.wait(25_000), 25_001);
        assert_eq!(bucket.wait(50_000), 0);
        let mut shut = TokenBucket::new(0, 1, 0);
        assert_eq!((shut.charge(1, 0), shut.charge(1, 9)), (0, u64::MAX));
    }

    #[test]
    fn who_looks_at_a_rate_waits_for_nobody_who_charges_it() {
        let rate = RateLimit::new(1000, 100);
        assert_eq!(
            (rate.charge(150, 0), rate.wait(0), rate.wait(25_000)),
            (50_001, 50_001, 25_001)
        );
        let busy = rate.bucket.as_ref().unwrap().lock().unwrap();
        assert_eq!(rate.wait(50_001), 0);
        rate.charge_later(100, 50_001);
        assert_eq!(rate.wait(50_001), 0, "somebody is in the middle of a charge");
        drop(busy);
        assert_eq!((rate.charge(0, 50_001), rate.wait(50_001)), (100_001, 100_001));
        rate.charge_later(1, 200_000);
        assert_eq!((rate.wait(200_000), rate.take(49, 200_000)), (0, true));
        assert_eq!(RateLimit::default().wait(9), 0);
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_is_used_than_the_burst_and_the_rate(
            rate in 1u64..1_000_000,
            burst in 0u64..1_000_000,
            uses in prop::collection::vec((1u64..100_000, 0u64..100_000), 1..100),
        ) {
            let mut bucket = TokenBucket::new(rate, burst, 0);
            let (mut now_us, mut used) = (0u64, 0u64);
            for (amount, idle_us) in uses {
                now_us += idle_us;
                now_us += bucket.wait(now_us);
                // Whoever may go on does so with less than all that came in until now.
                let come_in = u128::from(burst) + u128::from(rate) * u128::from(now_us) / 1_000_000;
                prop_assert!(u128::from(used) <= come_in);
                used += amount;
                bucket.charge(amount, now_us);
            }
        }
    }
}
