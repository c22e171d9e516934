//! Ready-made policies with something to fill in: an organization, a bucket, a region.
//!
//! The language itself has no parameters. A template is the text of a policy with words such as `YOUR-ORG` in it,
//! and a comment line for each that describes it; filled, it is a policy file like any other.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::compile::PolicySource;
use crate::fmt::fmt;

/// The text before the name of a parameter in a template.
const WORD: &str = "YOUR-";
const DECLARATION: &str = "# parameter ";
const NAME_KEY: &str = "policy: ";
/// The longest value: room for an encoded list of resources (`X-Goog-Allowed-Resources`).
const MAX_VALUE: usize = 128;
/// The longest name of a policy.
const MAX_NAME: usize = 64;

const TEMPLATES: &[(&str, &str)] = &[
    ("artifact-registry", include_str!("../library/templates/artifact-registry.yaml")),
    ("bedrock", include_str!("../library/templates/bedrock.yaml")),
    ("github-org-read", include_str!("../library/templates/github-org-read.yaml")),
    ("github-org-write", include_str!("../library/templates/github-org-write.yaml")),
    ("gitlab-group-read", include_str!("../library/templates/gitlab-group-read.yaml")),
    ("gitlab-group-write", include_str!("../library/templates/gitlab-group-write.yaml")),
    ("s3-bucket-read", include_str!("../library/templates/s3-bucket-read.yaml")),
    ("s3-bucket-write", include_str!("../library/templates/s3-bucket-write.yaml")),
    ("tenant-anthropic", include_str!("../library/templates/tenant-anthropic.yaml")),
    ("tenant-chatgpt", include_str!("../library/templates/tenant-chatgpt.yaml")),
    ("tenant-dropbox", include_str!("../library/templates/tenant-dropbox.yaml")),
    ("tenant-gemini-code-assist", include_str!("../library/templates/tenant-gemini-code-assist.yaml")),
    ("tenant-github", include_str!("../library/templates/tenant-github.yaml")),
    ("tenant-google", include_str!("../library/templates/tenant-google.yaml")),
    ("tenant-google-cloud", include_str!("../library/templates/tenant-google-cloud.yaml")),
    ("tenant-ibm-cloud", include_str!("../library/templates/tenant-ibm-cloud.yaml")),
    ("tenant-microsoft", include_str!("../library/templates/tenant-microsoft.yaml")),
    ("tenant-openai", include_str!("../library/templates/tenant-openai.yaml")),
    ("tenant-slack", include_str!("../library/templates/tenant-slack.yaml")),
    ("tenant-webex", include_str!("../library/templates/tenant-webex.yaml")),
    ("vertex", include_str!("../library/templates/vertex.yaml")),
];

/// A policy that needs values before it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, such as `github-org-read`.
    pub name: &'static str,
    /// What a policy made from it is for.
    pub description: &'static str,
    /// What has to be given, in the order of its file.
    pub parameters: Vec<Parameter>,
}

/// One value that a template needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, such as `org`.
    pub name: String,
    /// Its meaning.
    pub description: &'static str,
}

/// Why no policy was made from a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The template was not found.
    #[error("there is no template `{0}`; the templates are {all}", all = names())]
    UnknownTemplate(String),
    /// A value was given that the template has no use for.
    #[error("template `{template}` has no parameter `{parameter}`; its parameters are {all}", all = parameters_of(template))]
    UnknownParameter {
        /// The template.
        template: &'static str,
        /// What was given.
        parameter: String,
    },
    /// A value is missing.
    #[error("template `{template}` needs `{parameter}`: {description}")]
    MissingParameter {
        /// The template.
        template: &'static str,
        /// What has to be given.
        parameter: String,
        /// Its meaning.
        description: &'static str,
    },
    /// A value that could mean more than a name.
    #[error(
        "`{parameter}` is 1 to {MAX_VALUE} letters, digits, `-`, `_` and single `.`, with a letter or digit at both ends"
    )]
    InvalidValue {
        /// The parameter.
        parameter: String,
    },
}

fn names() -> String {
    TEMPLATES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn parameters_of(name: &str) -> String {
    let parameters = templates().into_iter().filter(|template| template.name == name).flat_map(|one| one.parameters);
    parameters.map(|parameter| parameter.name).collect::<Vec<_>>().join(", ")
}

/// The templates that ship with the product, by name.
pub fn templates() -> Vec<Template> {
    TEMPLATES.iter().map(|(name, text)| describe(name, text)).collect()
}

/// The policy file that a template makes from these values, laid out as `fmt` lays it out. Its policy is named after
/// the template and the first value; a name that would be too long is cut.
///
/// # Errors
/// There is no such template, or the values are not exactly those that it needs, or one of them is no plain name.
pub fn template(name: &str, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let Some((name, text)) = TEMPLATES.iter().copied().find(|(own, _)| *own == name) else {
        return Err(TemplateError::UnknownTemplate(name.to_owned()));
    };
    let parameters = describe(name, text).parameters;
    if let Some(unknown) = values.keys().find(|given| parameters.iter().all(|own| own.name != **given)) {
        return Err(TemplateError::UnknownParameter { template: name, parameter: unknown.clone() });
    }
    let body: Vec<&str> = text.lines().filter(|line| !line.starts_with(DECLARATION)).collect();
    let mut filled = body.join("\n") + "\n";
    for Parameter { name: parameter, description } in parameters {
        let Some(value) = values.get(&parameter) else {
            return Err(TemplateError::MissingParameter { template: name, parameter, description });
        };
        if !is_plain(value) {
            return Err(TemplateError::InvalidValue { parameter });
        }
        filled = filled.replace(&format!("{WORD}{}", parameter.to_ascii_uppercase()), value);
    }
    let filled = with_a_short_name(filled);
    let source = PolicySource { name: format!("{name}.yaml"), text: filled };
    Ok(fmt(&source).unwrap_or(source.text))
}

fn describe(name: &'static str, text: &'static str) -> Template {
    let parameters =
        text.lines().filter_map(|line| line.strip_prefix(DECLARATION)?.strip_prefix(WORD)?.split_once(": "));
    let parameters =
        parameters.map(|(word, description)| Parameter { name: word.to_ascii_lowercase(), description }).collect();
    let described = text.lines().find_map(|line| line.strip_prefix("description: "));
    Template { name, description: described.map_or("", |text| text.trim_matches('"')), parameters }
}

/// Whether a value is one name: it can neither leave its segment of a path or label of a host, nor be YAML, a pattern,
/// or another parameter's word.
fn is_plain(value: &str) -> bool {
    let ends = [value.chars().next(), value.chars().next_back()];
    value.len() <= MAX_VALUE
        && ends.into_iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !value.contains("..")
        && !value.contains(WORD)
}

/// Cuts the policy's name where the values made it longer than a name may be.
fn with_a_short_name(text: String) -> String {
    let Some((name, rest)) = text.strip_prefix(NAME_KEY).and_then(|rest| rest.split_once('\n')) else { return text };
    let short: String = name.chars().take(MAX_NAME).collect();
    format!("{NAME_KEY}{}\n{rest}", short.trim_end_matches(['-', '_', '.']))
}
