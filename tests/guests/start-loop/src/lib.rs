//! Never gets through its start code: it loops when it is instantiated, before `handle` could ever be called.

use hookyard::{Event, Result, Verdict};

/// Run by the component's own start code.
#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "start code is found by its name")]
// SAFETY: no other function of this component has the name.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    loop {
        std::hint::black_box(());
    }
}

#[hookyard::plugin]
fn handle(_: &Event) -> Result<Verdict> {
    Ok(Verdict::forward())
}
