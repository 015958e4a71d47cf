//! The layers that a compiler's process puts around itself, one behind the other.
//!
//! A layer that the system does not have is left out and told; no layer can be taken off again. What remains
//! to the process: to compute, to use memory up to its limit, to read and write the pipes that it has.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use tidemill_core::limits::AdmissionLimits;
use tidemill_sandbox::compiler::{Confinement, Layer};

/// Address space that is reserved and not used: the binary itself, the allocator's arenas.
const ADDRESS_SPACE_BESIDE: u64 = 8 << 30;

/// Confines this process for the rest of its life.
pub(super) fn confine(limits: &AdmissionLimits) -> Confinement {
    let mut confinement = Confinement::default();
    let mut put_up = |layer, is_up| match is_up {
        true => confinement.active.push(layer),
        false => confinement.missing.push(layer),
    };
    // It dies with the thread of the host that waits for it. Nobody but root may look into it.
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    put_up(Layer::NoNewPrivileges, rustix::thread::set_no_new_privs(true).is_ok());
    put_up(Layer::Landlock, landlock().unwrap_or(false));
    // Behind landlock, which has to open a file descriptor.
    put_up(Layer::ResourceLimits, resource_limits(limits).is_ok());
    put_up(Layer::Seccomp, seccomp().is_some());
    confinement
}

fn resource_limits(limits: &AdmissionLimits) -> rustix::io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
    };
    let (cpu, memory) = (limits.compile_cpu_s.max(1), limits.compile_memory_bytes);
    let address_space = memory.saturating_add(ADDRESS_SPACE_BESIDE);
    // The second limit on CPU time is for one who does not heed the first.
    set(Resource::Cpu, cpu, cpu.saturating_add(1))?;
    set(Resource::Data, memory, memory)?;
    set(Resource::As, address_space, address_space)?;
    for none in [Resource::Core, Resource::Fsize, Resource::Nofile, Resource::Nproc] {
        set(none, 0, 0)?;
    }
    Ok(())
}

/// Every access that the system knows of, and none of it allowed. `false` where it has no landlock.
fn landlock() -> Option<bool> {
    const NEWEST: ABI = ABI::V6;
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(NEWEST)).ok()?;
    let ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).ok()?;
    let ruleset = ruleset.scope(Scope::from_all(NEWEST)).ok()?;
    let status = ruleset.create().ok()?.restrict_self().ok()?;
    Some(status.ruleset != RulesetStatus::NotEnforced)
}

/// Two filters, of which the stricter decides: the first kills for what a compiler never does (sockets, new
/// processes, signals to others, ...), the second denies what its libraries try in vain, such as to
/// open a file.
fn seccomp() -> Option<()> {
    let denied = u32::try_from(libc::EPERM).ok()?;
    let allowed = || ALLOWED.iter().map(|call| (*call, Vec::new()));
    let tried = TRIED.iter().map(|call| (*call, Vec::new()));
    // Without code that is written and then run, and without signals to anybody else.
    let no_code = equals(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)?;
    let this = u64::try_from(rustix::process::getpid().as_raw_nonzero().get()).ok()?;
    let to_itself = equals(0, SeccompCmpOp::Eq, this)?;
    let narrow = [
        (libc::SYS_mmap, vec![no_code.clone()]),
        (libc::SYS_mprotect, vec![no_code]),
        (libc::SYS_tgkill, vec![to_itself]),
    ];
    let wide = narrow.iter().map(|(call, _)| (*call, Vec::new()));
    let outer = allowed().chain(tried).chain(wide).collect();
    let inner = allowed().chain(narrow.clone()).collect();
    let outer = program(outer, SeccompAction::KillProcess)?;
    let inner = program(inner, SeccompAction::Errno(denied))?;
    apply_filter(&outer).ok()?;
    apply_filter(&inner).ok()
}

fn equals(argument: u8, operator: SeccompCmpOp, value: u64) -> Option<SeccompRule> {
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value).ok()?;
    SeccompRule::new(vec![condition]).ok()
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise: SeccompAction) -> Option<BpfProgram> {
    let machine = std::env::consts::ARCH.try_into().ok()?;
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, machine).ok()?;
    filter.try_into().ok()
}

/// What it takes to compute, to ask for memory, to read and write pipes and to end.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_restart_syscall,
];

/// What libraries may try, and live without. The filters themselves are put up by two of these.
const TRIED: &[i64] = &[
    libc::SYS_seccomp,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_ppoll,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_get_mempolicy,
    libc::SYS_mbind,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_clock_nanosleep,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];
