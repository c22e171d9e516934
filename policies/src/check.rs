//! One check of a policy file, as written: a request and the expected verdict.

use model::{Authority, Destination, Reason, RequestPath, RuleId, Scheme, Timestamp};

use crate::problem::Problem;
use crate::verdict::Verdict;

/// One compiled check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) request: CheckRequest,
    pub(crate) expect: Verdict,
    pub(crate) rule: Option<RuleId>,
    pub(crate) code: Option<Reason>,
    /// What is reported where it fails; its message is completed then.
    pub(crate) failure: Problem,
}

/// The request of a check: `GET https://host/path`, and what it belongs to.
#[derive(Debug)]
pub(crate) struct CheckRequest {
    pub(crate) text: String,
    pub(crate) destination: Destination,
    pub(crate) method: String,
    pub(crate) path: RequestPath,
    pub(crate) tool: Option<String>,
    pub(crate) websocket: bool,
    pub(crate) at: Option<Timestamp>,
}

/// Reads `scheme://host[:port][/path][?query]`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_url(url: &str) -> Result<(Destination, RequestPath), String> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        _ => return Err("a URL begins with `https://` or `http://`".to_owned()),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = Authority::parse(authority, true).map_err(|why| why.to_string())?;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let path = RequestPath::parse(&target).map_err(|why| why.to_string())?;
    Ok((Destination::of(scheme, authority), path))
}

impl CheckRequest {
    /// Reads `METHOD scheme://host[:port][/path][?query]`; the error is a sentence that describes the fault.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (method, url) = text.split_once(' ').ok_or("a check's request is a method, a space and a URL")?;
        let (destination, path) = read_url(url)?;
        Ok(Self {
            text: text.to_owned(),
            destination,
            method: method.to_owned(),
            path,
            tool: None,
            websocket: false,
            at: None,
        })
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }
}
