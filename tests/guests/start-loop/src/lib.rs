//! Never gets through its start code: a constructor loops, before `handle` could ever be called.

use hookyard::{Event, Result, Verdict};

#[cfg(target_family = "wasm")]
extern "C" fn constructor() {
    loop {
        std::hint::black_box(());
    }
}

#[cfg(target_family = "wasm")]
#[used]
#[expect(unsafe_code, reason = "constructors are found by the name of their section")]
// SAFETY: the section is the linker's list of constructors, and this is a pointer to one.
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

#[hookyard::plugin]
fn handle(_: &Event) -> Result<Verdict> {
    Ok(Verdict::forward())
}
