//! One value out of a payload by its path, without building the rest. It must not know what the value is for.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The value at a path such as `caseData.lines.0.type`; `None` when a step of it is not there.
pub(crate) fn pick(json: &[u8], path: &str) -> Result<Option<Value>, serde_json::Error> {
    Step(path).deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// What is left of the path; empty when the value is reached.
struct Step<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Option<Value>, M::Error> {
        let (name, rest) = self.0.split_once('.').unwrap_or((self.0, ""));
        let mut found = None;
        // Read to the end, since a parser takes what is left for an error. Of equal names the last counts.
        while let Some(matches) = map.next_key_seed(Is(name))? {
            if matches {
                found = map.next_value_seed(Step(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Option<Value>, S::Error> {
        let (index, rest) = self.0.split_once('.').unwrap_or((self.0, ""));
        let mut found = None;
        if let Ok(index) = index.parse::<usize>() {
            for _ in 0..index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = seq.next_element_seed(Step(rest))?.flatten();
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    // The path goes on where the payload has no more members.
    fn visit_bool<E>(self, _: bool) -> Result<Option<Value>, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Option<Value>, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Option<Value>, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Option<Value>, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Option<Value>, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }
}

/// Whether a member's name is this one, without keeping the name.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_at_a_path_is_found_wherever_it_stands() {
        let json = br#"{"a":{"b":[1,{"c":"x"},3]},"n":null,"s":"t","a2":{"b":0},"\u0061z":true}"#;
        for (path, value) in [
            ("a.b.1.c", Some(Value::from("x"))),
            ("a.b.0", Some(Value::from(1))),
            ("a.b.9", None),
            ("a.b.c", None),
            ("a.c", None),
            ("n", Some(Value::Null)),
            ("n.a", None),
            ("s.t", None),
            ("a2", Some(crate::json!({"b": 0}))),
            ("az", Some(Value::Bool(true))),
            ("missing", None),
        ] {
            assert_eq!(pick(json, path).unwrap(), value, "{path}");
        }
        assert!(pick(b"{\"a\":1,]", "a").is_err());
    }
}
