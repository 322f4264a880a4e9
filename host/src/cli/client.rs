//! Talking to a host over its API, for the subcommands that are its clients.
//!
//! It must not know what the subcommands do with the answers.

use anyhow::{Context, ensure};
use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;

/// Where the host is and with which key it is spoken to.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// The host's address.
    #[arg(long, env = "HOOKYARD_URL", default_value = "http://127.0.0.1:8080")]
    pub(super) url: String,
    /// The API key.
    #[arg(long, env = "HOOKYARD_KEY", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(super) key: String,
}

/// The host's answer to a request that it did not do.
#[derive(Debug, thiserror::Error)]
#[error("{request} was answered with {status} {code}: {detail}")]
pub(super) struct Refused {
    /// Method and path.
    request: String,
    /// The HTTP status.
    status: u16,
    /// The problem's stable code; empty when something else than the host answered.
    pub(super) code: String,
    /// What is wrong, for people.
    pub(super) detail: String,
}

/// A client of one host.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// A client that speaks with this key.
    ///
    /// # Errors
    /// When there is no key, or the TLS set-up fails.
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        ensure!(
            !target.key.is_empty(),
            "there is no API key: give one with --key or HOOKYARD_KEY (`hookyard serve` says where its first one is)"
        );
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::deliver::http::tls().context("cannot set up TLS")?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(std::time::Duration::from_secs(120))
            .build()
            .context("cannot set up HTTP")?;
        Ok(Self { http, url: target.url.trim_end_matches('/').to_owned(), key: target.key.clone() })
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, "application/json", Bytes::new()).await
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, "application/json", body.to_string().into()).await
    }

    /// PUT of JSON.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, "application/json", body.to_string().into()).await
    }

    /// Any request.
    ///
    /// # Errors
    /// When the host cannot be reached; [`Refused`] when it answers with a problem.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let request = format!("{method} {path}");
        let mut builder =
            self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", &self.key);
        if !body.is_empty() {
            builder = builder.header("content-type", content_type).body(body);
        }
        let answer = builder
            .send()
            .await
            .with_context(|| format!("cannot reach the host at {} (is it running? see --url)", self.url))?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(|| format!("the answer to {request} broke off"))?;
        let value: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).with_context(|| format!("the answer to {request} is not JSON"))?
        };
        if !status.is_success() {
            let text = |key: &str| value[key].as_str().map(str::to_owned);
            return Err(anyhow::Error::new(Refused {
                request,
                status: status.as_u16(),
                code: text("code").unwrap_or_default(),
                detail: text("detail").unwrap_or_else(|| "no detail was given".to_owned()),
            }));
        }
        Ok(value)
    }
}
