//! Refusals of the API: `application/problem+json` (RFC 9457) with a stable `code`.

use api::ProblemDocument;
use axum::body::Body;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use model::Reason;

/// One refusal of the API.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into() }
    }

    /// 403: the caller may not use the control API at all.
    pub(crate) fn denied(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Reason::ControlDenied.code(), "The call is not allowed", detail)
    }

    /// 404: the resource does not exist.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// 409: the current state does not allow it.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It cannot be done as things are", detail)
    }

    /// 422: understood, and not acceptable.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not acceptable", detail)
    }

    /// 422: a policy is unknown, broken, or conflicts with the others.
    pub(crate) fn policy(detail: impl Into<String>) -> Self {
        let code = Reason::PolicyRejected.code();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The policies are not acceptable", detail)
    }

    /// 422: a credential is unknown or cannot be used.
    pub(crate) fn credential(detail: impl Into<String>) -> Self {
        let code = Reason::CredentialUnavailable.code();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The credential cannot be used", detail)
    }

    /// 500: a fault of ours, with its chain of causes.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        let detail = chain(error);
        model::log_limited!(error, error = detail, "a control call failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal.code(), "Egret failed", detail)
    }

    /// 503: without records no change is made.
    pub(crate) fn audit_unavailable() -> Self {
        let code = Reason::AuditUnavailable.code();
        let detail = "the journal cannot be written, so nothing is changed; see the log and the disk";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "The journal cannot be written", detail)
    }

    /// For a path or method that is not in the API.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = if status == StatusCode::METHOD_NOT_ALLOWED { "method_not_allowed" } else { "not_found" };
        Self::new(status, code, "The API has no such call", "calls begin with /v1/, besides /healthz")
    }

    /// The problem, as a sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    fn malformed(status: StatusCode, detail: String) -> Self {
        let (code, title) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => (Reason::BodyTooLarge.code(), "The body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "The body must be application/json"),
            StatusCode::UNPROCESSABLE_ENTITY => ("invalid", "The request is not acceptable"),
            _ => (Reason::Malformed.code(), "The request cannot be understood"),
        };
        Self::new(status, code, title, detail)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument::new(self.status.as_u16(), self.code, self.title, &self.detail);
        let text = serde_json::to_vec(&document).expect("texts and numbers are always JSON");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::malformed(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Self::malformed(rejection.status(), rejection.body_text())
    }
}

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(value) = axum::Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// The parameters of the query.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}
