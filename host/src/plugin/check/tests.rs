//! Tests of the checks that need the bytes alone.

use super::*;

#[test]
fn imports_are_judged_by_name_and_version() {
    for good in [
        "hookyard:plugin/log@1.0.0",
        "hookyard:plugin/links@1.0.0",
        "hookyard:plugin/types@1.0.3",
        "wasi:cli/environment@0.2.0",
        "wasi:filesystem/preopens@0.2.6",
        "wasi:random/insecure-seed@0.2.12",
    ] {
        assert!(allowed(good).is_ok(), "{good}");
    }
    let code = |import: &str| allowed(import).unwrap_err().code();
    assert_eq!(code("hookyard:plugin/log@2.0.0"), "plugin_other_contract");
    assert_eq!(code("hookyard:plugin/log@1.1.0"), "plugin_other_contract");
    assert_eq!(code("hookyard:plugin/lookup@1.0.0"), "plugin_other_contract");
    assert_eq!(code("wasi:sockets/tcp@0.2.0"), "plugin_network_import");
    assert_eq!(code("wasi:http/outgoing-handler@0.2.0"), "plugin_network_import");
    assert_eq!(code("wasi:cli/environment@0.3.0"), "plugin_unknown_import");
    assert_eq!(code("wasi:cli/run@0.2.0"), "plugin_unknown_import");
    assert_eq!(code("log"), "plugin_unknown_import");
}

#[test]
fn a_refusal_says_what_is_allowed() {
    let error = allowed("acme:vault/keys").unwrap_err().to_string();
    assert!(error.starts_with("it imports acme:vault/keys, which plugins do not get."), "{error}");
    for part in ["hookyard:plugin/settings@1.0.0", "wasi:io/streams@0.2", "wasi:random/random@0.2"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn sections_that_run_over_the_end_are_a_cut() {
    let whole = b"\0asm\x0d\0\x01\0\x00\x03\x01aa";
    assert!(!cut_short(whole));
    for length in 9..whole.len() {
        assert!(cut_short(&whole[..length]), "{length}");
    }
    // A length of more bytes than there can be.
    assert!(cut_short(b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff"));
}

#[test]
fn an_empty_component_is_of_another_world() {
    let error = inspect(b"\0asm\x0d\0\x01\0", 100).unwrap_err();
    assert!(error.to_string().ends_with("it exports nothing"), "{error}");
    let error = inspect(b"\0asm\x0d\0\x01\0", 7).unwrap_err();
    assert_eq!(error.to_string(), "limit component_bytes_max hit: the component has 8 bytes, 7 are allowed");
    // A section that no component has.
    let error = inspect(b"\0asm\x0d\0\x01\0\x7f\x00", 100).unwrap_err();
    assert_eq!(error.code(), "plugin_invalid");
}
