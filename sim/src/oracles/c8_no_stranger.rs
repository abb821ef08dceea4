//! Source: Seata protocol notes, 3.3 (access keys); issue 4, point 7 (authentication as an opt-in requirement).
//!
//! C8, no stranger: where nodes ask for access keys, nobody is let in who shows none that is good.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;

/// See the page.
pub struct NoStranger;

impl Oracle for NoStranger {
    fn name(&self) -> &'static str {
        "C8"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Admitted { node, how, admitted: true } => {
                Err(Finding::new(format!("n{node} lets in a client that shows {how}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_key_stays_out() {
        let told = |admitted| Seen::Admitted { node: 2, how: "nothing", admitted };
        assert_eq!(NoStranger.see(&Ghost::default(), &told(false)), Ok(()));
        assert!(NoStranger.see(&Ghost::default(), &told(true)).is_err());
    }
}
