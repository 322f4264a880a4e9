//! A plugin by its names, with types of its own: its `handle` takes and gives a text.

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "the generated bindings cross into the host")]
mod guest {
    wit_bindgen::generate!({
        inline: "
            package hookyard:plugin@1.0.0;
            interface handler { handle: func(event: string) -> string; }
            world plugin { export handler; }
        ",
    });

    use exports::hookyard::plugin::handler::Guest;

    struct Text;

    impl Guest for Text {
        fn handle(event: String) -> String {
            event
        }
    }

    export!(Text);
}
