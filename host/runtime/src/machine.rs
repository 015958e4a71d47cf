//! What the system says of this machine and this process.
//!
//! Owns the reading of `/proc` and of clocks. Decides nothing.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

/// Cores are short when this part of them is used, in hundredths.
const BUSY_PERCENT: u64 = 85;

/// When this process first looked at the clock.
pub(crate) fn began() -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

/// Microseconds since [`began`]: the clock of all lanes, because tenants' rates count on it.
pub(crate) fn monotonic_us() -> u64 {
    u64::try_from(began().elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The time of day, in milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}

/// Lets this process open as many files as it is allowed to; answers how many that are. Many systems allow a program 1,024 unless it
/// asks, for the sake of old ones.
pub(crate) fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => before.unwrap_or(u64::MAX),
    }
}

/// CPU time of all threads since the start of the process, in microseconds.
pub(crate) fn process_cpu_us() -> u64 {
    microseconds(ClockId::ProcessCPUTime)
}

/// CPU time of this thread since its start, in microseconds.
pub(crate) fn thread_cpu_us() -> u64 {
    microseconds(ClockId::ThreadCPUTime)
}

fn microseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

/// CPU time of one thread of this process since its start, in microseconds, as of the last time that the system looked
/// (a tick ago at the most); `None` where it does not say, or there is no such thread.
pub(crate) fn cpu_us_of(thread: u32) -> Option<u64> {
    let schedstat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let nanoseconds: u64 = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1000)
}

/// CPU time of all children that have ended and were waited for, in microseconds, to some ten milliseconds; 0 where the system does
/// not say.
pub(crate) fn children_cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    children_ticks(&stat).unwrap_or(0) * 1_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// From a line of `/proc/PID/stat`: behind the name, which may be anything, the state and then numbers, of which the thirteenth and
/// fourteenth are for children, in user code and in the kernel (proc_pid_stat(5)).
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(13);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// Whether a thread of this process waits for something other than a core; `None` where the system does not say, or there is no
/// such thread.
pub(crate) fn sleeps(thread: u32) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    // Behind the name, which may be anything.
    let (_, behind) = stat.rsplit_once(')')?;
    Some(!behind.trim_start().starts_with('R'))
}

/// The most memory that the process ever had resident, in bytes; `None` where the system does not say.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Memory that this process may use at most, in bytes: the machine's, or less where its control group says so. `None` where the
/// system does not say.
pub(crate) fn memory_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // The limit of a group holds for those within it.
    let groups = std::path::Path::new("/sys/fs/cgroup").join(group);
    let limits = groups.ancestors().filter_map(|group| {
        std::fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
    });
    Some(limits.fold(kib * 1024, u64::min))
}

/// Has the system give this process memory in small pages from here on. One that does not know how goes on as before.
pub(crate) fn refuse_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("Huge pages stay: {error}.");
    }
}

/// How busy the machine has been so far.
pub(crate) struct Machine {
    at: Instant,
    /// CPU time of this process, in microseconds.
    process_us: u64,
    /// Ticks of the cores that this process may use, and those of them that were idle, where the system says.
    ticks: Option<(u64, u64)>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let process_us = process_cpu_us();
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let ours = rustix::thread::sched_getaffinity(None).ok();
        let is_ours =
            |core| ours.as_ref().is_none_or(|ours| core < CpuSet::MAX_CPU && ours.is_set(core));
        Self { at: Instant::now(), process_us, ticks: ticks(&stat, is_ours) }
    }

    /// CPU time that this process has used in between, in microseconds.
    pub(crate) fn used_us_since(&self, then: &Self) -> u64 {
        self.process_us.saturating_sub(then.process_us)
    }

    /// Whether the `cores` that this process may use were short in between: used up by itself, or by anybody.
    pub(crate) fn was_short_since(&self, then: &Self, cores: u64) -> bool {
        let elapsed = self.at.duration_since(then.at).as_micros();
        let there_us = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(cores);
        let used_us = self.used_us_since(then);
        let is_short = |used: u64, there: u64| there > 0 && used * 100 >= there * BUSY_PERCENT;
        let of_all =
            self.ticks.zip(then.ticks).is_some_and(|((all, idle), (all_then, idle_then))| {
                let (all, idle) = (all.saturating_sub(all_then), idle.saturating_sub(idle_then));
                is_short(all.saturating_sub(idle), all)
            });
        is_short(used_us, there_us) || of_all
    }
}

