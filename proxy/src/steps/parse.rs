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
