//! What the process has used, as the system counts it.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads since the start of the process, in seconds.
pub(super) fn cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// The most memory that the process ever had resident, in bytes; `None` where the system does not say.
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_something_and_never_less_than_before() {
        let before = cpu_s();
        let memory = vec![1u8; 8 << 20];
        assert!(cpu_s() >= before && before > 0.0);
        assert!(peak_memory_bytes().is_none_or(|bytes| bytes > memory.len() as u64));
    }
}
