//! Complaints in the log, each made once.

/// Whether something has been complained of: so that it is logged once, and again only after it has been right.
#[derive(Debug, Default)]
pub struct Complaints {
    said: bool,
}

impl Complaints {
    /// Calls `complain`, unless that has been done since the last [`end`](Self::end).
    pub fn say(&mut self, complain: impl FnOnce()) {
        if !std::mem::replace(&mut self.said, true) {
            complain();
        }
    }

    /// Says that things are right: the next complaint is made again.
    pub fn end(&mut self) {
        self.said = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_once_until_it_has_been_right() {
        let mut complaints = Complaints::default();
        let mut said = Vec::new();
        for (n, right) in [(1, false), (2, false), (3, true), (4, false), (5, false)] {
            if right {
                complaints.end();
            } else {
                complaints.say(|| said.push(n));
            }
        }
        assert_eq!(said, [1, 4]);
    }
}
