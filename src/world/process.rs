//! The process: how it is asked to stop, how it ends, what it says.

#[cfg(not(madsim))]
use crate::real::process as at_hand;
#[cfg(madsim)]
use crate::simulated::process as at_hand;

/// The exit code of a panic: a bug of ours.
pub const EXIT_PANIC: i32 = 70;

/// Waits until somebody asks the process to stop (SIGTERM or SIGINT). From the first call on, the signals no longer
/// kill it.
pub async fn stop_requested() {
    at_hand::stop_requested().await;
}

/// Ends the process at once. Nothing is flushed, no task is asked.
pub fn exit(code: i32) -> ! {
    at_hand::exit(code)
}

/// From now on a panic anywhere prints itself and ends the process with [`EXIT_PANIC`].
pub fn install_panic_hook() {
    at_hand::install_panic_hook();
}

/// Writes one line to standard output. A closed output is no reason to stop.
pub fn say(line: &str) {
    at_hand::say(line);
}

/// Raises the number of files that this process may have open, connections too, as far as the machine's owner allows, and
/// says what it is then.
pub fn raise_open_files() -> u64 {
    at_hand::raise_open_files()
}

/// What a process of this machine has used since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu: crate::time::Duration,
    /// Memory that it has resident, bytes.
    pub resident_bytes: u64,
    /// The most it has had, bytes.
    pub resident_bytes_peak: u64,
}

/// Reads what process `pid` has used. Simulated processes have no such figures.
pub fn usage_of(pid: u32) -> crate::io::Result<Usage> {
    at_hand::usage_of(pid)
}

/// Whether the machine has this folder.
pub fn has_folder(path: &str) -> bool {
    std::path::Path::new(path).is_dir()
}

/// The text of a file that belongs to the machine and not to a node's data: its configuration.
pub fn read_text(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}
