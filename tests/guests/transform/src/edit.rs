//! The work itself, plain Rust: the bench runs it natively as well.

use serde_json::Value;

/// Parses a JSON object, removes what is personal, adds the brand, prints it.
pub(crate) fn edit(payload: &[u8], brand: &str) -> serde_json::Result<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(payload)?;
    if let Some(object) = value.as_object_mut() {
        if let Some(customer) = object.get_mut("customer").and_then(Value::as_object_mut) {
            customer.remove("phone");
            customer.insert("email".to_owned(), Value::from("***"));
        }
        object.insert("brand".to_owned(), Value::from(brand));
    }
    serde_json::to_vec(&value)
}
