//! A node that is cut off is recorded as silent, its groups go on elsewhere; when it is back it is heard again and its
//! leaders come home.
//!
//! Source: design, sections 6 and 10.4.

use crate::three::{clusters, machines, stop, until};
use quorate_world::sim::{self, Options};

/// The status page counts `"leader":N`.
fn leads(page: &str, node: u64) -> usize {
    page.matches(&format!("\"leader\":{node},")).count()
}

fn silent(page: &str) -> usize {
    page.matches("\"silent\":true").count()
}

#[test]
fn a_node_that_is_cut_off_is_missed_and_taken_back() {
    sim::run(7, Options::default(), || async {
        let machines = machines(6);
        machines.iter().for_each(|machine| machine.start());
        clusters(&machines).await;
        let (first, third) = (machines[0], machines[2]);
        until(first, "two groups each, and node 1 the meta group", |page| {
            [leads(page, 1), leads(page, 2), leads(page, 3)] == [3, 2, 2]
        })
        .await;

        sim::partition(&[third], &machines[..2]);
        until(first, "node 3 is silent, and the others lead all", |page| {
            silent(page) == 1 && leads(page, 3) == 0 && leads(page, 1) + leads(page, 2) == 7
        })
        .await;

        sim::heal_all();
        until(first, "node 3 is back and leads its groups again", |page| silent(page) == 0 && leads(page, 3) == 2)
            .await;
        stop(&machines).await;
    });
}
