//! Step 3: the destination of a request. Consumes an arrival, returns the endpoint that it names.

use model::{Endpoint, Reason};

use crate::entry::arrival::Arrival;
use crate::refusal::Refusal;

/// The endpoint that a request to the proxy names. It becomes a destination once its scheme is known.
///
/// # Errors
/// `bad_target` for a request that was not meant for a proxy, `bad_host` if it names two different ones.
pub(crate) fn parse<S>(arrival: &Arrival<S>) -> Result<&Endpoint, Refusal> {
    let endpoint = arrival.endpoint.as_ref().ok_or_else(|| {
        Refusal::of(Reason::BadTarget, "this is a proxy: the request target has to be a whole URI or CONNECT host:port")
    })?;
    // Clients differ in whether Host repeats the port (RFC 9112 section 3.2.3 requires it, some omit it).
    match &arrival.repeated {
        Some(repeated) if !endpoint.is(repeated) => {
            Err(Refusal::of(Reason::BadHost, "the Host field differs from the CONNECT target"))
        }
        Some(_) | None => Ok(endpoint),
    }
}

#[cfg(test)]
mod tests {
    use model::{Authority, Host};

    use super::*;
    use crate::testing::Bench;

    fn arrival(bench: &Bench, endpoint: Option<&str>, repeated: Option<&str>) -> Arrival {
        let authority = |text: &str| Authority::parse(text, false).unwrap();
        let endpoint = endpoint.map(authority).map(|named| Endpoint { host: named.host, port: named.port.unwrap() });
        Arrival { client: bench.client.clone(), endpoint, repeated: repeated.map(authority), scheme: None, stream: () }
    }

    #[test]
    fn a_tunnel_names_one_endpoint() {
        let bench = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
        let named = Endpoint { host: Host::parse("api.example.com").unwrap(), port: 8443 };
        for repeated in [None, Some("api.example.com"), Some("API.example.com.:8443")] {
            let arrival = arrival(&bench, Some("api.example.com:8443"), repeated);
            assert_eq!(parse(&arrival).unwrap(), &named, "{repeated:?}");
        }
        for repeated in ["other.example.com", "api.example.com:443"] {
            let arrival = arrival(&bench, Some("api.example.com:8443"), Some(repeated));
            assert_eq!(parse(&arrival).unwrap_err().reason(), Reason::BadHost, "{repeated}");
        }
        assert_eq!(parse(&arrival(&bench, None, None)).unwrap_err().reason(), Reason::BadTarget);
    }
}
