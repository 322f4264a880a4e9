//! `SFTP` of a registration: a site of the carrier's own, in place of the drop folder. Pure.
//!
//! The members are those of a destination's `sftp` and `login`, in one object. What they may hold is checked with the
//! destination that is made of them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::headers::cut;
use crate::api::hide::hide;
use crate::api::problem::Problem;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{DestinationSpec, Login, SftpSpec};

const PLACE: &str = "SFTP";

/// Members that are secrets, kept and shown with the destination's.
const LOGIN: [&str; 3] = ["password", "private_key", "passphrase"];

/// Members of a destination that a registration says in other words.
const ELSEWHERE: [(&str, &str); 2] =
    [("hosted", "leave `SFTP` out to use the drop folder"), ("file_name", "it is `FORMAT` here")];

/// A site of the carrier's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) spec: SftpSpec,
    pub(super) login: Login,
}

/// Reads `SFTP`. Names of members are taken in any case.
pub(super) fn read(value: Value) -> Result<Site, Problem> {
    let Value::Object(members) = value else {
        return Err(Problem::invalid(
            PLACE,
            "it takes an object with `host`, `username`, `host_keys` and the like",
        ));
    };
    let (mut spec, mut login) = (Map::new(), Map::new());
    for (name, value) in members {
        let key = name.to_ascii_lowercase();
        if let Some((_, instead)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == key) {
            return Err(Problem::invalid(format!("{PLACE}.{}", cut(&name)), *instead));
        }
        let part = if LOGIN.contains(&key.as_str()) { &mut login } else { &mut spec };
        if part.insert(key, value).is_some() {
            let field = format!("{PLACE}.{}", cut(&name));
            return Err(Problem::invalid(field, "it is there twice, in different spellings"));
        }
    }
    Ok(Site { spec: part(spec)?, login: part(login)? })
}

fn part<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { PLACE.to_owned() } else { format!("{PLACE}.{}", cut(&path)) };
        // What stands in the wrong place may be a secret.
        Problem::invalid(field, hide(&error.inner().to_string()))
    })
}

/// `SFTP` as it is shown: every secret masked. Absent where the drop folder is used.
pub(super) fn shown(spec: &DestinationSpec, secrets: &DestinationSecrets) -> Option<Value> {
    let sftp = spec.sftp.as_ref().filter(|sftp| !sftp.hosted)?;
    let plain = SftpSpec { file_name: None, ..sftp.clone() };
    let login = secrets.login.as_ref().map(Login::masked).unwrap_or_default();
    // Plain data with texts for names: this cannot fail.
    let mut shown = serde_json::to_value(plain).unwrap_or_default();
    if let (Some(shown), Ok(Value::Object(login))) = (shown.as_object_mut(), serde_json::to_value(login)) {
        shown.extend(login);
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::carrier::DestinationKind;

    #[test]
    fn a_site_is_read_and_shown_without_its_secrets() {
        let body = json!({ "HOST": "sftp.acme.example", "Port": 2222, "username": "hookyard", "host_keys": ["SHA256:abc"],
            "FOLDER": "in", "password": "S3CRET" });
        let site = read(body).unwrap();
        assert_eq!((site.spec.host.as_deref(), site.spec.port), (Some("sftp.acme.example"), Some(2222)));
        assert_eq!(site.login.password.as_deref(), Some("S3CRET"));
        let mut spec = DestinationSpec::of(DestinationKind::Sftp);
        let mut secrets = DestinationSecrets { login: Some(site.login), ..DestinationSecrets::default() };
        spec.sftp = Some(SftpSpec { file_name: Some("x".to_owned()), ..site.spec });
        let expected = json!({ "host": "sftp.acme.example", "port": 2222, "username": "hookyard", "host_keys": ["SHA256:abc"],
            "folder": "in", "existing": "number", "password": "***" });
        assert_eq!(shown(&spec, &secrets), Some(expected));
        spec.sftp = Some(SftpSpec { hosted: true, ..SftpSpec::default() });
        secrets.login = None;
        assert_eq!(shown(&spec, &secrets), None);
    }

    #[test]
    fn what_does_not_hold_is_named_and_never_repeated() {
        for (body, field, said) in [
            (json!("sftp.acme.example"), "SFTP", "it takes an object"),
            (json!({ "host": "a", "HOST": "b" }), "SFTP.", "it is there twice"),
            (json!({ "Hosted": true }), "SFTP.Hosted", "leave `SFTP` out"),
            (json!({ "file_name": "x" }), "SFTP.file_name", "it is `FORMAT` here"),
            (json!({ "port": "S3CRET" }), "SFTP.port", "invalid type: a string, expected u16"),
            (json!({ "existing": "S3CRET" }), "SFTP.existing", "unknown variant, expected one of"),
            (json!({ "password": { "S3CRET": 1 } }), "SFTP.password", "invalid type: map, expected a string"),
            (json!({ "hots": "S3CRET" }), "SFTP.hots", "unknown field `hots`"),
        ] {
            let problem = read(body.clone()).unwrap_err();
            assert!(problem.field.as_deref().unwrap().starts_with(field), "{body}: {problem:?}");
            assert!(
                problem.detail.contains(said) && !problem.detail.contains("S3CRET"),
                "{}",
                problem.detail
            );
        }
    }
}
