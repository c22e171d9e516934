//! The ready-made policies that ship inside the binary.

use crate::compile::PolicySource;

/// One policy of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryPolicy {
    /// Its name, such as `library/pypi`.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

const LIBRARY: &[LibraryPolicy] = &[
    LibraryPolicy { name: "library/crates-io", text: include_str!("../library/crates-io.yaml") },
    LibraryPolicy { name: "library/npm", text: include_str!("../library/npm.yaml") },
    LibraryPolicy { name: "library/pypi", text: include_str!("../library/pypi.yaml") },
];

/// The policies that ship with the product, by name.
pub fn library() -> &'static [LibraryPolicy] {
    LIBRARY
}

impl From<&LibraryPolicy> for PolicySource {
    fn from(policy: &LibraryPolicy) -> Self {
        Self { name: policy.name.to_owned(), text: policy.text.to_owned() }
    }
}
