//! Signals, standard output, the end.

use crate::process::EXIT_PANIC;
use crate::select::select2;
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
