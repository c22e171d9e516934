//! Trailers of a request: only names that the head lists in `Trailer` pass. A trailer never passes if its name has a role in the
//! head or is needed before the content. The same applies to names that the policy or a credential of Egret uses.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use model::field::{is_forbidden_in_trailers, is_read_as};
use model::{FieldRole, Reason, field_role};
use policies::AuthMode;

use crate::active::ActiveExchange;

/// The filter of the trailers of one request. They arrive after the head was sent, so a refusal ends the exchange.
pub(crate) struct TrailerFilter {
    pub(super) mode: AuthMode,
    /// Whether the client announced that it handles trailers (`TE: trailers`, RFC 9110 section 6.5.1).
    pub(super) announced: bool,
    /// The names that the client's `Trailer` field lists (RFC 9110 section 6.6.2), in lower case.
    pub(super) listed: Vec<Box<str>>,
    /// Names that credentials or `set` attach to the request.
    pub(super) taken: Vec<Box<str>>,
    /// Names that a rule counts as authentication.
    pub(super) also: Vec<Box<str>>,
    pub(super) active: Arc<ActiveExchange>,
}

impl TrailerFilter {
    /// Removes trailers that may not pass.
    ///
    /// # Errors
    /// `foreign_credential` if the policy refuses authentication of the client; it ends the exchange.
    pub(crate) fn apply(&self, trailers: &mut HeaderMap) -> Result<(), Reason> {
        let names: Vec<HeaderName> = trailers.keys().filter(|name| !self.passes(name.as_str())).cloned().collect();
        for name in names {
            if self.mode == AuthMode::Refuse && self.is_authentication(name.as_str()) {
                self.active.end_for(Reason::ForeignCredential);
                return Err(Reason::ForeignCredential);
            }
            trailers.remove(&name);
            self.active.flow().note_removed_trailer(name.as_str());
        }
        Ok(())
    }

    fn passes(&self, name: &str) -> bool {
        self.announced
            && self.listed.iter().any(|listed| **listed == *name)
            && field_role(name) == FieldRole::Plain
            && !is_forbidden_in_trailers(name)
            && !self.taken.iter().any(|taken| is_read_as(name, taken))
            && !self.also.iter().any(|also| is_read_as(name, also))
    }

    fn is_authentication(&self, name: &str) -> bool {
        matches!(field_role(name), FieldRole::Secret | FieldRole::Actor)
            || self.also.iter().any(|also| is_read_as(name, also))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn trailers(all: &[(&'static str, &str)]) -> HeaderMap {
        crate::testing::fields(all).into()
    }

    fn left(trailers: &HeaderMap) -> Vec<&str> {
        trailers.keys().map(HeaderName::as_str).collect()
    }

    fn filter(bench: &Bench, mode: AuthMode, announced: bool) -> TrailerFilter {
        let names = |all: &[&str]| all.iter().map(|name| Box::from(*name)).collect();
        TrailerFilter {
            mode,
            announced,
            listed: names(&["x-sum", "authorization", "x-taken", "x-acme", "content-length"]),
            taken: names(&["x-taken"]),
            also: names(&["x-acme"]),
            active: bench.line("POST", "/").active,
        }
    }

    fn bench() -> Bench {
        Bench::new(&["{id: r, allow: {host: api.example.com}}"])
    }

    #[test]
    fn only_what_the_head_lists_and_nothing_else_claims_passes() {
        let bench = bench();
        let filter = filter(&bench, AuthMode::Strip, true);
        let mut trailers = trailers(&[
            ("x-sum", "1"),
            ("x-unlisted", "1"),
            ("authorization", "1"),
            ("x-taken", "1"),
            ("x-acme", "1"),
            ("content-length", "1"),
        ]);
        assert_eq!(filter.apply(&mut trailers), Ok(()));
        assert_eq!(left(&trailers), ["x-sum"]);
        let mut removed = filter.active.flow().take_removed_trailers();
        removed.sort_unstable();
        let names = ["authorization", "content-length", "x-acme", "x-taken", "x-unlisted"];
        assert_eq!(removed, names.map(|name| format!("trailer {name}")));
        assert!(filter.active.flow().take_removed_trailers().is_empty(), "they are taken once");
    }

    #[test]
    fn without_te_none_passes() {
        let bench = bench();
        let mut trailers = trailers(&[("x-sum", "1")]);
        assert_eq!(filter(&bench, AuthMode::Allow, false).apply(&mut trailers), Ok(()));
        assert!(trailers.is_empty());
    }

    #[test]
    fn authentication_in_a_trailer_ends_the_exchange_where_it_is_refused() {
        let bench = bench();
        for name in ["authorization", "x-acme"] {
            let filter = filter(&bench, AuthMode::Refuse, true);
            assert_eq!(filter.apply(&mut trailers(&[(name, "1")])), Err(Reason::ForeignCredential));
            assert_eq!(filter.active.termination().unwrap().reason(), Reason::ForeignCredential);
        }
        let filter = filter(&bench, AuthMode::Refuse, true);
        assert_eq!(filter.apply(&mut trailers(&[("x-unlisted", "1")])), Ok(()));
        assert!(filter.active.termination().is_none());
    }
}
