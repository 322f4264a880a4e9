//! The trait beneath the attribute, and what turns an author's function into it.

use crate::{Delivery, Email, Event, Failure, HttpRequest, Result, SftpFile, Verdict};

/// A plugin: what the host calls once for each event, each time in a fresh instance.
///
/// [`macro@crate::plugin`] implements it for a function. Implement it by hand, with [`crate::export!`], when the plugin
/// should be a type of its own.
pub trait Plugin {
    /// Decides what becomes of the event.
    ///
    /// # Errors
    /// [`Failure::Rejected`] parks the event with its reason; [`Failure::Temporary`] makes the host try again later.
    fn handle(event: &Event) -> Result<Verdict>;
}

/// Exports a type that implements [`Plugin`] as the component. At most once in a crate; natively it does nothing.
///
/// ```
/// # extern crate hookyard_sdk as hookyard;
/// use hookyard::{Event, Plugin, Result, Verdict};
///
/// struct Closed;
///
/// impl Plugin for Closed {
///     fn handle(event: &Event) -> Result<Verdict> {
///         Ok(if event.event_type == "case.closed" { Verdict::forward() } else { Verdict::drop("not closed") })
///     }
/// }
///
/// hookyard::export!(Closed);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ident) => {
        #[cfg(target_family = "wasm")]
        $crate::__private::bindings::export!($plugin with_types_in $crate::__private::bindings);
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::Event) -> $crate::Result<$crate::Verdict> = <$plugin as $crate::Plugin>::handle;
    };
}

/// What an author's function may return.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a plugin cannot answer with `{Self}`",
    label = "this is not a verdict",
    note = "return `hookyard::Result<Verdict>`; in place of `Verdict` a `Delivery`, `Vec<Delivery>`, `HttpRequest`, \
            `Email` or `SftpFile` will do"
)]
pub trait Answer {
    fn answer(self) -> Result<Verdict>;
}

impl<V: IntoVerdict, E: Into<Failure>> Answer for std::result::Result<V, E> {
    fn answer(self) -> Result<Verdict> {
        self.map(IntoVerdict::into_verdict).map_err(Into::into)
    }
}

impl Answer for Verdict {
    fn answer(self) -> Result<Verdict> {
        Ok(self)
    }
}

/// What stands for a verdict in a plugin's answer.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a plugin cannot answer with `{Self}`",
    label = "this is not a verdict",
    note = "return `Verdict`, or one of `Delivery`, `Vec<Delivery>`, `HttpRequest`, `Email` and `SftpFile`"
)]
pub trait IntoVerdict {
    fn into_verdict(self) -> Verdict;
}

macro_rules! into_verdict {
    ($($ty:ty)*) => {
        $(impl IntoVerdict for $ty {
            fn into_verdict(self) -> Verdict {
                self.into()
            }
        })*
    };
}
into_verdict!(Verdict Delivery Vec<Delivery> HttpRequest Email SftpFile);

/// Calls an author's function; the bounds make its errors appear at the function.
#[doc(hidden)]
pub fn handle<A: Answer>(function: impl FnOnce(&Event) -> A, event: &Event) -> Result<Verdict> {
    function(event).answer()
}
