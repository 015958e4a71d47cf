//! What a lane's thread owes its tenant: an account of its CPU time, and waiting when it has had too much.
//!
//! Owns the way from steps that were made to what is charged, and from what was charged to how long the lane is
//! held. It is held between steps only, never inside a call, and still follows the coordinator. Reads no clock. A
//! lane of a tenant without rates is never held for them; one whose batches fail all the time is, whosever it is,
//! because each failure makes a new sandbox, which costs others too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidemill_core::counters::TaskCounters;
use tidemill_core::quota::TokenBucket;

use super::pauses::Spent;
use crate::tenants::{LaneDemand, LaneTurns, Reserved, Tenant};

/// CPU time that is gathered before the tenant is charged with it, in microseconds: its account is shared.
const CHARGE_EVERY_US: u64 = 1_000;
/// Batches with a failure in a second; with more the lane waits between calls.
const FAILED_BATCHES_PER_SECOND: u64 = 20;
/// Sandboxes that a lane makes in a second; with more it waits. One batch of which each record fails costs two for each record.
/// Making one takes some 25 us of its own CPU time, and moments of a lock that all of the process share.
const SANDBOXES_PER_SECOND: u64 = 5_000;
/// Longest wait before it is looked again, in microseconds: a quota may be so low that nothing moves.
const HOLD_MAX_US: u64 = 1_000_000;

/// The account of one lane's thread.
pub(super) struct LanePace {
    tenant: Arc<Tenant>,
    demand: Arc<LaneDemand>,
    turns: LaneTurns,
    counters: Vec<Arc<TaskCounters>>,
    /// For each sink the bytes that are charged already; nothing for other nodes.
    sent_bytes: Vec<Option<u64>>,
    /// CPU time of the lane's thread that is accounted for, and what of it was not charged yet.
    thread_us: u64,
    uncharged_us: u64,
    failed_batches: u64,
    failures: TokenBucket,
    made_sandboxes: u64,
    sandboxes: TokenBucket,
    /// What the tenant was told of host calls, copied bytes and restarts.
    told: [u64; 3],
    held_until_us: u64,
    /// What its job has taken of the tenant's quotas: not given back before the thread is gone.
    _reserved: Arc<Vec<Reserved>>,
}

impl LanePace {
    /// The account of a lane with these tasks, `is_sink` for each, which begins now.
    pub(super) fn new(
        tenant: Arc<Tenant>,
        reserved: Arc<Vec<Reserved>>,
        tasks: Vec<(Arc<TaskCounters>, bool)>,
        now_us: u64,
    ) -> Self {
        let (counters, is_sink): (Vec<_>, Vec<bool>) = tasks.into_iter().unzip();
        let wait_us = tenant.usage().cpu_us.wait(now_us);
        let mut this = Self {
            demand: tenant.new_lane(now_us),
            turns: tenant.new_turns(),
            tenant,
            counters,
            sent_bytes: is_sink.into_iter().map(|is_sink| is_sink.then_some(0)).collect(),
            thread_us: 0,
            uncharged_us: 0,
            failed_batches: 0,
            failures: TokenBucket::new(FAILED_BATCHES_PER_SECOND, FAILED_BATCHES_PER_SECOND, 0),
            made_sandboxes: 0,
            sandboxes: TokenBucket::new(SANDBOXES_PER_SECOND, SANDBOXES_PER_SECOND, 0),
            told: [0; 3],
            held_until_us: 0,
            _reserved: reserved,
        };
        // A job that fails and begins anew is not given more for that.
        this.hold_for_cpu(wait_us, now_us);
        this
    }

    /// The lane is driven by this thread from now on, which has used `cpu_us` before.
    pub(super) fn moves_to(&mut self, thread: u32, cpu_us: u64) {
        self.thread_us = cpu_us;
        self.demand.moves_to(thread, cpu_us);
        self.turns.moves_to(thread);
    }

    /// Its thread leaves it, having used `cpu_us`: the step that failed counts too, and clearing up. Whoever goes on waits.
    pub(super) fn leaves(&mut self, cpu_us: u64, now_us: u64) {
        self.account(cpu_us.saturating_sub(self.thread_us));
        self.take_to_tenant(now_us);
        self.turns.leave(now_us);
    }

