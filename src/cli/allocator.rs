//! How the C library's allocator gives memory back.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
/// Blocks of 256 KiB and more are mappings of their own and go back to the system when they are freed. Not
/// glibc's first value, 128 KiB: lapin's buffers are of that size, and mapping each costs a sixth of the speed.
const THRESHOLD: &str = "glibc.malloc.mmap_threshold=262144";

/// Keeps glibc from raising the size from which blocks are mappings, to that of the largest that was freed.
/// What is smaller stays in its heaps, with holes: after a queue of the largest messages a worker of 40 MiB
/// kept 400 (docs/performance.md).
///
/// glibc reads this at its start only, and a call of `mallopt` would be unsafe code: the process starts
/// itself once more, in place, with the same id and arguments. Does nothing where the operator has set
/// tunables. Where it fails the program goes on, with more memory.
pub(super) fn give_back_at_once() {
    let mut args = std::env::args_os();
    let (true, None, Ok(program), Some(name)) =
        (cfg!(target_env = "gnu"), std::env::var_os(TUNABLES), std::env::current_exe(), args.next())
    else {
        return;
    };
    let _ = Command::new(program).arg0(name).args(args).env(TUNABLES, THRESHOLD).exec();
}
