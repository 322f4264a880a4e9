//! Why a mail was not taken, and what that means for its delivery.
//!
//! It must not know what follows.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::wire::Answer;
use crate::deliver::fault::named;
use crate::retry::{NetworkFault, Outcome};

/// How much of an error's text is kept, in characters.
const MAX_ERROR: usize = 600;

/// How far a conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// For one of the operator's connections.
    Turn,
    Name,
    Connect,
    Tls,
    Greeting,
    Ehlo,
    Starttls,
    Auth,
    Reset,
    Mail,
    Rcpt,
    Data,
    Message,
    /// For the answer to the message.
    Verdict,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Turn => "one of the operator's connections (`mail.connections`)",
            Self::Name => "the relay's address",
            Self::Connect => "a connection",
            Self::Tls => "TLS",
            Self::Greeting => "the greeting",
            Self::Ehlo => "the answer to EHLO",
            Self::Starttls => "the answer to STARTTLS",
            Self::Auth => "the answer to AUTH",
            Self::Reset => "the answer to RSET",
            Self::Mail => "the answer to MAIL",
            Self::Rcpt => "the answer to RCPT",
            Self::Data => "the answer to DATA",
            Self::Message => "the message to be taken",
            Self::Verdict => "the answer to the message",
        })
    }
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmtpError {
    /// The name could not be resolved, or leads to what the guard refuses.
    #[error(transparent)]
    Address(Box<dyn Error + Send + Sync>),
    #[error("waited {waited:?} for {step}")]
    Timeout { step: Step, waited: Duration },
    #[error("while waiting for {step}: {cause}")]
    Io { step: Step, cause: io::Error },
    #[error("the server closed the connection instead of {step}")]
    Closed { step: Step },
    #[error("what came instead of {step} is not SMTP")]
    NotSmtp { step: Step },
    #[error("{step} is above the limit {limit} of {most}")]
    TooMuch { step: Step, limit: &'static str, most: usize },
    #[error("the server spoke out of turn; nothing more was sent")]
    OutOfTurn,
    #[error("the server does not offer STARTTLS; nothing was sent")]
    NoStarttls,
    #[error("the relay's name cannot be one of a certificate")]
    ServerName,
    #[error("the server offers no login by PLAIN or LOGIN")]
    NoMechanism,
    #[error("the message has {bytes} bytes, and the server takes {most} (SIZE)")]
    Size { bytes: usize, most: u64 },
    #[error("the server refused the recipients {}", recipients(.0))]
    Recipients(Vec<(String, Answer)>),
    #[error("the server refused {}: {answer}", what(*step))]
    Answer { step: Step, answer: Answer },
}

fn what(step: Step) -> &'static str {
    match step {
        Step::Greeting => "the connection",
        Step::Ehlo => "EHLO",
        Step::Starttls => "STARTTLS",
        Step::Auth => "the login",
        Step::Mail => "the sender",
        Step::Data => "DATA",
        Step::Message | Step::Verdict => "the message",
        Step::Turn | Step::Name | Step::Connect | Step::Tls | Step::Reset | Step::Rcpt => "a command",
    }
}

fn recipients(refused: &[(String, Answer)]) -> String {
    let mut all: Vec<String> =
        refused.iter().take(5).map(|(who, answer)| format!("{who}: {answer}")).collect();
    if refused.len() > all.len() {
        all.push(format!("and {} more", refused.len() - all.len()));
    }
    format!("({}); nobody was sent the message", all.join("; "))
}

/// What an error means: the outcome, the server's code if there is one, and the text for people.
pub(super) fn judge(error: &SmtpError) -> (Outcome, Option<u16>, String) {
    let text = text(error);
    let broken = Outcome::Network(NetworkFault::Broken);
    let (outcome, code) = match error {
        SmtpError::Address(cause) => (named(&**cause).unwrap_or(Outcome::Network(NetworkFault::Dns)), None),
        SmtpError::Timeout { .. } => (Outcome::Timeout, None),
        SmtpError::Io { step: Step::Connect, .. } => (Outcome::Network(NetworkFault::Connect), None),
        SmtpError::Io { step: Step::Tls, .. } | SmtpError::NoStarttls | SmtpError::ServerName => {
            (Outcome::Network(NetworkFault::Tls), None)
        }
        SmtpError::Io { .. }
        | SmtpError::Closed { .. }
        | SmtpError::NotSmtp { .. }
        | SmtpError::TooMuch { .. }
        | SmtpError::OutOfTurn => (broken, None),
        SmtpError::NoMechanism => (Outcome::Login, None),
        SmtpError::Size { .. } => (Outcome::Rejected(text.clone().into()), None),
        SmtpError::Recipients(refused) => {
            // One that is refused for good stays refused, whatever becomes of the others.
            let worst = refused.iter().map(|(_, answer)| answer.code).max().unwrap_or_default();
            (refusal(Step::Rcpt, worst, &text), Some(worst))
        }
        SmtpError::Answer { step, answer } => (refusal(*step, answer.code, &text), Some(answer.code)),
    };
    (outcome, code, text)
}

