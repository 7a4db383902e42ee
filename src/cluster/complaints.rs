//! What is wrong, in the log.

/// Says once what is wrong, and not again until it has been right in between.
#[derive(Debug, Default)]
pub struct Complaints {
    said: bool,
}

impl Complaints {
    /// Calls `complain`, unless that was done since things were last right.
    pub fn say(&mut self, complain: impl FnOnce()) {
        if !std::mem::replace(&mut self.said, true) {
            complain();
        }
    }

    /// Notes that things are right.
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
