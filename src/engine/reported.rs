//! What was reported already: what is wrong in the same way at every poll is reported once.

/// More different notices than these are repetition; their number is bounded, since names come from outside.
const MOST: usize = 1000;

/// What a run has reported.
#[derive(Debug)]
pub(crate) struct Reported<T>(Vec<T>);

impl<T> Default for Reported<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq + Clone> Reported<T> {
    /// Whether this was not reported yet. From now on it was.
    pub(crate) fn is_news(&mut self, notice: &T) -> bool {
        let is_news = self.0.len() < MOST && !self.0.contains(notice);
        if is_news {
            self.0.push(notice.clone());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_reported_once_and_not_without_end() {
        let mut reported = Reported::default();
        assert!(reported.is_news(&7) && !reported.is_news(&7) && reported.is_news(&8));
        let news = (100..10_000).filter(|number| reported.is_news(number)).count();
        assert_eq!(news, MOST - 2);
    }
}
