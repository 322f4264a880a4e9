//! Sends an event to destinations by a value in it: a line of business, a brand, a state. The README says how routes are
//! written.

use hookyard::settings::{self, SettingError};
use hookyard::{Delivery, Event, Result, Value, Verdict, tables};

/// Where the value stands unless the setting `path` says otherwise.
const DEFAULT_PATH: &str = "caseData.lineOfBusiness.type";

/// What the setting `routes` says for a value: the names of destinations, separated by `|`.
fn route<'a>(routes: &'a str, value: &str) -> Result<Option<&'a str>, SettingError> {
    let (mut exact, mut rest) = (None, None);
    // Read to the end, so that a mistake shows with the first event and not with the first of its value.
    for entry in routes.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((key, destinations)) = entry.split_once('=') else {
            return Err(settings::invalid(
                "routes",
                format!("{entry:?} is not of the form value=destination"),
            ));
        };
        match key.trim() {
            "*" => rest = rest.or(Some(destinations)),
            key if key == value => exact = exact.or(Some(destinations)),
            _ => {}
        }
    }
    Ok(exact.or(rest))
}

/// Delivers the payload as it is to the destinations of its value; drops it when there are none.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let path = settings::get("path").unwrap_or_else(|| DEFAULT_PATH.to_owned());
    let value = match path.strip_prefix('@') {
        Some("type") => event.event_type.clone(),
        Some(name) => event.attribute(name).unwrap_or_default().to_owned(),
        None => match event.pick(&path)? {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        },
    };

    let table = settings::get("table");
    let routes = settings::get("routes");
    if table.is_none() && routes.is_none() {
        Err(settings::invalid("routes", "it is missing, and so is `table`"))?;
    }
    // The table speaks first: it can be changed without touching the subscription.
    let looked_up = table.and_then(|table| tables::get(&table, &value));
    let fallback = route(routes.as_deref().unwrap_or_default(), &value)?;
    let names = looked_up.as_deref().or(fallback).unwrap_or_default();

    let destinations = names.split('|').map(str::trim).filter(|name| !name.is_empty());
    let deliveries: Vec<Delivery> = destinations.map(|name| Delivery::http(name).original()).collect();
    if deliveries.is_empty() {
        let value: String = value.chars().take(80).collect();
        return Ok(Verdict::drop(match value.as_str() {
            "" => format!("{path} is missing and there is no route for `*`"),
            value => format!("{path} is {value:?}: there is no route for it"),
        }));
    }
    Ok(Verdict::deliver(deliveries))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_example_gets_what_it_expects() {
        hookyard::testing::run_examples(env!("CARGO_MANIFEST_DIR"), super::handle);
    }
}
