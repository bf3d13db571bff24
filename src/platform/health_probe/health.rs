//! Whether a backend is up, out of how its probes went (LB-11).

/// Nobody is up before the first success; from then on as many in a row as the threshold says change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    up: bool,
    /// It has answered once.
    known: bool,
    /// How many in a row spoke against what it is.
    against: u32,
}

impl Standing {
    pub(super) const fn is_up(self) -> bool {
        self.up
    }

    pub(super) const fn is_known(self) -> bool {
        self.known
    }

    /// Takes note of one probe; true if that changes what it is.
    pub(super) fn note(&mut self, success: bool, threshold: u32) -> bool {
        self.against = if success == self.up { 0 } else { self.against + 1 };
        let first = success && !self.known;
        self.known |= success;
        let changes = first || self.against >= threshold.max(1);
        if changes {
            self.up = success;
            self.against = 0;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is after each probe; `+` is a success.
    fn course(probes: &str, threshold: u32) -> String {
        let mut standing = Standing::default();
        let after = |probe| {
            standing.note(probe == '+', threshold);
            if standing.is_up() { '+' } else { '-' }
        };
        probes.chars().map(after).collect()
    }

    #[test]
    fn lb_11_as_many_in_a_row_as_the_threshold_says_change_it() {
        assert_eq!(course("--+-+--++", 1), "--+-+--++");
        assert_eq!(course("+-+--+-++-", 2), "++++----++");
        assert_eq!(course("+---+++", 3), "+++---+");
    }

    #[test]
    fn lb_10_nobody_is_up_before_the_first_success() {
        assert_eq!(course("---", 3), "---");
        assert_eq!(course("--+", 3), "--+");
    }

    #[test]
    fn only_changes_are_told() {
        let mut standing = Standing::default();
        let told: Vec<_> = [false, true, true, false, false, false].map(|probe| standing.note(probe, 2)).into();
        assert_eq!(told, [false, true, false, false, true, false]);
    }
}
