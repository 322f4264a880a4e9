//! `GET` and `POST /s/{token}`: the page behind a link. No key is needed but the link.
//!
//! `GET` reads. `POST` takes a rating, the text, or that the customer leaves; what it changes and what the carrier is told
//! of it are one transaction of the store. The token is what a forged form of another site does not have.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::link::{BadLink, SurveyLinks, Ticket};
use super::page::{Notice, Of, Page, Pages, STYLE};
use super::record::{RATING_MAX, SurveyState, TEXT_CHARACTERS};
use super::texts::Texts;
use super::told;
use crate::clock::{Clock, Millis};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::surveys::{Asked, NewSurvey, Taken};

/// Bytes of a form: a text of the greatest length with every character written as `%F0%9F%98%80`, and as much again.
const FORM_BYTES: usize = 64 << 10;
/// Requests that are worked on at once; one more is asked to come again.
const AT_ONCE: usize = 64;
/// Requests for one link at once, and how long one takes to be free again.
const BURST: i64 = 30;
const EACH_MS: i64 = 1_000;
/// Links of which is remembered when they were last asked for. Beyond it, those are forgotten that may ask again as they like.
const LINKS: usize = 10_000;

/// What the page needs.
#[derive(Debug)]
pub struct SurveyParts {
    /// Durable truth.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Reads the links.
    pub links: SurveyLinks,
    /// What customers read.
    pub texts: Texts,
    /// How long after its rating a survey counts as left when nothing follows.
    pub leave_after: Duration,
    /// How long a form may take to arrive.
    pub body_time: Duration,
}

#[derive(Debug)]
struct Desk {
    parts: SurveyParts,
    at_once: Semaphore,
    /// When each link may ask as it likes again, in Unix milliseconds.
    paces: Mutex<HashMap<u64, i64>>,
}

/// The page's routes.
pub fn router(parts: SurveyParts) -> Router {
    let desk = Desk { parts, at_once: Semaphore::new(AT_ONCE), paces: Mutex::default() };
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        STANDARD.encode(Sha256::digest(STYLE))
    );
    // Base64 and ASCII: it is a header's value.
    let policy =
        HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    Router::new()
        .route("/s/{token}", get(show).post(answer))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(map_response(move |response: Response| {
            let policy = policy.clone();
            async move { guarded(response, policy) }
        }))
        .with_state(Arc::new(desk))
}

