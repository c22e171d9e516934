//! The reserved name `egret.internal`: Egret itself answers requests for it, and no name below it exists.

use crate::{Host, Reason};

const NAME: &str = "egret.internal";

/// Whether Egret itself answers for this host.
pub fn is_reserved(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name.as_ref() == NAME)
}

/// Whether the host is a name below the reserved one.
pub fn is_below_reserved(host: &Host) -> bool {
    let Host::Name(name) = host else { return false };
    name.strip_suffix(NAME).is_some_and(|front| front.ends_with('.'))
}

/// Paths of the control API. A request for them through the proxy asks for information that is only for people.
const CONTROL: [&str; 5] = ["/v1", "/healthz", "/readyz", "/metrics", "/openapi.json"];

/// Whether Egret answers a request for the reserved name: with its document at `/`, to GET and HEAD.
///
/// # Errors
/// `denied_self` for the control API, `denied_path`, `denied_method`, each with a sentence for the client.
pub fn check_reserved(method: &str, path: &str) -> Result<(), (Reason, &'static str)> {
    let is_in = |own: &str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if CONTROL.iter().any(|own| is_in(own)) {
        return Err((Reason::DeniedSelf, "the control API cannot be reached through the proxy"));
    }
    if path != "/" {
        return Err((Reason::DeniedPath, "egret.internal serves only the path /"));
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err((Reason::DeniedMethod, "egret.internal serves only GET and HEAD"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_reserved_and_all_below_it() {
        let of = |text: &str| {
            let host = Host::parse(text).unwrap();
            (is_reserved(&host), is_below_reserved(&host))
        };
        assert_eq!([of("egret.internal"), of("EGRET.internal"), of("egret.internal.")], [(true, false); 3]);
        assert_eq!([of("x.egret.internal"), of("a.b.egret.internal")], [(false, true); 2]);
        assert_eq!([of("xegret.internal"), of("internal"), of("192.0.2.1"), of("[::1]")], [(false, false); 4]);
    }
    #[test]
    fn one_document_is_served() {
        let code = |method, path| check_reserved(method, path).err().map(|(code, _)| code);
        assert_eq!([code("GET", "/"), code("HEAD", "/")], [None; 2]);
        for path in ["/v1", "/v1/sessions", "/healthz", "/metrics", "/openapi.json"] {
            assert_eq!(code("GET", path), Some(Reason::DeniedSelf), "{path}");
        }
        assert_eq!([code("GET", "/v11"), code("GET", ""), code("GET", "/x")], [Some(Reason::DeniedPath); 3]);
        assert_eq!(code("POST", "/"), Some(Reason::DeniedMethod));
    }
}
