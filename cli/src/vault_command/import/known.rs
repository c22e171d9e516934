//! The usual audiences of well-known variables: offered in messages, never applied.

/// A variable, a host, and the kind if it is not bearer.
const KNOWN: &[(&str, &str, Option<&str>)] = &[
    ("ANTHROPIC_API_KEY", "api.anthropic.com", Some("header:X-Api-Key")),
    ("CLOUDFLARE_API_TOKEN", "api.cloudflare.com", None),
    ("COHERE_API_KEY", "api.cohere.com", None),
    ("DEEPSEEK_API_KEY", "api.deepseek.com", None),
    ("DIGITALOCEAN_TOKEN", "api.digitalocean.com", None),
    ("GEMINI_API_KEY", "generativelanguage.googleapis.com", Some("header:X-Goog-Api-Key")),
    ("GH_TOKEN", "api.github.com", None),
    ("GITHUB_TOKEN", "api.github.com", None),
    ("GITLAB_TOKEN", "gitlab.com", Some("header:PRIVATE-TOKEN")),
    ("GROQ_API_KEY", "api.groq.com", None),
    ("HF_TOKEN", "huggingface.co", None),
    ("MISTRAL_API_KEY", "api.mistral.ai", None),
    ("NOTION_TOKEN", "api.notion.com", None),
    ("NPM_TOKEN", "registry.npmjs.org", None),
    ("OPENAI_API_KEY", "api.openai.com", None),
    ("OPENROUTER_API_KEY", "openrouter.ai", None),
    ("SENDGRID_API_KEY", "api.sendgrid.com", None),
    ("SENTRY_AUTH_TOKEN", "sentry.io", None),
    ("SLACK_BOT_TOKEN", "slack.com", None),
    ("STRIPE_SECRET_KEY", "api.stripe.com", None),
    ("XAI_API_KEY", "api.x.ai", None),
];

/// A suggestion for `--for` for this variable: its usual host if that is known.
pub(super) fn suggestion(variable: &str) -> String {
    match KNOWN.iter().find(|(name, ..)| *name == variable) {
        Some((_, host, None)) => format!("{variable}={host}"),
        Some((_, host, Some(kind))) => format!("{variable}={host} --as {variable}={kind}"),
        None => format!("{variable}=HOST"),
    }
}