/// What holds of every answer below `/s/`: nothing is kept, followed, framed, sniffed or told to others.
fn guarded(mut response: Response, policy: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow, noarchive"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        let mut response = (self.status, [(header::CONTENT_TYPE, html)], self.html).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the form may still come: the connection cannot be used for another request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Why a request ends with a page that says something.
enum Stop {
    Notice(Notice),
    /// Too many requests for this link.
    Pace,
    Store(StoreError),
}

impl From<BadLink> for Stop {
    fn from(why: BadLink) -> Self {
        Self::Notice(match why {
            BadLink::Unknown => Notice::Unknown,
            BadLink::Expired => Notice::Expired,
        })
    }
}

impl From<StoreError> for Stop {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

async fn show(State(desk): State<Arc<Desk>>, Path(token): Path<String>) -> Response {
    desk.shown(&token).await.unwrap_or_else(|stop| desk.stopped(stop))
}

async fn answer(State(desk): State<Arc<Desk>>, Path(token): Path<String>, request: Request) -> Response {
    desk.answered(&token, request).await.unwrap_or_else(|stop| desk.stopped(stop))
}

/// What was sent.
enum Sent {
    Rating(Option<u8>),
    Text(String),
    Leave,
}

impl Desk {
    async fn shown(&self, token: &str) -> Result<Response, Stop> {
        let ticket = self.open(token)?;
        let _mine = self.at_once.try_acquire().map_err(|_| Stop::Notice(Notice::Busy))?;
        let asked = self.asked(&ticket).await?;
        let until = day(ticket.expires);
        let pages = self.pages(&asked, &until);
        Ok(match &asked.survey {
            None => pages.rating(false),
            Some(survey) if survey.state == SurveyState::Completed => pages.notice(Notice::Answered),
            Some(survey) => pages.feedback(survey.rating, None),
        }
        .into_response())
    }

    async fn answered(&self, token: &str, request: Request) -> Result<Response, Stop> {
        let ticket = self.open(token)?;
        // A form may come slowly: what others wait for is taken afterwards.
        let read = self.read(request).await;
        let _mine = self.at_once.try_acquire().map_err(|_| Stop::Notice(Notice::Busy))?;
        let asked = self.asked(&ticket).await?;
        let until = day(ticket.expires);
        let pages = self.pages(&asked, &until);
        let form = match read {
            Ok(form) => form,
            Err(status) => {
                let large = status == StatusCode::PAYLOAD_TOO_LARGE;
                let page = match &asked.survey {
                    Some(survey) if large && survey.state != SurveyState::Completed => {
                        pages.feedback(survey.rating, Some(("", format!("{FORM_BYTES}+"))))
                    }
                    _ => pages.notice(Notice::Busy),
                };
                return Ok(Page { status, ..page }.into_response());
            }
        };
        let now = self.parts.clock.now();
        let page = match sent(&form) {
            None => return Ok(again(token)),
            Some(Sent::Rating(None)) => match &asked.survey {
                Some(survey) if survey.state == SurveyState::Completed => pages.notice(Notice::Answered),
                _ => pages.rating(true),
            },
            Some(Sent::Rating(Some(rating))) => match self.rate(&ticket, &asked, rating, now).await? {
                Taken::Done | Taken::Already => return Ok(again(token)),
                Taken::Answered => pages.notice(Notice::Answered),
                Taken::NotBegun => return Err(Stop::Notice(Notice::Expired)),
            },
            Some(Sent::Text(text)) => match &asked.survey {
                None => return Ok(again(token)),
                Some(survey) if text.chars().count() > TEXT_CHARACTERS => match survey.state {
                    SurveyState::Completed => pages.notice(Notice::Answered),
                    _ => pages.feedback(survey.rating, Some((&text, text.chars().count().to_string()))),
                },
                Some(_) => {
                    let text = Some(text).filter(|text| !text.is_empty());
                    match self.parts.store.complete_survey(&ticket, text, now).await? {
                        Taken::Done | Taken::Already => pages.notice(Notice::Thanks),
                        Taken::Answered => pages.notice(Notice::Answered),
                        Taken::NotBegun => return Ok(again(token)),
                    }
                }
            },
            Some(Sent::Leave) => match self.parts.store.leave_survey(&ticket, now).await? {
                Taken::Done | Taken::Already => pages.notice(Notice::Left),
                Taken::Answered => pages.notice(Notice::Answered),
                Taken::NotBegun => return Ok(again(token)),
            },
        };
        Ok(page.into_response())
    }

    /// Opens a link. The store is not asked for one that is forged, has ended, or is used too often.
    fn open(&self, token: &str) -> Result<Ticket, Stop> {
        let now = self.parts.clock.now();
        let ticket = self.parts.links.read(token, now)?;
        if self.may_ask(&ticket, now) { Ok(ticket) } else { Err(Stop::Pace) }
    }

    /// What a link is about, and how far its survey has come.
    async fn asked(&self, ticket: &Ticket) -> Result<Asked, Stop> {
        // Without its event, which went with its age or never was more than a trial, nothing can be told of it.
        self.parts.store.survey_asked(ticket).await?.ok_or(Stop::Notice(Notice::Expired))
    }

    /// A form as it came, or the status of the refusal.
    async fn read(&self, request: Request) -> Result<Bytes, StatusCode> {
        match tokio::time::timeout(self.parts.body_time, Bytes::from_request(request, &())).await {
            Ok(read) => read.map_err(|refused| refused.status()),
            Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        }
    }

    async fn rate(
        &self,
        ticket: &Ticket,
        asked: &Asked,
        rating: u8,
        now: Millis,
    ) -> Result<Taken, StoreError> {
        let store = &self.parts.store;
        let context = match &asked.survey {
            Some(survey) => survey.context.clone(),
            None => match store.event(&ticket.carrier, &ticket.event).await? {
                Some(event) => told::context(&event.payload),
                None => return Ok(Taken::NotBegun),
            },
        };
        let leave = now.plus(self.parts.leave_after).min(ticket.expires);
        let new = NewSurvey { received: asked.received, rating, context, leave };
        store.begin_survey(ticket, new, now).await
    }

    /// Whether a link may be asked for again: a bucket that is kept as the moment at which it will be full.
    fn may_ask(&self, ticket: &Ticket, now: Millis) -> bool {
        let mut hash = DefaultHasher::new();
        (&ticket.carrier, &ticket.event, &ticket.subscription).hash(&mut hash);
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= LINKS {
            paces.retain(|_, full| *full > now.0);
        }
        let full = paces.entry(hash.finish()).or_insert(now.0);
        let after = (*full).max(now.0) + EACH_MS;
        let may = after - now.0 <= BURST * EACH_MS;
        if may {
            *full = after;
        }
        may
    }

    fn pages<'a>(&'a self, asked: &'a Asked, until: &'a str) -> Pages<'a> {
        Pages { texts: &self.parts.texts, of: Of { carrier: &asked.carrier_name, until } }
    }

    /// A page that says nothing of any carrier.
    fn stopped(&self, stop: Stop) -> Response {
        let pages = Pages { texts: &self.parts.texts, of: Of { carrier: "", until: "" } };
        match stop {
            Stop::Notice(notice) => pages.notice(notice),
            Stop::Pace => Page { status: StatusCode::TOO_MANY_REQUESTS, ..pages.notice(Notice::Busy) },
            Stop::Store(why) => {
                tracing::error!(error = %why, "the store failed a survey's page");
                pages.notice(Notice::Busy)
            }
        }
        .into_response()
    }
}

