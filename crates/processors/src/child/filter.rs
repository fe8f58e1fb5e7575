//! Which calls the kernel takes from a child (seccomp).
//!
//! Computing needs few: memory, threads of its own, time, reading descriptor 0 and writing 1 and 2. Everything else fails with
//! `EPERM`, so that a library that only asks (how many processors are there?) goes on; and what no decoder ever does kills the
//! process, so that it stands in the log.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls of computing that need no look at what they are given.
const COMPUTING: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    // Refused by a filter of its own, with another error: of two, the one that came last would count.
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
];

/// Calls that no decoder makes.
const ATTACKS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_add_key,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_connect,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What a foreign program must not do: leave its process group, so that it can always be ended; touch other processes;
/// change what it sees of the system.
const PRIVILEGES: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// New namespaces, asked for with a new process.
const NAMESPACES: &[c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

const ANY: Vec<SeccompRule> = Vec::new();

/// Leaves nothing but computing. Whether the kernel took it.
pub(super) fn only_computing() -> bool {
    let attacks = named(ATTACKS).collect();
    install(attacks, SeccompAction::Allow, SeccompAction::KillProcess)
        && install(
            clone3(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
        )
        && computing().is_some_and(|rules| {
            install(
                rules,
                SeccompAction::Errno(libc::EPERM as u32),
                SeccompAction::Allow,
            )
        })
}

/// Takes privileges from foreign programs, and the network unless they may use it. Whether the kernel took it.
pub(super) fn without_privileges(network: bool) -> bool {
    install(
        clone3(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    ) && foreign(network).is_some_and(|rules| {
        install(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM as u32),
        )
    })
}

/// What is asked for stands in memory, where a filter cannot look; the C library then asks as it did before.
fn clone3() -> Rules {
    named(&[libc::SYS_clone3]).collect()
}

fn named(calls: &[c_long]) -> impl Iterator<Item = (i64, Vec<SeccompRule>)> {
    calls.iter().map(|call| (*call, ANY))
}

fn install(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> bool {
    let program = SeccompFilter::new(rules, otherwise, matching, ARCHITECTURE);
    let program = program.and_then(BpfProgram::try_from);
    program.is_ok_and(|program| apply_filter(&program).is_ok())
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

fn computing() -> Option<Rules> {
    let input: &[(u8, SeccompCmpOp, u64)] = &[(0, SeccompCmpOp::Eq, 0)];
    let answer = [[(0, SeccompCmpOp::Eq, 1)], [(0, SeccompCmpOp::Eq, 2)]];
    let no_code = |argument| (argument, masked(libc::PROT_EXEC), 0);
    let own_process = u64::from(std::process::id());
    let some = [
        (libc::SYS_read, vec![rule(input)?]),
        (libc::SYS_readv, vec![rule(input)?]),
        (libc::SYS_pread64, vec![rule(input)?]),
        (libc::SYS_lseek, vec![rule(input)?]),
        (libc::SYS_write, vec![rule(&answer[0])?, rule(&answer[1])?]),
        (libc::SYS_writev, vec![rule(&answer[0])?, rule(&answer[1])?]),
        // Memory of nobody else, and none that could be run.
        (
            libc::SYS_mmap,
            vec![rule(&[no_code(2), (4, SeccompCmpOp::Eq, u64::from(u32::MAX))])?],
        ),
        (libc::SYS_mprotect, vec![rule(&[no_code(2)])?]),
        // Threads, and no processes.
        (
            libc::SYS_clone,
            vec![rule(&[(
                0,
                masked(libc::CLONE_THREAD),
                libc::CLONE_THREAD as u64,
            )])?],
        ),
        (
            libc::SYS_prctl,
            vec![
                rule(&[(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)])?,
                rule(&[(0, SeccompCmpOp::Eq, libc::PR_SET_VMA as u64)])?,
            ],
        ),
        (
            libc::SYS_fcntl,
            vec![
                rule(&[(1, SeccompCmpOp::Eq, libc::F_GETFD as u64)])?,
                rule(&[(1, SeccompCmpOp::Eq, libc::F_GETFL as u64)])?,
            ],
        ),
        // How a process aborts.
        (
            libc::SYS_tgkill,
            vec![rule(&[(0, SeccompCmpOp::Eq, own_process)])?],
        ),
    ];
    Some(named(COMPUTING).chain(some).collect())
}

fn foreign(network: bool) -> Option<Rules> {
    let mut rules: Rules = named(PRIVILEGES).collect();
    let namespaces: Option<Vec<_>> = NAMESPACES
        .iter()
        .map(|flag| rule(&[(0, masked(*flag), u64::from(flag.cast_unsigned()))]))
        .collect();
    rules.insert(libc::SYS_clone, namespaces?);
    let sockets = if network {
        // No others: those of Unix lead to services of this machine.
        vec![rule(&[
            (0, SeccompCmpOp::Ne, libc::AF_INET as u64),
            (0, SeccompCmpOp::Ne, libc::AF_INET6 as u64),
        ])?]
    } else {
        ANY
    };
    rules.insert(libc::SYS_socket, sockets);
    Some(rules)
}

fn masked(bits: c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(bits.cast_unsigned().into())
}

/// Holds where every argument is as said.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Option<SeccompRule> {
    let conditions = conditions.iter().map(|(argument, comparison, value)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, comparison.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>().ok()?).ok()
}
