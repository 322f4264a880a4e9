//! Removes or masks the fields that the setting `paths` names, wherever they stand. The README lists the default.

use hookyard::{Event, Result, Value, Verdict, settings};

/// The people in the platform's events: names, mail addresses and telephone numbers, at any depth.
const DEFAULT_PATHS: &str = "**.first, **.last, **.email, **.mobile";

/// What a masked text becomes.
const MASK: &str = "***";

#[derive(Clone, Copy)]
enum Mode {
    Remove,
    Mask,
}

/// Redacts everything at `path` below `value`; says whether there was anything.
fn redact(value: &mut Value, path: &[&str], mode: Mode) -> bool {
    let [step, rest @ ..] = path else { return false };
    let mut any = false;
    if *step == "**" {
        // Here, and at every place below.
        any = redact(value, rest, mode);
        each(value, |child| any |= redact(child, path, mode));
    } else if !rest.is_empty() {
        match (&mut *value, *step) {
            (_, "*") => each(value, |child| any |= redact(child, rest, mode)),
            // A name reaches through arrays, so that `messages.data` means each message's.
            (Value::Array(items), _) => items.iter_mut().for_each(|item| any |= redact(item, path, mode)),
            (Value::Object(members), name) => {
                any = members.get_mut(name).is_some_and(|child| redact(child, rest, mode));
            }
            _ => {}
        }
    } else {
        match (&mut *value, *step, mode) {
            (_, "*", Mode::Mask) => each(value, |child| any |= mask(child)),
            (Value::Object(members), "*", Mode::Remove) => any = !std::mem::take(members).is_empty(),
            (Value::Array(items), "*", Mode::Remove) => any = !std::mem::take(items).is_empty(),
            (Value::Array(items), _, _) => items.iter_mut().for_each(|item| any |= redact(item, path, mode)),
            (Value::Object(members), name, Mode::Remove) => any = members.remove(name).is_some(),
            (Value::Object(members), name, Mode::Mask) => any = members.get_mut(name).is_some_and(mask),
            _ => {}
        }
    }
    any
}

fn each(value: &mut Value, mut f: impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(f),
        Value::Object(members) => members.iter_mut().for_each(|(_, child)| f(child)),
        _ => {}
    }
}

/// Texts keep their place as `***`, so that a receiver sees that there was one; everything else becomes `null`.
fn mask(value: &mut Value) -> bool {
    *value = match value {
        Value::String(text) if text.is_empty() => return false,
        Value::String(_) => Value::from(MASK),
        Value::Null => return false,
        _ => Value::Null,
    };
    true
}

/// Forwards the payload without the fields; unchanged, byte for byte, when it has none of them.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let mode = match settings::get("mode").as_deref().map(str::trim) {
        None | Some("remove") => Mode::Remove,
        Some("mask") => Mode::Mask,
        Some(other) => Err(settings::invalid("mode", format!("{other:?} is neither remove nor mask")))?,
    };
    let paths = settings::get("paths").unwrap_or_else(|| DEFAULT_PATHS.to_owned());
    let mut payload: Value = event.json()?;
    let mut any = false;
    for path in paths.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        let steps: Vec<&str> = path.split('.').collect();
        if steps.iter().any(|step| step.is_empty()) || steps.last() == Some(&"**") {
            Err(settings::invalid("paths", format!("{path:?} is not a path that ends in a name")))?;
        }
        any |= redact(&mut payload, &steps, mode);
    }
    if any { Verdict::forward_json(&payload) } else { Ok(Verdict::forward()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_example_gets_what_it_expects() {
        hookyard::testing::run_examples(env!("CARGO_MANIFEST_DIR"), super::handle);
    }
}
