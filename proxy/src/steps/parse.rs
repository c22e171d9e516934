//! Step 3: where a request wants to go. Takes the head of a request to the proxy, gives its destination.

use model::{Destination, Reason, Scheme};

use crate::http1::head::{RequestHead, Target};
use crate::refusal::Refusal;

/// The destination that the request line names. For CONNECT the scheme is not known yet and stands as https until the
/// first bytes within the tunnel tell.
///
/// # Errors
/// `bad_target` for a request that was not meant for a proxy, `bad_host` where CONNECT and Host name different places.
pub(crate) fn parse(head: &RequestHead) -> Result<Destination, Refusal> {
    match &head.target {
        Target::Absolute(destination, _) => Ok(destination.clone()),
        Target::Authority(authority) => {
            // Clients differ in whether Host repeats the port (RFC 9112 section 3.2.3 wants it, some leave it out).
            let same = head
                .host
                .as_ref()
                .is_none_or(|host| host.host == authority.host && (host.port.is_none() || host.port == authority.port));
            match same {
                true => Ok(Destination::of(Scheme::Https, authority.clone())),
                false => Err(Refusal::of(Reason::BadHost, "the Host field differs from the CONNECT target")),
            }
        }
        Target::Origin(_) | Target::Asterisk => Err(Refusal::of(
            Reason::BadTarget,
            "this is a proxy: the request target has to be a whole URI or CONNECT host:port",
        )),
    }
}