    /// A task has made a step.
    pub(super) fn stepped(&mut self, node: usize, took: Spent, now_us: u64) {
        let counters = self.counters[node].clone();
        TaskCounters::add(&counters.busy_us, took.wall_us);
        TaskCounters::add(&counters.cpu_us, took.cpu_us);
        self.charge(took.cpu_us, now_us);
        if let Some(charged) = &mut self.sent_bytes[node] {
            let sent = counters.bytes_out.load(Relaxed);
            let bytes = sent - std::mem::replace(charged, sent);
            let wait_us = self.tenant.usage().output_bytes.charge(bytes, now_us);
            self.hold(wait_us, now_us);
        } else if counters.instantiations.load(Relaxed) > 1 {
            self.brake(now_us);
        }
    }

    /// The lane has worked for a checkpoint.
    pub(super) fn worked(&mut self, used_us: u64, now_us: u64) {
        self.charge(used_us, now_us);
    }

    fn account(&mut self, used_us: u64) {
        self.thread_us += used_us;
        self.uncharged_us += used_us;
    }

    fn charge(&mut self, used_us: u64, now_us: u64) {
        self.account(used_us);
        if self.uncharged_us >= CHARGE_EVERY_US {
            self.charge_gathered(now_us);
        }
    }

    fn charge_gathered(&mut self, now_us: u64) {
        let wait_us = self.take_to_tenant(now_us);
        self.hold_for_cpu(wait_us, now_us);
    }

    /// Charges the tenant with what was gathered; answers how long that is to be waited for.
    fn take_to_tenant(&mut self, now_us: u64) -> u64 {
        self.tell_figures();
        // In this order, so that whoever looks meanwhile sees too little rather than something twice.
        self.demand.charged(self.thread_us);
        self.tenant.charge_cpu(std::mem::take(&mut self.uncharged_us), now_us)
    }

    /// Adds to the figures of the tenant what its tasks have come to since.
    fn tell_figures(&mut self) {
        let restarts = |task: &TaskCounters| task.instantiations.load(Relaxed).saturating_sub(1);
        let mut sums = [0; 3];
        for task in &self.counters {
            sums[0] += task.host_calls.load(Relaxed);
            sums[1] += task.copied_bytes.load(Relaxed);
            sums[2] += restarts(task);
        }
        let usage = self.tenant.usage();
        let of_tenant = [&usage.host_calls, &usage.copied_bytes, &usage.restarts];
        for ((sum, told), figure) in sums.iter().zip(&mut self.told).zip(of_tenant) {
            figure.fetch_add(sum - std::mem::replace(told, *sum), Relaxed);
        }
    }

    /// Looks whether too many batches fail, or too many sandboxes die.
    fn brake(&mut self, now_us: u64) {
        let sum = |figure: fn(&TaskCounters) -> &AtomicU64| -> u64 {
            self.counters.iter().map(|task| figure(task).load(Relaxed)).sum()
        };
        let (failed, made) = (sum(|task| &task.failed_batches), sum(|task| &task.instantiations));
        let new_failed = failed - std::mem::replace(&mut self.failed_batches, failed);
        let new_made = made - std::mem::replace(&mut self.made_sandboxes, made);
        if new_failed + new_made > 0 {
            let failures_us = self.failures.charge(new_failed, now_us);
            let sandboxes_us = self.sandboxes.charge(new_made, now_us);
            self.hold(failures_us.max(sandboxes_us), now_us);
        }
    }

    fn hold_for_cpu(&mut self, wait_us: u64, now_us: u64) {
        let held_us = self.hold(wait_us, now_us);
        self.tenant.usage().cpu_held_us.fetch_add(held_us, Relaxed);
    }

    /// Holds the lane for so long from now on; answers how much longer that is than it was held already.
    fn hold(&mut self, wait_us: u64, now_us: u64) -> u64 {
        // Two rates may hold it at once: what counts is how long it waits.
        let from_us = self.held_until_us.max(now_us);
        let until_us = now_us.saturating_add(wait_us.min(HOLD_MAX_US));
        let more_us = until_us.saturating_sub(from_us);
        if more_us > 0 {
            self.held_until_us = until_us;
            self.tenant.usage().held_us.fetch_add(more_us, Relaxed);
        }
        more_us
    }

