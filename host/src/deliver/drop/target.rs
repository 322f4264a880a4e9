//! A hosted SFTP destination compiled for writing: everything that can be checked before there is a file.
//!
//! It must not know deliveries.

use hookyard_sdk::template::TemplateError;

use super::DropError;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{Existing, SftpSpec};
use crate::deliver::file_name::Naming;

/// The permissions of files when nothing is said: the carrier's login reads them.
const MODE: u32 = 0o644;

/// Why a hosted destination was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropTargetError {
    /// Something that belongs to a server of the carrier's.
    #[error(
        "sftp.{member}: files of a drop folder go to no other server: leave it out, or leave `hosted` out"
    )]
    Foreign {
        /// The member.
        member: &'static str,
    },
    /// Carriers log in with registered keys.
    #[error(
        "login: the host writes into a drop folder without a login: leave it out; the carrier's own keys are put under `drop/keys`"
    )]
    Login,
    /// The folder.
    #[error("sftp.folder: {0}; it takes a path below the carrier's drop folder such as `claims/2026`")]
    Folder(DropError),
    /// The template of names.
    #[error("sftp.file_name: {0}")]
    FileName(#[from] TemplateError),
    /// The permissions.
    #[error(
        "sftp.mode: {mode:?}: it takes octal digits such as `0644`: written by the host, and read by others, among them the carrier"
    )]
    Mode {
        /// What was given.
        mode: String,
    },
}

impl DropTargetError {
    /// The member of the description that is at fault.
    pub(in crate::deliver) fn field(&self) -> &'static str {
        if matches!(self, Self::Login) { "login" } else { "sftp" }
    }
}

/// A hosted destination, ready to be written to.
#[derive(Debug, Clone)]
pub(in crate::deliver) struct DropTarget {
    /// Below the carrier's top; empty for the top itself.
    pub(super) folder: String,
    pub(super) naming: Naming,
    pub(super) existing: Existing,
    pub(super) mode: u32,
}

impl DropTarget {
    /// Checks a destination and prepares what all its files have in common.
    pub(in crate::deliver) fn compile(
        spec: &SftpSpec,
        secrets: &DestinationSecrets,
    ) -> Result<Self, DropTargetError> {
        let foreign = [
            ("host", spec.host.is_some()),
            ("port", spec.port.is_some()),
            ("username", spec.username.is_some()),
            ("host_keys", !spec.host_keys.is_empty()),
        ];
        if let Some((member, _)) = foreign.into_iter().find(|(_, there)| *there) {
            return Err(DropTargetError::Foreign { member });
        }
        if secrets.login.is_some() {
            return Err(DropTargetError::Login);
        }
        let folder = spec.folder.clone().unwrap_or_default();
        let folder = match folder.trim_end_matches('/') {
            "" if folder.is_empty() => String::new(),
            bare => super::checked(bare.to_owned()).map_err(DropTargetError::Folder)?,
        };
        let naming = Naming::of(spec.file_name.as_deref())?;
        let mode = spec.mode.as_deref().map_or(Ok(MODE), mode)?;
        Ok(Self { folder, naming, existing: spec.existing, mode })
    }
}

fn mode(text: &str) -> Result<u32, DropTargetError> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o777 && mode & 0o604 == 0o604)
        .ok_or_else(|| DropTargetError::Mode { mode: text.chars().take(20).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::destination::Login;

    #[test]
    fn what_a_drop_folder_does_not_take_is_refused_by_name() {
        let compile = |spec: SftpSpec| {
            DropTarget::compile(&SftpSpec { hosted: true, ..spec }, &DestinationSecrets::default())
                .map_err(|error| error.to_string())
        };
        let plain = compile(SftpSpec::default()).unwrap();
        assert_eq!((plain.folder.as_str(), plain.mode, plain.existing), ("", 0o644, Existing::Number));
        let good = SftpSpec {
            folder: Some("claims/2026/".to_owned()),
            mode: Some("0664".to_owned()),
            file_name: Some("${caseId}.json".to_owned()),
            ..SftpSpec::default()
        };
        let good = compile(good).unwrap();
        assert_eq!((good.folder.as_str(), good.mode), ("claims/2026", 0o664));
        let text = |text: &str| Some(text.to_owned());
        for (spec, says) in [
            (SftpSpec { host: text("h"), ..SftpSpec::default() }, "sftp.host: "),
            (SftpSpec { username: text("u"), ..SftpSpec::default() }, "sftp.username: "),
            (SftpSpec { folder: text("/srv"), ..SftpSpec::default() }, "sftp.folder: "),
            (SftpSpec { folder: text("/"), ..SftpSpec::default() }, "sftp.folder: "),
            (SftpSpec { folder: text("a/../b"), ..SftpSpec::default() }, "sftp.folder: "),
            (SftpSpec { folder: text(".incoming"), ..SftpSpec::default() }, "sftp.folder: "),
            (SftpSpec { file_name: text("${"), ..SftpSpec::default() }, "sftp.file_name: "),
            (SftpSpec { mode: text("0600"), ..SftpSpec::default() }, "sftp.mode: "),
            (SftpSpec { mode: text("4755"), ..SftpSpec::default() }, "sftp.mode: "),
            (SftpSpec { mode: text("rw"), ..SftpSpec::default() }, "sftp.mode: "),
        ] {
            let error = compile(spec).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
        let secrets = DestinationSecrets { login: Some(Login::default()), ..DestinationSecrets::default() };
        let error = DropTarget::compile(&SftpSpec::default(), &secrets).unwrap_err();
        assert_eq!((error.field(), &error), ("login", &DropTargetError::Login));
    }
}
