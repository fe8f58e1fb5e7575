//! Giving away what a child does not need, in an order in which each step is still allowed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, setrlimit};

use super::filter;
use crate::task::{CommandTask, Envelope};

/// The newest rights of landlock that this program knows; older kernels hold what they have.
const LANDLOCK: ABI = ABI::V6;
/// What programs of the system need to start. No other files of `/etc`: configuration holds secrets.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki",
    "/etc/ssl",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/sys/devices/system/cpu",
];
/// What resolving names needs.
const NAMES: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/run/systemd/resolve",
];
/// Devices without a device behind them.
const DEVICES: &[&str] = &[
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

/// How far this system holds a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// From files.
    pub files: bool,
    /// From connections.
    pub network: bool,
    /// From calls that computing does not need.
    pub calls: bool,
}

/// Confines this process for good, for computing alone.
pub(super) fn enter(envelope: &Envelope) -> Result<Held, String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(step("the end of the parent"))?;
    // It may have ended before that.
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    if parent.map(|pid| i64::from(pid.get())) != Some(i64::from(envelope.parent)) {
        return Err("the parent is gone".to_owned());
    }
    prefer_for_killing();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("dumps"))?;
    let limits = &envelope.limits;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit_cpu(limits.cpu)?;
    limit(Resource::Data, limits.memory_bytes)?;
    // What is there already (the program's code) and the input, should it be mapped, are not the task's.
    let beside = address_space_bytes().saturating_add(envelope.size_bytes.unwrap_or(0));
    limit(Resource::As, limits.memory_bytes.saturating_add(beside))?;
    let (files, network) = landlock(&[], &[], false)?;
    limit(Resource::Nofile, 3)?;
    let calls = filter::only_computing();
    let held = Held {
        files: files || calls,
        network: network || calls,
        calls,
    };
    demand(envelope, held)?;
    Ok(held)
}

/// Confines this process for good, for starting a foreign program.
pub(super) fn enter_for(task: &CommandTask, envelope: &Envelope) -> Result<Held, String> {
    let limits = &envelope.limits;
    prefer_for_killing();
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, limits.output_bytes_max)?;
    limit(Resource::Nofile, 256)?;
    limit_cpu(limits.cpu)?;
    limit(Resource::Data, limits.memory_bytes)?;
    let system = SYSTEM.iter().map(PathBuf::from);
    let names = NAMES.iter().filter(|_| task.network).map(PathBuf::from);
    let reads: Vec<PathBuf> = system.chain(names).chain(task.reads.iter().cloned()).collect();
    let devices = DEVICES.iter().map(PathBuf::from);
    let writes: Vec<PathBuf> = devices.chain([task.directory.clone()]).collect();
    let (files, network) = landlock(&reads, &writes, task.network)?;
    // What the parent has open is not the program's.
    close_fds::set_fds_cloexec(3, &[]);
    let calls = filter::without_privileges(task.network);
    let held = Held {
        files,
        network: network || calls,
        calls,
    };
    demand(envelope, held)?;
    Ok(held)
}

fn demand(envelope: &Envelope, held: Held) -> Result<(), String> {
    if envelope.required && !(held.files && held.network && held.calls) {
        return Err("this kernel cannot confine processors, and processing.sandbox is `required`".to_owned());
    }
    Ok(())
}

fn step<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("the child cannot be confined ({what}): {error}")
}

/// When the machine runs out of memory, this process goes before any other. Where it cannot be said, nothing is lost.
fn prefer_for_killing() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    set_limit(resource, most, most)
}

/// Never above what there is: only the administrator may raise a limit.
fn set_limit(resource: Resource, soft: u64, hard: u64) -> Result<(), String> {
    let there = rustix::process::getrlimit(resource).maximum;
    let hard = there.map_or(hard, |there| there.min(hard));
    let new = Rlimit {
        current: Some(soft.min(hard)),
        maximum: Some(hard),
    };
    setrlimit(resource, new).map_err(step("limits"))
}

/// The signal of the soft limit says what happened; the hard one ends who ignores it.
fn limit_cpu(cpu: Duration) -> Result<(), String> {
    let seconds = (cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0)).max(1);
    set_limit(Resource::Cpu, seconds, seconds + 1)
}

/// Size of what is mapped, in bytes; 0 where nobody says.
fn address_space_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Whether files and TCP are held back.
fn landlock(reads: &[PathBuf], writes: &[PathBuf], network: bool) -> Result<(bool, bool), String> {
    let everything = AccessFs::from_all(LANDLOCK);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .map_err(step("landlock"))?;
    if !network {
        rules = rules
            .handle_access(AccessNet::from_all(LANDLOCK))
            .map_err(step("landlock"))?;
    }
    let reading = AccessFs::from_read(LANDLOCK);
    // Devices are written to, and never made.
    let writing = everything & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    let status = rules
        .create()
        .and_then(|rules| rules.add_rules(path_beneath_rules(existing(reads), reading)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(existing(writes), writing)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(step("landlock"))?;
    let files = status.ruleset != RulesetStatus::NotEnforced;
    // TCP came with the fourth version; what came after it does not make the difference.
    let network = status.ruleset == RulesetStatus::FullyEnforced;
    Ok((files, network))
}

fn existing(paths: &[PathBuf]) -> impl Iterator<Item = &Path> {
    paths.iter().map(PathBuf::as_path).filter(|path| path.exists())
}
