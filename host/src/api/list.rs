//! Lists and their pages.
//!
//! It must not know what is listed.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::page_request;
use super::problem::Problem;
use crate::store::page::{Page, PageRequest};

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Send it as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A page of the store, each record shown as `view` does.
    pub(super) fn of<R>(page: Page<R>, view: impl FnMut(R) -> T) -> Self {
        Self { items: page.items.into_iter().map(view).collect(), next: page.next }
    }

    /// A page out of everything there is, which is in the order of `name`. Names are short and few.
    pub(super) fn cut<R>(
        all: Vec<R>,
        page: &PageRequest,
        name: impl Fn(&R) -> &str,
        view: impl FnMut(R) -> T,
    ) -> Self {
        let after = page.after.as_deref();
        let mut rest = all.into_iter().filter(|item| after.is_none_or(|after| name(item) > after));
        let items: Vec<R> = rest.by_ref().take(page.limit as usize).collect();
        let more = rest.next().is_some();
        let next = items.last().filter(|_| more).map(|item| name(item).to_owned());
        Self { items: items.into_iter().map(view).collect(), next }
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most: 1 to 500, 50 when absent.
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

impl TryFrom<PageQuery> for PageRequest {
    type Error = Problem;
    fn try_from(query: PageQuery) -> Result<Self, Problem> {
        page_request(query.limit, query.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let all = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = PageRequest { limit: 2, after };
            let list = List::cut(all.to_vec(), &page, |item| item, |item| item);
            seen.extend(list.items);
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        let page = PageRequest { limit: 5, after: None };
        assert_eq!(List::cut(all.to_vec(), &page, |item| item, |item| item).next, None);
    }

    #[test]
    fn the_limit_is_bounded() {
        assert_eq!(page_request(None, None).unwrap().limit, 50);
        for bad in [0, 501] {
            assert_eq!(page_request(Some(bad), None).unwrap_err().code, "invalid_parameter");
        }
    }
}
