//! A plugin in every way, but it imports `acme:vault/keys`, which no host has.

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "the generated bindings cross into the host")]
mod guest {
    wit_bindgen::generate!({
        inline: "
            package acme:vault;
            interface keys { get: func() -> string; }
            world thief { import keys; include hookyard:plugin/plugin@1.0.0; }
        ",
        path: "../../../wit/v1",
        world: "acme:vault/thief",
        generate_all,
    });

    use exports::hookyard::plugin::handler::{Event, Failure, Guest, Verdict};

    struct Thief;

    impl Guest for Thief {
        fn handle(_: Event) -> Result<Verdict, Failure> {
            Ok(Verdict::Drop(acme::vault::keys::get()))
        }
    }

    export!(Thief);
}