/// What a form says; nothing when it is none of this page's.
fn sent(form: &[u8]) -> Option<Sent> {
    let field = |name: &str| {
        url::form_urlencoded::parse(form)
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.into_owned())
    };
    Some(match field("step")?.as_str() {
        "rating" => {
            let rating = field("rating").and_then(|text| text.parse().ok());
            Sent::Rating(rating.filter(|rating| (1..=RATING_MAX).contains(rating)))
        }
        "feedback" => Sent::Text(plain(&field("text").unwrap_or_default())),
        "leave" => Sent::Leave,
        _ => return None,
    })
}

/// A text as it is kept: line ends are `\n`, and there are no other control characters.
fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let kept: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    kept.trim().to_owned()
}

/// On to the page as it is now. Relative, since a proxy may have put something before `/s/`.
fn again(token: &str) -> Response {
    let to = HeaderValue::try_from(token).unwrap_or_else(|_| HeaderValue::from_static("."));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// The day on which a link ends, in UTC: `2026-06-05`.
fn day(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_one_thing_or_nothing() {
        let rating = |form: &str| match sent(form.as_bytes()) {
            Some(Sent::Rating(rating)) => rating,
            _ => panic!("{form}"),
        };
        assert_eq!(rating("step=rating&rating=5"), Some(5));
        for bad in [
            "step=rating",
            "step=rating&rating=0",
            "step=rating&rating=6",
            "step=rating&rating=x",
            "step=rating&rating=-1",
        ] {
            assert_eq!(rating(bad), None, "{bad}");
        }
        assert!(
            matches!(sent(b"text=a%0D%0Ab%00%1B%5B0m+&step=feedback"), Some(Sent::Text(t)) if t == "a\nb[0m")
        );
        assert!(matches!(sent(b"step=leave"), Some(Sent::Leave)));
        for nothing in [&b""[..], b"rating=5", b"step=other", b"{\"step\": \"leave\"}", &[0xff; 9]] {
            assert!(sent(nothing).is_none());
        }
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day(Millis(1_761_300_000_000)), "2025-10-24");
        assert_eq!(day(Millis(0)), "1970-01-01");
    }
}
