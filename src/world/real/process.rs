//! Signals, standard output, the end.

use crate::process::{EXIT_PANIC, Usage};
use crate::select::select2;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn stop_requested() {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            select2(terminate.recv(), interrupt.recv()).await;
        }
        (Err(error), _) | (_, Err(error)) => {
            // Without handlers the kernel's default stays: the signal ends the process, less politely.
            tracing::warn!(%error, "cannot listen to signals");
            std::future::pending::<()>().await;
        }
    }
}

pub(crate) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

pub(crate) fn install_panic_hook() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(EXIT_PANIC);
    }));
}

pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "standard output is closed");
    }
}

pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the number of open files stays limited as it was");
        }
    }
    // Without a number there is no limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Linux counts process times in hundredths of a second for user space (`USER_HZ`), whatever its own tick is.
const TICK: std::time::Duration = std::time::Duration::from_millis(10);

pub(crate) fn usage_of(pid: u32) -> std::io::Result<Usage> {
    let odd = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, format!("no {what} in /proc/{pid}"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses that may hold anything; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| odd("name"))?;
    let ticks: Vec<u32> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks[..] else { return Err(odd("times")) };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| odd(name))
    };
    let cpu = TICK * user + TICK * system;
    Ok(Usage { cpu, resident_bytes: bytes("VmRSS")?, resident_bytes_peak: bytes("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_owner_allows() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, limit.current), (limit.maximum, (raised < u64::MAX).then_some(raised)));
    }

    #[test]
    fn a_process_can_look_at_itself() {
        let usage = usage_of(std::process::id()).expect("this process runs");
        assert!(usage.resident_bytes > 100_000 && usage.resident_bytes_peak > 100_000, "{usage:?}");
        assert!(usage_of(u32::MAX).is_err());
    }
}
