//! What this process may use of its machine.

use std::fs;
use std::path::Path;

use ringrift_core::queue::resources::Capacity;
use rustix::fs::statvfs;

const MIB: u64 = 1024 * 1024;
/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What there is now. What the system does not say counts as nothing, so that no work goes where there
/// may be no room for it.
pub(super) fn now(data_dir: &Path) -> Capacity {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = memory_limit(&groups, Path::new(CGROUPS)).unwrap_or(u64::MAX);
    Capacity {
        cpu_milli: cpu_milli(),
        memory_mib: mebibytes(machine_memory().min(limit)),
        gpu_devices: gpu_devices(),
        disk_free_mib: mebibytes(disk_free(data_dir)),
    }
}

/// Processors by affinity and by the quota of the control group, whole ones.
fn cpu_milli() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(u32::MAX).saturating_mul(1_000)
}

/// Nobody looks for devices yet: what is not given by a flag is not there.
const fn gpu_devices() -> u16 {
    0
}

fn machine_memory() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram.saturating_mul(u64::from(machine.mem_unit))
}

/// Bytes that are free for this process.
fn disk_free(directory: &Path) -> u64 {
    statvfs(directory).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The tightest limit on this process's memory, of its own control group and all around it. `groups` is
/// what `/proc/self/cgroup` says. In a container the path may be the one that the host sees; then only
/// the root is there, and that is the container's own group.
fn memory_limit(groups: &str, mounted: &Path) -> Option<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (base, file) = if controllers.is_empty() {
            (mounted.to_owned(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (mounted.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let inside = Path::new(path.trim_start_matches('/'));
        for group in inside.ancestors() {
            let text = fs::read_to_string(base.join(group).join(file)).unwrap_or_default();
            // `max` is none.
            limits.extend(text.trim().parse::<u64>());
        }
    }
    limits.into_iter().min()
}

fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes / MIB).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(mounted: &Path, path: &str, file: &str, limit: &str) {
        fs::create_dir_all(mounted.join(path)).unwrap();
        fs::write(mounted.join(path).join(file), limit).unwrap();
    }

    #[test]
    fn this_machine_has_something() {
        let directory = tempfile::tempdir().unwrap();
        let Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib: _ } =
            now(directory.path());
        assert!(cpu_milli >= 1_000 && memory_mib > 0);
        assert_eq!(gpu_devices, 0);
        assert_eq!(now(Path::new("/nowhere/at/all")).disk_free_mib, 0);
    }

    #[test]
    fn the_tightest_group_around_counts() {
        let mounted = tempfile::tempdir().unwrap();
        let mounted = mounted.path();
        assert_eq!(memory_limit("0::/a/b\n", mounted), None, "nothing is mounted");
        group(mounted, "a", "memory.max", "5000\n");
        group(mounted, "a/b", "memory.max", "max\n");
        assert_eq!(memory_limit("0::/a/b\n", mounted), Some(5_000));
        group(mounted, "a/b", "memory.max", "4000\n");
        assert_eq!(memory_limit("0::/a/b\n", mounted), Some(4_000));
        assert_eq!(memory_limit("0::/\n", mounted), None);
    }

    #[test]
    fn the_first_version_of_groups_counts_too() {
        let mounted = tempfile::tempdir().unwrap();
        let mounted = mounted.path();
        let groups = "9:cpu,cpuacct:/x\n4:memory:/of/the/host\n1:name=systemd:/\nodd line\n";
        group(mounted, "memory", "memory.limit_in_bytes", "7000\n");
        assert_eq!(
            memory_limit(groups, mounted),
            Some(7_000),
            "the container sees its own as root"
        );
        group(mounted, "memory/of", "memory.limit_in_bytes", "6000\n");
        assert_eq!(memory_limit(groups, mounted), Some(6_000));
    }

    #[test]
    fn units_are_whole_and_bounded() {
        assert_eq!((mebibytes(MIB - 1), mebibytes(3 * MIB)), (0, 3));
        assert_eq!(mebibytes(u64::MAX), u32::MAX);
    }
}
