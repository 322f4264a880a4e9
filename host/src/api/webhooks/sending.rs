//! What a registration becomes by its action: a destination of its own, and the stock plugins that make what is sent. Pure.

use std::collections::BTreeMap;

use super::redaction;
use super::registration::Registration;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{DestinationKind, DestinationSpec, EmailSpec, PluginRef, ScheduleSpec, SftpSpec};
use crate::catalogue::Action;
use crate::event::DestinationName;
use crate::name::NameError;

/// The stock plugins that make what is sent.
const TRANSCRIPT: &str = "transcript";
const MEDIA: &str = "media";
const SURVEY: &str = "survey";

/// What media are called unless `FORMAT` says otherwise. A case has many of them, so the message is named.
const MEDIA_NAME: &str = "${referenceId}_${partialId}_${message.id}";

/// What tells the cases of scheduled transcripts apart, and the filter that passes over events that have no such thing: a
/// case that changed hands stands elsewhere, and has no messages.
const CASE: &str = "caseData.id";
const HAS_CASE: &str = "exists(caseData.id)";

/// A registration in the terms of the rest of the API.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) spec: DestinationSpec,
    pub(super) secrets: DestinationSecrets,
    pub(super) event_types: Vec<String>,
    /// In the host's own language.
    pub(super) filter: Option<String>,
    /// The chain, all of them shared.
    pub(super) plugins: Vec<PluginRef>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) schedule: Option<ScheduleSpec>,
}

/// What a registration becomes. `to` is the destination that will be its own.
///
/// # Errors
/// Never with the names that there are.
pub(super) fn of(registration: &Registration, to: &DestinationName) -> Result<Sending, NameError> {
    let entry = &registration.entry;
    let mut sending = Sending {
        spec: DestinationSpec::of(DestinationKind::Http),
        secrets: DestinationSecrets::default(),
        event_types: vec![entry.event_type.to_string()],
        filter: registration.filter.clone(),
        plugins: Vec::new(),
        settings: BTreeMap::new(),
        schedule: None,
    };
    match entry.action {
        Action::HttpPost => sending.post(registration)?,
        Action::Sftp => sending.transcript_file(registration, to)?,
        Action::Media => sending.media(registration)?,
        Action::Email => sending.transcript_mail(registration, to)?,
        Action::Survey => sending.survey(registration, to)?,
    }
    Ok(sending)
}

impl Sending {
    fn post(&mut self, registration: &Registration) -> Result<(), NameError> {
        self.spec.url.clone_from(&registration.address);
        self.spec.method = registration.method;
        self.secrets.headers.clone_from(&registration.headers.fixed);
        self.secrets.auth.clone_from(&registration.headers.auth);
        self.secrets.shared_secret.clone_from(&registration.auth_token);
        (self.plugins, self.settings) =
            redaction::chain(registration.redacted, registration.classifications)?;
        Ok(())
    }

    fn transcript_file(
        &mut self,
        registration: &Registration,
        to: &DestinationName,
    ) -> Result<(), NameError> {
        self.site(registration, None);
        self.transcript(registration, to, "sftp")?;
        if let Some(every) = registration.text("SCHEDULE") {
            self.event_types.clone_from(&registration.entry.collects);
            self.filter = Some(HAS_CASE.to_owned());
            self.schedule = Some(ScheduleSpec {
                every: every.to_ascii_lowercase(),
                time_zone: registration.text("TIME_ZONE").unwrap_or("UTC").to_owned(),
                group_by: Some(CASE.to_owned()),
            });
        }
        Ok(())
    }

    fn media(&mut self, registration: &Registration) -> Result<(), NameError> {
        let name = registration.text("FORMAT").unwrap_or(MEDIA_NAME).to_owned();
        self.site(registration, Some(name));
        self.shared(MEDIA)
    }

    fn transcript_mail(
        &mut self,
        registration: &Registration,
        to: &DestinationName,
    ) -> Result<(), NameError> {
        self.mail(registration, EmailSpec { to: registration.recipients(), ..EmailSpec::default() });
        self.transcript(registration, to, "email")?;
        self.set("subject", registration.text("SUBJECT"));
        self.set("media", registration.flag("INCLUDE_MEDIA").then_some("fetch"));
        Ok(())
    }

    /// A survey reaches the user by mail, since nothing here sends texts: at the address that the case has.
    fn survey(&mut self, registration: &Registration, to: &DestinationName) -> Result<(), NameError> {
        self.mail(
            registration,
            EmailSpec { allowed_recipients: vec!["*".to_owned()], ..EmailSpec::default() },
        );
        self.shared(SURVEY)?;
        self.set("destination", Some(to.as_str()));
        self.set("subject", registration.text("SUBJECT"));
        Ok(())
    }

    /// The transcript as a PDF, to this destination.
    fn transcript(
        &mut self,
        registration: &Registration,
        to: &DestinationName,
        via: &str,
    ) -> Result<(), NameError> {
        self.shared(TRANSCRIPT)?;
        self.set("to", Some(to.as_str()));
        self.set("via", Some(via));
        self.set("format", Some("pdf"));
        self.set("file-name", registration.text("FORMAT"));
        self.set("redacted", registration.redacted.then_some("true"));
        Ok(())
    }

    /// The carrier's own site, or the drop folder.
    fn site(&mut self, registration: &Registration, file_name: Option<String>) {
        let site = registration.site.clone();
        let spec = site
            .as_ref()
            .map_or_else(|| SftpSpec { hosted: true, ..SftpSpec::default() }, |site| site.spec.clone());
        self.spec = DestinationSpec {
            sftp: Some(SftpSpec { file_name, ..spec }),
            pgp_keys: registration.pgp_keys(),
            ..DestinationSpec::of(DestinationKind::Sftp)
        };
        self.secrets.login = site.map(|site| site.login).filter(|login| *login != Default::default());
    }

    /// A mail by the operator's relay.
    fn mail(&mut self, registration: &Registration, email: EmailSpec) {
        self.spec = DestinationSpec {
            email: Some(email),
            pgp_keys: registration.pgp_keys(),
            ..DestinationSpec::of(DestinationKind::Email)
        };
    }

    fn shared(&mut self, name: &str) -> Result<(), NameError> {
        self.plugins.push(PluginRef { shared: true, name: name.parse()? });
        Ok(())
    }

    fn set(&mut self, key: &str, value: Option<&str>) {
        self.settings.extend(value.map(|value| (key.to_owned(), value.to_owned())));
    }
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
