//! Where on a host a plugin is: the host, whose it is, and what to say when the host refuses.
//!
//! It must not know what is done with the plugin.

use anyhow::anyhow;

use crate::cli::client::{Client, Refused, Target};
use crate::event::{CarrierId, PluginName};

/// A host, and whose plugins are meant on it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    target: Target,
    /// The carrier whose plugin it is; `me` is the key's own.
    #[arg(long, default_value = "me", conflicts_with = "shared")]
    carrier: CarrierId,
    /// It is one of the shared plugins, which carriers name `shared/…`. Takes an admin's key.
    #[arg(long)]
    shared: bool,
}

impl Place {
    /// A client of the host.
    ///
    /// # Errors
    /// When there is no key, or the TLS set-up fails.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.target)
    }

    /// The path of all plugins here.
    pub(super) fn all(&self) -> String {
        if self.shared { "/v1/plugins".to_owned() } else { format!("/v1/carriers/{}/plugins", self.carrier) }
    }

    /// The path of one of them.
    pub(super) fn one(&self, name: &PluginName) -> String {
        format!("{}/{name}", self.all())
    }

    /// The arguments that lead here again, for commands that are suggested.
    pub(super) fn arguments(&self) -> String {
        match (self.shared, self.carrier.as_str()) {
            (true, _) => " --shared".to_owned(),
            (false, "me") => String::new(),
            (false, carrier) => format!(" --carrier {carrier}"),
        }
    }

    /// The error, and what to do about it where that is known.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(refused) = error.downcast_ref::<Refused>() else { return error };
        let what = match refused.code.as_str() {
            "plugin_refused" => {
                return anyhow!(
                    "the host refused the component: {}\n  `hookyard plugin test` makes the same checks here",
                    refused.detail
                );
            }
            "unauthorized" => "give a key of this host with --key or HOOKYARD_KEY",
            "forbidden" if self.shared => {
                "shared plugins take an admin's key; without --shared it is your own"
            }
            "forbidden" => "plugins take the key of their carrier or of an admin",
            "not_found" if !self.shared && self.carrier.as_str() == "me" => {
                "`hookyard plugin list` shows what there is; with an admin's key say whose it is: --carrier or --shared"
            }
            "not_found" => "`hookyard plugin list` with the same arguments shows what there is",
            "wrong_state" => "`hookyard plugin list` shows which versions were active",
            _ => return error,
        };
        anyhow!("{error:#}\n  {what}")
    }
}
