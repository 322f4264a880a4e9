//! What plugins and their versions look like from outside.
//!
//! Pure. It must not know the runtime.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Code, Problem};
use super::state::{Activated, PluginAdminError, Uploaded};
use crate::carrier::{LimitsSpec, PluginVersion, Sha256Hex};
use crate::clock::Millis;
use crate::event::PluginName;
use crate::store::page::PluginRecord;

#[derive(Debug, Deserialize)]
pub(super) struct PluginPart {
    pub(super) plugin: PluginName,
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionPart {
    pub(super) plugin: PluginName,
    pub(super) version: i64,
}

/// The limits that an upload asks for. Absent ones take the host's defaults; the operator's ceiling bounds all.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Wall time of one call in milliseconds.
    wall_ms: Option<u64>,
    /// Linear memory in bytes.
    memory_bytes: Option<u64>,
    /// Everything that one call may return, in bytes.
    output_bytes: Option<u64>,
    /// Deliveries that one call may return.
    deliveries: Option<u32>,
}

impl From<UploadQuery> for LimitsSpec {
    fn from(query: UploadQuery) -> Self {
        let UploadQuery { wall_ms, memory_bytes, output_bytes, deliveries } = query;
        Self { wall_ms, memory_bytes, output_bytes, deliveries }
    }
}

/// Which version to activate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    /// The version's number.
    pub version: i64,
}

/// A plugin and the versions that matter.
#[derive(Debug, Serialize, ToSchema)]
pub struct PluginView {
    /// Its name.
    pub name: PluginName,
    /// The newest upload.
    pub latest: i64,
    /// The version that runs, if one was activated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<i64>,
    /// The version that ran before: what a rollback activates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<i64>,
    /// When the active version was activated, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub activated_ms: Option<Millis>,
}

impl From<PluginRecord> for PluginView {
    fn from(one: PluginRecord) -> Self {
        let PluginRecord { name, latest, active, previous, activated, .. } = one;
        Self { name, latest, active, previous, activated_ms: activated }
    }
}

/// A plugin after a change of its active version.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActivatedView {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: PluginView,
    /// A line for each node that does not run the version, with the reason. The change stands all the same, and need not
    /// be asked for again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// 200 when every node runs the version, 202 when some do not.
impl IntoResponse for ActivatedView {
    fn into_response(self) -> Response {
        let status = if self.warnings.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
        (status, axum::Json(self)).into_response()
    }
}

impl From<Activated> for ActivatedView {
    fn from(one: Activated) -> Self {
        Self { plugin: one.plugin.into(), warnings: one.warnings }
    }
}

/// A version of a plugin. It never changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    /// The plugin.
    pub name: PluginName,
    /// 1 for the first upload, one more for each after it.
    pub version: i64,
    /// SHA-256 of the component.
    pub sha256: Sha256Hex,
    /// Its size in bytes.
    pub size: i64,
    /// The limits that its upload asked for.
    pub limits: LimitsSpec,
    /// When it was uploaded, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
}

impl From<PluginVersion> for VersionView {
    fn from(one: PluginVersion) -> Self {
        let PluginVersion { name, version, sha256, size, limits, created, .. } = one;
        Self { name, version, sha256, size, limits, created_ms: created }
    }
}

/// A version that was taken, and what the checks found.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadedView {
    /// The version.
    #[serde(flatten)]
    pub version: VersionView,
    /// What the checks found.
    pub report: serde_json::Value,
}

impl From<Uploaded> for UploadedView {
    fn from(one: Uploaded) -> Self {
        Self { version: one.version.into(), report: one.report }
    }
}

impl From<PluginAdminError> for Problem {
    fn from(error: PluginAdminError) -> Self {
        let detail = error.to_string();
        match error {
            PluginAdminError::Refused { limit, .. } => {
                let mut problem = Self::new(Code::PluginRefused, detail);
                problem.limit = limit;
                problem
            }
            PluginAdminError::Missing { what } => Self::missing(what),
            PluginAdminError::NoPrevious => Self::new(Code::WrongState, detail),
            PluginAdminError::Busy { retry_after } => Self::new(Code::Busy, detail).retry_after(retry_after),
            PluginAdminError::Host(_) => {
                tracing::error!(error = %detail, "a plugin could not be managed");
                Self::new(Code::Unavailable, "the host failed; its log says why. Try again")
                    .retry_after(Duration::from_secs(5))
            }
            PluginAdminError::Store(error) => error.into(),
        }
    }
}
