//! A component, but not a plugin: it exports a greeting.

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "the generated bindings cross into the host")]
mod guest {
    wit_bindgen::generate!({
        inline: "
            package acme:greeter;
            interface greeting { greet: func(name: string) -> string; }
            world greeter { export greeting; }
        ",
    });

    use exports::acme::greeter::greeting::Guest;

    struct Greeter;

    impl Guest for Greeter {
        fn greet(name: String) -> String {
            format!("hello, {name}")
        }
    }

    export!(Greeter);
}