/// From the lines of `/proc/stat` for these cores: number, user, nice, system, idle, waiting for I/O, ...
fn ticks(stat: &str, is_ours: impl Fn(usize) -> bool) -> Option<(u64, u64)> {
    let of_core = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let core: usize = fields.next()?.parse().ok()?;
        let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
        let (all, idle) = (ticks.iter().take(8).sum::<u64>(), ticks.get(3)? + ticks.get(4)?);
        is_ours(core).then_some((all, idle))
    };
    // The first line is of all cores together.
    let cores = stat.lines().skip(1).map_while(|line| line.starts_with("cpu").then_some(line));
    cores.filter_map(of_core).reduce(|(all, idle), core| (all + core.0, idle + core.1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_has_used_something_and_never_less_than_before() {
        let before = process_cpu_us();
        let memory = vec![1u8; 8 << 20];
        assert!(process_cpu_us() >= before && before > 0);
        assert!(peak_memory_bytes().is_none_or(|bytes| bytes > memory.len() as u64));
        assert!(memory_bytes().is_none_or(|bytes| bytes > peak_memory_bytes().unwrap_or(0)));
    }

    #[test]
    fn a_thread_is_said_to_have_used_what_its_own_clock_says() {
        let this = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let until_us = thread_cpu_us() + 60_000;
        while thread_cpu_us() < until_us {}
        let said_us = cpu_us_of(this);
        let is_right = |said_us| (until_us - 50_000..=thread_cpu_us()).contains(&said_us);
        // The system need not keep such figures.
        let is_kept = std::path::Path::new("/proc/self/schedstat").exists();
        assert!(said_us.map_or(!is_kept, is_right), "{said_us:?}");
        assert_eq!(cpu_us_of(0), None);
    }

    #[test]
    fn what_children_used_is_read_behind_any_name() {
        let stat =
            "4242 (a) 1 2) b) S 1 4242 4242 0 -1 4194560 10 11 12 13 1400 1500 160 17 20 0 1 0";
        assert_eq!(children_ticks(stat), Some(177));
        assert_eq!(children_ticks("4242 (a) S 1 2"), None);
        let before_us = children_cpu_us();
        let counted = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let ended = std::process::Command::new("sh").args(["-c", counted]).status().unwrap();
        assert!(ended.success() && children_cpu_us() > before_us);
    }

    #[test]
    fn a_thread_that_waits_for_a_core_does_not_sleep() {
        let this = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        assert_ne!(sleeps(this), Some(true));
        let (told, tell) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            told.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
            std::thread::park();
        });
        let thread = tell.recv().unwrap();
        while sleeps(thread) == Some(false) {
            std::thread::yield_now();
        }
        sleeper.thread().unpark();
        sleeper.join().unwrap();
        assert_eq!(sleeps(u32::MAX), None);
    }

    #[test]
    fn cores_are_short_when_this_process_or_anybody_uses_them_up() {
        let begin = Instant::now();
        let then = Machine { at: begin, process_us: 0, ticks: Some((0, 0)) };
        let at = begin + Duration::from_secs(1);
        let after = |process_us, ticks| Machine { at, process_us, ticks };
        assert!(after(1_800_000, None).was_short_since(&then, 2));
        assert!(!after(1_500_000, Some((100, 20))).was_short_since(&then, 2));
        assert!(after(500_000, Some((100, 10))).was_short_since(&then, 2));
    }

    #[test]
    fn ticks_are_read_as_the_system_writes_them() {
        let stat = "cpu  13 4 6 409 55 0 1 2 7 8\ncpu0 10 2 3 400 50 0 1 2 7 8\ncpu1 3 2 3 9 5 0 0 0 0 0\nintr 5 6\n";
        assert_eq!(ticks(stat, |core| core == 0), Some((468, 450)));
        assert_eq!(ticks(stat, |_| true), Some((490, 464)));
        assert_eq!(ticks(stat, |core| core > 1), None);
        assert_eq!(ticks("", |_| true), None);
    }
}
