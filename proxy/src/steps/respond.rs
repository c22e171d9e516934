//! Step 17: the answer that the client sees; the record closes when its body ends.

use std::borrow::Cow;

use audit::{Decision, Outcome};
use http::{HeaderValue, StatusCode, header};

use crate::body::answer::Body;
use crate::body::download::ResponseBody;
use crate::held::Held;
use crate::message::Response;
use crate::refusal::{Form, Refusal};
use crate::steps::forward::Upstreamed;
use crate::steps::redact::Redacted;
use crate::trail::Trail;

/// Turns the outcome of the line into the response to the client, and closes the record with it.
pub(crate) fn respond(trail: Trail, outcome: Result<(Redacted, Held), Refusal>, form: Form) -> Response<Body> {
    match outcome {
        Ok((redacted, held)) => relay(trail, redacted, held),
        Err(refusal) => {
            let record = trail.refuse(&refusal);
            answer(&refusal, &record, form)
        }
    }
}

/// Answers with a document of Egret's own, in JSON.
pub(crate) fn respond_with_document(mut trail: Trail, outcome: Result<Vec<u8>, Refusal>) -> Response<Body> {
    match outcome {
        Ok(body) => {
            trail.decision(Decision::Allow);
            trail.status(StatusCode::OK);
            trail.body(0, body.len() as u64);
            trail.close(Outcome::Ok, None, None);
            let mut response = Response::new(Body::own(body));
            response.fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(refusal) => {
            let record = trail.refuse(&refusal);
            answer(&refusal, &record, Form::Problem)
        }
    }
}

fn relay(mut trail: Trail, redacted: Redacted, held: Held) -> Response<Body> {
    let Redacted { response, masked, upstreamed } = redacted;
    let Upstreamed { flow, back } = upstreamed;
    trail.status(response.status);
    let Response { status, mut fields, body } = response;
    // It would direct the client to another protocol and port, past the proxy.
    if fields.remove(header::ALT_SVC).is_some() {
        trail.stripped([Cow::Borrowed("alt-svc")]);
    }
    let relay = ResponseBody::new(body, masked, (trail, held), flow, back);
    Response { status, fields, body: Body::relayed(relay) }
}

/// A refusal before the request half of the line; the connection closes after it.
pub(crate) fn refuse(trail: Trail, refusal: &Refusal) -> Response<Body> {
    let record = trail.refuse(refusal);
    closing(answer(refusal, &record, Form::Problem))
}

/// An answer after which the connection closes.
pub(crate) fn closing(mut response: Response<Body>) -> Response<Body> {
    response.fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to a refused request (RFC 9457, RFC 9209).
pub(crate) fn answer(refusal: &Refusal, record: &str, form: Form) -> Response<Body> {
    let mut response = Response::new(Body::own(refusal.body(record, form)));
    response.status = refusal.row().status;
    response.fields = refusal.fields(record);
    response.fields.insert(header::CONTENT_TYPE, form.content_type());
    response
}

#[cfg(test)]
mod tests;