/// What an answer means that is not the one that was hoped for.
fn refusal(step: Step, code: u16, text: &str) -> Outcome {
    let passing = Outcome::Refused { status: code, retry_after: None };
    match (step, code) {
        (_, 400..=499) => passing,
        // Without a login, or with too weak a one: that is mended, too (RFC 4954, 6).
        (Step::Auth, _) | (Step::Mail | Step::Rcpt | Step::Data, 530 | 534 | 535 | 538) => Outcome::Login,
        (Step::Starttls, _) => Outcome::Network(NetworkFault::Tls),
        (Step::Mail | Step::Rcpt | Step::Data | Step::Message | Step::Verdict, 500..=599) => {
            Outcome::Rejected(text.to_owned().into())
        }
        // It is about the host and not about this mail: a server that does not talk to it today may do so tomorrow.
        (Step::Greeting | Step::Ehlo, 500..=599) => passing,
        _ => Outcome::Network(NetworkFault::Broken),
    }
}

/// An error with its causes, each said once.
fn text(error: &SmtpError) -> String {
    let mut all = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !all.iter().any(|before| before.contains(&said)) {
            all.push(said);
        }
        cause = next.source();
    }
    all.join(": ").chars().take(MAX_ERROR).collect()
}

impl SmtpError {
    /// Whether a connection that was kept may simply have been at its end: then another one is tried.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Closed { .. }
            | Self::Io { .. }
            | Self::OutOfTurn
            | Self::Timeout { step: Step::Reset, .. } => true,
            // Service not available, closing the channel.
            Self::Answer { answer, .. } => answer.code == 421,
            Self::Recipients(refused) => refused.iter().any(|(_, answer)| answer.code == 421),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(step: Step, code: u16) -> Outcome {
        let answer = Answer { code, lines: vec!["no".to_owned()] };
        judge(&SmtpError::Answer { step, answer }).0
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let passing = |status| Outcome::Refused { status, retry_after: None };
        for step in
            [Step::Greeting, Step::Ehlo, Step::Auth, Step::Mail, Step::Rcpt, Step::Data, Step::Verdict]
        {
            assert_eq!(answered(step, 451), passing(451), "{step:?}");
        }
        for step in [Step::Mail, Step::Rcpt, Step::Data, Step::Verdict] {
            assert!(
                matches!(answered(step, 550), Outcome::Rejected(why) if why.contains("550 no")),
                "{step:?}"
            );
        }
        for step in [Step::Greeting, Step::Ehlo] {
            assert_eq!(answered(step, 554), passing(554), "{step:?}");
        }
        assert_eq!(answered(Step::Auth, 535), Outcome::Login);
        assert_eq!(answered(Step::Mail, 530), Outcome::Login);
        assert_eq!(
            answered(Step::Data, 250),
            Outcome::Network(NetworkFault::Broken),
            "it should ask for the message"
        );
    }

    #[test]
    fn of_several_recipients_the_worst_answer_counts_and_each_is_named() {
        let answer = |code| Answer { code, lines: vec!["no".to_owned()] };
        let refused = |codes: &[u16]| {
            let one = |code: &u16| (format!("r{code}@example.com"), answer(*code));
            judge(&SmtpError::Recipients(codes.iter().map(one).collect()))
        };
        let (outcome, code, text) = refused(&[450, 550]);
        assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        assert_eq!(code, Some(550));
        assert!(text.contains("r450@example.com: 450 no; r550@example.com: 550 no"), "{text}");
        assert_eq!(refused(&[450, 452]).0, Outcome::Refused { status: 452, retry_after: None });
        assert!(refused(&[550; 9]).2.contains("and 4 more"));
    }
}
