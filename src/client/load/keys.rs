//! Which row a branch locks: a new one each time, or one of few, some hotter than others.

use quorate_world::random;

/// How rows are chosen.
#[derive(Clone, PartialEq, Debug)]
pub enum Keys {
    /// Never the same twice.
    Unique,
    /// The k-th of the rows is as likely as 1/k^theta.
    Zipf(Zipf),
}

/// A Zipf distribution as the running sum of its probabilities.
#[derive(Clone, PartialEq, Debug)]
pub struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    /// `rows` of them, at least one; `theta` 0 makes all alike.
    pub fn new(rows: usize, theta: f64) -> Zipf {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = Vec::with_capacity(rows);
        for rank in 1..=rows.max(1) {
            sum += (rank as f64).powf(-theta);
            sums.push(sum);
        }
        sums.iter_mut().for_each(|each| *each /= sum);
        Zipf { sums }
    }

    /// The row, from 0, that a number in 0..1 stands for.
    fn row(&self, at: f64) -> usize {
        self.sums.partition_point(|sum| *sum < at).min(self.sums.len() - 1)
    }
}

impl Keys {
    /// Lock keys of one branch, `serial` being different for each.
    pub fn lock_keys(&self, serial: u64) -> String {
        match self {
            Keys::Unique => format!("bench:{serial}"),
            Keys::Zipf(zipf) => format!("bench:{}", zipf.row(random::u64() as f64 / u64::MAX as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_is_the_hottest() {
        let zipf = Zipf::new(4, 1.0);
        // 1 + 1/2 + 1/3 + 1/4 = 25/12, so the first has 12/25 of all.
        assert_eq!(zipf.row(0.47), 0);
        assert_eq!(zipf.row(0.49), 1);
        assert_eq!(zipf.row(1.0), 3);
    }

    #[test]
    fn theta_zero_makes_all_alike() {
        let zipf = Zipf::new(10, 0.0);
        let counts: Vec<usize> =
            (0..10).map(|row| (0..1000).filter(|at| zipf.row(f64::from(*at) / 1000.0) == row).count()).collect();
        assert!(counts.iter().all(|count| (99..=101).contains(count)), "{counts:?}");
    }
}