    /// How long the lane is to wait before its next step, in microseconds; 0 for not at all.
    pub(super) fn held_us(&mut self, now_us: u64) -> u64 {
        if self.held_until_us == 0 {
            return 0;
        }
        let left_us = self.held_until_us.saturating_sub(now_us);
        if left_us == 0 {
            // Others of the tenant may have used what has come in meanwhile, and nobody waits for longer at once.
            self.held_until_us = 0;
            let usage = self.tenant.usage();
            let (cpu_us, output_us) = (usage.cpu_us.wait(now_us), usage.output_bytes.wait(now_us));
            let failing_us = self.failures.wait(now_us).max(self.sandboxes.wait(now_us));
            let other_us = output_us.max(failing_us);
            self.hold_for_cpu(cpu_us, now_us);
            self.hold(other_us, now_us);
            return cpu_us.max(other_us).min(HOLD_MAX_US);
        }
        left_us
    }

    /// Whether the lane should give way to those of other tenants.
    pub(super) fn gives_way(&self) -> bool {
        self.tenant.gives_way()
    }

    /// Whether it is the turn of the lane, which gives way; its thread is woken when it is not and will be.
    pub(super) fn has_turn(&self, now_us: u64) -> bool {
        self.turns.may_go_on(now_us)
    }

    /// The turns of the lane.
    pub(super) fn turns(&self) -> &LaneTurns {
        &self.turns
    }

    /// The lane waits for work, or is held.
    pub(super) fn waits(&mut self, now_us: u64) {
        // Whoever uses little is seen to use something.
        if self.uncharged_us > 0 {
            self.charge_gathered(now_us);
        }
        self.demand.waits(now_us);
        self.turns.leave(now_us);
    }

