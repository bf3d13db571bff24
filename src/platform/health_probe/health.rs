//! Whether a backend is up, from the results of its probes (LB-11).

/// A backend is down until its first success. From then on, `threshold` opposite results in a row change its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendHealth {
    up: bool,
    /// It has succeeded once.
    known: bool,
    /// Results in a row against the current state.
    against: u32,
}

impl BackendHealth {
    pub(super) const fn is_up(self) -> bool {
        self.up
    }

    pub(super) const fn is_known(self) -> bool {
        self.known
    }

    /// Records one result; true if it changes the state.
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

    /// The state after each probe; `+` is a success.
    fn course(probes: &str, threshold: u32) -> String {
        let mut health = BackendHealth::default();
        let after = |probe| {
            health.note(probe == '+', threshold);
            if health.is_up() { '+' } else { '-' }
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
    fn lb_10_a_backend_is_down_before_its_first_success() {
        assert_eq!(course("---", 3), "---");
        assert_eq!(course("--+", 3), "--+");
    }

    #[test]
    fn only_changes_are_reported() {
        let mut health = BackendHealth::default();
        let changes: Vec<_> = [false, true, true, false, false, false].map(|probe| health.note(probe, 2)).into();
        assert_eq!(changes, [false, true, false, false, true, false]);
    }
}
