//! What a store carries: the call at hand, the limits, and the guest's handles.

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use tidemill_core::call::{CallFrame, CallRules};
use tidemill_core::failure::{FaultCode, GuestFault};
use tidemill_core::quota::Holding;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::component::TaskIdentity;
use crate::files::Files;
use crate::guest_log::GuestLog;
use crate::signal::CallSignal;
use crate::trap::is_shortage;

/// Handles to files, streams and pollables that a guest may hold at once.
const RESOURCES_MAX: usize = 1024;
/// Handles in the tables of a component's instances, those to resources of its own included. A table never shrinks, and each
/// instance has one.
pub(crate) const HANDLES_MAX: usize = 2 * RESOURCES_MAX;
/// Core instances, memories and tables of one component at most.
const INSTANCES_MAX: usize = 64;

/// Data of one store.
pub(crate) struct GuestData {
    /// The call at hand; a spare between calls.
    pub(crate) frame: Box<CallFrame>,
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryLimiter,
    pub(crate) cpu: CpuBudget,
    pub(crate) log: GuestLog,
    /// Environment that WASI shows: the job's configuration of the operator, and what it was granted.
    pub(crate) environment: Vec<(String, String)>,
    /// Files that WASI shows; none unless the operator was granted some.
    pub(crate) files: Files,
}

impl GuestData {
    pub(crate) fn new(
        rules: Arc<CallRules>,
        identity: &TaskIdentity,
        stop: Arc<CallSignal>,
    ) -> Self {
        let limits = rules.limits.clone();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            frame: Box::new(CallFrame::new(rules, None)),
            table,
            memory: MemoryLimiter {
                memory_left: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
                memory_limit: limits.memory_bytes,
                of_tenant: Holding::of(&identity.tenant.memory_bytes),
                table_left: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
                table_limit: limits.table_elements,
                refused_bytes: None,
                refused_elements: None,
            },
            cpu: CpuBudget { allowed_us: 0, began_us: None, stop },
            log: GuestLog::new(identity, &limits),
            environment: Vec::new(),
            files: Files::default(),
        }
    }

    /// Hands a handle to `entry` to the guest.
    ///
    /// # Errors
    /// [`FaultCode::ResourceLimit`] when it holds as many as it may.
    pub(crate) fn hold<T: Send + 'static>(&mut self, entry: T) -> wasmtime::Result<Resource<T>> {
        self.table.push(entry).map_err(|error| match error {
            ResourceTableError::Full => {
                let message = format!(
                    "the guest holds {RESOURCES_MAX} streams, pollables and files; it must drop some"
                );
                GuestFault::new(FaultCode::ResourceLimit, message).into()
            }
            other => other.into(),
        })
    }
}

/// Counts the sum of a store's memories and tables against its limits.
pub(crate) struct MemoryLimiter {
    memory_left: usize,
    memory_limit: u64,
    /// What the store's memories come to, given back when it is dropped.
    of_tenant: Holding,
    table_left: usize,
    table_limit: u64,
    /// What the memories would have come to when one of them was refused to grow, and the tables.
    refused_bytes: Option<u64>,
    refused_elements: Option<u64>,
}

impl MemoryLimiter {
    /// Forgets that an earlier call was refused memory: the guest has coped with it.
    pub(crate) fn begin_call(&mut self) {
        (self.refused_bytes, self.refused_elements) = (None, None);
    }

    /// Bytes of all memories of the store.
    pub(crate) fn bytes(&self) -> u64 {
        self.of_tenant.amount()
    }

