//! Reading the configuration so that every problem is found at once, not the first alone.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Config;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `store.lease_s`, or the variable.
    pub key: String,
    /// What is wrong and what it takes.
    pub why: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("the configuration file {path} cannot be read: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not TOML: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        why: Box<toml::de::Error>,
    },
    /// Values are wrong: all of them.
    #[error("the configuration has {} problem(s):\n{}", .0.len(), lines(.0))]
    Problems(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}

const PREFIX: &str = "HOOKYARD_";

/// Variables of ours that are not settings.
const NOT_SETTINGS: &[&str] = &["HOOKYARD_CONFIG", "HOOKYARD_KEY", "HOOKYARD_URL"];

/// Reads `file` if there is one, lays the variables over it, and checks everything.
///
/// A variable is `HOOKYARD_` + section + `_` + key in capitals: `HOOKYARD_STORE_DATABASE`. Lists are written as in TOML.
/// `HOOKYARD_TEST_…` and a few others that are no settings are passed over.
///
/// # Errors
/// [`ConfigError::Problems`] with every unknown key, wrong type and value out of range.
pub fn read(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let defaults = as_table(&Config::default());
    let mut problems = Vec::new();
    let mut given: Vec<(String, String, String, Value)> = Vec::new();

    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|why| ConfigError::File { path: path.to_owned(), why })?;
        let table: Table =
            text.parse().map_err(|why| ConfigError::Syntax { path: path.to_owned(), why: Box::new(why) })?;
        for (section, keys) in table {
            let Value::Table(keys) = keys else {
                problems.push(Problem {
                    why: format!("unknown; the sections are {}", names(&defaults)),
                    key: section,
                });
                continue;
            };
            given.extend(keys.into_iter().map(|(k, v)| (format!("{section}.{k}"), section.clone(), k, v)));
        }
    }
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if NOT_SETTINGS.contains(&variable.as_str()) || rest.starts_with("TEST_") {
            continue;
        }
        match split(&rest.to_ascii_lowercase(), &defaults) {
            Some((section, key)) => {
                let value = from_text(&text, &defaults[&section][&key]);
                given.push((variable, section, key, value));
            }
            None => problems.push(Problem {
                key: variable,
                why: "no such setting; it takes HOOKYARD_ + section + _ + key, such as HOOKYARD_STORE_DATA"
                    .to_owned(),
            }),
        }
    }

    let mut table = defaults.clone();
    for (shown, section, key, value) in given {
        let Some(Value::Table(known)) = defaults.get(&section) else {
            problems.push(Problem {
                key: shown,
                why: format!("there is no section `{section}`; the sections are {}", names(&defaults)),
            });
            continue;
        };
        if !known.contains_key(&key) {
            let why = format!("unknown; [{section}] has {}", names(known));
            problems.push(Problem { key: shown, why });
            continue;
        }
        // Alone among defaults, so that its own error is seen whatever else is wrong.
        let mut alone = defaults.clone();
        set(&mut alone, &section, &key, value.clone());
        match from_table::<Config>(alone) {
            Ok(_) => set(&mut table, &section, &key, value),
            Err(why) => {
                let why = why.to_string();
                let why = why.lines().next().unwrap_or("wrong type").to_owned();
                problems.push(Problem { key: shown, why });
            }
        }
    }
    let config = match from_table::<Config>(table) {
        Ok(config) => config,
        Err(why) => {
            problems.push(Problem { key: "configuration".to_owned(), why: why.to_string() });
            Config::default()
        }
    };
    problems.extend(config.problems());
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
}

fn as_table(config: &Config) -> Table {
    Table::try_from(config).unwrap_or_default()
}

fn from_table<T: DeserializeOwned>(table: Table) -> Result<T, toml::de::Error> {
    Value::Table(table).try_into()
}

fn names(table: &Table) -> String {
    table.keys().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

fn set(table: &mut Table, section: &str, key: &str, value: Value) {
    if let Some(Value::Table(keys)) = table.get_mut(section) {
        keys.insert(key.to_owned(), value);
    }
}

/// `store_lease_s` → (`store`, `lease_s`), if there is such a setting.
fn split(name: &str, defaults: &Table) -> Option<(String, String)> {
    let (section, key) = name.split_once('_')?;
    defaults.get(section)?.get(key)?;
    Some((section.to_owned(), key.to_owned()))
}

/// A variable's text as the type that the setting has; a text that does not fit stays a text and is refused later.
fn from_text(text: &str, like: &Value) -> Value {
    if matches!(like, Value::String(_)) {
        return Value::String(text.to_owned());
    }
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hookyard.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        read(Some(&file), variables.collect::<Vec<_>>())
    }

    #[test]
    fn nothing_at_all_is_a_good_configuration() {
        assert_eq!(read(None, Vec::new()).unwrap(), Config::default());
        assert_eq!(Config::default().problems(), Vec::new());
    }

    #[test]
    fn variables_win_over_the_file() {
        let config = with(
            "[store]\nlease_s = 7\nretention_days = 3\n[deliver]\nallow_http = true\n",
            &[
                ("HOOKYARD_STORE_LEASE_S", "9"),
                ("HOOKYARD_DELIVER_ALLOW_NETWORKS", "[\"127.0.0.0/8\"]"),
                ("HOOKYARD_STORE_DATABASE", "postgres://u:p@h/d"),
                ("OTHER", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.store.lease_s, 9);
        assert_eq!(config.store.retention_days, 3);
        assert!(config.deliver.allow_http);
        assert_eq!(config.deliver.allow_networks.len(), 1);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let error = with(
            "[store]\nlease_s = 1\nlease = 3\nretention_days = \"x\"\n[shop]\na = 1\n",
            &[("HOOKYARD_STORE_NOTHING", "1"), ("HOOKYARD_PLUGINS_THREADS", "many")],
        )
        .unwrap_err();
        let ConfigError::Problems(problems) = error else { panic!("{error}") };
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "HOOKYARD_STORE_NOTHING",
                "shop.a",
                "store.lease",
                "store.retention_days",
                "HOOKYARD_PLUGINS_THREADS",
                "store.lease_s"
            ]
        );
    }
}