    /// It goes on.
    pub(super) fn works(&self, now_us: u64) {
        self.demand.works(now_us);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::TenantsPlan;
    use crate::tenants::Tenants;

    fn pace(quotas: &str, is_sink: bool) -> LanePace {
        let path = Path::new("/tenants.toml");
        let plan = TenantsPlan::from_text(path, path, format!("[tenants.a]\n{quotas}\n")).unwrap();
        let tenant = Tenants::new(plan).owner("a", &[Path::new("/job.toml")]).unwrap();
        LanePace::new(tenant, Arc::default(), vec![(Arc::default(), is_sink)], 0)
    }

    #[test]
    fn a_lane_that_has_used_its_cpu_time_is_held_until_more_has_come_in() {
        let mut pace = pace("cpu = 0.5", false);
        pace.charge(150_000, 0);
        assert_eq!(pace.held_us(0), 100_001);
        assert_eq!(pace.held_us(60_000), 40_001);
        assert_eq!(pace.held_us(100_001), 0);
        assert_eq!(pace.tenant.usage().used_cpu_us.load(Relaxed), 150_000);
    }

    #[test]
    fn a_lane_that_waits_has_charged_what_it_used() {
        let mut pace = pace("cpu = 0.5", false);
        pace.charge(999, 0);
        assert_eq!(pace.tenant.usage().used_cpu_us.load(Relaxed), 0);
        pace.waits(0);
        assert_eq!(pace.tenant.usage().used_cpu_us.load(Relaxed), 999);
    }

    #[test]
    fn a_lane_whose_step_fails_has_charged_it_and_one_that_begins_anew_waits_for_it() {
        let mut pace = pace("cpu = 0.5", false);
        pace.moves_to(7, 1_000);
        pace.stepped(0, Spent { wall_us: 0, cpu_us: 300 }, 0);
        pace.leaves(151_000, 0);
        let usage = pace.tenant.usage();
        assert_eq!(usage.used_cpu_us.load(Relaxed), 150_000);
        assert_eq!(usage.held_us.load(Relaxed), 0, "nobody is there to be held");
        let mut next = LanePace::new(pace.tenant.clone(), Arc::default(), Vec::new(), 0);
        assert_eq!(next.held_us(0), 100_001);
    }

    #[test]
    fn what_tasks_come_to_is_added_to_their_tenant_once() {
        let mut pace = pace("", false);
        TaskCounters::add(&pace.counters[0].host_calls, 7);
        TaskCounters::add(&pace.counters[0].copied_bytes, 900);
        TaskCounters::add(&pace.counters[0].instantiations, 3);
        pace.charge(CHARGE_EVERY_US, 0);
        TaskCounters::add(&pace.counters[0].host_calls, 1);
        pace.leaves(0, 0);
        pace.leaves(0, 0);
        let usage = pace.tenant.usage();
        let figures = [&usage.host_calls, &usage.copied_bytes, &usage.restarts];
        assert_eq!(figures.map(|figure| figure.load(Relaxed)), [8, 900, 2]);
    }

    #[test]
    fn output_over_the_rate_is_waited_for() {
        let mut pace = pace("output-rate = \"1kB\"", true);
        TaskCounters::add(&pace.counters[0].bytes_out, 1500);
        pace.stepped(0, Spent::default(), 0);
        assert_eq!(pace.held_us(0), 500_001);
    }

    #[test]
    fn a_lane_whose_batches_fail_all_the_time_is_slowed_down() {
        let mut pace = pace("", false);
        for failed in 1..=20 {
            TaskCounters::add(&pace.counters[0].failed_batches, 1);
            TaskCounters::add(&pace.counters[0].instantiations, 2);
            pace.stepped(0, Spent::default(), failed);
        }
        assert_eq!(pace.held_us(20), 0);
        TaskCounters::add(&pace.counters[0].failed_batches, 2);
        pace.stepped(0, Spent::default(), 100);
        assert!(pace.held_us(100) > 50_000);
    }

    #[test]
    fn a_lane_that_makes_sandboxes_all_the_time_is_slowed_down_although_few_batches_fail() {
        let mut pace = pace("", false);
        TaskCounters::add(&pace.counters[0].failed_batches, 1);
        TaskCounters::add(&pace.counters[0].instantiations, 15_000);
        pace.stepped(0, Spent::default(), 0);
        // The burst is 5,000 of them, and the rest takes 2 s.
        assert_eq!(pace.held_us(0), HOLD_MAX_US);
        assert!(pace.held_us(1_000_000) > 999_000);
        assert_eq!(pace.held_us(2_100_000), 0);
    }

    #[test]
    fn a_lane_that_two_rates_hold_waits_once() {
        let mut pace = pace("cpu = 0.5\noutput-rate = \"1kB\"", true);
        pace.charge(150_000, 0);
        TaskCounters::add(&pace.counters[0].bytes_out, 1500);
        pace.stepped(0, Spent::default(), 0);
        assert_eq!(pace.held_us(0), 500_001);
        assert_eq!(pace.tenant.usage().held_us.load(Relaxed), 500_001);
        assert_eq!(pace.tenant.usage().cpu_held_us.load(Relaxed), 100_001);
    }

    #[test]
    fn a_lane_that_waits_or_has_no_thread_any_more_leaves_its_turn_to_another_one() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let first = pace("", false);
        first.tenant.tell_to_give_way();
        let lane = |_| {
            let mut lane = LanePace::new(first.tenant.clone(), Arc::default(), Vec::new(), 0);
            lane.moves_to(7, 0);
            lane
        };
        let mut lanes: Vec<LanePace> = (0..cores + 2).map(lane).collect();
        let have_turns = |lanes: &[LanePace]| lanes.iter().filter(|lane| lane.has_turn(0)).count();
        assert_eq!(have_turns(&lanes), cores);
        lanes[0].waits(0);
        assert_eq!(have_turns(&lanes[1..]), cores);
        lanes[1].leaves(0, 0);
        assert_eq!(have_turns(&lanes[2..]), cores);
    }

    #[test]
    fn without_quotas_nobody_waits() {
        let mut pace = pace("", false);
        pace.charge(1 << 40, 5);
        TaskCounters::add(&pace.counters[0].bytes_out, 1 << 40);
        pace.stepped(0, Spent::default(), 5);
        assert_eq!(pace.held_us(5), 0);
    }
}