    /// In words, that a memory or a table has been refused to grow: most guests trap shortly after.
    pub(crate) fn refused(&self) -> Option<String> {
        let words = |wanted: u64, what, limit: u64| {
            format!("the guest was refused {wanted} {what}; at most {limit} are allowed")
        };
        let bytes = self.refused_bytes.map(|b| words(b, "bytes of memory", self.memory_limit));
        let elements = self.refused_elements;
        bytes.or_else(|| elements.map(|e| words(e, "elements of its tables", self.table_limit)))
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let fits = take(&mut self.memory_left, more);
        if !fits {
            self.refused_bytes = Some(self.bytes().saturating_add(more as u64));
        }
        if fits && !self.of_tenant.grow(more as u64) {
            // Other sandboxes have a part in it, so the guest must not see it and act upon it.
            let quota = self.of_tenant.allowance();
            let (used, limit) = (quota.used(), quota.limit());
            let message = format!(
                "{more} more bytes of memory were asked for; the tenant's sandboxes hold {used}, and at most {limit} \
                 are allowed"
            );
            return Err(GuestFault::new(FaultCode::TenantMemory, message).into());
        }
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        match is_shortage(&error) {
            // The limits allow it: the guest must not see it and act upon it, nor be blamed.
            true => Err(error.context("the system has no memory for a guest to grow into")),
            // Its memory has a maximum of its own.
            false => Ok(()),
        }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let used = self.table_limit.saturating_sub(self.table_left as u64);
        let fits = take(&mut self.table_left, more);
        if !fits {
            self.refused_elements = Some(used.saturating_add(more as u64));
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }
}

/// Takes `amount` out of what is left, if it is there.
fn take(left: &mut usize, amount: usize) -> bool {
    let rest = left.checked_sub(amount);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

/// A call's allowance of its own CPU time. Waiting does not count: time is the thread's own.
///
/// The first tick of the epoch inside a call starts the count, so that a call shorter than a tick pays
/// for no clock. A call may therefore use one tick more than its allowance.
pub(crate) struct CpuBudget {
    allowed_us: u64,
    began_us: Option<u64>,
    stop: Arc<CallSignal>,
}

impl CpuBudget {
    /// Begins a call that may use `allowed_us` of its own CPU time.
    pub(crate) fn begin(&mut self, allowed_us: u64) {
        self.allowed_us = allowed_us;
        self.began_us = None;
    }

    /// Called at each tick of the epoch inside the guest.
    pub(crate) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.stop.tick();
        if self.stop.is_stopped() {
            return Err(GuestFault::new(FaultCode::Stopped, "the job is being stopped").into());
        }
        let now_us = thread_cpu_us();
        let used_us = now_us - *self.began_us.get_or_insert(now_us);
        if used_us > self.allowed_us {
            let message = format!(
                "the call used {} ms of CPU time; {} ms are allowed",
                used_us / 1000,
                self.allowed_us / 1000
            );
            return Err(GuestFault::new(FaultCode::CpuLimit, message).into());
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use tidemill_core::failure::Failure;

    use super::*;
    use crate::trap::classify;

    fn spends_us(us: u64) {
        let until_us = thread_cpu_us() + us;
        while thread_cpu_us() < until_us {}
    }

    #[test]
    fn memory_that_the_system_does_not_have_is_not_refused_to_the_guest_but_to_the_host() {
        let rules = crate::component::rules_outside_of_jobs(Arc::default(), Arc::default());
        let mut data = GuestData::new(rules, &TaskIdentity::default(), Arc::default());
        let no_memory = wasmtime::Error::from(rustix::io::Errno::NOMEM);
        let failed = data.memory.memory_grow_failed(no_memory).unwrap_err();
        assert!(matches!(classify(&failed, &mut data), Failure::HostFull(_)));
        let too_large = wasmtime::Error::msg("Memory maximum size exceeded");
        assert!(data.memory.memory_grow_failed(too_large).is_ok());
    }

    #[test]
    fn what_a_call_waits_does_not_count_as_its_cpu_time_and_what_it_works_does() {
        let mut cpu = CpuBudget { allowed_us: 0, began_us: None, stop: Arc::default() };
        cpu.begin(50_000);
        cpu.tick().unwrap();
        thread::sleep(Duration::from_millis(200));
        cpu.tick().unwrap();
        spends_us(20_000);
        cpu.tick().unwrap();
        spends_us(40_000);
        let Err(over) = cpu.tick() else { panic!("it has used 60 ms") };
        let over = over.downcast::<GuestFault>().unwrap();
        assert!(over.code == FaultCode::CpuLimit && over.message.contains("50 ms are allowed"));
        cpu.begin(50_000);
        assert!(cpu.tick().is_ok(), "the next call has as much again");
    }
}
