//! The work of the guest `transform` behind one function of texts: a component, but not a plugin. The bench compares
//! it with the whole contract.

#[cfg(target_family = "wasm")]
#[path = "../../transform/src/edit.rs"]
mod edit;

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "the generated bindings cross into the host")]
mod guest {
    wit_bindgen::generate!({
        inline: "
            package acme:editor;
            world editor { export edit: func(payload: string, brand: string) -> string; }
        ",
    });

    struct Editor;

    impl Guest for Editor {
        fn edit(payload: String, brand: String) -> String {
            let edited = super::edit::edit(payload.as_bytes(), &brand).expect("the payload is JSON");
            String::from_utf8(edited).expect("JSON is text")
        }
    }

    export!(Editor);
}
