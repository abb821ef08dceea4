//! openraft's own conformance suite for runtimes, on ours, in both worlds.

use quorate_world::runtime::OpenraftRuntime;

#[test]
fn openraft_runs_on_this_world() {
    openraft_rt::testing::Suite::<OpenraftRuntime>::test_all();
}
