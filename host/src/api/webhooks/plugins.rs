//! The stock plugins that registrations take, shared by all carriers and installed with the first that needs one.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::problem::{Code, Problem};
use crate::api::state::PluginAdmin;
use crate::carrier::{LimitsSpec, Owner};
use crate::event::PluginName;
use crate::stock;
use crate::store::Store;

/// The wall time that they ask for, in milliseconds. They take a small part of that; a busy machine must not make them
/// fail, since what is not made is not sent.
const WALL_MS: u64 = 1_000;

/// Makes sure that the shared plugin of this name is there and active: the operator's, or the one that comes with the host.
pub(super) async fn install(
    store: &Store,
    plugins: &Arc<dyn PluginAdmin>,
    name: &PluginName,
) -> Result<(), Problem> {
    let there = store.plugins(&Owner::Shared).await?;
    if there.iter().any(|one| one.name == *name && one.active.is_some()) {
        return Ok(());
    }
    let Some(stock) = stock::find(name.as_str()) else {
        tracing::error!(plugin = %name, "a stock plugin is not in this build");
        let detail = "a plugin that this takes is not there; the operator's log says which";
        return Err(Problem::new(Code::Internal, detail));
    };
    let limits = LimitsSpec { wall_ms: Some(WALL_MS), ..LimitsSpec::default() };
    let bytes = Bytes::from_static(stock.bytes);
    // The same bytes again are the same version: two requests at once do no harm.
    let made = plugins.upload(Owner::Shared, name.clone(), bytes, limits).await?;
    plugins.activate(Owner::Shared, name.clone(), made.version.version).await?;
    tracing::info!(plugin = %name, version = made.version.version, "a stock plugin is a shared plugin now");
    Ok(())
}
