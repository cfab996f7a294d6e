//! Which training steps the user wants, as people write them: `1500,2000..3000,final`.

use std::str::FromStr;

use crate::model::artifact::ArtifactKind;

/// A choice of steps: single ones, and ranges with both ends in them.
///
/// A checkpoint without a step is the final one. It is chosen by the word `final`, and by a range without an end
/// (`2000..`), since it comes after every numbered one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    ranges: Vec<(u64, u64)>,
    last_one: bool,
}

/// The text is no choice of steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write steps and ranges with commas between them, such as `1500,2000..3000,final`")]
pub struct StepsError;

impl Steps {
    /// Whether a file of this kind and step is chosen. The configuration belongs to all steps, and so does a sample
    /// whose step is unknown.
    #[must_use]
    pub fn chooses(&self, kind: ArtifactKind, step: Option<u64>) -> bool {
        match (kind, step) {
            (ArtifactKind::Config, _) | (ArtifactKind::Sample, None) => true,
            (ArtifactKind::Checkpoint, None) => self.last_one,
            (_, Some(step)) => self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&step)),
        }
    }
}

impl FromStr for Steps {
    type Err = StepsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut steps = Self { ranges: Vec::new(), last_one: false };
        for part in text.split(',').map(str::trim) {
            if part.eq_ignore_ascii_case("final") {
                steps.last_one = true;
            } else if let Some((first, last)) = part.split_once("..") {
                let (first, last) = (first.trim(), last.trim_start_matches('=').trim());
                if first.is_empty() && last.is_empty() {
                    return Err(StepsError);
                }
                let end = |text: &str, open| if text.is_empty() { Ok(open) } else { number(text) };
                let (first, end_at) = (end(first, 0)?, end(last, u64::MAX)?);
                if first > end_at {
                    return Err(StepsError);
                }
                steps.last_one |= last.is_empty();
                steps.ranges.push((first, end_at));
            } else {
                let step = number(part)?;
                steps.ranges.push((step, step));
            }
        }
        Ok(steps)
    }
}

fn number(text: &str) -> Result<u64, StepsError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| StepsError)
    } else {
        Err(StepsError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str) -> Vec<u64> {
        let steps: Steps = text.parse().unwrap();
        (0..=4000).step_by(500).filter(|step| steps.chooses(ArtifactKind::Checkpoint, Some(*step))).collect()
    }

    #[test]
    fn as_people_write_them() {
        assert_eq!(chosen("1500"), [1500]);
        assert_eq!(chosen("1500, 2000..3000"), [1500, 2000, 2500, 3000], "both ends");
        assert_eq!(chosen("2000..=2500"), [2000, 2500]);
        assert_eq!(chosen("..500,3500.."), [0, 500, 3500, 4000]);
        assert_eq!(chosen("final"), [] as [u64; 0]);
        for bad in [
            "",
            ",",
            "..",
            "x",
            "1500,",
            "3000..2000",
            "-5",
            "1.5",
            "1500-2000",
            "+5",
            "99999999999999999999",
        ] {
            assert_eq!(bad.parse::<Steps>(), Err(StepsError), "{bad}");
        }
    }

    #[test]
    fn what_has_no_step() {
        for (text, final_one) in [("1500", false), ("1500,FINAL", true), ("1000..", true), ("..5000", false)]
        {
            let steps: Steps = text.parse().unwrap();
            assert_eq!(steps.chooses(ArtifactKind::Checkpoint, None), final_one, "{text}");
            assert!(steps.chooses(ArtifactKind::Config, None) && steps.chooses(ArtifactKind::Sample, None));
        }
    }
}
