//! The bindings of `hookyard:plugin@1`, and the host's side of its imports.
//!
//! The version is in the name: a second one stands beside it with its own bindings and its own linker. Outside of
//! this file nothing of the generated types is seen but [`Verdict`] and [`Failure`]. It must not know limits, nor what a
//! verdict may ask for.

use bytes::Bytes;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Result, Store};

use super::call::Host;
use super::links::Linked;
use super::outcome::LogLevel;
use crate::event::Event;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/v1",
        world: "plugin",
        imports: { default: trappable },
        // The event is lent to the guest's copy of it, not copied on the host first.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(super) use bindings::hookyard::plugin::types::{
    Attachment, Content, Delivery, Email, Failure, HttpRequest, Message, Method, SftpFile, Verdict,
};
use bindings::hookyard::plugin::{links, log, settings, tables, types};

/// A component whose imports are found and whose types are checked.
pub(super) type Pre = bindings::PluginPre<Host>;

/// The imports of the contract and of the permitted WASI.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    bindings::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    super::wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Links a component.
pub(super) fn link(linker: &Linker<Host>, component: &Component) -> Result<Pre> {
    Pre::new(linker.instantiate_pre(component)?)
}

/// Calls `handle` with the event, `payload` taking the place of its own.
pub(super) fn handle(
    plugin: &bindings::Plugin,
    store: &mut Store<Host>,
    event: &Event,
    payload: &Bytes,
) -> Result<Result<Verdict, Failure>> {
    let attributes: Vec<(&str, &str)> =
        event.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let event = types::Event {
        id: event.id.as_str(),
        event_type: event.event_type.as_str(),
        received_ms: u64::try_from(event.received.0).unwrap_or(0),
        attributes: &attributes,
        payload,
    };
    plugin.hookyard_plugin_handler().call_handle(store, event)
}

impl types::Host for Host {}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log.line(level, &message);
        Ok(())
    }
}

impl settings::Host for Host {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        Ok(self.chain.settings.get(&key).cloned())
    }
}

impl tables::Host for Host {
    fn get(&mut self, table: String, key: String) -> Result<Option<String>> {
        Ok(self.chain.tables.get(table.as_str()).and_then(|table| table.get(&key)).cloned())
    }
}

impl links::Host for Host {
    fn survey(&mut self) -> Result<Result<String, String>> {
        let chain = &self.chain;
        let (carrier, subscription) = (&chain.carrier, &chain.subscription);
        let about = Linked { carrier, event: &self.event, received: self.received, subscription };
        Ok(chain.pages.survey(about))
    }
}
