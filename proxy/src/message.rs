//! A response on the line, with the fields as their sender wrote them.

use http::{StatusCode, Version};
use model::Fields;

/// A response; its body may still be to come.
#[derive(Debug)]
pub(crate) struct Response<B> {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: B,
}

impl<B> Response<B> {
    /// A response with status 200 and no fields.
    pub(crate) fn new(body: B) -> Self {
        Self { status: StatusCode::OK, fields: Fields::new(), body }
    }

    /// The same head with another body.
    pub(crate) fn map<C>(self, change: impl FnOnce(B) -> C) -> Response<C> {
        Response { status: self.status, fields: self.fields, body: change(self.body) }
    }
}

/// For the library that serves HTTP/2.
impl<B> From<Response<B>> for http::Response<B> {
    fn from(response: Response<B>) -> Self {
        let mut converted = Self::new(response.body);
        *converted.status_mut() = response.status;
        *converted.version_mut() = Version::HTTP_2;
        *converted.headers_mut() = response.fields.into();
        converted
    }
}
