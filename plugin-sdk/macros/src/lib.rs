//! The attribute `#[hookyard::plugin]`. It only looks at the function's outside: what the function does and whether
//! its types fit is left to the compiler, which then speaks of the author's own lines.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, ItemFn, ReturnType};

/// Makes a function the plugin that the component exports. Once in a crate.
///
/// The function takes `&Event` and returns `Result<Verdict>`; natively it stays an ordinary function, which a
/// `#[test]` can call.
///
/// ```
/// use hookyard::{Delivery, Event, Result, Verdict};
///
/// #[hookyard::plugin]
/// fn handle(event: &Event) -> Result<Delivery> {
///     Ok(Delivery::http("claims").header("x-type", event.event_type.as_str()).original())
/// }
///
/// let event = hookyard::testing::event("case.closed", &hookyard::json!({}));
/// let delivery = Delivery::http("claims").header("x-type", "case.closed").original();
/// assert_eq!(hookyard::testing::Fixture::new().run(handle, &event), Ok(Verdict::from(delivery)));
/// ```
///
/// A function whose answer is no verdict does not compile; the error stands at its return type and says what will do.
///
/// ```compile_fail,E0277
/// #[hookyard::plugin]
/// fn handle(event: &hookyard::Event) -> hookyard::Result<String> {
///     Ok(event.id.clone())
/// }
/// ```
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    match expand(Tokens::from(arguments), &item) {
        Ok(tokens) => tokens.into(),
        // The function is kept, so that its other errors and uses are not reported as missing on top.
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #item).into()
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

fn expand(arguments: Tokens, item: &Tokens) -> Result<Tokens, Error> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[hookyard::plugin]` takes no arguments"));
    }
    let function: ItemFn = syn::parse2(item.clone()).map_err(|error| {
        let text =
            "`#[hookyard::plugin]` stands before a function: `fn handle(event: &Event) -> Result<Verdict>`";
        Error::new(error.span(), text)
    })?;
    let signature = &function.sig;
    if let Some(keyword) = &signature.asyncness {
        return Err(Error::new_spanned(keyword, "a plugin cannot be async: it has nothing to wait for"));
    }
    if let Some(keyword) = &signature.unsafety {
        return Err(Error::new_spanned(keyword, "a plugin cannot be an unsafe function"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, "a plugin cannot be generic"));
    }
    let by_reference = |argument: &FnArg| match argument {
        FnArg::Typed(typed) => matches!(&*typed.ty, syn::Type::Reference(r) if r.mutability.is_none()),
        FnArg::Receiver(_) => false,
    };
    if signature.inputs.len() != 1 || !signature.inputs.iter().all(by_reference) {
        let text = "a plugin takes one argument, `event: &Event`";
        return Err(match signature.inputs.is_empty() {
            true => Error::new_spanned(&signature.ident, text),
            false => Error::new_spanned(&signature.inputs, text),
        });
    }
    let ReturnType::Type(_, answer) = &signature.output else {
        return Err(Error::new_spanned(&signature.ident, "a plugin returns `Result<Verdict>`"));
    };

    let name = &signature.ident;
    // The call carries the span of the return type, so that a type that is no answer is reported there.
    let call = quote_spanned!(answer.span()=> ::hookyard::__private::handle(#name, event));
    Ok(quote! {
        #item

        const _: () = {
            struct Component;

            impl ::hookyard::Plugin for Component {
                fn handle(event: &::hookyard::Event) -> ::hookyard::Result<::hookyard::Verdict> {
                    #call
                }
            }

            ::hookyard::export!(Component);
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &str, item: &str) -> String {
        expand(arguments.parse().unwrap(), &item.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_is_named() {
        let argument = "a plugin takes one argument, `event: &Event`";
        for (item, says) in [
            (
                "struct Plugin;",
                "`#[hookyard::plugin]` stands before a function: `fn handle(event: &Event) -> Result<Verdict>`",
            ),
            ("fn handle() -> Result<Verdict> {}", argument),
            ("fn handle(event: Event) -> Result<Verdict> {}", argument),
            ("fn handle(event: &mut Event) -> Result<Verdict> {}", argument),
            ("fn handle(&self) -> Result<Verdict> {}", argument),
            ("fn handle(event: &Event, more: u8) -> Result<Verdict> {}", argument),
            ("fn handle(event: &Event) {}", "a plugin returns `Result<Verdict>`"),
            (
                "async fn handle(event: &Event) -> Result<Verdict> {}",
                "a plugin cannot be async: it has nothing to wait for",
            ),
            (
                "unsafe fn handle(event: &Event) -> Result<Verdict> {}",
                "a plugin cannot be an unsafe function",
            ),
            ("fn handle<T>(event: &Event) -> Result<Verdict> {}", "a plugin cannot be generic"),
        ] {
            assert_eq!(error("", item), says, "{item}");
        }
        let good = "fn handle(event: &Event) -> Result<Verdict> { Ok(Verdict::forward()) }";
        assert_eq!(error("fast", good), "`#[hookyard::plugin]` takes no arguments");
        let expanded = expand(Tokens::new(), &good.parse().unwrap()).unwrap().to_string();
        assert!(expanded.starts_with("fn handle"), "the author's function stays as it is: {expanded}");
    }
}
