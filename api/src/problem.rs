//! The refusals of the API.

use serde::{Deserialize, Serialize};

/// A refusal: `application/problem+json` (RFC 9457) with a stable code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// A URI for the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every refusal with this code.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// The problem of this call.
    pub detail: String,
    /// The stable code, such as `invalid`.
    pub code: String,
}

impl ProblemDocument {
    /// A refusal with the URI of its code.
    pub fn new(status: u16, code: &str, title: &str, detail: &str) -> Self {
        Self {
            kind: format!("http://egret.internal/codes/{code}"),
            title: title.to_owned(),
            status,
            detail: detail.to_owned(),
            code: code.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_are_those_of_the_standard() {
        let problem = ProblemDocument::new(404, "not_found", "Not found", "there is no session");
        let document = serde_json::to_value(&problem).expect("texts are JSON");
        assert_eq!(
            document,
            serde_json::json!({
                "type": "http://egret.internal/codes/not_found",
                "title": "Not found",
                "status": 404,
                "detail": "there is no session",
                "code": "not_found",
            })
        );
        assert_eq!(serde_json::from_value::<ProblemDocument>(document).expect("its own form"), problem);
    }
}
