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
    LibraryPolicy { name: "library/anthropic", text: include_str!("../library/anthropic.yaml") },
    LibraryPolicy { name: "library/apk-alpine", text: include_str!("../library/apk-alpine.yaml") },
    LibraryPolicy { name: "library/apt-debian", text: include_str!("../library/apt-debian.yaml") },
    LibraryPolicy { name: "library/apt-ubuntu", text: include_str!("../library/apt-ubuntu.yaml") },
    LibraryPolicy { name: "library/conda", text: include_str!("../library/conda.yaml") },
    LibraryPolicy { name: "library/crates-io", text: include_str!("../library/crates-io.yaml") },
    LibraryPolicy { name: "library/docker-hub", text: include_str!("../library/docker-hub.yaml") },
    LibraryPolicy { name: "library/docs-sites", text: include_str!("../library/docs-sites.yaml") },
    LibraryPolicy { name: "library/ecr-public", text: include_str!("../library/ecr-public.yaml") },
    LibraryPolicy { name: "library/ghcr", text: include_str!("../library/ghcr.yaml") },
    LibraryPolicy { name: "library/github-read", text: include_str!("../library/github-read.yaml") },
    LibraryPolicy { name: "library/go-modules", text: include_str!("../library/go-modules.yaml") },
    LibraryPolicy { name: "library/google-gemini", text: include_str!("../library/google-gemini.yaml") },
    LibraryPolicy { name: "library/hex", text: include_str!("../library/hex.yaml") },
    LibraryPolicy { name: "library/huggingface", text: include_str!("../library/huggingface.yaml") },
    LibraryPolicy { name: "library/maven-central", text: include_str!("../library/maven-central.yaml") },
    LibraryPolicy { name: "library/nodejs", text: include_str!("../library/nodejs.yaml") },
    LibraryPolicy { name: "library/npm", text: include_str!("../library/npm.yaml") },
    LibraryPolicy { name: "library/nuget", text: include_str!("../library/nuget.yaml") },
    LibraryPolicy { name: "library/openai", text: include_str!("../library/openai.yaml") },
    LibraryPolicy { name: "library/packagist", text: include_str!("../library/packagist.yaml") },
    LibraryPolicy { name: "library/pypi", text: include_str!("../library/pypi.yaml") },
    LibraryPolicy { name: "library/quay", text: include_str!("../library/quay.yaml") },
    LibraryPolicy { name: "library/rubygems", text: include_str!("../library/rubygems.yaml") },
    LibraryPolicy { name: "library/rustup", text: include_str!("../library/rustup.yaml") },
    LibraryPolicy { name: "library/slack", text: include_str!("../library/slack.yaml") },
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
