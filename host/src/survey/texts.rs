//! What a customer reads. English; an operator's configuration can say it otherwise, in another language too.

use serde::{Deserialize, Serialize};

/// Characters of one text.
const TEXT_MAX: usize = 1_000;

/// What may stand in braces in a text.
const PLACES: [&str; 4] = ["{carrier}", "{rating}", "{until}", "{length}"];

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $default:literal;)*) => {
        /// `[survey.texts]`. In each text `{carrier}` is the carrier's name and `{until}` the last day of the link (UTC).
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Texts {
            $($(#[$doc])* pub $name: String,)*
        }

        impl Default for Texts {
            fn default() -> Self {
                Self { $($name: $default.to_owned(),)* }
            }
        }

        impl Texts {
            /// Every text with its name.
            fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($name), self.$name.as_str()),)*]
            }
        }
    };
}

texts! {
    /// The language of the texts, as HTML names it.
    lang = "en";
    /// The heading of the first page.
    title = "How did {carrier} do?";
    /// What stands below it.
    intro = "Your case is closed. Please tell {carrier} how it went: first a rating, then a few words if you like.";
    /// The question.
    question = "How satisfied are you?";
    /// Beside 1.
    rating_1 = "Very dissatisfied";
    /// Beside 2.
    rating_2 = "Dissatisfied";
    /// Beside 3.
    rating_3 = "Neither satisfied nor dissatisfied";
    /// Beside 4.
    rating_4 = "Satisfied";
    /// Beside 5.
    rating_5 = "Very satisfied";
    /// The button that sends the rating.
    next = "Continue";
    /// The heading of the second page; `{rating}` is what was chosen.
    feedback_title = "You chose {rating} of 5";
    /// The label of the free text.
    feedback = "What else should {carrier} know?";
    /// What stands below the label.
    feedback_hint = "You can leave this empty. At most 2000 characters; please no passwords or account numbers.";
    /// The button that completes the survey.
    send = "Send my answer";
    /// The button that leaves it.
    leave = "Leave the survey";
    /// Until when the link can be used.
    until = "This link works until {until}. It can be answered once.";
    /// The heading when it is completed.
    thanks_title = "Thank you";
    /// What stands below it.
    thanks = "{carrier} has your answer. You can close this page.";
    /// The heading when it was left.
    left_title = "You have left the survey";
    /// What stands below it.
    left = "{carrier} has your rating and nothing else. Should you change your mind, open the link again until {until}.";
    /// The heading when it was completed before.
    answered_title = "This survey is answered";
    /// What stands below it.
    answered = "It can be answered once, and {carrier} has the answer. Thank you.";
    /// The heading when the link has ended.
    expired_title = "This survey has ended";
    /// What stands below it.
    expired = "Its link does not work any more.";
    /// The heading when there is no such link.
    unknown_title = "There is no such survey";
    /// What stands below it.
    unknown = "Please check that the address is complete: long links are sometimes cut off.";
    /// The heading when the host cannot answer.
    busy_title = "Please try again in a moment";
    /// What stands below it.
    busy = "The page could not be shown just now. Nothing is lost.";
    /// The heading above what is wrong with an answer.
    problem = "Please check your answer";
    /// What stands there without a rating.
    no_rating = "Choose a rating from 1 to 5";
    /// What stands there above a text that is too long; `{length}` is its number of characters.
    too_long = "Shorten the text to 2000 characters: it has {length}";
}

impl Texts {
    /// What is wrong with the texts: each with its name.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (name, text) in self.all() {
            let characters = text.chars().count();
            if !(1..=TEXT_MAX).contains(&characters) || text.chars().any(char::is_control) {
                found.push((name, format!("it takes 1 to {TEXT_MAX} printable characters in one line")));
            }
            let mut rest = text;
            while let Some(at) = rest.find('{') {
                rest = &rest[at..];
                let Some(place) = PLACES.iter().find(|place| rest.starts_with(**place)) else {
                    found.push((
                        name,
                        format!("there is `{{` in it; in braces may stand {}", PLACES.join(", ")),
                    ));
                    break;
                };
                rest = &rest[place.len()..];
            }
        }
        let tag = self.lang.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !tag || self.lang.len() > 35 {
            found.push(("lang", "it takes a language tag such as `en` or `de-CH`".to_owned()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_that_come_with_the_host_are_good_and_bad_ones_are_named() {
        assert_eq!(Texts::default().problems(), []);
        let bad = Texts {
            lang: "<script>".to_owned(),
            title: String::new(),
            intro: "Dear {customer}".to_owned(),
            next: "a\nb".to_owned(),
            ..Texts::default()
        };
        let names: Vec<&str> = bad.problems().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["title", "intro", "next", "lang"]);
        assert!(bad.problems()[1].1.contains("{carrier}"), "{:?}", bad.problems()[1]);
    }
}
