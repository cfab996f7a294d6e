//! What was reported already: a polled job has the same trouble at every poll, and it is reported once.

/// More different things than these are repetition, and their names come from outside.
const MOST: usize = 1000;

/// Whether this is to be reported: it was not yet, and not too much was. Then it is added to what was.
pub(crate) fn is_news<T: PartialEq + Clone>(reported: &mut Vec<T>, this: &T) -> bool {
    let is_news = reported.len() < MOST && !reported.contains(this);
    if is_news {
        reported.push(this.clone());
    }
    is_news
}

/// A trouble that is reported again where it came back after it was over, or became another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastTrouble<T>(Option<T>);

impl<T> Default for LastTrouble<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq + Clone> LastTrouble<T> {
    /// Takes what the last try came to; returns the trouble that is to be reported.
    pub(crate) fn news(&mut self, trouble: Option<T>) -> Option<T> {
        let is_news = trouble != self.0;
        self.0.clone_from(&trouble);
        trouble.filter(|_| is_news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once_and_only_so_many_are() {
        let mut reported = Vec::new();
        for number in 0..2 * MOST {
            assert_eq!(is_news(&mut reported, &number), number < MOST, "{number}");
            assert!(!is_news(&mut reported, &number), "{number}");
        }
        assert_eq!(reported.len(), MOST);
    }

    #[test]
    fn a_trouble_is_news_until_it_is_over() {
        let mut last = LastTrouble::default();
        for (trouble, news) in [
            (None, None),
            (Some("full"), Some("full")),
            (Some("full"), None),
            (Some("gone"), Some("gone")),
            (Some("full"), Some("full")),
            (None, None),
            (Some("full"), Some("full")),
        ] {
            assert_eq!(last.news(trouble), news);
        }
    }
}
