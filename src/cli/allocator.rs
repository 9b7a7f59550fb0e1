//! Makes the C library's allocator give memory back to the system.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
/// With this, each block of 256 KiB or more is a mapping of its own, which goes back to the system when it is freed.
/// The default of glibc is 128 KiB; lapin's buffers are of that size, and mapping each of them costs a sixth of the
/// speed.
const THRESHOLD: &str = "glibc.malloc.mmap_threshold=262144";

/// Keeps glibc from raising that threshold. By itself, glibc raises it to the size of the largest block that was freed,
/// and smaller blocks stay in its heaps: after a queue of the largest messages, a worker of 40 MiB kept 400 MiB
/// (docs/performance.md).
///
/// glibc reads the threshold only when a process starts, and calling `mallopt` would be unsafe code. So the process
/// replaces itself by itself once, with the same id and arguments. Nothing is done where the operator has set tunables
/// of their own. Where it fails, the program goes on and takes more memory.
pub(super) fn give_back_at_once() {
    let mut args = std::env::args_os();
    let (true, None, Ok(program), Some(name)) =
        (cfg!(target_env = "gnu"), std::env::var_os(TUNABLES), std::env::current_exe(), args.next())
    else {
        return;
    };
    let _ = Command::new(program).arg0(name).args(args).env(TUNABLES, THRESHOLD).exec();
}
