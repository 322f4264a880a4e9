//! `[survey]`

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::survey::Texts;

/// `[survey]`: the page behind the links that the plugin `survey` sends. Links need `server.public_url`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SurveyConfig {
    /// Days after its event that a link works: 1 to 3650, and never longer than `store.retention_days`, since nothing can be
    /// told of an event that is gone. It is part of a link: those that were sent keep theirs.
    pub valid_days: u32,
    /// Hours after a rating that a survey counts as left when nothing follows: 1 to 720, at the latest when its link ends.
    /// Short tells carriers soon and often of customers who go on later; they can, all the same.
    pub leave_after_hours: u32,
    /// What customers read, in other words or another language.
    pub texts: Texts,
}

impl Default for SurveyConfig {
    fn default() -> Self {
        Self { valid_days: 14, leave_after_hours: 12, texts: Texts::default() }
    }
}

impl SurveyConfig {
    /// How long after its event a link works, where events are kept for so many days.
    pub fn valid(&self, retention_days: u32) -> Duration {
        Duration::from_secs(u64::from(self.valid_days.min(retention_days)) * 86_400)
    }

    /// How long after a rating a survey counts as left.
    pub fn leave_after(&self) -> Duration {
        Duration::from_secs(u64::from(self.leave_after_hours) * 3_600)
    }

    /// What is wrong with the texts.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let texts = self.texts.problems().into_iter();
        texts.map(|(name, why)| Problem { key: format!("survey.texts.{name}"), why })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, read};
    use super::*;

    fn with(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hookyard.toml");
        std::fs::write(&file, text).unwrap();
        read(Some(&file), [("HOOKYARD_SURVEY_VALID_DAYS".to_owned(), "30".to_owned())])
    }

    #[test]
    fn some_texts_are_said_otherwise_and_the_others_stay() {
        let survey = with("[survey]\nleave_after_hours = 1\n[survey.texts]\nlang = \"de\"\n").unwrap().survey;
        assert_eq!((survey.texts.lang.as_str(), &survey.texts.title), ("de", &Texts::default().title));
        assert_eq!(survey.leave_after(), Duration::from_secs(3_600));
        let day = Duration::from_secs(86_400);
        assert_eq!((survey.valid(365), survey.valid(7)), (30 * day, 7 * day));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = "[survey]\nleave_after_hours = 0\n[survey.texts]\ntitle = \"Dear {customer}\"\n";
        let ConfigError::Problems(problems) = with(text).unwrap_err() else { panic!("problems") };
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["survey.leave_after_hours", "survey.texts.title"]);
        let ConfigError::Problems(problems) = with("[survey.texts]\nheading = \"x\"\n").unwrap_err() else {
            panic!("problems")
        };
        assert_eq!(problems[0].key, "survey.texts");
    }
}
