//! Tokio's executor: several threads, or the one that there is.

use crate::runtime::RuntimeOptions;
use std::future::Future;

pub(crate) fn block_on_main<F: Future>(options: RuntimeOptions, main: F) -> F::Output {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match options.workers.unwrap_or_else(cores) {
        // Where there is nobody to share with, everything that is there for sharing only costs.
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        several => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(several);
            builder
        }
    };
    let runtime = builder.enable_all().thread_name("worker").build().expect("the kernel gives threads and an epoll");
    let output = runtime.block_on(main);
    // Not waiting for blocking calls that hang in the kernel: the process is over.
    runtime.shutdown_background();
    output
}

pub(crate) fn run_test<F: Future>(test: F) -> F::Output {
    block_on_main(RuntimeOptions { workers: Some(2) }, test)
}

pub(crate) fn test_folder() -> String {
    let all = std::env::temp_dir().join("quorate-tests");
    for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let name = old.file_name();
        let process = name.to_str().and_then(|name| name.split('-').next()).unwrap_or("self");
        if !std::path::Path::new("/proc").join(process).exists() {
            // Another process may do the same at this moment.
            let _ = std::fs::remove_dir_all(old.path());
        }
    }
    let own = format!("{}-{:016x}", std::process::id(), crate::random::u64());
    all.join(own).to_string_lossy().into_owned()
}
